"""What the caller gives back for a call, in the form that the kind of call wants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from brainwires_provider.protocols.base.json import decode_json
from brainwires_provider.protocols.openai_responses.items import CallShape
from brainwires_provider.types import ImagePart, OpaquePart, TextPart, ToolCallPart, ToolResultPart

__all__ = ["ANSWER_KINDS", "AnswerError", "answer_item"]

Item = dict[str, Any]
Content = Callable[[tuple[Any, ...]], "str | list[Item]"]


class AnswerError(ValueError):
    """A tool result cannot be said for this kind of call; the text says what can."""


def answer_item(
    result: ToolResultPart, call: ToolCallPart | None, shape: CallShape, content: Content
) -> Item:
    """The item for a result, of the type that its call wants. `content` encodes text, images and files.

    Raises AnswerError. What the result's `extra` says is merged last.
    """
    item = {"type": shape.answer, **_BUILDERS[shape.answer](result, content)}
    caller = (call.extra or {}).get("caller") if call is not None and call.kind == shape.kind else None
    if caller is not None and shape.kind != "mcp_approval":
        item["caller"] = caller
    return {**item, **(result.extra or {})}


def _plain(result: ToolResultPart, content: Content) -> Item:
    return {"call_id": result.call_id, "output": content(result.content) if result.content else ""}


def _patch(result: ToolResultPart, content: Content) -> Item:
    item: Item = {"call_id": result.call_id, "status": "failed" if result.is_error else "completed"}
    if result.content:
        item["output"] = _only_text(result, "an apply_patch call")
    return item


def _shell(result: ToolResultPart, content: Content) -> Item:
    """The wire's own list of outputs where the caller gives it (as JSON), else the text as standard output."""
    told = _told(result)
    if not isinstance(told, list):
        outcome = {"type": "exit", "exit_code": 1 if result.is_error else 0}
        told = [{"stdout": _only_text(result, "a shell call"), "stderr": "", "outcome": outcome}]
    return {"call_id": result.call_id, "output": told}


def _local_shell(result: ToolResultPart, content: Content) -> Item:
    return {"id": result.call_id, "output": _only_text(result, "a local_shell call")}


def _tools(result: ToolResultPart, content: Content) -> Item:
    told = _told(result)
    if not isinstance(told, list):
        raise AnswerError("a tool search is answered with the JSON list of the tools that were found")
    return {"call_id": result.call_id, "execution": "client", "status": "completed", "tools": told}


def _screenshot(result: ToolResultPart, content: Content) -> Item:
    if len(result.content) == 1 and isinstance(result.content[0], ImagePart):
        encoded = content(result.content)
        image = encoded[0] if isinstance(encoded, list) and isinstance(encoded[0], dict) else {}
        shown = {k: v for k, v in image.items() if k in ("image_url", "file_id")}
        return {"call_id": result.call_id, "output": {"type": "computer_screenshot", **shown}}
    told = _told(result)
    if not isinstance(told, dict):
        raise AnswerError("a computer call is answered with one ImagePart, the screenshot")
    return {"call_id": result.call_id, "output": told}


def _approval(result: ToolResultPart, content: Content) -> Item:
    """Nothing is approved by accident: true or false, or an object that says which."""
    told = _told(result)
    if result.is_error:
        reason = told["reason"] if _has(told, "reason") else result.text
        told = {"approve": False, "reason": reason} if reason else {"approve": False}
    elif isinstance(told, bool):
        told = {"approve": told}
    if not _has(told, "approve") or not isinstance(told["approve"], bool):
        raise AnswerError(
            'an MCP approval is answered with "true", "false" or {"approve": …, "reason": …} as text; '
            "is_error=True refuses, with the text as the reason"
        )
    item = {"approval_request_id": result.call_id, "approve": told["approve"]}
    return {**item, "reason": told["reason"]} if "reason" in told else item


def _has(told: Any, name: str) -> bool:
    return isinstance(told, dict) and name in told


def _told(result: ToolResultPart) -> Any:
    """The JSON that a result holds: an opaque part's, or its text's; None if it is none."""
    if len(result.content) == 1 and isinstance(result.content[0], OpaquePart):
        return result.content[0].data
    try:
        return decode_json(result.text.encode())
    except ValueError:
        return None


def _only_text(result: ToolResultPart, what: str) -> str:
    if not all(isinstance(part, TextPart) for part in result.content):
        raise AnswerError(f"{what} is answered with text only")
    return result.text


_BUILDERS: dict[str, Callable[[ToolResultPart, Content], Item]] = {
    "function_call_output": _plain,
    "custom_tool_call_output": _plain,
    "apply_patch_call_output": _patch,
    "shell_call_output": _shell,
    "local_shell_call_output": _local_shell,
    "tool_search_output": _tools,
    "computer_call_output": _screenshot,
    "mcp_approval_response": _approval,
}
ANSWER_KINDS = frozenset(("apply_patch", "shell", "mcp_approval"))
"""The kinds whose answers can say that the call failed."""
