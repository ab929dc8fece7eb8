"""Google's Interactions API in memory, with the rules of the real one, as the handler of a `ScriptedServer`.

    service = InteractionsService(lambda steps: [model_output("Hi")])
    with ScriptedServer(service) as server: ...

What the model says is a function of the whole history, the steps of earlier interactions included. The rules: a parent
that was never stored, or is deleted, is not found; a function's result needs its call before it; a call that the
service made needs its thought with the signature before it; only what is stored runs in the background; an agent does
nothing else. References: the API reference of the Interactions API and its guides (2026-11-29:
https://ai.google.dev/gemini-api/docs/interactions).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from brainwires_provider.testing.answers import Answer, RecordedRequest

__all__ = ["InteractionsService", "called", "model_output", "thought"]

Step = dict[str, Any]
_FIELDS = frozenset(
    (
        "agent",
        "agent_config",
        "background",
        "cached_content",
        "continuation_token",
        "environment",
        "generation_config",
        "input",
        "labels",
        "model",
        "previous_interaction_id",
        "response_format",
        "response_mime_type",
        "response_modalities",
        "safety_settings",
        "service_tier",
        "store",
        "stream",
        "system_instruction",
        "tools",
        "webhook_config",
    )
)
_WORDS = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND"}


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def model_output(text: str) -> Step:
    """What the model says."""
    return {"type": "model_output", "content": [{"type": "text", "text": text}]}


def thought(signature: str, summary: str = "") -> Step:
    """A thought; the service remembers its signature."""
    told = {"summary": [{"type": "text", "text": summary}]} if summary else {}
    return {"type": "thought", "signature": signature, **told}


def called(id: str, name: str, arguments: Mapping[str, Any]) -> Step:
    """A function call of the model's."""
    return {"type": "function_call", "id": id, "name": name, "arguments": dict(arguments)}


class InteractionsService:
    """Answers requests for `/interactions`. `answer` makes an interaction's steps of the history's.

    A background interaction is ready after `looks` retrievals. `stored` has interactions by id, with their input, and
    `sizes` the bytes of every request for one.
    """

    def __init__(self, answer: Callable[[Sequence[Step]], Sequence[Step]], *, looks: int = 1) -> None:
        self.stored: dict[str, dict[str, Any]] = {}
        self.sizes: list[int] = []
        self._answer = answer
        self._looks = looks
        self._waits: dict[str, int] = {}
        self._signatures: set[str] = set()
        self._calls: dict[str, str | None] = {}
        self._count = 0

    def __call__(self, request: RecordedRequest) -> Answer:
        """The answer to a request; a refusal where a rule is broken."""
        try:
            _, _, rest = request.path.partition("/interactions")
            id, _, action = rest.strip("/").partition("/")
            if not id and request.method == "POST":
                return self._create(request)
            return self._stored(request, id, action)
        except _Refused as error:
            said = {"code": error.status, "message": str(error), "status": _WORDS[error.status]}
            return Answer(error.status, body=json.dumps({"error": said}).encode())

    # -- requests ----------------------------------------------------------------------------------------

    def _create(self, request: RecordedRequest) -> Answer:
        body = request.json()
        self.sizes.append(len(request.body))
        unknown = body.keys() - _FIELDS
        _require(not unknown, f"unknown fields: {', '.join(sorted(unknown))}")
        _require(("model" in body) != ("agent" in body), "name a model or an agent")
        stores, background = body.get("store", True), body.get("background", False)
        _require(stores or not background, "a background interaction must be stored")
        _require(background or "agent" not in body, "an agent works in the background")
        new = _steps(body.get("input"))
        history = [*self._before(body.get("previous_interaction_id")), *new]
        self._check(history)
        made = self._made(body, new, history)
        if stores:
            self.stored[made["id"]] = made
        if background:
            self._waits[made["id"]] = self._looks
        if body.get("stream"):
            return _streamed(made, None)
        return _whole(self._seen(made) if background else made)

    def _stored(self, request: RecordedRequest, id: str, action: str) -> Answer:
        query = {name: values[-1] for name, values in parse_qs(request.query).items()}
        if request.method not in (("POST",) if action else ("GET", "DELETE")):
            raise _Refused(404, f"there is no {request.method} {request.path}")
        made = self.stored.get(id)
        if made is None:
            raise _Refused(404, f"Interaction {id} not found.")
        if request.method == "DELETE":
            del self.stored[id]
            return Answer(body=b"{}")
        if action == "cancel":
            _require(self._waits.pop(id, 0) > 0, "only a background interaction that runs can be cancelled")
            made |= {"status": "cancelled", "steps": []}
        if query.get("stream") == "true":
            return _streamed(made, query.get("last_event_id"))
        return _whole(self._seen(made), with_input=query.get("include_input") == "true")

    def _seen(self, made: dict[str, Any]) -> dict[str, Any]:
        """An interaction as it stands: without its steps while it waits."""
        left = self._waits.get(made["id"], 0)
        if not left:
            return made
        self._waits[made["id"]] = left - 1
        return {**made, "status": "in_progress", "steps": []}

    # -- the rules ---------------------------------------------------------------------------------------

    def _before(self, id: str | None) -> list[Step]:
        """The steps of an interaction and of all before it."""
        if id is None:
            return []
        parent = self.stored.get(id)
        if parent is None:
            raise _Refused(404, f"Interaction {id} not found: it was not stored, or is deleted.")
        return [*self._before(parent.get("previous_interaction_id")), *parent["input"], *parent["steps"]]

    def _check(self, history: Sequence[Step]) -> None:
        calls: set[str] = set()
        signatures: set[str] = set()
        for step in history:
            match step.get("type"):
                case "thought":
                    signature = step.get("signature")
                    _require(
                        signature in self._signatures, f"the thought's signature is not valid: {signature!r}"
                    )
                    signatures.add(str(signature))
                case "function_call":
                    calls.add(step["id"])
                    needed = self._calls.get(step["id"])
                    _require(
                        needed is None or needed in signatures,
                        "a function call's thought signature is missing",
                    )
                case "function_result":
                    _require(
                        step["call_id"] in calls, f"no function call {step['call_id']} is before its result"
                    )

    def _made(self, body: dict[str, Any], new: list[Step], history: Sequence[Step]) -> dict[str, Any]:
        steps = [dict(step) for step in self._answer(history)]
        signature: str | None = None
        for step in steps:
            if step["type"] == "thought":
                signature = step["signature"]
                self._signatures.add(step["signature"])
            elif step["type"] == "function_call":
                self._calls[step["id"]] = signature
        self._count += 1
        waits = any(step["type"] == "function_call" for step in steps)
        read, written = len(json.dumps(history)) // 4, len(json.dumps(steps)) // 4
        names = ("model", "agent", "previous_interaction_id", "service_tier")
        return {
            "id": f"v1_{self._count}" if body.get("store", True) else "",
            "object": "interaction",
            **{name: body[name] for name in names if name in body},
            "status": "requires_action" if waits else "completed",
            "input": new,
            "steps": steps,
            "usage": {
                "total_input_tokens": read,
                "total_output_tokens": written,
                "total_tokens": read + written,
            },
        }


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise _Refused(400, message)


def _steps(given: Any) -> list[Step]:
    """The input as steps: it may be a text, one content, or a list of contents, too."""
    if isinstance(given, list) and all(isinstance(each, dict) for each in given) and given:
        if any(
            "content" in each or "_" in str(each.get("type")) or each.get("type") == "thought"
            for each in given
        ):
            return given
        return [{"type": "user_input", "content": given}]
    _require(isinstance(given, (str, dict)) and bool(given), "the input is empty")
    content = {"type": "text", "text": given} if isinstance(given, str) else given
    return [{"type": "user_input", "content": [content]}]


def _whole(made: dict[str, Any], *, with_input: bool = False) -> Answer:
    return Answer(body=json.dumps(made if with_input else _without(made, "input")).encode())


def _streamed(made: dict[str, Any], after: str | None) -> Answer:
    """The events behind one, or all."""
    events = [{**event, "event_id": f"e{number}"} for number, event in enumerate(_events(made))]
    start = 0 if after is None else int(after.removeprefix("e")) + 1
    data = [f"event: {event['event_type']}\ndata: {json.dumps(event)}\n\n" for event in events[start:]]
    data.append("event: done\ndata: [DONE]\n\n")
    return Answer(headers={"content-type": "text/event-stream"}, body=[each.encode() for each in data])


def _events(made: dict[str, Any]) -> Iterator[dict[str, Any]]:
    top = _without(made, "input", "steps", "usage")
    yield {"event_type": "interaction.created", "interaction": {**top, "status": "in_progress"}}
    for index, step in enumerate(made["steps"]):
        yield {"event_type": "step.start", "index": index, "step": _started(step)}
        for delta in _deltas(step):
            yield {"event_type": "step.delta", "index": index, "delta": delta}
        yield {"event_type": "step.stop", "index": index}
    yield {"event_type": "interaction.completed", "interaction": {**top, "usage": made["usage"]}}


def _started(step: Step) -> Step:
    if step["type"] == "function_call":
        return {**step, "arguments": {}}
    return {"type": step["type"]} if step["type"] in ("thought", "model_output") else step


def _deltas(step: Step) -> Iterator[dict[str, Any]]:
    match step["type"]:
        case "thought":
            for content in step.get("summary", ()):
                yield {"type": "thought_summary", "content": content}
            yield {"type": "thought_signature", "signature": step["signature"]}
        case "model_output":
            for content in step["content"]:
                text = content["text"]
                yield {"type": "text", "text": text[: len(text) // 2]}
                yield {"type": "text", "text": text[len(text) // 2 :]}
        case "function_call":
            yield {"type": "arguments_delta", "arguments": json.dumps(step["arguments"])}


def _without(value: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: field for name, field in value.items() if name not in names}
