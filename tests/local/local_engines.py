"""What the tests of the local engine look at it with: the engine's own word, its process, a clock against hangs."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from brainwires_provider.local.engine.engine import Engine
from brainwires_provider.local.transport import LocalTransport
from brainwires_provider.transports.base import Outgoing

CLOCK = 60.0  # seconds: a hang's end, not a speed claim

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX shells, fork and process ids")


def until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + CLOCK
    while not condition():
        assert time.monotonic() < end, f"waited {CLOCK:g} s in vain: {what}"
        time.sleep(0.005)


async def soon(condition: Callable[[], object], what: str) -> None:
    await asyncio.to_thread(until, condition, what)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def get(engine: Engine, path: str, body: Any = None) -> Any:
    """What the engine itself says, by a wire of its own: any path of a URL is the engine's."""
    wire = LocalTransport("", None, max_connections=1)
    wire._engine = engine
    method, data = ("GET", b"") if body is None else ("POST", json.dumps(body).encode())
    exchange = await wire.open(Outgoing(method, f"http://localhost{path}", {}, data))
    text = b""
    while chunk := await exchange.read():
        text += chunk
    exchange.release()
    await wire._http.aclose()  # type: ignore[union-attr]
    return exchange.status, json.loads(text)
