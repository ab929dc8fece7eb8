"""The flagship's clients for tests: both colours behind the asynchronous face, and the events that scripts say.

A scenario is written once, as a coroutine that takes a client. For the synchronous colour each call runs in a thread
of its own, so the code under test is the caller's: the portal, and the loop behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar

from brainwires_provider import (
    AsyncClient,
    Client,
    ProviderConfig,
    ProviderError,
    Response,
    Retry,
    Timeouts,
    WebSocketOptions,
)
from brainwires_provider.testing import ScriptedSocket
from brainwires_provider.transports.websocket.pool import Pool

T = TypeVar("T")
Event = dict[str, Any]

KEY = "sk-planted-key-0123456789"
MODEL = "openai-responses-ws:gpt-6"
CLOCKS = Timeouts(connect=5, first_event=10, idle=10, total=15)
COLOURS = ("async", "sync")
LANES = WebSocketOptions(multiplexing=True, reuse_after_error=True, shared_store=True)
SINGLE = WebSocketOptions(shared_store=True)
MODES = {"lanes": LANES, "single": SINGLE}

_PLAIN = ("stream", "conversation", "fork", "connect", "prepare")
_ENDS = object()


class InThreads:
    """A synchronous object with the face of the asynchronous one."""

    def __init__(self, inner: Any, pool: ThreadPoolExecutor) -> None:
        self._inner, self._pool = inner, pool

    async def _call(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, "close" if name == "aclose" else name)
        if not callable(value):
            return InThreads(value, self._pool) if name == "responses" else value
        if name in _PLAIN:
            return lambda *args, **named: InThreads(value(*args, **named), self._pool)

        async def called(*args: Any, **named: Any) -> Any:
            return await self._call(lambda: value(*args, **named))

        return called

    async def __aenter__(self) -> Self:
        await self._call(self._inner.__enter__)
        return self

    async def __aexit__(self, *told: Any) -> None:
        await self._call(lambda: self._inner.__exit__(*told))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        value = await self._call(lambda: next(self._inner, _ENDS))
        if value is _ENDS:
            raise StopAsyncIteration
        return value


def config(base_url: str, traits: WebSocketOptions | None = SINGLE, **more: Any) -> ProviderConfig:
    return ProviderConfig("openai-responses-ws", base_url=base_url, socket=traits, **{"api_key": KEY, **more})


@asynccontextmanager
async def client_of(colour: str, provider: ProviderConfig, **settings: Any) -> AsyncIterator[Any]:
    # One attempt: what is tested is the socket's own recovery.
    settings = {"model": MODEL, "timeouts": CLOCKS, "providers": [provider], "retry": Retry(1), **settings}
    if colour == "async":
        async with AsyncClient(**settings) as client:
            yield client
        return
    with ThreadPoolExecutor(64) as pool:
        async with InThreads(Client(**settings), pool) as client:
            yield client


def pools(client: Any) -> list[Pool]:
    """The pools of a client of either colour."""
    core = client._inner._core if isinstance(client, InThreads) else client
    return [pool for pools in core._session.pools._pools.values() for pool in pools.values()]


def run(work: Awaitable[T], seconds: float = 20) -> T:
    async def clocked() -> T:
        async with asyncio.timeout(seconds):
            return await work

    return asyncio.run(clocked())


def played(
    colour: str,
    server: ScriptedSocket,
    scenario: Callable[[Any], Awaitable[T]],
    traits: WebSocketOptions = SINGLE,
    provider: Mapping[str, Any] | None = None,
    **settings: Any,
) -> T:
    """Run a scenario against a server that is up; afterwards no connection is left."""

    async def main() -> T:
        place = config(**{"base_url": server.base_url, "traits": traits, **(provider or {})})
        async with client_of(colour, place, **settings) as client:
            return await scenario(client)

    result = run(main())
    server.wait_idle(5)
    return result


async def tried(asked: Awaitable[T]) -> T | ProviderError:
    """The answer, or the error that came in its place."""
    try:
        return await asked
    except ProviderError as error:
        return error


async def told(client: Any, *turns: Any, **args: Any) -> list[Response | ProviderError]:
    """The turns of one conversation."""
    talk = client.conversation(**args)
    return [await tried(talk.chat(turn)) for turn in turns]


# -- what scripts say ----------------------------------------------------------------------------------------


def response(id: str, status: str, text: str | None = None, **fields: Any) -> Event:
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {
        "type": "message",
        "role": "assistant",
        "id": f"msg_{id}",
        "status": "completed",
        "content": [part],
    }
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    output = [] if text is None else [item]
    return {
        "id": id,
        "object": "response",
        "model": "gpt-6",
        "status": status,
        "output": output,
        "usage": usage,
    } | fields


def created(id: str) -> Event:
    return {"type": "response.created", "sequence_number": 0, "response": response(id, "in_progress")}


def begun(id: str, text: str = "hel") -> list[Event]:
    """An answer until its first words."""
    at = {"item_id": f"msg_{id}", "output_index": 0, "content_index": 0}
    item = {"type": "message", "role": "assistant", "id": f"msg_{id}", "status": "in_progress", "content": []}
    part = {"type": "output_text", "text": "", "annotations": []}
    return [
        created(id),
        {"type": "response.output_item.added", "sequence_number": 1, "output_index": 0, "item": item},
        {"type": "response.content_part.added", "sequence_number": 2, **at, "part": part},
        {"type": "response.output_text.delta", "sequence_number": 3, **at, "delta": text},
    ]


def ended(id: str, text: str = "hello", *, status: str = "completed", **fields: Any) -> Event:
    return {
        "type": f"response.{status}",
        "sequence_number": 99,
        "response": response(id, status, text, **fields),
    }


def answer(id: str, text: str = "hello") -> list[Event]:
    """A whole answer."""
    return [*begun(id, text), ended(id, text)]


def refusal(code: str | None, message: str = "no", status: int | None = 400, **fields: Any) -> Event:
    """A nested error event."""
    event: Event = {
        "type": "error",
        "error": {"type": "invalid_request_error", "code": code, "message": message},
    }
    return event | ({} if status is None else {"status": status}) | fields
