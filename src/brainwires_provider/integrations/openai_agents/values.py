"""Events and items of the Responses API as openai-python's objects, made without validation: they are ours.

`tests/integrations/openai_agents` holds every kind of them to openai-python's types.
"""

from __future__ import annotations

from typing import Any, get_args

from openai.types.responses import (
    Response,
    ResponseCustomToolCall,
    ResponseFunctionToolCall,
    ResponseOutputItemDoneEvent,
    ResponseOutputMessage,
    ResponseOutputRefusal,
    ResponseOutputText,
    ResponseReasoningItem,
    ResponseStreamEvent,
    ResponseUsage,
)
from openai.types.responses.response_reasoning_item import Summary
from openai.types.responses.response_usage import InputTokensDetails, OutputTokensDetails
from pydantic import BaseModel

__all__ = ["input_details", "output_details", "output_items", "typed"]

_make: Any = BaseModel.model_construct.__func__  # type: ignore[attr-defined]  # openai-python's own converts what it holds
_EVENTS: dict[str, Any] = {
    get_args(each.model_fields["type"].annotation)[0]: each
    for each in get_args(get_args(ResponseStreamEvent)[0])
}


def typed(wire: dict[str, Any]) -> Any:
    """The object of an event."""
    kind = wire["type"]
    made = _EVENTS[kind]
    if kind.endswith(".delta"):
        return _make(made, **wire)
    if "item" in wire:
        return _make(made, **{**wire, "item": item(wire["item"])})
    if "response" in wire:
        return _make(made, **{**wire, "response": _response(wire["response"])})
    if "part" in wire or "annotation" in wire:
        return made.construct(**wire)
    return _make(made, **wire)


def item(fields: dict[str, Any]) -> Any:
    """The object of an output item."""
    match fields["type"]:
        case "message":
            return _make(
                ResponseOutputMessage, **{**fields, "content": [_piece(each) for each in fields["content"]]}
            )
        case "function_call":
            return _make(ResponseFunctionToolCall, **fields)
        case "custom_tool_call":
            return _make(ResponseCustomToolCall, **fields)
        case "reasoning":
            summary = [_make(Summary, **each) for each in fields["summary"]]
            return _make(ResponseReasoningItem, **{**fields, "summary": summary})
    return ResponseOutputItemDoneEvent.construct(item=fields).item


def _piece(fields: dict[str, Any]) -> Any:
    if fields["type"] == "refusal":
        return _make(ResponseOutputRefusal, **fields)
    if fields.get("annotations") or fields.get("logprobs"):
        return ResponseOutputText.construct(**fields)
    return _make(ResponseOutputText, **fields)


def output_items(response: dict[str, Any]) -> list[Any]:
    """The objects of a response's items."""
    return [item(each) for each in response["output"]]


def _response(fields: dict[str, Any]) -> Any:
    """The object of a response, whose fields beside output and usage are the service's own where it has any."""
    made = {**fields, "output": [], "usage": None}
    theirs = Response.construct(**made) if fields["tools"] else _make(Response, **made)
    theirs.output = output_items(fields)
    counts = fields["usage"]
    if counts is not None:
        details = {
            "input_tokens_details": input_details(counts),
            "output_tokens_details": output_details(counts),
        }
        theirs.usage = _make(ResponseUsage, **{**counts, **details})
    return theirs


def input_details(counts: dict[str, Any]) -> InputTokensDetails:
    """The details of a usage's input."""
    details: InputTokensDetails = _make(InputTokensDetails, **counts["input_tokens_details"])
    return details


def output_details(counts: dict[str, Any]) -> OutputTokensDetails:
    """The details of a usage's output."""
    details: OutputTokensDetails = _make(OutputTokensDetails, **counts["output_tokens_details"])
    return details
