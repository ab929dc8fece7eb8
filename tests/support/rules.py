"""What the tests of the Responses service in memory share: creates, and what comes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from brainwires_provider.testing import (
    RulesSession,
    assistant,
    function_call,
    reasoning,
)

Event = dict[str, Any]
HIDDEN: Event = {"store": False}


def create(input: object = "hi", **fields: Any) -> Event:
    return {"type": "response.create", "model": "gpt-6", "input": input, **fields}


def answered(session: RulesSession, *args: Any, now: float = 0, **fields: Any) -> Event:
    """The response object of a create that completes."""
    last = session.run(create(*args, **fields), now)[-1]
    assert last["type"] == "response.completed", last
    return last["response"]


def refused(session: RulesSession, event: Event, now: float = 0) -> Event:
    """The one event that a create gets which is no response."""
    [only] = session.run(event, now)
    assert only["type"] == "error"
    return only


def user(text: str) -> Event:
    return {"type": "message", "role": "user", "content": text}


def output(call_id: str, text: str = "42") -> Event:
    return {"type": "function_call_output", "call_id": call_id, "output": text}


def caller(items: Sequence[Event], body: Event) -> list[Event]:
    """An author that calls a tool, and says something once it has the output."""
    if items[-1]["type"] == "function_call_output":
        return [assistant(f"it is {items[-1]['output']}")]
    return [reasoning("hm", "SEALED"), function_call("look", '{"a": 1}', call_id=f"call_{len(items)}")]


def invalid(code: str | None, message: str, param: str | None) -> Event:
    named = {} if param is None else {"param": param}
    return {"type": "invalid_request_error", "code": code, "message": message, **named}


NOT_FOUND = "Previous response with id '{}' not found."


def not_found(response_id: str, **lane: str) -> Event:
    error = invalid("previous_response_not_found", NOT_FOUND.format(response_id), "previous_response_id")
    return {"type": "error", "status": 400, "error": error, **lane}
