"""The key log: its lines are those of OpenSSL's client, and it writes nowhere but into its file."""

import os
import ssl
import stat
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from aiotls import KeyLogFile, ServerConfig, ServerConnection
from aiotls.errors import LocalError
from aiotls.testing.ca import LocalCA
from aiotls.testing.peer import ScriptedClient
from aiotls.testing.pipe import Pipe
from aiotls.wire.registries import CipherSuite

LABELS = [
    "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
    "SERVER_HANDSHAKE_TRAFFIC_SECRET",
    "CLIENT_TRAFFIC_SECRET_0",
    "SERVER_TRAFFIC_SECRET_0",
    "EXPORTER_SECRET",
]
RANDOM = bytes(range(32))
SECRET = bytes(range(32, 64))


@pytest.fixture(scope="module")
def config() -> ServerConfig:
    return ServerConfig(credentials=LocalCA().issue("localhost").credential())


def handshake_with_openssl(config: ServerConfig, keylog: Path) -> None:
    """A whole handshake, in memory, whose client writes its own key log."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.keylog_filename = str(keylog)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    server = ServerConnection(config)
    for _ in range(2):
        with suppress(ssl.SSLWantReadError):
            client.do_handshake()
        server.receive_data(outgoing.read())
        incoming.write(server.data_to_send())
    assert server.negotiated is not None


def lines_of(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="ascii").splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("suite", list(CipherSuite)[:3], ids=lambda suite: suite.name)
def test_lines_are_those_of_the_openssl_client(config: ServerConfig, suite: CipherSuite, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    log = KeyLogFile(ours)
    handshake_with_openssl(replace(config, cipher_suites=(suite,), key_log=log), theirs)
    log.close()
    assert [line.split()[0] for line in lines_of(ours)] == LABELS
    assert sorted(lines_of(ours)) == sorted(lines_of(theirs))


def test_log_is_given_each_secret_with_the_clients_random(config: ServerConfig) -> None:
    told: list[tuple[str, bytes, bytes]] = []
    client = ScriptedClient()
    server = ServerConnection(replace(config, key_log=lambda *line: told.append(line)))
    pipe = Pipe(client, server)
    client.send_hello()
    pipe.pump()
    client.finish()
    pipe.pump()
    assert [label for label, _, _ in told] == LABELS
    assert {random for _, random, _ in told} == {client.hello().random}
    assert {len(secret) for _, _, secret in told} == {32}
    assert len({secret for _, _, secret in told}) == len(LABELS)


def test_log_is_asked_for_nothing_before_the_secrets_are_there(config: ServerConfig) -> None:
    told: list[str] = []
    server = ServerConnection(replace(config, key_log=lambda label, *_: told.append(label)))
    client = ScriptedClient(supported_versions=(0x0303,))
    client.send_hello()
    Pipe(client, server).pump()
    assert told == []


def test_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    log = KeyLogFile(path)
    log.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_file_that_exists_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    for label in ("FIRST", "SECOND"):
        log = KeyLogFile(path)
        log(label, RANDOM, SECRET)
        log.close()
    assert lines_of(path) == [f"{label} {RANDOM.hex()} {SECRET.hex()}" for label in ("FIRST", "SECOND")]


def test_file_is_complete_without_being_closed(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    log = KeyLogFile(path)
    log("LABEL", RANDOM, SECRET)
    assert path.read_text(encoding="ascii") == f"LABEL {RANDOM.hex()} {SECRET.hex()}\n"
    log.close()


def test_two_logs_of_one_file_do_not_overwrite_each_other(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    logs = [KeyLogFile(path), KeyLogFile(path)]
    for number in range(6):
        logs[number % 2](f"LINE_{number}", RANDOM, SECRET)
    for log in logs:
        log.close()
    assert [line.split()[0] for line in lines_of(path)] == [f"LINE_{number}" for number in range(6)]


def test_threads_write_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    log = KeyLogFile(path)

    def write(name: str) -> None:
        for _ in range(200):
            log(name, RANDOM, SECRET)

    threads = [threading.Thread(target=write, args=(f"THREAD_{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    expected = [f"THREAD_{number} {RANDOM.hex()} {SECRET.hex()}" for number in range(4) for _ in range(200)]
    assert sorted(lines_of(path)) == expected


def test_closed_log_writes_into_no_other_file(tmp_path: Path) -> None:
    log = KeyLogFile(tmp_path / "keys")
    log.close()
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)  # the system gives it the number that became free
    try:
        with pytest.raises(LocalError, match="closed"):
            log("LABEL", RANDOM, SECRET)
        assert os.fstat(other).st_size == 0
    finally:
        os.close(other)


def test_second_close_closes_no_other_file(tmp_path: Path) -> None:
    log = KeyLogFile(tmp_path / "keys")
    log.close()
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    try:
        log.close()
        os.fstat(other)  # OSError would say that it is closed
    finally:
        with suppress(OSError):
            os.close(other)


@pytest.mark.parametrize("name", ["missing/keys", "."])
def test_log_that_cannot_be_opened_names_its_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(LocalError) as caught:
        KeyLogFile(path)
    assert str(path) in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize("value", [None, ""])
def test_environment_without_a_file_name_gives_no_log(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    if value is None:
        monkeypatch.delenv("SSLKEYLOGFILE", raising=False)
    else:
        monkeypatch.setenv("SSLKEYLOGFILE", value)
    assert KeyLogFile.from_environment() is None


def test_environment_names_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(path))
    log = KeyLogFile.from_environment()
    assert log is not None
    log("LABEL", RANDOM, SECRET)
    log.close()
    assert len(lines_of(path)) == 1


def test_environment_alone_logs_nothing(config: ServerConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(path))
    client, server = ScriptedClient(), ServerConnection(replace(config))
    client.send_hello()
    Pipe(client, server).pump()
    assert client.server_finished
    assert not path.exists()
