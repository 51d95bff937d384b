"""Credentials in files that are replaced: the new one is served if it is good, and nobody notices when it is not."""

import datetime as dt
import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from aiotls import ClientConfig, ServerConfig
from aiotls.blocking import Blocking
from aiotls.errors import CertificateError, LocalError
from aiotls.testing.ca import IssuedCertificate, LocalCA
from aiotls.trust.credentials import CertificateRequestInfo, Credential, ThreadedSigner
from aiotls.trust.reloading import LoadOptions
from aiotls.trust.resolvers import CredentialFiles
from aiotls.trust.stapling import OCSPStaple
from aiotls.trust.watching import FileWatch
from aiotls.wire.registries import SignatureScheme
from tests.trust.live import (
    Log,
    check_key,
    in_threads,
    install,
    later,
    now,
    put,
    quick_switches,
    read_log,
    same,
    settle,
)
from tests.trust.material import NOW, hello, recoded
from tests.trust.statements import Clock

P256 = SignatureScheme.ecdsa_secp256r1_sha256
DAY = 86400.0


@pytest.fixture(scope="module")
def ca() -> LocalCA:
    return LocalCA()


@pytest.fixture(scope="module")
def old(ca: LocalCA) -> IssuedCertificate:
    return ca.issue("a.test")


@pytest.fixture(scope="module")
def new(ca: LocalCA) -> IssuedCertificate:
    return ca.issue("a.test", "b.test")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Log:
    return read_log(caplog)


@pytest.fixture
def files(old: IssuedCertificate, tmp_path: Path, clock: Clock) -> CredentialFiles:
    """The files of *old*, at a time when nothing has happened to them for long."""
    install(old, tmp_path)
    files = opened(tmp_path, clock)
    settle(clock, files)
    return files


def opened(directory: Path, clock: Clock) -> CredentialFiles:
    return CredentialFiles(directory / "cert.pem", directory / "key.pem", clock=clock)


class TestServing:
    """What is served when nothing is wrong."""

    @pytest.mark.parametrize("name", ["a.test", "other.test", None])
    def test_files_serve_their_credential_for_any_name(
        self, files: CredentialFiles, old: IssuedCertificate, name: str | None
    ) -> None:
        assert same(now(files, name), old)
        assert now(files, name, SignatureScheme.ed25519) is files.credential
        assert files.credentials == (files.credential,)
        assert files.not_after == files.credential.not_after
        assert "a.test" in repr(files)

    def test_files_are_what_configs_of_both_roles_take(self, files: CredentialFiles) -> None:
        assert ServerConfig(credentials=files).resolve is files
        assert ClientConfig(credentials=files).resolve is files

    def test_files_serve_their_credential_to_a_request(self, files: CredentialFiles) -> None:
        info = CertificateRequestInfo("server.test", (P256,), (P256,), (), ())
        assert files(info) is files.credential

    def test_files_can_be_one_with_an_encrypted_key(self, old: IssuedCertificate, tmp_path: Path) -> None:
        both = tmp_path / "both.pem"
        both.write_bytes(old.chain_pem + recoded(old.key_pem, Encoding.PEM, b"geheim"))
        assert same(CredentialFiles(both, password="geheim").credential, old)
        with pytest.raises(CertificateError, match="encrypted; give its password"):
            CredentialFiles(both)

    def test_files_pass_on_how_the_credential_is_made(self, ca: LocalCA, tmp_path: Path, clock: Clock) -> None:
        install(ca.issue("a.test", key_type="rsa-2048", intermediate=True), tmp_path)
        staple = OCSPStaple.from_callable(lambda leaf, issuer: b"")
        files = CredentialFiles(
            *(tmp_path / "cert.pem", tmp_path / "key.pem"), staple=staple, sign_in_thread=True, clock=clock
        )
        assert files.credential.staple is staple
        assert isinstance(files.credential.signing_key, ThreadedSigner)

    def test_files_without_the_issuer_are_refused_when_a_response_is_to_be_stapled(
        self, old: IssuedCertificate, tmp_path: Path
    ) -> None:
        install(old, tmp_path)
        staple = OCSPStaple.from_callable(lambda leaf, issuer: b"")
        with pytest.raises(CertificateError, match=r"cert\.pem: there is no certificate of the issuer in it"):
            CredentialFiles(tmp_path / "cert.pem", tmp_path / "key.pem", staple=staple)

    def test_files_that_cannot_be_used_are_refused_at_once(self, old: IssuedCertificate, tmp_path: Path) -> None:
        with pytest.raises(CertificateError, match=r"cert\.pem: there is no such file"):
            CredentialFiles(tmp_path / "cert.pem", tmp_path / "key.pem")

    @pytest.mark.parametrize("interval", [-0.001, float("nan"), float("inf")])
    def test_interval_that_is_none_is_refused(self, files: CredentialFiles, tmp_path: Path, interval: float) -> None:
        with pytest.raises(LocalError, match="interval is"):
            CredentialFiles(tmp_path / "cert.pem", tmp_path / "key.pem", interval=interval)


class TestReplacing:
    """What is served after the files have been replaced."""

    def test_handshake_that_finds_the_change_is_served_the_new_one(
        self, files: CredentialFiles, new: IssuedCertificate, tmp_path: Path, clock: Clock
    ) -> None:
        install(new, tmp_path)
        clock.now += 0.5
        answer = files(hello("a.test", P256))
        assert isinstance(answer, Blocking)
        assert same(answer.run(), new)
        assert same(files.credential, new)

    def test_others_are_served_the_old_one_until_the_new_one_is_loaded(
        self, *, files: CredentialFiles, old: IssuedCertificate, new: IssuedCertificate, tmp_path: Path, clock: Clock
    ) -> None:
        install(new, tmp_path)
        clock.now += 0.5
        answer = files(hello("a.test", P256))
        assert isinstance(answer, Blocking)
        assert same(files.credential, old)
        assert files(hello("a.test", P256)) is files.credential
        answer.run()
        served = files(hello("a.test", P256))
        assert isinstance(served, Credential)
        assert same(served, new)

    def test_files_are_looked_at_once_in_the_interval(
        self, *, files: CredentialFiles, old: IssuedCertificate, new: IssuedCertificate, tmp_path: Path, clock: Clock
    ) -> None:
        now(files)
        install(new, tmp_path)
        clock.now += 0.499
        assert files(hello("a.test", P256)) is files.credential
        clock.now += 0.001
        assert isinstance(files(hello("a.test", P256)), Blocking)

    def test_nothing_is_read_while_nothing_changes(
        self, files: CredentialFiles, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("read"))
        for _ in range(100):
            clock.now += 0.5
            assert files(hello("a.test", P256)) is files.credential

    def test_credential_stays_the_same_object_when_the_files_are_only_touched(
        self, files: CredentialFiles, tmp_path: Path, clock: Clock
    ) -> None:
        before = files.credential
        os.utime(tmp_path / "cert.pem", ns=(0, 0))
        assert later(clock, files) is before

    def test_next_handshake_takes_over_when_the_first_was_lost(
        self, files: CredentialFiles, new: IssuedCertificate, tmp_path: Path, clock: Clock
    ) -> None:
        install(new, tmp_path)
        clock.now += 0.5
        assert isinstance(files(hello("a.test", P256)), Blocking)  # and its connection is lost
        assert same(later(clock, files), new)

    def test_handshakes_do_not_wait_while_another_thread_loads(
        self, *, files: CredentialFiles, old: IssuedCertificate, new: IssuedCertificate, tmp_path: Path, clock: Clock
    ) -> None:
        install(new, tmp_path)
        clock.now += 0.5
        with files._lock:  # as the loading thread holds it
            served: list[object] = []
            in_threads([lambda: served.append(files(hello("a.test", P256)))])
        assert served == [files.credential]
        assert same(files.credential, old)

    def test_handshake_does_not_look_when_another_thread_was_faster(
        self, files: CredentialFiles, new: IssuedCertificate, tmp_path: Path, clock: Clock
    ) -> None:
        class Contended:
            def acquire(self, *, blocking: bool) -> bool:
                files._next = clock.now + 0.5  # the other thread has just let go of the lock
                return True

            def release(self) -> None:
                pass

        install(new, tmp_path)
        clock.now += 0.5
        files._lock = Contended()  # type: ignore[assignment]
        assert files(hello("a.test", P256)) is files.credential

    def test_change_that_the_times_do_not_show_is_found_by_the_content(
        self,
        *,
        files: CredentialFiles,
        old: IssuedCertificate,
        new: IssuedCertificate,
        tmp_path: Path,
        clock: Clock,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        install(new, tmp_path)
        assert same(later(clock, files), new)
        monkeypatch.setattr(FileWatch, "look", lambda watch: False)
        install(old, tmp_path)
        assert same(later(clock, files), old)
        settle(clock, files)
        install(new, tmp_path)
        assert same(later(clock, files), old)

    def test_swap_of_a_link_on_the_way_is_a_change(
        self, old: IssuedCertificate, new: IssuedCertificate, tmp_path: Path, clock: Clock
    ) -> None:
        """As Kubernetes updates a volume."""
        for generation, issued in (("..one", old), ("..two", new)):
            install(issued, tmp_path / generation)
        (tmp_path / "..data").symlink_to("..one")
        for name in ("cert.pem", "key.pem"):
            (tmp_path / name).symlink_to(f"..data/{name}")
        files = opened(tmp_path, clock)
        settle(clock, files)
        (tmp_path / "..data_tmp").symlink_to("..two")
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")
        assert same(later(clock, files), new)

    def test_files_replaced_a_thousand_times_never_give_an_error_nor_a_pair_that_does_not_fit(
        self, ca: LocalCA, old: IssuedCertificate, new: IssuedCertificate, tmp_path: Path
    ) -> None:
        ticks = itertools.count()
        issued = [old, new, ca.issue("c.test")]
        install(old, tmp_path)
        files = CredentialFiles(
            *(tmp_path / "cert.pem", tmp_path / "key.pem"), interval=0, clock=lambda: next(ticks) / 1000
        )
        served: set[Credential | None] = set()
        finished = False

        def write() -> None:
            nonlocal finished
            for number in range(1000):
                install(issued[number % 3], tmp_path)
            finished = True

        def handshake() -> None:
            while not finished:
                served.add(now(files))

        with quick_switches():
            in_threads([write, handshake, handshake])
        served.add(files.credential)
        for credential in served:
            assert credential is not None
            check_key(credential)
        assert len(served) > 1
        ticks = itertools.count(10**9)
        assert same(now(files), issued[999 % 3])


def break_certificate(directory: Path, other: IssuedCertificate) -> None:
    put(directory / "cert.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n")


def break_key(directory: Path, other: IssuedCertificate) -> None:
    put(directory / "key.pem", other.key_pem[:-60])


def replace_certificate_alone(directory: Path, other: IssuedCertificate) -> None:
    put(directory / "cert.pem", other.chain_pem)


def replace_key_alone(directory: Path, other: IssuedCertificate) -> None:
    put(directory / "key.pem", other.key_pem)


def empty_certificate(directory: Path, other: IssuedCertificate) -> None:
    (directory / "cert.pem").write_bytes(b"")


def remove_certificate(directory: Path, other: IssuedCertificate) -> None:
    (directory / "cert.pem").unlink()


def remove_key(directory: Path, other: IssuedCertificate) -> None:
    (directory / "key.pem").unlink()


def remove_directory(directory: Path, other: IssuedCertificate) -> None:
    shutil.rmtree(directory)


BREAKS = pytest.mark.parametrize(
    ("break_it", "named"),
    [
        (break_certificate, "cert.pem: a certificate in it is damaged"),
        (break_key, "key.pem: the private key is damaged"),
        (replace_certificate_alone, "key.pem: the private key does not belong to"),
        (replace_key_alone, "key.pem: the private key does not belong to"),
        (empty_certificate, "cert.pem: there is no certificate in it: it is empty"),
        (remove_certificate, "cert.pem: there is no such file"),
        (remove_key, "key.pem: there is no such file"),
        (remove_directory, "cert.pem: there is no such file"),
    ],
)
Break = Callable[[Path, IssuedCertificate], None]


class TestBroken:
    """What is served while the files are broken, and what is said of it."""

    @BREAKS
    def test_old_one_is_served_and_the_file_logged_once_until_it_is_repaired(
        self,
        *,
        files: CredentialFiles,
        old: IssuedCertificate,
        new: IssuedCertificate,
        tmp_path: Path,
        clock: Clock,
        log: Log,
        break_it: Break,
        named: str,
    ) -> None:
        break_it(tmp_path, new)
        for _ in range(500):
            assert same(later(clock, files), old)
        (message,) = log()
        assert f"{tmp_path}/{named}" in message
        assert "what there was before stays in use" in message
        install(new, tmp_path)
        assert same(later(clock, files), new)
        assert log() == []

    @BREAKS
    def test_reload_raises_and_keeps_the_old_one(
        self,
        *,
        files: CredentialFiles,
        old: IssuedCertificate,
        new: IssuedCertificate,
        tmp_path: Path,
        log: Log,
        break_it: Break,
        named: str,
    ) -> None:
        break_it(tmp_path, new)
        with pytest.raises(CertificateError) as caught:
            files.reload()
        assert str(caught.value).startswith(f"{tmp_path}/{named}")
        assert same(files.credential, old)
        assert log() == []
        install(new, tmp_path)
        files.reload()
        assert same(files.credential, new)

    def test_each_change_that_breaks_them_is_logged(
        self, files: CredentialFiles, tmp_path: Path, clock: Clock, log: Log
    ) -> None:
        for content in (b"", b"1", b"22"):
            (tmp_path / "cert.pem").write_bytes(content)
            later(clock, files)
            later(clock, files)
            assert len(log()) == 1

    def test_files_that_do_not_fit_are_tried_again_though_their_times_stay_the_same(
        self,
        *,
        files: CredentialFiles,
        old: IssuedCertificate,
        new: IssuedCertificate,
        tmp_path: Path,
        clock: Clock,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        replace_certificate_alone(tmp_path, new)
        assert same(later(clock, files), old)
        monkeypatch.setattr(FileWatch, "look", lambda watch: False)
        replace_key_alone(tmp_path, new)
        assert same(later(clock, files), new)

    def test_broken_files_are_tried_again_after_ever_longer_pauses_of_a_minute_at_most(
        self, files: CredentialFiles, new: IssuedCertificate, tmp_path: Path, clock: Clock
    ) -> None:
        replace_certificate_alone(tmp_path, new)
        tries = []
        for _ in range(600):
            clock.now += 0.5
            answer = files(hello("a.test", P256))
            if isinstance(answer, Blocking):
                answer.run()
                tries.append(clock.now)
        pauses = [after - before for before, after in itertools.pairwise(tries)]
        assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]

    def test_error_that_nobody_thought_of_is_logged_and_the_old_one_served(
        self,
        *,
        files: CredentialFiles,
        old: IssuedCertificate,
        new: IssuedCertificate,
        tmp_path: Path,
        clock: Clock,
        monkeypatch: pytest.MonkeyPatch,
        log: Log,
    ) -> None:
        def fail(*_: object) -> Credential:
            raise RuntimeError("strange")

        install(new, tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(LoadOptions, "load", fail)
            assert same(later(clock, files), old)
        assert len(log()) == 1
        assert same(later(clock, files), new)

    def test_new_one_that_has_expired_is_served_and_warned_of(
        self, files: CredentialFiles, tmp_path: Path, clock: Clock, log: Log
    ) -> None:
        expired = LocalCA(clock=lambda: dt.datetime(2020, 1, 1, tzinfo=dt.UTC)).issue("a.test")
        install(expired, tmp_path)
        assert same(later(clock, files), expired)
        (message,) = log()
        assert message.startswith(f"{tmp_path}/cert.pem: the certificate has expired: <Credential a.test ")


class TestReload:
    """Reloading when the program says so."""

    def test_reload_does_not_wait_for_the_interval(
        self, files: CredentialFiles, new: IssuedCertificate, tmp_path: Path
    ) -> None:
        install(new, tmp_path)
        files.reload()
        assert same(files.credential, new)

    def test_reload_reads_files_that_have_not_changed(self, files: CredentialFiles, old: IssuedCertificate) -> None:
        before = files.credential
        files.reload()
        assert files.credential is not before
        assert same(files.credential, old)

    def test_reload_can_be_called_by_a_signals_handler_at_any_time(
        self, files: CredentialFiles, new: IssuedCertificate, tmp_path: Path
    ) -> None:
        install(new, tmp_path)
        with files._lock:  # where the signal interrupts the handshake
            files.reload()
        assert same(files.credential, new)

    def test_reload_and_handshakes_in_many_threads_agree(
        self, files: CredentialFiles, new: IssuedCertificate, tmp_path: Path, clock: Clock
    ) -> None:
        install(new, tmp_path)
        in_threads([files.reload, files.reload, lambda: check_key(later(clock, files) or files.credential)])
        assert same(files.credential, new)


@pytest.mark.rfc("5280", "4.1.2.5")
class TestExpiry:
    """What is said of a certificate that expires: from 14 days before on, once a day."""

    END = (NOW + dt.timedelta(days=20)).timestamp()

    @pytest.fixture
    def wall(self) -> Clock:
        wall = Clock()
        wall.now = NOW.timestamp()
        return wall

    @pytest.fixture
    def files(self, tmp_path: Path, clock: Clock, wall: Clock) -> CredentialFiles:
        install(LocalCA(clock=lambda: NOW).issue("a.test", days=20), tmp_path)
        return CredentialFiles(tmp_path / "cert.pem", tmp_path / "key.pem", clock=clock, wall_clock=wall)

    def test_certificate_is_warned_of_from_two_weeks_before_its_end_once_a_day(
        self, *, files: CredentialFiles, tmp_path: Path, clock: Clock, wall: Clock, log: Log
    ) -> None:
        assert files.not_after.timestamp() == self.END
        warned: list[tuple[float, str]] = []
        for hours in range(-24 * 15, 24 * 3):
            wall.now = self.END + hours * 3600
            later(clock, files)
            warned += [(hours / 24, message) for message in log()]
        assert [day for day, _ in warned] == [*range(-14, 1), 1 / 24, 1 + 1 / 24, 2 + 1 / 24]
        for day, message in warned:
            said = "has expired" if day > 0 else "expires soon"
            assert message.startswith(f"{tmp_path}/cert.pem: the certificate {said}: <Credential a.test ")
            assert "2026-06-06 12:30 UTC" in message

    @pytest.mark.parametrize(("left", "warnings"), [(14 * DAY + 1, 0), (14 * DAY, 1), (0, 1), (-1, 1)])
    def test_certificate_is_warned_of_when_it_is_loaded_so_late(
        self, *, tmp_path: Path, clock: Clock, wall: Clock, log: Log, left: float, warnings: int
    ) -> None:
        install(LocalCA(clock=lambda: NOW).issue("a.test", days=20), tmp_path)
        wall.now = self.END - left
        CredentialFiles(tmp_path / "cert.pem", tmp_path / "key.pem", clock=clock, wall_clock=wall)
        assert len(log()) == warnings

    def test_new_certificate_is_warned_of_at_once_and_the_old_one_no_more(
        self, *, files: CredentialFiles, tmp_path: Path, clock: Clock, wall: Clock, log: Log
    ) -> None:
        wall.now = self.END - DAY
        later(clock, files)
        assert len(log()) == 1
        short = LocalCA(clock=lambda: NOW).issue("b.test", days=20)
        install(short, tmp_path)
        assert same(later(clock, files), short)
        (message,) = log()
        assert "b.test" in message
        install(LocalCA(clock=lambda: NOW).issue("c.test", days=90), tmp_path)
        later(clock, files)
        wall.now = self.END + 30 * DAY
        later(clock, files)
        assert log() == []

    def test_warning_is_not_repeated_because_the_files_are_read_again(
        self, files: CredentialFiles, wall: Clock, log: Log
    ) -> None:
        wall.now = self.END - DAY
        files.reload()
        files.reload()
        assert len(log()) == 1
