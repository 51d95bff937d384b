"""Credentials by server name: a store that the program fills, files that are renewed, a directory of them."""

import itertools
import re
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from aiotls import ServerConfig
from aiotls.blocking import Blocking
from aiotls.errors import CertificateError, LocalError
from aiotls.testing.ca import IssuedCertificate, LocalCA
from aiotls.trust import resolvers
from aiotls.trust.credentials import Credential, CredentialResolver, ThreadedSigner
from aiotls.trust.layouts import Files, find_pairs
from aiotls.trust.resolvers import CredentialDirectory, CredentialStore
from aiotls.trust.stapling import OCSPStaple
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
from tests.trust.material import hello
from tests.trust.statements import Clock

P256 = SignatureScheme.ecdsa_secp256r1_sha256
ED25519 = SignatureScheme.ed25519
RSA = SignatureScheme.rsa_pss_rsae_sha256


@pytest.fixture(scope="module")
def ca() -> LocalCA:
    return LocalCA()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Log:
    return read_log(caplog)


@pytest.fixture(scope="module")
def default(ca: LocalCA) -> Credential:
    return ca.issue("default.test").credential()


@pytest.fixture(scope="module")
def exact(ca: LocalCA) -> Credential:
    return ca.issue("www.example.test", "Example.TEST").credential()


@pytest.fixture(scope="module")
def wildcard(ca: LocalCA) -> Credential:
    return ca.issue("*.example.test").credential()


@pytest.fixture(scope="module")
def edwards(ca: LocalCA) -> Credential:
    return ca.issue("www.example.test", key_type="ed25519").credential()


@pytest.fixture(scope="module")
def nameless(ca: LocalCA) -> Credential:
    return ca.issue("192.0.2.1").credential()


@pytest.mark.rfc("6066", "3")
class TestStore:
    """Which credential a store takes."""

    @pytest.mark.parametrize("name", ["www.example.test", "WWW.Example.Test", "example.test"])
    def test_store_takes_the_exact_one_before_the_wildcard(
        self, exact: Credential, wildcard: Credential, name: str
    ) -> None:
        for credentials in ([exact, wildcard], [wildcard, exact]):
            assert CredentialStore(credentials)(hello(name, P256)) is exact

    @pytest.mark.parametrize("name", ["mail.example.test", "MAIL.Example.Test"])
    def test_store_takes_the_wildcard_for_one_label(self, exact: Credential, wildcard: Credential, name: str) -> None:
        assert CredentialStore([exact, wildcard])(hello(name, P256)) is wildcard

    @pytest.mark.parametrize("name", ["example.test", "a.b.example.test", ".example.test", "other.test", "", ".", None])
    def test_store_takes_the_default_when_there_is_none_for_the_name(
        self, default: Credential, wildcard: Credential, name: str | None
    ) -> None:
        assert CredentialStore([wildcard], default=default)(hello(name, P256)) is default
        assert CredentialStore([wildcard])(hello(name, P256)) is None

    @pytest.mark.rfc("8446", "4.4.2.2")
    def test_store_takes_of_several_for_a_name_the_first_that_the_client_accepts(
        self, exact: Credential, edwards: Credential, wildcard: Credential
    ) -> None:
        store = CredentialStore([edwards, exact, wildcard])
        assert store(hello("www.example.test", P256, ED25519)) is edwards
        assert store(hello("www.example.test", P256)) is exact
        assert CredentialStore([edwards, wildcard])(hello("www.example.test", P256)) is wildcard

    def test_store_takes_of_several_defaults_the_first_that_the_client_accepts(
        self, default: Credential, edwards: Credential
    ) -> None:
        store = CredentialStore(default=[edwards, default])
        assert store(hello(None, P256)) is default
        assert store(hello(None, P256, ED25519)) is edwards

    def test_store_takes_the_one_for_the_name_though_the_client_accepts_it_not(
        self, default: Credential, edwards: Credential
    ) -> None:
        """The handshake then fails for want of a common scheme, and not because the name is unknown."""
        store = CredentialStore([edwards], default=default)
        assert store(hello("www.example.test", P256)) is edwards
        assert CredentialStore([edwards, edwards])(hello("www.example.test", P256)) is edwards

    def test_store_takes_names_from_a_mapping(self, default: Credential, edwards: Credential) -> None:
        given: dict[str, Credential | Sequence[Credential]] = {"A.Test": default, "*.b.test": [edwards, default]}
        store = CredentialStore(given)
        assert store.names == {"a.test", "*.b.test"}
        assert store(hello("a.test", ED25519)) is default
        assert store(hello("x.b.test", P256)) is default
        assert store(hello("x.b.test", ED25519)) is edwards
        assert store(hello("default.test", P256)) is None

    @pytest.mark.parametrize("name", ["", "*.", "a b.test", "*.*.test", "w*.test", "*"])
    def test_store_refuses_what_is_no_server_name(self, default: Credential, name: str) -> None:
        with pytest.raises(LocalError, match="server name"):
            CredentialStore({name: default})
        with pytest.raises(LocalError, match="server name"):
            CredentialStore().add(default, names=[name])

    def test_store_refuses_a_credential_that_is_for_no_name(self, nameless: Credential) -> None:
        with pytest.raises(LocalError, match="no DNS name; give the names"):
            CredentialStore([nameless])
        store = CredentialStore({"a.test": nameless}, default=nameless)
        with pytest.raises(LocalError, match="no DNS name; give the names"):
            store.add(nameless)
        assert store(hello("a.test", P256)) is nameless

    def test_store_adds_credentials_for_their_names(self, exact: Credential, default: Credential) -> None:
        store = CredentialStore([exact], default=default)
        store.add(default)
        assert store.names == {"www.example.test", "example.test", "default.test"}
        assert store(hello("default.test", P256)) is default
        assert store(hello(None, P256)) is default

    def test_store_adds_credentials_for_names_that_are_given(self, exact: Credential, edwards: Credential) -> None:
        store = CredentialStore()
        store.add(exact, edwards, names=["Other.test", "*.other.test"])
        assert store.names == {"other.test", "*.other.test"}
        assert store(hello("a.other.test", ED25519)) is edwards

    def test_store_puts_what_is_added_in_the_place_of_what_signs_alike(
        self, ca: LocalCA, exact: Credential, edwards: Credential
    ) -> None:
        renewed = ca.issue("www.example.test").credential()
        store = CredentialStore([exact, edwards])
        store.add(renewed)
        assert store(hello("www.example.test", P256)) is renewed
        assert store(hello("www.example.test", ED25519)) is edwards
        assert store(hello("example.test", P256)) is exact

    def test_store_keeps_apart_what_is_added_at_a_time(self, exact: Credential, wildcard: Credential) -> None:
        store = CredentialStore()
        store.add(exact, wildcard, names=["a.test"])
        assert store(hello("a.test", P256)) is exact
        store.add(wildcard, names=["a.test"])
        assert store(hello("a.test", P256)) is wildcard

    def test_store_replaces_all(self, exact: Credential, default: Credential) -> None:
        store = CredentialStore([exact], default=default)
        store.replace([default])
        assert store.names == {"default.test"}
        assert store(hello("www.example.test", P256)) is None
        assert "1 names" in repr(store)

    def test_store_stays_as_it_was_when_what_is_to_replace_it_is_refused(
        self, exact: Credential, nameless: Credential
    ) -> None:
        store = CredentialStore([exact])
        with pytest.raises(LocalError):
            store.replace([nameless])
        assert store(hello("example.test", P256)) is exact

    def test_store_finds_a_name_among_ten_thousand_by_two_look_ups(self, exact: Credential) -> None:
        looked_up: list[str] = []

        class Counting(dict[str, tuple[Credential, ...]]):
            def get(self, key: str, default: object = None) -> tuple[Credential, ...]:
                looked_up.append(key)
                return super().get(key, ())

        store = CredentialStore({f"name{number}.test": exact for number in range(10_000)})
        object.__setattr__(store._index, "by_name", Counting(store._index.by_name))
        assert store(hello("name9999.test", P256)) is exact
        assert looked_up == ["name9999.test", "*.test"]

    def test_store_loses_nothing_that_threads_add_at_the_same_time(self, exact: Credential) -> None:
        store = CredentialStore()

        def adding(thread: int) -> None:
            for number in range(50):
                store.add(exact, names=[f"n{number}.t{thread}.test"])

        in_threads([partial(adding, thread) for thread in range(4)])
        assert len(store.names) == 200


@pytest.fixture(scope="module")
def issued(ca: LocalCA) -> dict[str, IssuedCertificate]:
    """What the files in the directory hold."""
    return {
        **{name: ca.issue(f"{name}.test", f"*.{name}.test") for name in ("a", "b", "c")},
        "renewed": ca.issue("a.test", "*.a.test"),
        "edwards": ca.issue("a.test", key_type="ed25519"),
        "short": ca.issue("a.test", days=30),
        "address": ca.issue("192.0.2.1"),
    }


class TestDirectory:
    """Which credentials a directory has, and what becomes of them when it changes."""

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def directory(self, tmp_path: Path, issued: dict[str, IssuedCertificate]) -> Path:
        """A directory with a.test in one below it, and b.test in two files."""
        install(issued["a"], tmp_path / "first")
        put(tmp_path / "b.crt", issued["b"].chain_pem)
        put(tmp_path / "b.key", issued["b"].key_pem)
        return tmp_path

    @pytest.fixture
    def credentials(self, directory: Path, clock: Clock) -> CredentialDirectory:
        credentials = CredentialDirectory(directory, clock=clock)
        settle(clock, credentials)
        return credentials

    def test_directory_serves_each_for_its_names(
        self, credentials: CredentialDirectory, issued: dict[str, IssuedCertificate]
    ) -> None:
        assert credentials.names == {"a.test", "*.a.test", "b.test", "*.b.test"}
        assert same(now(credentials, "a.test"), issued["a"])
        assert same(now(credentials, "WWW.b.test"), issued["b"])
        assert now(credentials, "other.test") is None
        assert now(credentials, None) is None
        assert len(credentials.credentials) == 2
        assert credentials.not_after == min(one.not_after for one in credentials.credentials)
        assert "2 credentials" in repr(credentials)

    def test_directory_is_what_a_config_takes(self, credentials: CredentialDirectory) -> None:
        resolver: CredentialResolver = credentials
        assert ServerConfig(credentials=resolver).resolve is credentials

    @pytest.mark.parametrize("default", ["b.test", "B.Test", "www.b.test"])
    def test_directory_serves_the_default_when_there_is_none_for_the_name(
        self, directory: Path, clock: Clock, issued: dict[str, IssuedCertificate], default: str
    ) -> None:
        credentials = CredentialDirectory(directory, default=default, clock=clock)
        assert same(now(credentials, "other.test"), issued["b"])
        assert same(now(credentials, None), issued["b"])
        assert same(now(credentials, "a.test"), issued["a"])

    def test_directory_serves_an_address_as_default_by_the_name_of_its_files(
        self, directory: Path, clock: Clock, issued: dict[str, IssuedCertificate]
    ) -> None:
        install(issued["address"], directory / "192.0.2.1")
        credentials = CredentialDirectory(directory, default="192.0.2.1", clock=clock)
        assert same(now(credentials, None), issued["address"])

    def test_directory_takes_pem_files_with_a_key_and_passes_over_those_without(
        self, directory: Path, clock: Clock, ca: LocalCA, issued: dict[str, IssuedCertificate]
    ) -> None:
        put(directory / "roots.pem", ca.certificate_pem)
        put(directory / "both.pem", issued["c"].chain_pem + issued["c"].key_pem)
        credentials = CredentialDirectory(directory, clock=clock)
        assert same(now(credentials, "c.test"), issued["c"])
        assert len(credentials.credentials) == 3
        put(directory / "roots.pem", issued["address"].chain_pem + issued["address"].key_pem)
        later(clock, credentials)
        assert "roots" in credentials.names

    @pytest.mark.rfc("8446", "4.4.2.2")
    def test_directory_serves_of_several_for_a_name_the_cheapest_that_the_client_accepts_and_the_longest_valid(
        self, directory: Path, clock: Clock, issued: dict[str, IssuedCertificate]
    ) -> None:
        install(issued["edwards"], directory / "0")
        install(issued["short"], directory / "1")
        credentials = CredentialDirectory(directory, clock=clock)
        assert same(now(credentials, "a.test", ED25519), issued["edwards"])
        assert same(now(credentials, "a.test", ED25519, P256), issued["a"])

    def test_directory_passes_on_how_credentials_are_made(self, ca: LocalCA, tmp_path: Path, clock: Clock) -> None:
        issued = ca.issue("a.test", key_type="rsa-2048", intermediate=True)
        install(issued, tmp_path / "a")
        staple = OCSPStaple.from_callable(lambda leaf, issuer: b"")
        credentials = CredentialDirectory(tmp_path, staple=staple, sign_in_thread=True, clock=clock)
        (credential,) = credentials.credentials
        assert credential.staple is staple
        assert isinstance(credential.signing_key, ThreadedSigner)

    # Refused at once

    def test_directory_that_is_missing_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(CertificateError, match="missing': the directory cannot be read"):
            CredentialDirectory(tmp_path / "missing")

    def test_directory_without_a_key_is_refused(self, tmp_path: Path, ca: LocalCA) -> None:
        with pytest.raises(CertificateError, match="there is no certificate in it with its private key"):
            CredentialDirectory(tmp_path)
        put(tmp_path / "roots.pem", ca.certificate_pem)
        with pytest.raises(CertificateError, match="there is no certificate in it with its private key"):
            CredentialDirectory(tmp_path)

    def test_directory_with_a_broken_file_is_refused(self, directory: Path) -> None:
        (directory / "b.crt").unlink()
        with pytest.raises(CertificateError, match=r"b\.crt: there is no such file"):
            CredentialDirectory(directory)

    def test_directory_without_the_default_is_refused(self, directory: Path) -> None:
        with pytest.raises(CertificateError, match=r"no certificate for 'c\.test', which is the default"):
            CredentialDirectory(directory, default="c.test")

    # Changes

    def test_directory_serves_what_is_renewed(
        self, credentials: CredentialDirectory, directory: Path, clock: Clock, issued: dict[str, IssuedCertificate]
    ) -> None:
        install(issued["renewed"], directory / "first")
        assert same(later(clock, credentials, "a.test"), issued["renewed"])
        assert same(now(credentials, "b.test"), issued["b"])

    def test_directory_serves_what_is_added(
        self, credentials: CredentialDirectory, directory: Path, clock: Clock, issued: dict[str, IssuedCertificate]
    ) -> None:
        install(issued["c"], directory / "second")
        assert same(later(clock, credentials, "c.test"), issued["c"])

    def test_directory_serves_on_when_nothing_changes(self, credentials: CredentialDirectory, clock: Clock) -> None:
        before = now(credentials, "a.test"), now(credentials, "b.test")
        settle(clock, credentials)
        assert (now(credentials, "a.test"), now(credentials, "b.test")) == before

    def test_directory_gives_up_what_is_missing_at_two_looks(
        self, credentials: CredentialDirectory, directory: Path, clock: Clock, issued: dict[str, IssuedCertificate]
    ) -> None:
        (directory / "b.crt").unlink()
        (directory / "b.key").unlink()
        assert same(later(clock, credentials, "b.test"), issued["b"])
        assert later(clock, credentials, "b.test") is None
        assert same(now(credentials, "a.test"), issued["a"])

    def test_directory_keeps_what_is_missing_for_a_moment(
        self, credentials: CredentialDirectory, directory: Path, clock: Clock, log: Log
    ) -> None:
        served = now(credentials, "a.test")
        for _ in range(3):
            (directory / "first").rename(directory / ".aside")
            assert later(clock, credentials, "a.test") is served
            (directory / ".aside").rename(directory / "first")
            assert later(clock, credentials, "a.test") is served
        assert log() == []

    @pytest.mark.parametrize("name", ["b.crt", "b.key"])
    def test_directory_keeps_a_pair_of_which_one_file_is_missing(
        self,
        credentials: CredentialDirectory,
        directory: Path,
        clock: Clock,
        issued: dict[str, IssuedCertificate],
        log: Log,
        *,
        name: str,
    ) -> None:
        (directory / name).unlink()
        for _ in range(100):
            assert same(later(clock, credentials, "b.test"), issued["b"])
        (message,) = log()
        assert f"{directory}/{name}: there is no such file" in message

    def test_directory_serves_the_others_while_one_is_broken(
        self,
        *,
        credentials: CredentialDirectory,
        directory: Path,
        clock: Clock,
        issued: dict[str, IssuedCertificate],
        log: Log,
    ) -> None:
        put(directory / "b.key", issued["a"].key_pem)
        put(directory / "new.key", issued["c"].key_pem)
        install(issued["renewed"], directory / "first")
        for _ in range(100):
            assert same(later(clock, credentials, "a.test"), issued["renewed"])
            assert same(now(credentials, "b.test"), issued["b"])
        assert [message.partition(": ")[2].partition(": ")[0] for message in sorted(log())] == [
            f"{directory}/b.key",
            f"{directory}/new.crt",
        ]
        put(directory / "new.crt", issued["c"].chain_pem)
        assert same(later(clock, credentials, "c.test"), issued["c"])

    def test_reload_takes_what_is_good_and_raises_what_is_not(
        self,
        *,
        credentials: CredentialDirectory,
        directory: Path,
        issued: dict[str, IssuedCertificate],
        log: Log,
    ) -> None:
        put(directory / "b.key", issued["a"].key_pem)
        put(directory / "new.key", b"")
        install(issued["renewed"], directory / "first")
        with pytest.raises(CertificateError, match=r"/b\.key: the private key does not belong"):
            credentials.reload()
        (message,) = log()
        assert "new.crt: there is no such file" in message
        assert same(now(credentials, "a.test"), issued["renewed"])
        assert same(now(credentials, "b.test"), issued["b"])

    def test_reload_gives_up_what_is_missing(self, credentials: CredentialDirectory, directory: Path) -> None:
        (directory / "b.crt").unlink()
        (directory / "b.key").unlink()
        credentials.reload()
        assert now(credentials, "b.test") is None

    @pytest.mark.parametrize("how", ["removed", "emptied", "unmounted"])
    def test_directory_that_is_gone_is_logged_once_and_all_are_served_on(
        self,
        *,
        credentials: CredentialDirectory,
        directory: Path,
        clock: Clock,
        issued: dict[str, IssuedCertificate],
        log: Log,
        how: str,
    ) -> None:
        aside = directory.with_name("aside")
        directory.rename(aside)
        if how != "removed":
            directory.mkdir()
        if how == "unmounted":
            put(directory / "readme.pem", b"")
        for _ in range(100):
            assert same(later(clock, credentials, "a.test"), issued["a"])
            assert same(now(credentials, "b.test"), issued["b"])
        (message,) = log()
        assert str(directory) in message
        with pytest.raises(CertificateError, match=re.escape(str(directory))):
            credentials.reload()
        install(issued["renewed"], aside / "first")
        shutil.rmtree(directory, ignore_errors=True)
        aside.rename(directory)
        assert same(later(clock, credentials, "a.test"), issued["renewed"])
        assert same(now(credentials, "b.test"), issued["b"])
        assert log() == []

    def test_default_is_served_on_when_its_files_are_removed(
        self, directory: Path, clock: Clock, issued: dict[str, IssuedCertificate], log: Log
    ) -> None:
        credentials = CredentialDirectory(directory, default="b.test", clock=clock)
        (directory / "b.crt").unlink()
        (directory / "b.key").unlink()
        for _ in range(10):
            assert same(later(clock, credentials, None), issued["b"])
        assert len(log()) == 1
        assert credentials.names == {"a.test", "*.a.test"}

    def test_directory_warns_of_each_that_expires_soon(
        self, directory: Path, clock: Clock, issued: dict[str, IssuedCertificate], log: Log
    ) -> None:
        wall = Clock()
        credentials = CredentialDirectory(directory, clock=clock, wall_clock=wall)
        wall.now = credentials.not_after.timestamp() - 86400
        later(clock, credentials)
        assert sorted(message.partition(": ")[0] for message in log()) == [
            f"{directory}/b.crt",
            f"{directory}/first/cert.pem",
        ]

    # Looking

    def test_directory_is_looked_at_once_in_the_interval(self, credentials: CredentialDirectory, clock: Clock) -> None:
        later(clock, credentials)
        clock.now += 0.499
        assert isinstance(credentials(hello("a.test", P256)), Credential)
        clock.now += 0.001
        assert isinstance(credentials(hello("a.test", P256)), Blocking)
        assert isinstance(credentials(hello("a.test", P256)), Credential)

    def test_looking_takes_at_most_a_twentieth_of_the_time(
        self, credentials: CredentialDirectory, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def slowly(directory: str) -> dict[Files, str]:
            clock.now += 1
            return find_pairs(directory)

        monkeypatch.setattr(resolvers, "find_pairs", slowly)
        later(clock, credentials)
        clock.now += 19.9
        assert isinstance(credentials(hello("a.test", P256)), Credential)
        clock.now += 0.1
        assert isinstance(credentials(hello("a.test", P256)), Blocking)

    def test_directory_changed_hundreds_of_times_never_gives_an_error_nor_a_pair_that_does_not_fit(
        self, directory: Path, issued: dict[str, IssuedCertificate]
    ) -> None:
        ticks = itertools.count()
        credentials = CredentialDirectory(directory, interval=0, clock=lambda: next(ticks) / 1000)
        served: set[Credential | None] = set()
        finished = False

        def write() -> None:
            nonlocal finished
            try:
                for number in range(200):
                    install(issued["renewed" if number % 2 else "a"], directory / "first")
                    install(issued["c"], directory / "second")
                    shutil.rmtree(directory / "second")
            finally:
                finished = True

        def handshake() -> None:
            while not finished:
                served.add(now(credentials, "a.test"))
                now(credentials, "c.test")

        with quick_switches():
            in_threads([write, handshake, handshake])
        for credential in served:
            assert credential is not None
            check_key(credential)
        assert len(served) > 1
