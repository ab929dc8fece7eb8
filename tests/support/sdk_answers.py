"""What a vendor's own SDK makes of the bytes of a fixture, in words that both sides have.

One reader for each protocol. Each is given the answer's bytes as the vendor's service would send them, and uses the
SDK's parser and types, but neither its own network code nor anything of this library.
"""

from __future__ import annotations

import functools
import re
import ssl
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from brainwires_provider.events import collect
from fixture_cases import Case, read

__all__ = ["READERS", "Said", "differences", "refused_by_types", "said_by_sdk"]


class Said(Struct):
    """What an answer says. A call is its id, name and the value of its arguments; a count of None was not given."""

    text: str = ""
    calls: list[tuple[str | None, str, Any]] = []
    finish: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    error: int | str | None = None
    """The status of a refusal, or that there was a failure."""


def arguments(text: Any) -> Any:
    """The value of a call's arguments; their text where it is no JSON."""
    if not isinstance(text, str):
        return text
    try:
        return msgspec.json.decode(text) if text.strip() else {}
    except msgspec.DecodeError:
        return text


def well_formed(value: Any) -> Any:
    """A value whose texts are Unicode: pairs of surrogates are joined, half ones replaced. The SDKs leave them."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {well_formed(name): well_formed(inner) for name, inner in value.items()}
    return type(value)(map(well_formed, value)) if isinstance(value, (list, tuple)) else value


def served(case: Case, kind: str) -> Any:
    """A transport of httpx that answers with the fixture's bytes."""
    httpx = pytest.importorskip("httpx2")
    return httpx.MockTransport(lambda request: _answer(httpx, case, kind))


def _answer(httpx: Any, case: Case, kind: str) -> Any:
    form, data = case.wire or ("json", b"")
    media_type = "application/json" if form == "json" else kind
    answer = case.spec.answer
    return httpx.Response(answer.status, headers={"content-type": media_type, **answer.headers}, content=data)


def _openai(case: Case) -> Any:
    openai = pytest.importorskip("openai")
    httpx = pytest.importorskip("httpx2")
    http = httpx.Client(transport=served(case, "text/event-stream"))
    return openai.OpenAI(api_key="k", base_url="http://localhost/v1", http_client=http, max_retries=0)


def _by_openai(read: Callable[[Case, Any, Said], None]) -> Callable[[Case], Said]:
    def said(case: Case) -> Said:
        openai = pytest.importorskip("openai")
        found = Said()
        with _openai(case) as client:
            try:
                read(case, client, found)
            except openai.APIStatusError as error:
                return Said(error=error.status_code)
            except openai.APIError:
                found.error = "failed"
        return found

    return said


# -- Chat Completions ----------------------------------------------------------------------------------------


def _chat(case: Case, client: Any, found: Said) -> None:
    ask = client.chat.completions.create
    if case.wire and case.wire[0] == "json":
        completion = ask(model="m", messages=[])
        choice = completion.choices[0]
        found.text, found.finish = _joined(choice.message.content), choice.finish_reason
        found.calls = [_chat_call(call) for call in choice.message.tool_calls or ()]
        _counts(found, completion.usage, "prompt_tokens", "completion_tokens")
        return
    calls: dict[int, list[Any]] = {}
    for chunk in ask(model="m", messages=[], stream=True):
        _counts(found, chunk.usage, "prompt_tokens", "completion_tokens")
        for choice in chunk.choices or ():
            if choice.index:
                continue
            found.finish = choice.finish_reason or found.finish
            found.text += _joined(choice.delta.content)
            for part in choice.delta.tool_calls or ():
                call = calls.setdefault(part.index, [None, "", "", arguments])
                call[0] = part.id or call[0]
                if part.function is None:  # openai-python has no type for the fragments of a custom call
                    custom = part.custom
                    call[1], call[2], call[3] = (
                        call[1] or custom["name"],
                        call[2] + custom.get("input", ""),
                        str,
                    )
                    continue
                call[1] = part.function.name or call[1]
                call[2] += part.function.arguments or ""
            if legacy := choice.delta.function_call:
                call = calls.setdefault(-1, [None, "", "", arguments])
                call[1], call[2] = legacy.name or call[1], call[2] + (legacy.arguments or "")
    found.calls = [(id or None, name, value_of(text)) for id, name, text, value_of in calls.values()]


def _chat_call(call: Any) -> tuple[str | None, str, Any]:
    if call.type == "custom":
        return call.id, call.custom.name, call.custom.input
    return call.id, call.function.name, arguments(call.function.arguments)


def _joined(content: Any) -> str:
    """Mistral's lists of pieces go through openai-python as they are."""
    if isinstance(content, list):
        return "".join(piece["text"] for piece in content if piece["type"] == "text")
    return content or ""


def _counts(found: Said, usage: Any, read: str, written: str) -> None:
    if usage is not None:
        found.input_tokens = getattr(usage, read, None)
        found.output_tokens = getattr(usage, written, None)


# -- Responses -----------------------------------------------------------------------------------------------


def _responses(case: Case, client: Any, found: Said) -> None:
    if case.wire and case.wire[0] == "json":
        whole = client.responses.create(model="m", input=[])
        items = whole.output
    else:
        whole, placed = None, {}
        for event in client.responses.create(model="m", input=[], stream=True):
            if event.type == "response.output_item.done":
                placed[event.output_index] = event.item
            elif event.type in ("response.completed", "response.incomplete", "response.failed"):
                whole = event.response
                break
        items = [placed[index] for index in sorted(placed)] or (whole.output if whole is not None else [])
    if whole is None:
        found.error = "failed"
        return
    found.text = "".join(
        piece.text
        for item in items
        if item.type == "message"
        for piece in item.content
        if piece.type == "output_text"
    )
    found.calls = [
        (item.call_id, item.name, arguments(item.arguments)) if item.type == "function_call"
        else (item.call_id, item.name, item.input)
        for item in items
        if item.type in ("function_call", "custom_tool_call")
    ]  # fmt: skip
    details = whole.incomplete_details
    found.finish = details.reason if details is not None and whole.status == "incomplete" else whole.status
    if whole.status == "failed":
        found.error = "failed"
    _counts(found, whole.usage, "input_tokens", "output_tokens")


# -- generateContent -----------------------------------------------------------------------------------------


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _google_transport(case: Case) -> dict[str, Any]:
    """Arguments of the SDK's client; it would read the system's certificates three times, for TLS that nobody uses."""
    args = {"verify": _tls(), "ssl": _tls()}
    return {
        "client_args": {"transport": served(case, "text/event-stream"), "verify": _tls()},
        "async_client_args": args,
    }


def _gemini(case: Case) -> Said:
    google = pytest.importorskip("google.genai")
    errors = pytest.importorskip("google.genai.errors")
    options = {"base_url": "http://localhost/", **_google_transport(case)}
    client = google.Client(api_key="k", http_options=options)
    config = {"automatic_continuation": False, "automatic_function_calling": {"disable": True}}
    asked = {"model": "m", "contents": "x", "config": config}
    found = Said()
    try:
        if case.wire and case.wire[0] == "json":
            _gemini_chunk(client.models.generate_content(**asked), found)
        else:
            for chunk in client.models.generate_content_stream(**asked):
                _gemini_chunk(chunk, found)
    except errors.APIError as error:
        return Said(error=error.code)
    finally:
        client.close()
    return found


def _gemini_chunk(chunk: Any, found: Said) -> None:
    if chunk.usage_metadata is not None:
        usage = chunk.usage_metadata
        found.input_tokens = (usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0)
        found.output_tokens = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
    if chunk.prompt_feedback is not None and chunk.prompt_feedback.block_reason:
        found.finish = chunk.prompt_feedback.block_reason.value
    for candidate in chunk.candidates or ():
        if candidate.index:
            continue
        for part in (candidate.content and candidate.content.parts) or ():
            if part.function_call is not None:
                call = part.function_call
                found.calls.append((call.id, call.name, call.args or {}))
            elif part.text and not part.thought:
                found.text += part.text
        if candidate.finish_reason:
            found.finish = candidate.finish_reason.value


# -- Interactions ---------------------------------------------------------------------------------------------


def _interactions(case: Case) -> Said:
    google = pytest.importorskip("google.genai")
    errors = pytest.importorskip("google.genai._gaos.lib.compat_errors")
    options = {"base_url": "http://localhost/", **_google_transport(case), "retry_options": {"attempts": 1}}
    client = google.Client(api_key="k", http_options=options)
    found = Said()
    kinds: dict[int, str] = {}
    streams = case.wire is not None and case.wire[0] != "json"
    try:
        asked = client.interactions.create(model="m", input="x", stream=streams, automatic_continuation=False)
        for event in asked if streams else ():
            _interactions_event(event, found, kinds)
        if not streams:
            _interaction(asked, found)
            for step in asked.steps or ():
                _interactions_step(step, found)
    except errors.APIStatusError as error:
        return Said(error=error.status_code)
    finally:
        client.close()
    if found.finish == "failed":
        return Said(error="failed")
    return found


def _interaction(interaction: Any, found: Said) -> None:
    found.finish = interaction.status
    usage = interaction.usage
    if usage is not None:
        found.input_tokens = (usage.total_input_tokens or 0) + (usage.total_tool_use_tokens or 0)
        found.output_tokens = (usage.total_output_tokens or 0) + (usage.total_thought_tokens or 0)


def _interactions_step(step: Any, found: Said) -> None:
    if step.type == "model_output":
        found.text += "".join(content.text for content in step.content or () if content.type == "text")
    elif step.type == "function_call":
        found.calls.append((step.id, step.name, step.arguments))


def _interactions_event(event: Any, found: Said, kinds: dict[int, str]) -> None:
    match event.event_type:
        case "error":
            found.error = "failed"
        case "interaction.completed":
            _interaction(event.interaction, found)
        case "step.start":
            kinds[event.index] = event.step.type
            _interactions_step(event.step, found)
        case "step.delta" if event.delta.type == "text" and kinds.get(event.index) == "model_output":
            found.text += event.delta.text
        case "step.delta" if event.delta.type == "arguments_delta":
            id, name, known = found.calls[-1]
            found.calls[-1] = (id, name, (known if isinstance(known, str) else "") + event.delta.arguments)
        case "step.stop":
            found.calls = [(id, name, arguments(given)) for id, name, given in found.calls]


# -- Converse ------------------------------------------------------------------------------------------------


class _Raw:
    """A body as botocore streams it, in one piece."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def stream(self) -> Iterator[bytes]:
        yield self._data

    def close(self) -> None:
        pass


@functools.cache
def _bedrock_model() -> Any:
    return pytest.importorskip("botocore.session").Session().get_service_model("bedrock-runtime")


def _bedrock(case: Case) -> Said:
    parsers = pytest.importorskip("botocore.parsers")
    exceptions = pytest.importorskip("botocore.exceptions")
    model = _bedrock_model()
    form, data = case.wire or ("json", b"")
    name = "Converse" if form == "json" else "ConverseStream"
    shape = model.operation_model(name).output_shape
    answer = case.spec.answer
    parsed = parsers.create_parser("rest-json").parse(
        {
            "status_code": answer.status,
            "headers": answer.headers,
            "body": data if form == "json" or answer.status >= 400 else _Raw(data),
            "context": {"operation_name": name},
        },
        shape,
    )
    if answer.status >= 400:
        return Said(error=answer.status)
    found = Said()
    try:
        if form == "json":
            blocks = dict(enumerate(parsed["output"]["message"]["content"]))
            found.finish = parsed.get("stopReason")
            _bedrock_counts(found, parsed.get("usage"))
        else:
            blocks = _bedrock_events(parsed["stream"], found)
    except exceptions.EventStreamError:
        found.error = "failed"
        return found
    found.text = "".join(block.get("text", "") for block in blocks.values())
    uses = [block["toolUse"] for block in blocks.values() if "toolUse" in block]
    uses = [use for use in uses if use.get("type") != "server_tool_use"]
    found.calls = [(use["toolUseId"], use["name"], arguments(use.get("input", ""))) for use in uses]
    return found


def _bedrock_events(stream: Any, found: Said) -> dict[int, dict[str, Any]]:
    blocks: dict[int, dict[str, Any]] = {}
    for event in stream:
        ((kind, value),) = event.items()
        if kind == "contentBlockStart":
            blocks[value["contentBlockIndex"]] = {k: dict(v) for k, v in value["start"].items()}
        elif kind == "contentBlockDelta":
            block, delta = blocks.setdefault(value["contentBlockIndex"], {}), value["delta"]
            if "text" in delta:
                block["text"] = block.get("text", "") + delta["text"]
            elif "toolUse" in delta:
                use = block.setdefault("toolUse", {})
                use["input"] = use.get("input", "") + delta["toolUse"]["input"]
        elif kind == "messageStop":
            found.finish = value["stopReason"]
        elif kind == "metadata":
            _bedrock_counts(found, value.get("usage"))
    return blocks


def _bedrock_counts(found: Said, usage: Any) -> None:
    if usage:
        found.input_tokens = (
            usage["inputTokens"]
            + usage.get("cacheReadInputTokens", 0)
            + usage.get("cacheWriteInputTokens", 0)
        )
        found.output_tokens = usage["outputTokens"]


# -- Ollama --------------------------------------------------------------------------------------------------


def _ollama(case: Case) -> Said:
    ollama = pytest.importorskip("ollama")
    httpx = pytest.importorskip("httpx")
    streams = bool(case.wire and case.wire[0] != "json")
    _, data = case.wire or ("json", b"")
    answer = case.spec.answer
    transport = httpx.MockTransport(lambda request: httpx.Response(answer.status, content=data))
    client = ollama.Client("http://localhost", transport=transport)
    generates = b'"response"' in data
    found = Said()
    try:
        if generates:
            answers = client.generate(model="m", prompt="x", stream=streams)
        else:
            answers = client.chat(model="m", messages=[], stream=streams)
        for each in answers if streams else [answers]:
            _ollama_chunk(each, found)
    except ollama.ResponseError as error:
        return Said(error=error.status_code if answer.status >= 400 else "failed")
    finally:
        client.close()
    return found


def _ollama_chunk(chunk: Any, found: Said) -> None:
    message = getattr(chunk, "message", None)
    found.text += (chunk.response if message is None else message.content) or ""
    for call in (message.tool_calls if message is not None else None) or ():
        found.calls.append((None, call.function.name, dict(call.function.arguments)))
    if chunk.done:
        found.finish = chunk.done_reason
        found.input_tokens, found.output_tokens = chunk.prompt_eval_count, chunk.eval_count


READERS: dict[str, Callable[[Case], Said]] = {
    "bedrock_converse": _bedrock,
    "gemini": _gemini,
    "google_interactions": _interactions,
    "ollama": _ollama,
    "openai_chat": _by_openai(_chat),
    "openai_responses": _by_openai(_responses),
}
"""By protocol."""


def said_by_sdk(case: Case) -> Said:
    """What the vendor's SDK reads out of a fixture's bytes; whatever it raises is a failure."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values that its enumerations do not have
            return READERS[case.folder.parent.name](case)
    except pytest.skip.Exception:
        raise
    except Exception as error:
        return Said(error=f"failed: {type(error).__name__}")


def said_by_us(case: Case) -> Said:
    """The same of our own decoder's response."""
    events, error = read(case, lambda data: [data])
    if error is not None:
        return Said(error=case.spec.answer.status if case.spec.answer.status >= 400 else "failed")
    response = collect(events)
    usage, raw = response.usage, response.usage.raw
    return Said(
        response.text,
        [
            (call.id, call.name, arguments(call.arguments) if call.kind == "function" else call.arguments)
            for call in response.tool_calls
            if call.kind in ("function", "custom")
        ],
        response.raw_finish_reason,
        usage.input_tokens if raw else None,
        usage.output_tokens if raw else None,
    )


def differences(case: Case) -> dict[str, tuple[Any, Any]]:
    """By name: what we and the SDK read differently. Of an answer that both refuse, only the refusal counts.

    The SDKs do not fail at an answer that breaks off or holds nothing: they find no end in it, where we fail.
    """
    ours, theirs = said_by_us(case), said_by_sdk(case)
    if ours.error == "failed" and (theirs.error is not None or theirs.finish is None):
        return {}
    if ours.error is not None and (
        ours.error == theirs.error or str(theirs.error).startswith(str(ours.error))
    ):
        return {}
    pairs = {
        name: (getattr(ours, name), well_formed(getattr(theirs, name))) for name in Said.__struct_fields__
    }
    return {name: (a, b) for name, (a, b) in pairs.items() if a != b}


def refused_by_types(case: Case) -> bool:
    """Whether we fail at an answer that the SDK's types refuse too, where they are asked to be strict."""
    pydantic = pytest.importorskip("pydantic")
    if said_by_us(case).error != "failed" or case.folder.parent.name not in _TYPES:
        return False
    form, data = case.wire or ("json", b"")
    whole, event = _TYPES[case.folder.parent.name]()
    lines = [data] if form == "json" else re.findall(rb"^data: ?(.*)$", data, re.MULTILINE)
    for line in lines:
        with suppress(msgspec.DecodeError):
            try:
                pydantic.TypeAdapter(whole if form == "json" else event).validate_python(
                    msgspec.json.decode(line)
                )
            except pydantic.ValidationError:
                return True
    return False


def _chat_types() -> tuple[Any, Any]:
    chat = pytest.importorskip("openai.types.chat")
    return chat.ChatCompletion, chat.ChatCompletionChunk


def _responses_types() -> tuple[Any, Any]:
    responses = pytest.importorskip("openai.types.responses")
    return responses.Response, responses.ResponseStreamEvent


def _gemini_types() -> tuple[Any, Any]:
    kind = pytest.importorskip("google.genai.types").GenerateContentResponse
    return kind, kind


_TYPES = {"gemini": _gemini_types, "openai_chat": _chat_types, "openai_responses": _responses_types}
