"""The events that a Responses server sends: for output items, for errors, and from an author's answer.

Pure: an author's answer (text, items, a failure) becomes the events that the API's streaming reference lists
(https://platform.openai.com/docs/api-reference/responses-streaming). sequence_number and stream_id are not
here: the session adds them, because it alone knows what else it has sent.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, Literal

import msgspec

Item = dict[str, Any]
Event = dict[str, Any]
TERMINALS = frozenset({"response.completed", "response.failed", "response.incomplete", "error"})

# Items that the client must answer: the type of the call, and of the item that answers it by call_id.
CALLS = {
    "function_call": "function_call_output",
    "custom_tool_call": "custom_tool_call_output",
    "computer_call": "computer_call_output",
    "shell_call": "shell_call_output",
    "apply_patch_call": "apply_patch_call_output",
}
ANSWERS = {answer: call for call, answer in CALLS.items()}


class Failure(Exception):
    """What an author returns or raises so that the answer fails.

    `when`: "before" is an error event in place of response.created, "after_created" an error event after
    it (`late_failed`: then response.failed too, as some servers send), "in_response" response.failed after
    `items`, the output so far. `type` None: that of the status. `headers` go into the error object.
    Over HTTP, "before" is a status.
    """

    def __init__(
        self,
        code: str | None,
        message: str,
        status: int = 500,
        when: Literal["before", "after_created", "in_response"] = "before",
        *,
        type: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        items: Sequence[Item] = (),
        late_failed: bool = False,
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.status, self.when = code, message, status, when
        self.type, self.param, self.headers = type or _type_of(status), param, dict(headers or {})
        self.items, self.late_failed = tuple(items), late_failed


def _type_of(status: int) -> str:
    if status >= 500:
        return "server_error"
    return {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}.get(
        status, "invalid_request_error"
    )


class Incomplete(Exception):
    """What an author returns or raises so that the response ends incomplete, with this output."""

    def __init__(self, reason: str = "max_output_tokens", items: Sequence[Item] = ()) -> None:
        super().__init__(reason)
        self.reason, self.items = reason, tuple(items)


def assistant(text: str, **fields: Any) -> Item:
    """An assistant message of one text part; the service gives it an id unless `fields` has one."""
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "message", "role": "assistant", "content": [part], **fields}


def function_call(name: str, arguments: str = "{}", **fields: Any) -> Item:
    """A function call; the service gives it an id and a call_id unless `fields` has them."""
    return {"type": "function_call", "name": name, "arguments": arguments, **fields}


def reasoning(summary: str = "", encrypted_content: str | None = None, **fields: Any) -> Item:
    """A reasoning item; its encrypted_content is sent only if the create's `include` asks for it."""
    parts = [{"type": "summary_text", "text": summary}] if summary else []
    sealed = {} if encrypted_content is None else {"encrypted_content": encrypted_content}
    return {"type": "reasoning", "summary": parts, **sealed, **fields}


def digest(items: Sequence[Item]) -> str:
    """The count of a conversation's items and 16 hex digits of their content: what the default author says.

    Two conversations say the same only if they are JSON-equal, key order aside.
    """
    canonical = msgspec.json.encode(items, order="deterministic")
    return f"{len(items)} items, {sha256(canonical).hexdigest()[:16]}"


def digest_author(items: Sequence[Item], body: Event) -> Sequence[Item]:
    """The default author: one assistant message that says the digest of the conversation."""
    return [assistant(digest(items))]


def error_event(
    message: str,
    *,
    code: str | None = None,
    param: str | None = None,
    status: int = 400,
    type: str = "invalid_request_error",
    headers: Mapping[str, str] | None = None,
) -> Event:
    """The nested error event of the WebSocket mode."""
    error: Event = {"type": type, "code": code, "message": message}
    if param is not None:
        error["param"] = param
    if headers:
        error["headers"] = dict(headers)
    return {"type": "error", "status": status, "error": error}


def flat_error(event: Event) -> Event:
    """The same error as the event stream over HTTP has it."""
    error = event["error"]
    flat = {name: error.get(name) for name in ("code", "message", "param")}
    return {"type": "error", **flat, "sequence_number": event.get("sequence_number", 0)}


def response_object(response_id: str, body: Mapping[str, Any], created_at: int, *, store: bool) -> Event:
    """A response as response.created shows it: in progress, without output."""
    return {
        "id": response_id,
        "object": "response",
        "created_at": created_at,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "metadata": body.get("metadata", {}),
        "model": body.get("model"),
        "output": [],
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "previous_response_id": body.get("previous_response_id"),
        "reasoning": body.get("reasoning", {"effort": None, "summary": None}),
        "store": store,
        "temperature": body.get("temperature", 1.0),
        "text": body.get("text", {"format": {"type": "text"}}),
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools", []),
        "top_p": body.get("top_p", 1.0),
        "truncation": body.get("truncation", "disabled"),
        "usage": None,
    }


def with_new_item_ids(event: Event, new_id: Callable[[str], str]) -> Event:
    """An event whose items have ids of their own, as some services send it."""
    if "item_id" in event:
        return {**event, "item_id": new_id("item")}
    if "item" in event:
        return {**event, "item": {**event["item"], "id": new_id("item")}}
    response = event.get("response")
    if response is None:
        return event
    items = [{**item, "id": new_id("item")} for item in response["output"]]
    return {**event, "response": {**response, "output": items}}


def usage_object(conversation: Sequence[Item], output: Sequence[Item], cached: Sequence[Item]) -> Event:
    """Counts that follow from the content alone: one token is four bytes of JSON."""
    sent, said = _tokens(conversation), _tokens(output)
    thought = _tokens([item for item in output if item.get("type") == "reasoning"])
    return {
        "input_tokens": sent,
        "input_tokens_details": {"cached_tokens": _tokens(cached), "cache_write_tokens": 0},
        "output_tokens": said,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": sent + said,
    }


def _tokens(items: Sequence[Item]) -> int:
    return len(msgspec.json.encode(items)) // 4 if items else 0


def open_calls(items: Sequence[Item]) -> list[Item]:
    """The calls among these items that no later item answers."""
    waiting: dict[str, Item] = {}
    for item in items:
        kind = item.get("type")
        if kind in CALLS and "call_id" in item:
            waiting[item["call_id"]] = item
        elif kind in ANSWERS:
            waiting.pop(item.get("call_id", ""), None)
    return list(waiting.values())


def required_input(call: Item) -> Item:
    """The stub that response.steer.pending shows for a call that waits for its output."""
    name = {"name": call["name"]} if call["type"] == "function_call" else {}
    return {"type": CALLS[call["type"]], "call_id": call["call_id"], **name}


def item_events(item: Item, index: int, piece: int, cut: Callable[[], bool]) -> Generator[Event, None, Item]:
    """The events of one output item, from added to done; returns the item as it was sent.

    Text is sent `piece` characters at a time. `cut` is called before each piece of a message; if it returns true, the
    message ends there, with status "incomplete".
    """
    at = {"item_id": item["id"], "output_index": index}
    match item["type"]:
        case "message":
            item = yield from _message_events(item, at, piece, cut)
        case "function_call":
            yield _added(at, {**item, "arguments": "", "status": "in_progress"})
            yield from _pieces("response.function_call_arguments", at, "arguments", item["arguments"], piece)
        case "custom_tool_call":
            yield _added(at, {**item, "input": "", "status": "in_progress"})
            yield from _pieces("response.custom_tool_call_input", at, "input", item["input"], piece)
        case "reasoning":
            yield from _reasoning_events(item, at, piece)
        case "compaction":
            yield _added(at, item)
            yield {"type": "response.compaction.compacting", **at}
        case _:
            yield _added(at, item)
    yield {"type": "response.output_item.done", "output_index": index, "item": item}
    return item


def _added(at: Event, item: Item) -> Event:
    return {"type": "response.output_item.added", "output_index": at["output_index"], "item": item}


def _pieces(name: str, at: Event, field: str, text: str, piece: int, **more: Any) -> Iterator[Event]:
    for start in range(0, len(text), piece):
        yield {"type": f"{name}.delta", **at, "delta": text[start : start + piece], **more}
    yield {"type": f"{name}.done", **at, field: text, **more}


def _message_events(
    item: Item, at: Event, piece: int, cut: Callable[[], bool]
) -> Generator[Event, None, Item]:
    yield _added(at, {**item, "content": [], "status": "in_progress"})
    said: list[Event] = []
    status = item["status"]
    for number, part in enumerate(item["content"]):
        here = {**at, "content_index": number}
        field = "refusal" if part["type"] == "refusal" else "text"
        name = "response.refusal" if field == "refusal" else "response.output_text"
        more: Event = {} if field == "refusal" else {"logprobs": []}
        yield {"type": "response.content_part.added", **here, "part": {**part, field: ""}}
        text, end = part[field], len(part[field])
        for start in range(0, len(text), piece):
            if cut():
                end, status = start, "incomplete"
                break
            yield {"type": f"{name}.delta", **here, "delta": text[start : start + piece], **more}
        part = {**part, field: text[:end]}
        for place, annotation in enumerate(part.get("annotations", ())):
            kind = "response.output_text.annotation.added"
            yield {"type": kind, **here, "annotation_index": place, "annotation": annotation}
        yield {"type": f"{name}.done", **here, field: text[:end], **more}
        yield {"type": "response.content_part.done", **here, "part": part}
        said.append(part)
        if status == "incomplete":
            break
    return {**item, "content": said, "status": status}


def _reasoning_events(item: Item, at: Event, piece: int) -> Iterator[Event]:
    yield _added(at, {**item, "summary": []})
    for number, part in enumerate(item.get("summary", ())):
        here = {**at, "summary_index": number}
        name = "response.reasoning_summary"
        yield {"type": f"{name}_part.added", **here, "part": {**part, "text": ""}}
        yield from _pieces(f"{name}_text", here, "text", part["text"], piece)
        yield {"type": f"{name}_part.done", **here, "part": part}
    for number, part in enumerate(item.get("content") or ()):
        here = {**at, "content_index": number}
        yield from _pieces("response.reasoning_text", here, "text", part["text"], piece)
