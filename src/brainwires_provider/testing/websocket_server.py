"""A Responses WebSocket server on loopback for tests, which follows a service's rules or a script.

One port serves WebSocket and HTTP. A request to upgrade becomes a WebSocket; any other is answered over HTTP as by
ScriptedServer, from the same service, so that a client that falls back to HTTP finds its conversation.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from brainwires_provider.testing.answers import Answer, Handler, RecordedRequest, Wait, has_header, plain_text
from brainwires_provider.testing.connection import Connection, Wheel
from brainwires_provider.testing.loopback import LoopbackServer
from brainwires_provider.testing.responses_rules import ResponsesService
from brainwires_provider.testing.websocket_modes import ScriptPeer, ServicePeer, answer_over_http
from brainwires_provider.testing.websocket_peer import WebSocketPeer
from brainwires_provider.testing.websocket_steps import (
    Fault,
    Handshake,
    Peer,
    Plan,
    SocketScript,
    SocketStep,
    as_steps,
)

if TYPE_CHECKING:
    from ssl import SSLContext


class ScriptedSocket(LoopbackServer):
    """Serve WebSockets on a free loopback port: `with server:` or `async with server:`.

    `plan` determines what each connection is: one ResponsesService for all of them, a list used up in order (then
    the handshake gets 503), or a function of the Handshake. A connection is a ResponsesService, a list of
    requests (each a list of steps, played once a message has come), a SocketScript, or an Answer, which the
    handshake gets in place of the upgrade. `http` answers what is no upgrade: a service (unset: the plan's),
    an Answer, or a function of the request.

    In seconds: `pace` between two events of a response; `delay`, the latency added each way, to messages
    and requests; `ping`, how often the server pings, closing with 1011 if no pong comes between two.
    `fault(connection, job, event)` may return a step, or steps, to play in place of a service's event.
    `clock` returns a service's time. `timeout` limits each single wait: when it expires, the connection is
    reset and `failures` lists what was waited for; an idle connection is just ended. Leaving the block
    raises AssertionError if a script, an author or a fault raised.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        http: ResponsesService | Answer | Handler | None = None,
        pace: float = 0,
        delay: float = 0,
        fault: Fault | None = None,
        ping: float | None = None,
        compression: bool = False,
        clock: Callable[[], float] = time.monotonic,
        timeout: float = 30,
        ssl_context: SSLContext | None = None,
    ) -> None:
        super().__init__()
        self.pace, self.delay, self.fault, self.ping = pace, delay, fault, ping
        self.compression, self.clock = compression, clock
        self.timeout, self.ssl_context = timeout, ssl_context
        self._plan = deque(plan) if isinstance(plan, Sequence) else plan
        self._http = plan if http is None and isinstance(plan, ResponsesService) else http
        self._handshakes: list[Handshake] = []
        self._requests: list[list[Any]] = []
        self._sizes: list[int] = []
        self._http_requests: list[RecordedRequest] = []
        self._peers: set[WebSocketPeer] = set()

    @property
    def url(self) -> str:
        """`ws://127.0.0.1:PORT/v1/responses` (wss with an `ssl_context`); any other path is served too."""
        return f"{'wss' if self.ssl_context else 'ws'}://127.0.0.1:{self.port}/v1/responses"

    @property
    def base_url(self) -> str:
        """`http://127.0.0.1:PORT/v1` (https with an `ssl_context`)."""
        return f"{'https' if self.ssl_context else 'http'}://127.0.0.1:{self.port}/v1"

    @property
    def handshakes(self) -> list[Handshake]:
        """Every request to upgrade, in order, accepted or not."""
        return list(self._handshakes)

    @property
    def requests(self) -> list[list[Any]]:
        """The messages of each handshake's client, in order: decoded, or as bytes if they are not JSON."""
        return [list(messages) for messages in self._requests]

    @property
    def http_requests(self) -> list[RecordedRequest]:
        """Every request that was no upgrade."""
        return list(self._http_requests)

    @property
    def sizes(self) -> list[int]:
        """The payload bytes of each message and each HTTP body, in order."""
        return list(self._sizes)

    def play(self, played: SocketStep | Sequence[SocketStep]) -> None:
        """Play steps on every open WebSocket, now and from any thread: `server.play(CloseFrame(1001))`."""
        steps = as_steps(played)

        def start() -> None:
            for peer in self._peers:
                peer.start(peer.play(steps))

        self._call(start)

    # -- the loop's side ---------------------------------------------------------------------------------

    def _seen(self) -> int:
        return len(self._sizes)

    def _connection(self, accepted: socket.socket, wheel: Wheel) -> Connection:
        return SocketConnection(self, wheel, accepted, self.connections)

    def _came(self, number: int, data: bytes) -> None:
        try:
            decoded = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            decoded = data
        self._requests[number - 1].append(decoded)
        self._sizes.append(len(data))
        self._changed()

    def _answer(self, request: RecordedRequest, *, reused: bool) -> Answer:
        try:
            answer = self._choose(request)
        except Exception as error:  # noqa: BLE001 - user code: reported to the client here, to the test at close
            self._script_raised(error, f"the plan, asked {request.method} {request.target}")
            answer = plain_text(500, f"ScriptedSocket: the plan raised {error!r}")
        if self.delay:
            answer = msgspec.structs.replace(answer, before=[Wait(2 * self.delay), *answer.before])
        return answer

    def _choose(self, request: RecordedRequest) -> Answer:
        if has_header(request.headers, "upgrade", "websocket"):
            return self._upgrade(request)
        self._http_requests.append(request)
        self._sizes.append(len(request.body))
        self._changed()
        if isinstance(self._http, Answer):
            return self._http
        if not isinstance(self._http, ResponsesService):
            told = f"ScriptedSocket: nothing answers {request.method} {request.path} over HTTP"
            return plain_text(404, told) if self._http is None else self._http(request)
        if request.method == "GET" and "/responses/" in request.path:
            found = self._http.retrieve(request.path.rpartition("/")[2])
            told = f"ScriptedSocket: there is no {request.path}"
            return plain_text(404, told) if found is None else Answer(body=msgspec.json.encode(found))
        if not request.path.endswith("/responses"):
            return plain_text(404, f"ScriptedSocket: there is no {request.path}")
        if request.method != "POST":
            return plain_text(405, "ScriptedSocket: POST it, or upgrade to a WebSocket")
        return answer_over_http(self._http, request, now=self.clock(), pace=self.pace, fault=self.fault)

    def _upgrade(self, request: RecordedRequest) -> Answer:
        number = len(self._handshakes) + 1
        handshake = Handshake(number, request.connection, request.path, request.query, request.headers)
        self._handshakes.append(handshake)
        self._requests.append([])
        self._changed()
        peer = self._peer(handshake)
        if isinstance(peer, Answer):
            return peer
        if not isinstance(peer, SocketScript | ResponsesService):
            peer = SocketScript(peer)
        return Upgrade(101, source=peer, number=number, request=request)

    def _peer(self, handshake: Handshake) -> Peer:
        plan = self._plan
        if isinstance(plan, ResponsesService):
            return plan
        if not isinstance(plan, deque):
            return plan(handshake)
        if not plan:
            return plain_text(503, f"ScriptedSocket: no connection is left for handshake {handshake.number}")
        return plan.popleft()


class Upgrade(Answer, frozen=True, kw_only=True):
    """The answer that turns the connection into a WebSocket."""

    source: ResponsesService | SocketScript
    number: int
    request: RecordedRequest


class SocketConnection(Connection):
    """One accepted connection: HTTP until a request upgrades it."""

    writer: asyncio.StreamWriter

    def __init__(self, host: ScriptedSocket, wheel: Wheel, accepted: socket.socket, number: int) -> None:
        super().__init__(host, wheel, accepted, number)
        self._socket_host, self.wheel, self.reader = host, wheel, self._reader
        self._is_upgraded = False
        self.touch, self.reset_on_close = self._touch, self._reset_on_close

    async def _respond(self, writer: asyncio.StreamWriter, answer: Answer, method: str) -> bool:
        if not isinstance(answer, Upgrade):
            return await super()._respond(writer, answer, method)
        if not await self._play(writer, answer.before):
            return False
        self.writer, self._is_upgraded = (
            writer,
            True,
        )  # from here on, leaving is for the frames' reader to see
        host, source = self._socket_host, answer.source
        peer: WebSocketPeer
        if isinstance(source, ResponsesService):
            peer = ServicePeer(host, self, answer.number, source)
        else:
            peer = ScriptPeer(host, self, answer.number, source)
        host._peers.add(peer)
        try:
            refusal = await peer.run(answer.request)
        finally:
            host._peers.discard(peer)
        return refusal is not None and await super()._respond(writer, refusal, method)

    def _client_left(self) -> None:
        if not self._is_upgraded:
            super()._client_left()
