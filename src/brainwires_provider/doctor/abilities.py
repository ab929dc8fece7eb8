"""What a chat can request beyond text: tools, a shape, and the fields that change how it is made.

Each question is put so that an answer proves something: a tool is required where nobody would call one, a shape is
asked for that no word of the prompt speaks of.
"""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib
from collections.abc import Iterable
from typing import Any

from brainwires_provider.doctor.asking import Reply
from brainwires_provider.doctor.case import COUNT, SMALL, Case, failed, without_thoughts
from brainwires_provider.doctor.findings import Finding, Verdict
from brainwires_provider.types import Response, ToolArgumentsError

__all__ = [
    "choices",
    "developer_role",
    "images",
    "json_object",
    "json_schema",
    "parallel_tools",
    "seed",
    "stop",
    "streamed_arguments",
    "tool_choice_named",
    "tool_choice_required",
    "tools",
]


def _tool(name: str, does: str, argument: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {argument: {"type": "string"}}, "required": [argument]}
    return {"type": "function", "function": {"name": name, "description": does, "parameters": schema}}


_WEATHER = _tool("get_weather", "Returns the weather of a city.", "city")
_TIME = _tool("get_time", "Returns the time in a city.", "city")
_NOTE = _tool("save_note", "Saves a note.", "text")
_SENTENCE = "The quick brown fox jumps over the lazy dog, and the dog does not mind at all."
_SHADES = ("vermilion", "ultramarine")
_SCHEMA = {
    "type": "object",
    "properties": {"shade": {"type": "string", "enum": list(_SHADES)}},
    "required": ["shade"],
    "additionalProperties": False,
}
_STOPS = ["e", "o", "a", "2"]  # one of them is in any answer to COUNT, and soon


# -- tools ---------------------------------------------------------------------------------------------------


async def tools(case: Case) -> list[Finding]:
    """A tool call that the model may make."""
    reply = await case.chat(
        "What is the weather in Paris? Call the tool.", {"tools": [_WEATHER]}, limit=case.limit
    )
    response = reply.response
    if response is None:
        return [failed("tools", reply, "tools", "tool", "function")]
    if response.tool_calls:
        return [_call(response)]
    if "get_weather" in response.text and "{" in response.text:
        return [Finding("tools", "no", f"the call came as text: {case.asker.clean(response.text)}")]
    return [Finding("tools", "unclear", f"the model did not call: {_said(response, case)}")]


def _call(response: Response, when: str = "") -> Finding:
    """Whether the call that came can be used."""
    shown = _shown(response)
    try:
        response.tool_calls[0].args()
    except ToolArgumentsError:
        return Finding("tools", "no", f"a call came whose arguments are not a JSON object: {shown}")
    return Finding("tools", "yes", f"{shown}{when}")


def _shown(response: Response) -> str:
    call = response.tool_calls[0]
    return f"{call.name}({call.arguments})"


def _said(response: Response, case: Case) -> str:
    text = response.text.strip()
    if not text:
        return f"no text, ended by {response.raw_finish_reason!r}"
    return case.asker.clean(repr(text[:60]))


async def tool_choice_required(case: Case) -> list[Finding]:
    """A tool call that is required where the prompt needs none."""
    name = "tool_choice_required"
    refused = case.verdict("tools") == "refused"
    reply = await _require(case, "required")
    response = reply.response
    if response is None:
        finding = failed(name, reply, "tool_choice", control=not refused)
        return [finding if finding.verdict != "refused" else await _other_word(case, finding)]
    if not response.tool_calls:
        return [Finding(name, _not_done(response), f"no call came: {_said(response, case)}")]
    finding = Finding(name, "yes", _shown(response))
    if case.verdict("tools") != "unclear":
        return [finding]
    return [_call(response, f", once it was required; before: {case.findings['tools'].evidence}"), finding]


async def _other_word(case: Case, finding: Finding) -> Finding:
    """Mistral's value for the same."""
    other = (await _require(case, "any")).response
    if other is None or not other.tool_calls:
        return finding
    case.required_word = "any"
    return Finding(finding.name, "refused", f'{finding.evidence}; "any" is taken in its place')


async def _require(case: Case, word: str) -> Reply:
    return await case.chat("Say hello.", {"tools": [_WEATHER], "tool_choice": word}, limit=case.limit)


def _not_done(response: Response) -> Verdict:
    """Of something that had to come: an answer that was cut before may still have been about to."""
    return "unclear" if response.finish_reason == "length" and not response.text.strip() else "ignored"


async def tool_choice_named(case: Case) -> list[Finding]:
    """The tool that does not fit the question."""
    name = "tool_choice_named"
    choice = {"type": "function", "function": {"name": "get_time"}}
    reply = await case.chat(
        "What is the weather in Paris?",
        {"tools": [_WEATHER, _TIME], "tool_choice": choice},
        limit=case.limit,
    )
    response = reply.response
    if response is None:
        return [failed(name, reply, "tool_choice", control=case.verdict("tools") != "refused")]
    called = [call.name for call in response.tool_calls]
    if called and set(called) == {"get_time"}:
        return [Finding(name, "yes", _shown(response))]
    if called:
        return [Finding(name, "ignored", f"get_time was named, {case.asker.clean(called[0])} was called")]
    return [Finding(name, _not_done(response), f"no call came: {_said(response, case)}")]


def _pressed(case: Case) -> dict[str, Any]:
    """What makes a model call that might not by itself."""
    if case.verdict("tool_choice_required") == "yes":
        return {"tool_choice": "required"}
    return {"tool_choice": "any"} if case.required_word == "any" else {}


async def parallel_tools(case: Case) -> list[Finding]:
    """Two calls where two are needed, with `parallel_tool_calls`."""
    name = "parallel_tools"
    question = (
        "What is the weather in Paris, and what is it in Rome? Call the tool twice, once for each city."
    )
    fields = {"tools": [_WEATHER], "parallel_tool_calls": True, **_pressed(case)}
    reply = await case.chat(question, fields, limit=case.limit)
    if reply.response is None:
        return [failed(name, reply, "parallel_tool_calls", control=case.verdict("tools") == "yes")]
    calls = reply.response.tool_calls
    if len(calls) > 1:
        return [Finding(name, "yes", f"{len(calls)} calls in one answer")]
    if calls:
        return [Finding(name, "unclear", "one call came where two were asked for: the server, or the model")]
    return [Finding(name, "unclear", f"the model did not call: {_said(reply.response, case)}")]


async def streamed_arguments(case: Case) -> list[Finding]:
    """Whether a call's arguments come in pieces."""
    name = "streamed_arguments"
    if case.streamed is None:
        return [Finding(name, "unclear", "no stream was answered")]
    fields = {"tools": [_NOTE], **_pressed(case)}
    reply = await case.chat(
        f"Save this note, word for word: {_SENTENCE}", fields, limit=case.limit, stream=True
    )
    chunks = reply.chunks()
    if reply.response is None:
        return [failed(name, reply, "tools", "stream", control=case.verdict("tools") == "yes")]
    if not chunks:
        return [Finding(name, "unclear", "there was no stream")]
    pieces = _argument_pieces(chunk for _, chunk in chunks)
    if not pieces:
        return [Finding(name, "unclear", f"the model did not call: {_said(reply.response, case)}")]
    evidence = f"{sum(map(len, pieces))} characters in {len(pieces)} piece{'' if len(pieces) == 1 else 's'}"
    if len(pieces) > len(reply.response.tool_calls):
        return [Finding(name, "yes", evidence)]
    return [Finding(name, "no" if sum(map(len, pieces)) > 20 else "unclear", evidence)]


def _argument_pieces(chunks: Iterable[dict[str, Any]]) -> list[str]:
    """The fragments of arguments that are not empty, in the wire's order."""
    pieces = []
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        delta = choice.get("delta")
        calls = delta.get("tool_calls") if isinstance(delta, dict) else None
        for call in calls if isinstance(calls, list) else ():
            function = call.get("function") if isinstance(call, dict) else None
            text = function.get("arguments") if isinstance(function, dict) else None
            if isinstance(text, str) and text:
                pieces.append(text)
    return pieces


# -- shapes --------------------------------------------------------------------------------------------------


async def json_schema(case: Case) -> list[Finding]:
    """A schema that the question has nothing to do with."""
    name = "json_schema"
    named = {"name": "shade", "strict": True, "schema": _SCHEMA}
    fields = {"response_format": {"type": "json_schema", "json_schema": named}}
    reply = await case.chat("Say hello to Ada.", fields, limit=case.limit)
    response = reply.response
    if response is None:
        return [failed(name, reply, "response_format", "json_schema", "schema")]
    text = without_thoughts(response)
    value = _json_in(text)
    if isinstance(value, dict) and value.keys() == {"shade"} and value["shade"] in _SHADES:
        return [Finding(name, "yes", case.asker.clean(text))]
    if response.finish_reason == "length" and re.match(r"\{\s*\"shade\"", text):
        return [Finding(name, "yes", f"as far as it goes: it was cut: {_said(response, case)}")]
    if response.finish_reason == "length" and not text:
        return [Finding(name, "unclear", f"cut before that could be decided: {_said(response, case)}")]
    what = "an object of another shape" if value is not None else "no JSON"
    return [Finding(name, "ignored", f"{what} came: {_said(response, case)}")]


async def json_object(case: Case) -> list[Finding]:
    """JSON against the prompt's own words."""
    name = "json_object"
    fields = {"response_format": {"type": "json_object"}}
    reply = await case.chat(
        "Say hello to Ada in one plain sentence. Do not answer in JSON.", fields, limit=case.limit
    )
    response = reply.response
    if response is None:
        return [failed(name, reply, "response_format", "json_object")]
    text = without_thoughts(response)
    if isinstance(_json_in(text), dict):
        return [Finding(name, "yes", case.asker.clean(text))]
    if response.finish_reason == "length" and re.match(r"\{\s*\"", text):
        return [Finding(name, "yes", f"as far as it goes: it was cut: {_said(response, case)}")]
    if response.finish_reason == "length" and not text:
        return [Finding(name, "unclear", f"cut before that could be decided: {_said(response, case)}")]
    return [Finding(name, "ignored", f"no JSON came: {_said(response, case)}")]


def _json_in(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


# -- fields --------------------------------------------------------------------------------------------------


async def choices(case: Case) -> list[Finding]:
    """`n`."""
    reply = await case.chat(COUNT, {"n": 2}, limit=SMALL)
    if reply.response is None:
        return [failed("n", reply, "'n'", '"n"', "`n`", "choices")]
    others = {repr(c.get("index")) for c in reply.response.extra.get("choices") or () if isinstance(c, dict)}
    if others:
        return [Finding("n", "yes", f"{1 + len(others)} choices for n = 2")]
    return [Finding("n", "ignored", "one choice for n = 2")]


async def seed(case: Case) -> list[Finding]:
    """Two answers with one seed, and one with another."""
    said = []
    for number in (7, 7, 8):
        reply = await case.chat(
            "Invent a name for a ship. Say only the name.",
            {"seed": number, "temperature": 1.0},
            limit=2 * SMALL,
        )
        if reply.response is None:
            if reply.names("temperature") and not reply.names("seed"):
                return [Finding("seed", "unclear", reply.words)]
            return [failed("seed", reply, "seed")]
        said.append(reply.response.text or reply.response.reasoning)
    one, same, other = said
    if one != same:
        return [Finding("seed", "no", "two answers with one seed differ")]
    if not one or other == one:
        return [Finding("seed", "unclear", "all answers are the same, whatever the seed")]
    return [Finding("seed", "yes", "the same seed gave the same answer, another one another")]


async def stop(case: Case) -> list[Finding]:
    """`stop` as a list, and as one text."""
    listed = await _stopped(case, _STOPS, "stop")
    if listed.verdict != "yes":
        return [listed, Finding("stop_text", "unclear", "not asked: a list is not heeded either")]
    return [listed, await _stopped(case, _STOPS[0], "stop_text")]


async def _stopped(case: Case, stops: str | list[str], name: str) -> Finding:
    reply = await case.chat(COUNT, {"stop": stops}, limit=2 * SMALL)
    response = reply.response
    if response is None:
        return failed(name, reply, "stop")
    text = response.text
    if any(each in text for each in stops):
        return Finding(name, "ignored", f"the text goes on after it: {_said(response, case)}")
    if response.finish_reason == "stop" and _comes_up(case, stops):
        return Finding(name, "yes", f"ended before it: {_said(response, case)}")
    return Finding(name, "unclear", f"it did not come up: {_said(response, case)}")


def _comes_up(case: Case, stops: str | list[str]) -> bool:
    """Whether an answer to the same question, without a stop, has one of them."""
    before = [reply.response for reply in (case.streamed, case.base) if reply is not None]
    return any(each in response.text for response in before if response is not None for each in stops)


async def developer_role(case: Case) -> list[Finding]:
    """Whether a developer message is followed as a system message is."""
    name = "developer_role"
    reply = await _instructed_by(case, "developer")
    if reply.response is None:
        return [failed(name, reply, "developer", "role")]
    if _is_heeded(reply):
        return [Finding(name, "yes", f"heeded: {_said(reply.response, case)}")]
    control = await _instructed_by(case, "system")
    if _is_heeded(control):
        return [
            Finding(name, "ignored", f"taken, not heeded as system is: {_said(reply.response, case)}"),
        ]
    return [Finding(name, "unclear", "taken; this model heeds neither it nor system")]


async def _instructed_by(case: Case, role: str) -> Reply:
    instruction = {"role": role, "content": "Whatever you are asked, answer with one word: zebra"}
    return await case.chat([instruction, {"role": "user", "content": "Hello!"}], limit=case.limit)


def _is_heeded(reply: Reply) -> bool:
    return reply.response is not None and "zebra" in without_thoughts(reply.response).lower()


async def images(case: Case) -> list[Finding]:
    """A red square."""
    url = "data:image/png;base64," + base64.b64encode(_red_square()).decode()
    content = [
        {"type": "text", "text": "Which color is this picture? Answer with one word."},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    reply = await case.chat([{"role": "user", "content": content}], limit=case.limit)
    response = reply.response
    if response is None:
        return [failed("images", reply, "image", "content", "multimodal", "vision")]
    seen = re.search(r"\bred\b", without_thoughts(response).lower())
    said = _said(response, case)
    return [
        Finding("images", "yes", f"seen: {said}")
        if seen
        else Finding("images", "unclear", f"accepted; whether it was seen is not shown: {said}")
    ]


def _red_square(size: int = 64) -> bytes:
    """A PNG with the same value in every pixel."""

    def block(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + b"\xff\0\0" * size) * size
    head = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + block(b"IHDR", head)
        + block(b"IDAT", zlib.compress(rows))
        + block(b"IEND", b"")
    )
