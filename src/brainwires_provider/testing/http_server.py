"""An HTTP/1.1 server on loopback for tests; a script determines every byte, pause and fault.

loopback.py starts and stops the server. This module chooses the next answer, and connection.py plays it.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from brainwires_provider.testing.answers import Answer, Handler, RecordedRequest, plain_text
from brainwires_provider.testing.connection import Connection, Wheel
from brainwires_provider.testing.loopback import LoopbackServer

if TYPE_CHECKING:
    from ssl import SSLContext

Answers = Answer | Sequence[Answer] | Handler
_Source = Answer | deque[Answer] | Handler


@contextmanager
def refuse() -> Iterator[int]:
    """A loopback port that refuses every connection for as long as the block runs."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound but not listening: nobody else can take the port meanwhile
        yield held.getsockname()[1]


class ScriptedServer(LoopbackServer):
    """Serve scripted answers on a free loopback port: `with server:` or `async with server:`.

    `answers` is one Answer for every request, a list used up in order (then 500), a function of the
    request, or a dict of these by path (else 404). `timeout`, in seconds, bounds each single wait: when it
    runs out the connection is reset and `failures` says what was waited for; an idle connection is just
    closed. Leaving the block raises AssertionError if a handler or a script raised.
    """

    def __init__(
        self,
        answers: Answers | Mapping[str, Answers] = (),
        *,
        timeout: float = 30,
        ssl_context: SSLContext | None = None,
    ) -> None:
        super().__init__()
        self.timeout, self.ssl_context = timeout, ssl_context
        self._script: _Source | dict[str, _Source] = (
            {path: _source(each) for path, each in answers.items()}
            if isinstance(answers, Mapping)
            else _source(answers)
        )
        self._requests: list[RecordedRequest] = []

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT` (https with an `ssl_context`), without a final slash."""
        return f"{'https' if self.ssl_context else 'http'}://127.0.0.1:{self.port}"

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every request read to its end, in order."""
        return list(self._requests)

    def _seen(self) -> int:
        return len(self._requests)

    def _connection(self, accepted: socket.socket, wheel: Wheel) -> Connection:
        return Connection(self, wheel, accepted, self.connections)

    def _answer(self, request: RecordedRequest, *, reused: bool) -> Answer:
        self._requests.append(request)
        self._changed()
        source = self._script
        if isinstance(source, dict):
            if request.path not in source:
                return plain_text(404, f"ScriptedServer: no answer is scripted for {request.path}")
            source = source[request.path]
        if isinstance(source, Answer):
            return source
        if not isinstance(source, deque):
            return self._ask(source, request)
        if not source:
            asked = f"request {len(self._requests)} ({request.method} {request.target})"
            return plain_text(500, f"ScriptedServer: no answer is left for {asked}")
        return source[0] if reused and source[0].drop_if_reused else source.popleft()

    def _ask(self, handler: Handler, request: RecordedRequest) -> Answer:
        try:
            answer: object = handler(request)
            if not isinstance(answer, Answer):
                raise TypeError(f"a handler returns an Answer, not {type(answer).__name__}")
        except Exception as error:  # noqa: BLE001 - user code: reported to the client here, to the test at close
            self._script_raised(error, f"the handler, asked {request.method} {request.target}")
            return plain_text(500, f"ScriptedServer: the handler raised {error!r}")
        return answer


def _source(answers: Answers) -> _Source:
    return deque(answers) if isinstance(answers, Sequence) else answers
