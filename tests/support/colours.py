"""Both colours of the client behind one face, so that a table of cases runs through each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

from brainwires_provider import AsyncClient, Client, Event, Message, Response, Retry


class Outcome(NamedTuple):
    events: list[Event]
    response: Response


Ask = Callable[..., Outcome]


def ask_async(client: AsyncClient, input: Any = "hi", *, stream: bool = True, **args: Any) -> Outcome:
    """One request on a new loop; the client is closed after it."""

    async def run() -> Outcome:
        async with client:
            if not stream:
                return Outcome([], await client.chat(input, **args))
            events = []
            async with client.stream(input, **args) as answer:
                async for event in answer:
                    events.append(event)
                return Outcome(events, answer.response)

    return asyncio.run(run())


def ask_sync(client: Client, input: Any = "hi", *, stream: bool = True, **args: Any) -> Outcome:
    with client:
        if not stream:
            return Outcome([], client.chat(input, **args))
        with client.stream(input, **args) as answer:
            events = list(answer)
            return Outcome(events, answer.response)


COLOURS: dict[str, tuple[type[Any], Ask]] = {"async": (AsyncClient, ask_async), "sync": (Client, ask_sync)}


def ask(colour: str, url: str, *, stream: bool = True, input: Any = "hi", **settings: Any) -> Outcome:
    """Ask a server at `url`, by Chat Completions unless `model` names another row.

    `args` in the settings go to the call, the rest to the client.
    """
    make, run = COLOURS[colour]
    model = settings.pop("model", "openai-chat:m")
    args = settings.pop("args", {})
    settings.setdefault("api_key", "sk-planted-key")
    settings.setdefault("retry", Retry(1))  # the first failure is what is asked for
    return run(make(model, base_url=url, **settings), input, stream=stream, **args)


def operate(colour: str, act: Callable[[Any], Any], *args: Any, **settings: Any) -> Any:
    """What `act` makes of a client with these settings, awaited where it has to be."""
    settings.setdefault("retry", Retry(1))
    if colour == "sync":
        with Client(*args, **settings) as client:
            return act(client)

    async def run() -> Any:
        async with AsyncClient(*args, **settings) as client:
            told = act(client)
            return await told if asyncio.iscoroutine(told) else told

    return asyncio.run(run())


def listed(stream: Any) -> Any:
    """All that a stream of either colour gives."""
    if not hasattr(stream, "__aiter__"):
        with stream:
            return list(stream)

    async def read() -> list[Any]:
        async with stream:
            return [each async for each in stream]

    return read()


def history(*texts: str) -> list[Message]:
    return [Message.user(text) for text in texts]
