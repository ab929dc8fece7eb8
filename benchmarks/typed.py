"""CPU microseconds of the client for a typed chat beside an untyped one with the same answer, and what a type costs.

Both read the same small whole JSON body; the typed one also sends a schema, and converts and validates the answer.
The schema of a type is made once in a process; the last line makes it anew each time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal

from _measure import Targets, arguments, cpu_seconds, interleaved, machine, print_table
from _server import TYPED_TEXT, Server
from msgspec import Meta

from brainwires_provider import AsyncClient
from brainwires_provider.types.annotations import Builder
from brainwires_provider.types.typed import Typed, typed_of

UNTYPED, TYPED = "untyped", "output=T"
_PROMPT = "Who was Ada Lovelace?"


@dataclass
class Person:
    """A person."""

    name: str
    age: Annotated[int, Meta(ge=0)]
    born: date
    tags: list[str]
    unit: Literal["metric", "imperial"] = "metric"


def _contestants(client: AsyncClient, runner: asyncio.Runner, asks: int) -> dict[str, Callable[[], float]]:
    async def untyped() -> Any:
        return (await client.chat(_PROMPT)).text

    async def typed() -> Any:
        return (await client.chat(_PROMPT, output=Person)).output

    def contestant(ask: Callable[[], Awaitable[Any]], expected: Any) -> Callable[[], float]:
        async def asked() -> None:
            for _ in range(asks):
                if await ask() != expected:
                    raise SystemExit("a contestant read another answer than was sent")

        return lambda: cpu_seconds(lambda: runner.run(asked())) / asks

    ada = Person("Ada Lovelace", 36, date(1815, 12, 10), ["mathematician", "writer"])
    return {UNTYPED: contestant(untyped, TYPED_TEXT), TYPED: contestant(typed, ada)}


def _derived(times: int) -> float:
    """CPU seconds to make a schema, without the first, which imports."""
    _ = typed_of(Person).schema
    return (
        cpu_seconds(lambda: [Typed("x", Builder(False).form(Person, "x")).schema for _ in range(times)])
        / times
    )


def main() -> int:
    """Measure, print, judge."""
    args = arguments(__doc__)
    targets = Targets()
    asks, rounds = (10, 1) if args.quick else (60, 45)
    print(f"{machine()}\n")
    with Server() as server, asyncio.Runner() as runner:
        client = AsyncClient("openai-chat:bench", api_key="k", base_url=server.typed_url)
        measured = interleaved(_contestants(client, runner, asks), rounds)
        runner.run(client.aclose())
    rows = [(name, f"{measured.median(name) * 1e6:.0f}") for name in measured]
    derived = _derived(asks * rounds)
    print_table(("a chat", "CPU µs"), [*rows, ("a schema, made anew", f"{derived * 1e6:.0f}")])
    if args.quick:
        return 0
    targets.at_most("typed ÷ untyped", measured.ratio(TYPED, UNTYPED), 1.3)
    targets.at_most("a schema, ms", derived * 1e3, 1)
    return targets.close(check=args.check)


if __name__ == "__main__":
    raise SystemExit(main())
