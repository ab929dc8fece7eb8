"""What it costs to make a tool of a function, and to take a model's arguments: CPU microseconds.

    uv run python benchmarks/tools.py

The limit of making one is 1,000 µs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from brainwires_provider import FunctionTool, ToolCallPart, ToolContext, tool

ROUNDS, TIMES = 7, 200


@dataclass
class Place:
    city: str
    country: str | None = None


def bare(city: str) -> str:
    return city


def documented(city: str, days: int = 3, unit: Literal["C", "F"] = "C") -> str:
    """The weather in a city.

    Args:
        city: the city's name, in English.
        days: how many days to forecast.
        unit: of the temperatures.
    """
    return city


def nested(ctx: ToolContext[None], places: list[Place], by: dict[str, Place] | None = None) -> str:
    """The weather in several places.

    Args:
        ctx: of the run.
        places: which.
        by: others, by their names.
    """
    return str(places)


def best(act: Callable[[], object]) -> float:
    """The CPU time of one call, in microseconds: the least of several rounds."""
    act()
    found = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        for _ in range(TIMES):
            act()
        found.append((time.process_time() - begun) / TIMES * 1e6)
    return min(found)


def main() -> None:
    functions: tuple[Callable[..., str], ...] = (bare, documented, nested)
    for function in functions:
        print(
            f"make a tool of {function.__name__:12} {best(lambda function=function: tool(function)):8.1f} µs"
        )
    made: FunctionTool[..., str] = tool(documented)
    call = ToolCallPart("c", "documented", '{"city":"Rome","days":5,"unit":"F"}')
    print(
        f"take a call's arguments     {best(lambda: made.bind(call, lambda kind: kind(None, call, 1))):8.1f} µs"
    )


if __name__ == "__main__":
    main()
