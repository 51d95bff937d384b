"""A duel: a scripted client against the server's engine, at any stage of a handshake, and what a refusal must be."""

import enum
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Unpack

import pytest

from aiotls import ServerConfig, ServerConnection
from aiotls.errors import AlertDescription, LocalError, TLSError, alert_for
from aiotls.events import Event, HandshakeComplete
from aiotls.testing.ca import LocalCA
from aiotls.testing.peer import Alert, HelloFields, ScriptedClient
from aiotls.testing.pipe import Pipe
from aiotls.trust.credentials import Credential
from aiotls.wire.registries import NamedGroup

FATAL = 2


class Stage(enum.Enum):
    """How far a handshake has come, named by what the server waits for."""

    START = "the ClientHello"
    RETRIED = "the second ClientHello"
    FLIGHT = "Finished"
    CONNECTED = "whatever the application brings"


STAGES = pytest.mark.parametrize("stage", list(Stage), ids=lambda stage: stage.name.lower())


@cache
def credential() -> Credential:
    """One certificate for all tests."""
    return LocalCA().issue("localhost").credential()


@cache
def default_config() -> ServerConfig:
    """A server that speaks http/1.1."""
    return ServerConfig(credentials=credential(), alpn=("http/1.1",))


class Duel:
    """A client and a server, joined by a pipe.

    The client offers the two cheapest groups, and has a share for X25519 unless *shares* says otherwise.
    """

    def __init__(
        self,
        *,
        config: ServerConfig | None = None,
        chunk_sizes: Iterable[int] = (),
        shares: Sequence[int] = (NamedGroup.x25519,),
        **fields: Unpack[HelloFields],
    ) -> None:
        fields.setdefault("supported_groups", (NamedGroup.x25519, NamedGroup.secp256r1))
        self.client = ScriptedClient(shares=shares, **fields)
        self.server = ServerConnection(config or default_config())
        self.pipe = Pipe(self.client, self.server, chunk_sizes=chunk_sizes)

    @classmethod
    def at(
        cls,
        stage: Stage,
        *,
        config: ServerConfig | None = None,
        chunk_sizes: Iterable[int] = (),
        **fields: Unpack[HelloFields],
    ) -> "Duel":
        """A duel that has come to *stage* in peace."""
        shares = () if stage is Stage.RETRIED else (NamedGroup.x25519,)
        duel = cls(config=config, chunk_sizes=chunk_sizes, shares=shares, **fields)
        if stage is not Stage.START:
            duel.client.send_hello()
            duel.pump()
        if stage is Stage.CONNECTED:
            duel.client.finish()
            duel.pump()
        assert duel.error is None
        return duel

    def pump(self) -> None:
        """Let both say what they have to say."""
        self.pipe.pump()

    @property
    def events(self) -> list[Event]:
        """What the server told its owner."""
        return self.pipe.second.events

    @property
    def error(self) -> TLSError | None:
        """What ended the connection at the server."""
        return self.pipe.second.error

    def assert_refused(self, kind: type[TLSError], alert: AlertDescription) -> str:
        """The server raised exactly *kind*, told the client by *alert*, and is dead; returns the error's text."""
        self.pump()
        error = self.error
        assert type(error) is kind, repr(error)
        assert alert_for(error) is alert
        assert self.client.alerts == [Alert(FATAL, alert, protected=self.client.read_key is not None)]
        self.assert_dead(error)
        return str(error)

    def assert_ended_in_silence(self, kind: type[TLSError]) -> str:
        """The server raised exactly *kind*, sent no alert, and is dead; returns the error's text."""
        self.pump()
        error = self.error
        assert type(error) is kind, repr(error)
        assert self.client.alerts == []
        self.assert_dead(error)
        return str(error)

    def assert_dead(self, error: TLSError) -> None:
        """The server takes and gives no more, and raises the same error again (RFC 8446 §6.2)."""
        server = self.server
        server.receive_data(self.client.record(22, self.client.hello().encode(), protected=False))
        server.receive_eof()
        server.close()
        for _ in range(2):
            with pytest.raises(type(error)) as again:
                server.next_event()
            assert again.value is error
        assert not server.can_send
        with pytest.raises(LocalError):
            server.send_data(b"data")
        with pytest.raises(LocalError):
            server.key_update()
        assert server.pending is None
        assert server.data_to_send() == b""

    def assert_in_order(self) -> None:
        """The connection works: it completes if it has not, and carries data both ways."""
        self.pump()
        assert self.error is None, repr(self.error)
        if not self.client.server_finished:
            self.client.send_hello()
            self.pump()
        if not any(isinstance(event, HandshakeComplete) for event in self.events):
            self.client.finish()
        self.client.send_data(b"ping")
        self.pump()
        assert self.error is None, repr(self.error)
        self.server.send_data(b"pong")
        self.pump()
        assert self.client.data.endswith(b"pong")
        assert self.client.alerts == []
