"""The checks of a Responses server before it calls the model: fields, items and ids that are not valid.

No I/O: each check raises Refusal, which holds the exact error event. The texts of the stream_id, not-found
and limit errors are those of OpenAI's guide to the WebSocket mode; the others are as clients report them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from brainwires_provider.testing.responses_events import (
    ANSWERS,
    CALLS,
    Event,
    Failure,
    Item,
    error_event,
    open_calls,
)

# The top-level fields of response.create in the API's reference; "type" names the event itself.
CREATE_FIELDS = frozenset(
    field
    for line in (
        "access_programs background background_options client_metadata context_management conversation",
        "generate image include input instructions max_output_tokens max_tool_calls metadata model moderation",
        "parallel_tool_calls previous_response_id prompt prompt_cache_key prompt_cache_options",
        "prompt_cache_retention reasoning safety_identifier service_tier store stream stream_id",
        "stream_options temperature text tool_choice tools top_logprobs top_p truncation user",
    )
    for field in line.split()
)
SOCKET_FIELDS = frozenset({"generate", "stream_id"})  # these exist over a WebSocket only
_STREAM_ID = re.compile(r"[A-Za-z0-9_.-]{1,256}")


class Refusal(Exception):
    """A request that ends in an error event and in nothing else."""

    def __init__(self, event: Event) -> None:
        super().__init__(event["error"]["message"])
        self.event = event

    @classmethod
    def of(cls, message: str, **fields: Any) -> Refusal:
        """A refusal with that message; `fields` are those of the error event."""
        return cls(error_event(message, **fields))

    @classmethod
    def by(cls, failure: Failure) -> Refusal:
        """An author's own failure."""
        return cls.of(
            failure.message,
            code=failure.code,
            param=failure.param,
            status=failure.status,
            type=failure.type,
            headers=failure.headers,
        )


def unknown_parameter(name: str) -> Refusal:
    """The refusal of a field that the service does not know."""
    return Refusal.of(f"Unknown parameter: '{name}'.", code="unknown_parameter", param=name)


def not_found(response_id: str, *, manner: str = "openai") -> Refusal:
    """The refusal of a `previous_response_id` that the service does not hold."""
    if manner == "xai":
        return Refusal.of(f"gRPC error: Response with id={response_id} not found")
    return Refusal.of(
        f"Previous response with id '{response_id}' not found.",
        code="previous_response_not_found",
        param="previous_response_id",
    )


def stream_limit(most: int) -> Refusal:
    """The refusal of a further `stream_id` on a connection that has its maximum of them."""
    return Refusal.of(
        f"This WebSocket connection has reached its maximum number of distinct stream IDs ({most}). "
        "Reuse an existing stream_id or open a new WebSocket connection.",
        code="websocket_stream_limit_reached",
        param="stream_id",
    )


def connection_limit(seconds: float) -> Refusal:
    """The refusal of a request on a connection that has reached its maximum age, in seconds."""
    return Refusal.of(
        f"Responses websocket connection limit reached ({seconds / 60:g} minutes). "
        "Create a new websocket connection to continue.",
        code="websocket_connection_limit_reached",
    )


def check_parent(body: Mapping[str, Any], *, manner: str, continues: str) -> None:
    """Raise Refusal for a parent where the service takes none, or not with these fields."""
    if body.get("previous_response_id") is None:
        return
    if continues == "none":
        message = "Previous response cannot be used for this organization due to Zero Data Retention."
        raise Refusal.of(message, code="unsupported_parameter", param="previous_response_id")
    if manner == "xai" and "instructions" in body:
        raise Refusal.of("Argument not supported: instructions and previous_response_id together")


def check_stream_id(stream_id: object) -> None:
    """Raise Refusal unless `stream_id` is valid."""
    if not isinstance(stream_id, str) or not _STREAM_ID.fullmatch(stream_id):
        raise Refusal.of(
            "The 'stream_id' field must be a non-empty string with at most 256 characters and may only "
            "contain letters, numbers, underscores, hyphens, and periods.",
            code="invalid_stream_id",
            param="stream_id",
        )


def check_fields(body: Mapping[str, Any], *, over_http: bool) -> None:
    """Names, nulls, and fields that exclude or need each other."""
    allowed = CREATE_FIELDS - SOCKET_FIELDS if over_http else CREATE_FIELDS
    for name, value in body.items():
        if name not in allowed:
            raise unknown_parameter(name)
        _check_null(name, value)
        if name != "metadata" and isinstance(value, dict):
            for inner, held in value.items():
                _check_null(f"{name}.{inner}", held)
    if body.get("background", False) is not False or ("background" in body and not over_http):
        where = "by this test service" if over_http else "over WebSocket"
        raise Refusal.of(f"'background' is not supported {where}.", code=None, param="background")
    if "previous_response_id" in body and "conversation" in body:
        raise Refusal.of(
            "Mutually exclusive parameters: 'previous_response_id' and 'conversation'. Ensure you are only "
            "providing one of them.",
            code="mutually_exclusive_parameters",
            param="conversation",
        )
    if not isinstance(body.get("previous_response_id", ""), str):
        raise _wrong_type("previous_response_id", "a string")
    named = body.get("conversation", "")
    if not isinstance(named["id"] if isinstance(named, dict) and "id" in named else named, str):
        raise _wrong_type("conversation", "a string or an object with an id")
    if "model" not in body and "prompt" not in body:
        raise Refusal.of(
            "Missing required parameter: 'model'.", code="missing_required_parameter", param="model"
        )
    _check_input(body)


def _check_null(name: str, value: object) -> None:
    if value is None:
        raise _wrong_type(name, "a value", ", but got null instead")


def _wrong_type(name: str, expected: str, found: str = "") -> Refusal:
    return Refusal.of(
        f"Invalid type for '{name}': expected {expected}{found}.", code="invalid_type", param=name
    )


def _check_input(body: Mapping[str, Any]) -> None:
    given = body.get("input", [])
    if not isinstance(given, str) and not (
        isinstance(given, list) and all(isinstance(item, dict) for item in given)
    ):
        raise _wrong_type("input", "a string or an array of objects")
    others = ("previous_response_id", "prompt", "conversation")
    if not given and body.get("generate") is not False and not any(name in body for name in others):
        raise Refusal.of(
            "One of 'input', 'previous_response_id', 'prompt' or 'conversation' must be provided.",
            code="missing_required_parameter",
            param="input",
        )


def input_items(body: Mapping[str, Any]) -> list[Item]:
    """The items that a create's input stands for: a text is one user message."""
    given = body.get("input", [])
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}] if given else []
    return list(given)


def check_items(chain: Sequence[Item], given: Sequence[Item]) -> None:
    """Refuse what the whole conversation, the chain and then the input, cannot hold."""
    seen = {item["id"] for item in chain if "id" in item}
    for item in given:
        item_id = item.get("id")
        if item_id is not None and item_id in seen:
            raise Refusal.of(
                f"Duplicate item found with id {item_id}. Remove duplicate items from your input and try again.",
                param="input",
            )
        seen.add(item_id)
    called = {(item["type"], item.get("call_id")) for item in chain if item.get("type") in CALLS}
    for place, item in enumerate(given):
        kind = item.get("type", "message")
        if kind in CALLS:
            called.add((kind, item.get("call_id")))
        elif kind in ANSWERS and (ANSWERS[kind], item.get("call_id")) not in called:
            raise Refusal.of(
                f"No tool call found for {_words(kind)} with call_id {item.get('call_id')}.", param="input"
            )
        elif kind == "compaction_trigger" and place != len(given) - 1:
            raise Refusal.of("A compaction_trigger must be the last input item.", param="input")
    for call in open_calls([*chain, *given]):
        raise Refusal.of(f"No tool output found for {_words(call['type'])} {call['call_id']}.", param="input")


def _words(kind: str) -> str:
    return kind.replace("_", " ")


def steer_messages(given: object) -> list[Item] | None:
    """The user messages of a steer's input; None if it is anything else."""
    if isinstance(given, str) and given:
        return [{"type": "message", "role": "user", "content": given}]
    if not isinstance(given, list) or not given:
        return None
    for item in given:
        if not isinstance(item, dict) or not item.keys() <= {"type", "role", "content"}:
            return None
        if item.get("type", "message") != "message" or item.get("role") != "user":
            return None
        if not isinstance(item.get("content"), str | list) or not item["content"]:
            return None
    return given
