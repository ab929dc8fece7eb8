"""What services refuse although the library could know: each rule is one case, with its source.

A case says which part of the body is looked at, what it must be, and what the report says. What the caller has set and
is emulated or dropped is refused when strict.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import pytest

from brainwires_provider import (
    PROVIDERS,
    AsyncClient,
    Cache,
    Client,
    FilePart,
    ImagePart,
    Message,
    OpaquePart,
    OpenAIResponsesOptions,
    Origin,
    PreparedRequest,
    ProviderConfig,
    ReasoningPart,
    Request,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
    UnsupportedError,
)
from brainwires_provider.events import collect
from brainwires_provider.protocols.base.bodies import framing_named, read_body
from brainwires_provider.protocols.base.replay import is_text_file, local_id, short_id, wire_id
from brainwires_provider.protocols.openai_chat import OpenAIChat
from brainwires_provider.testing import Answer, RecordedRequest, ScriptedServer, sse
from chat_answers import chunk

PNG = b"\x89PNG\r\n\x1a\n"
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
WEATHER = Tool("weather", "Gives the weather.", {"type": "object"})
CALL = ToolCallPart("call_1", "weather", '{"city":"Rome"}')
SECOND = ToolCallPart("call_2", "weather", "{}")
ASKED = (Message.user("Hi"), Message.assistant(CALL))
BOTH = (Message.user("Hi"), Message.assistant(CALL, SECOND))
SUN, RAIN = Message.tool_result(CALL, "sun"), Message.tool_result(SECOND, "rain")
NOTE = Message.user("A note.")


class Case(NamedTuple):
    model: str
    messages: tuple[Message, ...]
    look: Callable[[Any], Any]
    expected: Any
    report: tuple[tuple[str, str], ...] = ()
    request: dict[str, Any] = {}  # noqa: RUF012
    refused: bool = False
    """Strictness refuses it."""


def roles(body: Any) -> list[str]:
    return [message["role"] for message in body["messages"]]


def at(*path: Any) -> Callable[[Any], Any]:
    def look(body: Any) -> Any:
        for step in path:
            body = body[step]
        return body

    return look


def has(*path: Any) -> Callable[[Any], bool]:
    return lambda body: path[-1] in at(*path[:-1])(body)


def made_by(model: str, protocol: str = "openai_chat") -> Origin:
    provider, _, name = model.partition(":")
    return Origin(protocol, provider, name)


def ids(body: Any) -> list[str]:
    """The ids of calls and results in a Chat body."""
    found: list[str] = []
    for message in body["messages"]:
        found += [call["id"] for call in message.get("tool_calls", ())]
        found += [message["tool_call_id"]] if "tool_call_id" in message else []
    return found


def kinds(body: Any) -> list[str]:
    """The blocks of a Converse body, or the parts of a Gemini one, by their kinds."""
    turns = body.get("messages") or body["contents"]
    blocks = [block for turn in turns for block in turn.get("content", turn.get("parts"))]
    return [next(iter(block)) for block in blocks]


LITELLM, COPILOT = "litellm:claude", "custom:gemini-3-pro"
SIGNED = [{"type": "thinking", "thinking": "Hm.", "signature": "s"}]
PIECES = [
    {"type": "thinking", "thinking": "H", "signature": ""},
    {"type": "thinking", "thinking": "m."},
    {"type": "thinking", "thinking": "", "signature": "s"},
    {"type": "redacted_thinking", "data": "x"},
]
JOINED = [
    {"type": "thinking", "thinking": "Hm.", "signature": "s"},
    {"type": "redacted_thinking", "data": "x"},
]


def turn_of(
    model: str, extra: dict[str, Any], call_extra: dict[str, Any] | None = None
) -> tuple[Message, ...]:
    origin = made_by(model)
    call = ToolCallPart("call_1", "weather", "{}", extra=call_extra, origin=origin)
    answer = Message("assistant", (TextPart("Yes", origin=origin), call), extra=extra)
    return Message.user("Hi"), answer, SUN


PICTURE = ImagePart(data=PNG, media_type="image/png")
PHOTO = Message("tool", (ToolResultPart("call_1", ("Seen:", PICTURE)),))
DATA_URL = "data:image/png;base64,iVBORw0KGgo="
TEXT_FILE = FilePart(data=b"a,b", media_type="text/csv", name="a.csv")
GENERATED = {
    "id": "ig_1",
    "status": "completed",
    "action": "generate",
    "background": "opaque",
    "quality": "high",
    "output_format": "png",
}
OPENAI = "openai-responses:gpt-6"
BY_OPENAI = Origin("openai_responses", "openai-responses", "gpt-6")
BY_XAI = Origin("openai_responses", "xai", "grok-4")
LONG = "call_" + "x" * 78
LONG_NAME = 65 * "n"

CASES: dict[str, Case] = {
    # -- B.2: empty things ---------------------------------------------------------------------------------
    # https://platform.kimi.ai/docs/api/chat; https://github.com/anomalyco/opencode/issues/37887 (2026-07)
    "an empty turn, Kimi": Case(
        "moonshot:kimi-k3",
        (Message.user("Hi"), Message.assistant(""), Message.user("Well?")),
        roles,
        ["user", "user"],
        (("messages[1]", "dropped"),),
    ),
    "an empty turn, OpenAI": Case(
        "openai-chat:m", (Message.user("Hi"), Message.assistant("")), roles, ["user", "assistant"]
    ),
    # https://api-docs.deepseek.com/guides/thinking_mode#tool-calls (2026-11): refused without the field
    "no reasoning, DeepSeek": Case(
        "deepseek:deepseek-v4-pro",
        (*ASKED, SUN),
        at("messages", 1, "reasoning_content"),
        "",
        (("messages[1]", "adapted"),),
    ),
    "no reasoning and no calls, DeepSeek": Case(
        "deepseek:deepseek-v4-pro",
        (Message.user("Hi"), Message.assistant("Yes"), Message.user("Well?")),
        has("messages", 1, "reasoning_content"),
        False,
    ),
    # https://github.com/earendil-works/pi/pull/4178 (2026-05): an empty text counts as missing
    "no reasoning, Kimi": Case(
        "moonshot:kimi-k3",
        (*ASKED, SUN),
        at("messages", 1, "reasoning_content"),
        " ",
        (("messages[1]", "adapted"),),
    ),
    "no system text": Case(
        "openai-chat:m",
        (Message.user("Hi"),),
        roles,
        ["user"],
        (("system", "dropped"),),
        {"system": ""},
        True,
    ),
    "no system text, Gemini": Case(
        "google:gemini-3-flash",
        (Message.user("Hi"),),
        has("systemInstruction"),
        False,
        (("system", "dropped"),),
        {"system": " "},
        True,
    ),
    "no system text, Claude": Case(
        "anthropic:claude-sonnet-5",
        (Message.user("Hi"),),
        has("system"),
        False,
        (("max_tokens", "adapted"), ("system", "dropped")),
        {"system": ""},
        True,
    ),
    "no system text, Responses": Case(
        OPENAI,
        (Message.user("Hi"),),
        has("instructions"),
        False,
        (("system", "dropped"),),
        {"system": ""},
        True,
    ),
    "what stands behind no text keeps its place on the report": Case(
        "ollama:m",
        (Message.system("", TEXT_FILE), Message.user("Hi")),
        at("messages", 0, "content"),
        "a,b",
        (("messages[0].content[0]", "dropped"), ("messages[0].content[1]", "adapted")),
    ),
    "fields beside an instruction and no text": Case(
        "openai-chat:m",
        (Message("system", ("A", ""), extra={"name": "a"}), Message.user("Hi")),
        at("messages", 0),
        {"role": "system", "content": "A", "name": "a"},
        (("messages[0].content[1]", "dropped"),),
    ),
    "fields beside two turns that are sent as one": Case(
        "openai-chat:m",
        (*ASKED, Message("assistant", (SECOND,), extra={"name": "a"}), SUN, RAIN),
        at("messages", 1, "name"),
        "a",
        (("messages[2]", "adapted"),),
    ),
    # https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolSpecification.html (2026-11)
    "a blank description, Converse": Case(
        f"bedrock:{CLAUDE}",
        (Message.user("Hi"),),
        has("toolConfig", "tools", 0, "toolSpec", "description"),
        False,
        (),
        {"tools": (Tool("weather", " ", {"type": "object"}),)},
    ),
    "a result without text, Converse": Case(
        f"bedrock:{CLAUDE}",
        (*ASKED, Message.tool_result(CALL, "")),
        at("messages", 2, "content", 0, "toolResult", "content"),
        [{"text": "(empty)"}],
        (("messages[2].content[0]", "adapted"),),
        {"tools": (WEATHER,)},
    ),
    "a result without content, Converse": Case(
        f"bedrock:{CLAUDE}",
        (*ASKED, Message.tool_result(CALL)),
        at("messages", 2, "content", 0, "toolResult", "content"),
        [{"text": "(empty)"}],
        (("messages[2].content[0]", "adapted"),),
        {"tools": (WEATHER,)},
    ),
    "an empty error, Claude": Case(
        "anthropic:claude-sonnet-5",
        (*ASKED, Message.tool_result(CALL, "", is_error=True)),
        at("messages", 2, "content", 0, "content"),
        "(empty)",
        (("max_tokens", "adapted"), ("messages[2].content[0]", "adapted")),
    ),
    # -- B.3: order ----------------------------------------------------------------------------------------
    # https://docs.aws.amazon.com/bedrock/latest/userguide/tool-use-inference-call.html (2026-11)
    "calls without tools, Converse": Case(
        f"bedrock:{CLAUDE}",
        (*ASKED, SUN),
        lambda body: [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]],
        ["weather"],
        (("tools", "emulated"),),
        {},
        True,
    ),
    "a note between calls and results, Chat": Case(
        "openai-chat:m",
        (*BOTH, SUN, NOTE, RAIN),
        roles,
        ["user", "assistant", "tool", "tool", "user"],
        (("messages[4]", "adapted"),),
    ),
    "a note between calls and results, Claude": Case(
        "anthropic:claude-sonnet-5",
        (*BOTH, NOTE, SUN, RAIN),
        lambda body: [
            m["content"] if isinstance(m["content"], str) else len(m["content"]) for m in body["messages"]
        ],
        ["Hi", 2, 2, "A note."],
        (("max_tokens", "adapted"), ("messages[3]", "adapted"), ("messages[4]", "adapted")),
    ),
    "a note between calls and results, Converse": Case(
        f"bedrock:{CLAUDE}",
        (*BOTH, NOTE, SUN, RAIN),
        kinds,
        ["text", "toolUse", "toolUse", "toolResult", "toolResult", "text"],
        (("messages[3]", "adapted"), ("messages[4]", "adapted")),
        {"tools": (WEATHER,)},
    ),
    "a note between calls and results, Gemini": Case(
        "google:gemini-2.5-flash",
        (*BOTH, NOTE, SUN, RAIN),
        kinds,
        ["text", "functionCall", "functionCall", "functionResponse", "functionResponse", "text"],
        (("messages[3]", "adapted"), ("messages[4]", "adapted")),
    ),
    "a note between calls and results, Ollama": Case(
        "ollama:m",
        (*ASKED, NOTE, SUN),
        roles,
        ["user", "assistant", "tool", "user"],
        (("messages[3]", "adapted"),),
    ),
    "two turns of the model, Chat": Case(
        "openai-chat:m",
        (*ASKED, Message.assistant(SECOND), SUN, RAIN),
        lambda body: (roles(body), len(body["messages"][1]["tool_calls"])),
        (["user", "assistant", "tool", "tool"], 2),
        (("messages[2]", "adapted"),),
    ),
    "two turns of the model, Claude": Case(
        "anthropic:claude-sonnet-5",
        (*ASKED, Message.assistant("So."), SUN),
        lambda body: [block["type"] for block in body["messages"][1]["content"]],
        ["tool_use", "text"],
        (("max_tokens", "adapted"), ("messages[2]", "adapted")),
    ),
    "a late result": Case(
        "openai-chat:m",
        (*ASKED, NOTE, Message.assistant("Wait."), SUN),
        roles,
        ["user", "assistant", "tool", "user", "assistant"],
        (("messages[4]", "adapted"),),
    ),
    # https://github.com/MiniMax-AI/MiniMax-M2/issues/51 (2026-04): error 2013
    "two system messages, MiniMax": Case(
        "minimax:MiniMax-M3",
        (Message.system("A"), Message.user("Hi"), Message.system("B")),
        at("messages"),
        [{"role": "system", "content": "S\n\nA\n\nB"}, {"role": "user", "content": "Hi"}],
        (("messages", "adapted"),),
        {"system": "S"},
        True,
    ),
    # https://github.com/vllm-project/vllm/issues/41114 (2026-05)
    "a late system message, vLLM": Case(
        "vllm:qwen3.6",
        (Message.user("Hi"), Message.system(TextPart("A", extra={"x": 1}))),
        at("messages"),
        [
            {"role": "system", "content": [{"type": "text", "text": "A", "x": 1}]},
            {"role": "user", "content": "Hi"},
        ],
        (("messages", "adapted"),),
        refused=True,
    ),
    "a list and a text as system messages, vLLM": Case(
        "vllm:qwen3.6",
        (Message.system("A"), Message.system("B", "C"), Message.user("Hi")),
        at("messages", 0, "content"),
        [{"type": "text", "text": text} for text in "ABC"],
        (("messages", "adapted"),),
    ),
    "one system message, vLLM": Case(
        "vllm:qwen3.6", (Message.system("A"), Message.user("Hi")), roles, ["system", "user"]
    ),
    # https://github.com/UKGovernmentBEIS/inspect_ai/pull/3842 (2026-05), /anomalyco/opencode/issues/16560 (2026-03),
    # /BerriAI/litellm/pull/39852 (2026-09): the hosts pass on what the model's own template refuses
    **{
        f"a late system message, {model}": Case(
            model,
            (Message.user("Hi"), Message.system("A")),
            at("messages"),
            [{"role": "system", "content": "A"}, {"role": "user", "content": "Hi"}],
            (("messages", "adapted"),),
            refused=True,
        )
        for model in (
            "openrouter:qwen/qwen3.5-397b-a17b",
            "openrouter:google/gemma-3-27b-it:free",
            "nvidia:qwen/qwen3.5-122b-a10b",
            "nvidia:google/gemma-3n-e4b-it",
            "fireworks:accounts/fireworks/models/qwen3p8-max",
        )
    },
    **{
        f"a late system message as it is, {model}": Case(
            model, (Message.user("Hi"), Message.system("A")), roles, ["user", "system"]
        )
        for model in (
            "openrouter:qwen/qwen-2.5-72b-instruct",
            "openrouter:qwen/qwen-72b-chat",
            "openrouter:deepseek/deepseek-r1-distill-qwen-32b",
            "openrouter:openai/gpt-5.2",
            "fireworks:accounts/fireworks/models/qwen3-235b-a22b",
            "nvidia:google/gemma-4-31b-it",
            "together:Qwen/Qwen3.5-397B-A17B",  # nothing is known of this host and the next
            "huggingface:google/gemma-3-27b-it",
        )
    },
    "two system messages, OpenAI": Case(
        "openai-chat:m",
        (Message.system("A"), Message.system("B"), Message.user("Hi")),
        roles,
        ["system"] * 2 + ["user"],
    ),
    # -- B.4: ids and names --------------------------------------------------------------------------------
    # https://github.com/langchain-ai/langchain/pull/24668: nine letters and digits
    "ids, Mistral": Case(
        "mistral:mistral-large",
        (*ASKED, SUN),
        ids,
        ["74196fe72"] * 2,
        (("messages[1].content[0].id", "adapted"),),
    ),
    "ids, Mistral on Bedrock": Case(
        "bedrock:mistral.mistral-large-2407-v1:0",
        (*ASKED, SUN),
        lambda body: (
            body["messages"][1]["content"][0]["toolUse"]["toolUseId"],
            body["messages"][2]["content"][0]["toolResult"]["toolUseId"],
        ),
        ("74196fe72", "74196fe72"),
        (("messages[1].content[0].id", "adapted"),),
        {"tools": (WEATHER,)},
    ),
    "no prefill with calls, Mistral": Case(
        "mistral:mistral-large",
        (Message.user("Hi"), Message.assistant(ToolCallPart("D681PevKs", "weather", "{}"))),
        has("messages", 1, "prefix"),
        False,
    ),
    "an id of Mistral's": Case(
        "mistral:mistral-large",
        (Message.user("Hi"), Message.assistant(ToolCallPart("D681PevKs", "weather", "{}"))),
        ids,
        ["D681PevKs"],
    ),
    # As the declared ones below: what a service refuses in a name is refused in a past call's, too
    **{
        f"the name {name} of a past call, {model}": Case(
            model,
            (Message.user("Hi"), Message.assistant(ToolCallPart("D681PevKs", name, "{}"))),
            at("messages", 1, "tool_calls", 0, "function", "name"),
            sent,
            (
                *((("messages[1].content[0].name", "adapted"),) if sent != name else ()),
                *((("messages[1]", "adapted"),) if model.startswith(("deepseek", "moonshot")) else ()),
            ),
        )
        for model, name, sent in (
            ("deepseek:deepseek-chat", "a.b", "ab"),
            ("mistral:mistral-large", "a.b", "ab"),
            ("mistral:mistral-large", LONG_NAME, LONG_NAME[:64]),
            ("groq:openai/gpt-oss-120b", "a.b", "ab"),
            ("groq:openai/gpt-oss-120b", "21st", "21st"),
            ("moonshot:kimi-k3", "a.b", "ab"),
            ("moonshot:kimi-k3", "21st_magic", "tool_21st_magic"),
            ("moonshot:kimi-k3", "天气", "tool__"),
            ("openai-chat:m", "天气", "_"),
            ("custom:m", "a.b", "a.b"),
        )
    },
    "a name that begins with a digit, Gemini": Case(
        "google:gemini-2.5-flash",
        (Message.user("Hi"), Message.assistant(ToolCallPart("c", "21st", "{}"))),
        at("contents", 1, "parts", 0, "functionCall", "name"),
        "tool_21st",
        (("messages[1].content[0].name", "adapted"),),
    ),
    # https://github.com/jin-bo/agentao/pull/321 (2026-09): 64 characters
    "a long id, Chat": Case(
        "openai-chat:m",
        (
            Message.user("Hi"),
            Message.assistant(ToolCallPart(LONG, "weather", "{}")),
            Message.tool_result(LONG, "sun"),
        ),
        lambda body: (len(set(ids(body))), len(ids(body)[0]) <= 64),
        (1, True),
        (("messages[1].content[0].id", "adapted"),),
    ),
    # https://github.com/fawney19/Aether/pull/829 (2026-09): 64 characters
    "a long id, Responses": Case(
        OPENAI,
        (
            Message.user("Hi"),
            Message.assistant(ToolCallPart(LONG, "weather", "{}")),
            Message.tool_result(LONG, "sun"),
        ),
        lambda body: (
            len({item["call_id"] for item in body["input"][1:]}),
            len(body["input"][1]["call_id"]) <= 64,
        ),
        (1, True),
        (("messages[1].id", "adapted"),),
    ),
    # https://github.com/nodetool-ai/nodetool/pull/4252 (2026-07): "Expected an ID that begins with 'fc'"
    "another service's ids, Responses": Case(
        OPENAI,
        (
            Message.user("Hi"),
            Message.assistant(
                TextPart("Yes", extra={"message": {"id": "m-1", "role": "assistant"}}, origin=BY_XAI),
                ToolCallPart(
                    "call_1", "weather", "{}", extra={"id": "uuid-1", "status": "completed"}, origin=BY_XAI
                ),
            ),
            SUN,
        ),
        lambda body: [item.get("id") for item in body["input"]],
        [None] * 4,
    ),
    "its own ids, Responses": Case(
        OPENAI,
        (
            Message.user("Hi"),
            Message.assistant(
                ToolCallPart("call_1", "weather", "{}", extra={"id": "fc_1"}, origin=BY_OPENAI)
            ),
            SUN,
        ),
        at("input", 1, "id"),
        "fc_1",
    ),
    **{
        f"a foreign tool's name, {model}": Case(
            model,
            (Message.user("Hi"), Message.assistant(ToolCallPart("call_1", "$a b", "{}")), SUN),
            look,
            "ab",
            report,
            {"tools": (WEATHER,)},
        )
        for model, look, report in (
            (
                f"bedrock:{CLAUDE}",
                at("messages", 1, "content", 0, "toolUse", "name"),
                (("messages[1].content[0].name", "adapted"),),
            ),
            (
                "anthropic:claude-sonnet-5",
                at("messages", 1, "content", 0, "name"),
                (("max_tokens", "adapted"), ("messages[1].content[0].name", "adapted")),
            ),
            (
                "openai-chat:m",
                at("messages", 1, "tool_calls", 0, "function", "name"),
                (("messages[1].content[0].name", "adapted"),),
            ),
            (OPENAI, at("input", 1, "name"), (("messages[1].name", "adapted"),)),
            (
                "google:gemini-2.5-flash",
                at("contents", 1, "parts", 0, "functionCall", "name"),
                (("messages[1].content[0].name", "adapted"),),
            ),
        )
    },
    "a foreign tool's name without a letter": Case(
        "openai-chat:m",
        (Message.user("Hi"), Message.assistant(ToolCallPart("call_1", "$", "{}")), SUN),
        at("messages", 1, "tool_calls", 0, "function", "name"),
        "_",
        (("messages[1].content[0].name", "adapted"),),
    ),
    "a named instruction, Gemini": Case(
        "google:gemini-3-flash",
        (Message("system", (TextPart("A"),), "ann"), Message.user("Hi")),
        at("systemInstruction"),
        {"parts": [{"text": "A"}]},
        (("messages[0].name", "dropped"),),
        refused=True,
    ),
    # -- B.5: media ----------------------------------------------------------------------------------------
    # https://platform.openai.com/docs/api-reference/chat/create (2026-11): a tool's message takes text only
    "an image in a result, Chat": Case(
        "openai-chat:m",
        (*ASKED, PHOTO, NOTE),
        lambda body: body["messages"][2:4],
        [
            {"role": "tool", "tool_call_id": "call_1", "content": "Seen:"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "The files of the tool results above:"},
                    {"type": "image_url", "image_url": {"url": DATA_URL}},
                ],
            },
        ],
        (("messages[2].content[0]", "emulated"),),
    ),
    "only an image in a result, Chat": Case(
        "openai-chat:m",
        (*BOTH, Message("tool", (ToolResultPart("call_1", (PICTURE,)),)), RAIN),
        lambda body: (roles(body), body["messages"][2]["content"]),
        (
            ["user", "assistant", "tool", "tool", "user"],
            "The result's files follow in the next message of the user.",
        ),
        (("messages[2].content[0]", "emulated"),),
    ),
    "a data URL, Claude": Case(
        "anthropic:claude-sonnet-5",
        (Message.user(ImagePart(url=DATA_URL)),),
        at("messages", 0, "content", 0, "source"),
        {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
        (("max_tokens", "adapted"),),
    ),
    "a data URL, Gemini": Case(
        "google:gemini-2.5-flash",
        (Message.user(ImagePart(url=DATA_URL)),),
        at("contents", 0, "parts", 0, "inlineData", "data"),
        "iVBORw0KGgo=",
    ),
    "a data URL, Converse": Case(
        f"bedrock:{CLAUDE}",
        (Message.user(ImagePart(url=DATA_URL)),),
        at("messages", 0, "content", 0, "image", "source", "bytes"),
        "iVBORw0KGgo=",
    ),
    "a data URL, Chat": Case(
        "openai-chat:m",
        (Message.user(ImagePart(url=DATA_URL)),),
        at("messages", 0, "content", 0, "image_url", "url"),
        DATA_URL,
    ),
    "a text file, Kimi": Case(
        "moonshot:kimi-k3",
        (Message.user(TEXT_FILE),),
        at("messages", 0, "content", 0),
        {"type": "text", "text": "a,b"},
        (("messages[0]", "adapted"),),
    ),
    "a text file, OpenAI": Case(
        "openai-chat:m",
        (Message.user(TEXT_FILE),),
        at("messages", 0, "content", 0, "type"),
        "file",
    ),
    "a text file, Ollama": Case(
        "ollama:m",
        (Message.user("What?", TEXT_FILE),),
        at("messages", 0, "content"),
        "What?\n\na,b",
        (("messages[0].content[1]", "adapted"),),
    ),
    "a video, any compatible server": Case(
        "custom:m",
        (Message.user(FilePart(url="https://a.test/a.mp4", media_type="video/mp4")),),
        at("messages", 0, "content", 0),
        {"type": "video_url", "video_url": {"url": "https://a.test/a.mp4"}},
    ),
    # -- B.6: cache marks ----------------------------------------------------------------------------------
    "a mark on a result, Alibaba": Case(
        "alibaba:qwen3",
        (*ASKED, Message("tool", (ToolResultPart("call_1", "sun", cache=Cache()),))),
        at("messages", 2, "content"),
        [{"type": "text", "text": "sun", "cache_control": {"type": "ephemeral"}}],
    ),
    "a mark on a call, OpenRouter": Case(
        "openrouter:m",
        (Message.user("Hi"), Message.assistant(ToolCallPart("call_1", "weather", "{}", cache=Cache())), SUN),
        lambda body: "cache_control" in json.dumps(body),
        False,
        (("messages[1].content[0].cache", "dropped"),),
        {},
        True,
    ),
    "a mark on a system text, OpenRouter": Case(
        "openrouter:m",
        (Message.system(TextPart("A", cache=Cache())), Message.user("Hi")),
        at("messages", 0, "content", 0, "cache_control"),
        {"type": "ephemeral"},
    ),
    "a mark on a system text, Responses": Case(
        OPENAI,
        (Message.system(TextPart("A", cache=Cache())), Message.user("Hi")),
        at("input", 0, "content", 0, "prompt_cache_breakpoint"),
        {"mode": "explicit"},
    ),
    "a mark on a result, Responses": Case(
        OPENAI,
        (*ASKED, Message("tool", (ToolResultPart("call_1", "sun", cache=Cache()),))),
        lambda body: "breakpoint" in json.dumps(body),
        False,
        (("messages[2].content[0].cache", "dropped"),),
        {},
        True,
    ),
    # https://github.com/strands-agents/harness-sdk/issues/1966 (2026-03)
    "a mark behind a text document, Converse": Case(
        f"bedrock:{CLAUDE}",
        (Message.user(FilePart(data=b"a", media_type="text/plain", name="a", cache=Cache()), "What?"),),
        kinds,
        ["document", "text"],
        (("messages[0].content[0].cache", "dropped"),),
        {},
        True,
    ),
    "a mark behind a PDF, Converse": Case(
        f"bedrock:{CLAUDE}",
        (Message.user(FilePart(data=b"%PDF-", name="a", cache=Cache()), "What?"),),
        kinds,
        ["document", "cachePoint", "text"],
    ),
    # -- B.8: replay ---------------------------------------------------------------------------------------
    # https://github.com/Yeachan-Heo/gajae-code/issues/1688 (2026-07): "Unknown parameter: 'input[1].action'"
    "what only an output has, Responses": Case(
        OPENAI,
        (
            Message.user("Draw."),
            Message.assistant(ImagePart(data=PNG, extra=GENERATED, origin=BY_OPENAI)),
            NOTE,
        ),
        at("input", 1),
        {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "iVBORw0KGgo="},
    ),
    # https://github.com/can1357/oh-my-pi/pull/3226 (2026-06): refused with 404
    "an image that never came, Responses": Case(
        OPENAI,
        (
            Message.user("Draw."),
            Message.assistant(
                OpaquePart(
                    "image_generation_call",
                    {"type": "image_generation_call", "id": "ig_1", "status": "failed", "result": None},
                    origin=BY_OPENAI,
                ),
                TextPart("Sorry.", origin=BY_OPENAI),
            ),
            NOTE,
        ),
        lambda body: [item.get("type", item.get("role")) for item in body["input"]],
        ["user", "message", "user"],
        (("messages[1].content[0]", "dropped"),),
    ),
    "nulls, Responses": Case(
        OPENAI,
        (
            Message.user("Hi"),
            Message.assistant(
                ReasoningPart(
                    "", encrypted="e", extra={"id": "rs_1", "status": None, "content": None}, origin=BY_OPENAI
                ),
                TextPart("Yes", extra={"message": {"id": "msg_1", "status": None}}, origin=BY_OPENAI),
            ),
            NOTE,
        ),
        lambda body: [sorted(item) for item in body["input"][1:3]],
        [["encrypted_content", "id", "summary", "type"], ["content", "id", "role", "type"]],
    ),
    "encrypted reasoning, OpenAI": Case(
        OPENAI, (Message.user("Hi"),), at("include"), ["reasoning.encrypted_content"]
    ),
    "encrypted reasoning, a deployment of any name": Case(
        "azure:my-deployment", (Message.user("Hi"),), has("include"), False
    ),
    "encrypted reasoning, a deployment named for its model": Case(
        "azure:prod-gpt-5.2", (Message.user("Hi"),), at("include"), ["reasoning.encrypted_content"]
    ),
    "encrypted reasoning, a deployment of an older model": Case(
        "azure:prod-gpt-35-turbo", (Message.user("Hi"),), has("include"), False
    ),
    # https://docs.litellm.ai/docs/reasoning_content (2026-10)
    "thinking blocks, LiteLLM": Case(
        LITELLM,
        turn_of(LITELLM, {"thinking_blocks": PIECES}),
        at("messages", 1, "thinking_blocks"),
        JOINED,
    ),
    "thinking blocks of another model, LiteLLM": Case(
        "litellm:other",
        turn_of(LITELLM, {"thinking_blocks": SIGNED}),
        has("messages", 1, "thinking_blocks"),
        False,
        (("messages[1].thinking_blocks", "dropped"),),
    ),
    "thinking blocks in no list, LiteLLM": Case(
        LITELLM,
        turn_of(LITELLM, {"thinking_blocks": {"odd": 1}}),
        at("messages", 1, "thinking_blocks"),
        {"odd": 1},
    ),
    # https://docs.litellm.ai/blog/gemini_3 (2026-11)
    "a call's signature, LiteLLM": Case(
        LITELLM,
        turn_of(LITELLM, {}, {"provider_specific_fields": {"thought_signature": "s"}}),
        at("messages", 1, "tool_calls", 0, "provider_specific_fields"),
        {"thought_signature": "s"},
    ),
    "a call's signature of another model, LiteLLM": Case(
        "litellm:other",
        turn_of(LITELLM, {}, {"provider_specific_fields": {"thought_signature": "s"}}),
        has("messages", 1, "tool_calls", 0, "provider_specific_fields"),
        False,
        (("messages[1].content[1].provider_specific_fields", "dropped"),),
    ),
    # https://github.com/anomalyco/opencode/pull/8900 (2026-01)
    "opaque reasoning, Copilot": Case(
        COPILOT,
        turn_of(COPILOT, {"reasoning_opaque": "o", "reasoning_text": "Hm."}),
        lambda body: (body["messages"][1]["reasoning_opaque"], body["messages"][1]["reasoning_text"]),
        ("o", "Hm."),
    ),
    # -- B.9: prefill --------------------------------------------------------------------------------------
    # https://docs.mistral.ai/capabilities/completion/usage#prefix (2026-11)
    "prefill, Mistral": Case(
        "mistral:mistral-large",
        (Message.user("Hi"), Message.assistant("Dear")),
        at("messages", 1),
        {"role": "assistant", "content": "Dear", "prefix": True},
    ),
    "no prefill, Mistral": Case(
        "mistral:mistral-large",
        (Message.user("Hi"), Message.assistant("Dear"), NOTE),
        has("messages", 1, "prefix"),
        False,
    ),
    # https://platform.claude.com/docs/en/build-with-claude/prompt-engineering/prefill-claudes-response (2026-11)
    "prefill, Claude": Case(
        "anthropic:claude-sonnet-4-5",
        (Message.user("Hi"), Message.assistant("Dear ")),
        at("messages", 1, "content"),
        "Dear",
        (("max_tokens", "adapted"), ("messages[1]", "adapted")),
    ),
}


@cache
def client(provider: str) -> AsyncClient:
    entry = PROVIDERS[provider]
    config = ProviderConfig(
        provider,
        api_key=None if entry.keyless else "k",
        base_url=None if entry.base_url else "https://a.test/v1",
        region="us-east-1" if entry.cloud == "aws" else None,
    )
    return AsyncClient(providers=[config])


def prepared(case: Case, **args: Any) -> PreparedRequest:
    return client(case.model.partition(":")[0]).prepare(
        Request(case.messages, **case.request), model=case.model, **args
    )


@pytest.mark.parametrize("name", CASES)
def test_a_rule_of_a_service_is_kept(name: str) -> None:
    case = CASES[name]
    done = prepared(case)
    assert case.look(json.loads(done.body)) == case.expected
    assert sorted((d.field, d.outcome) for d in done.report.deviations) == sorted(case.report)
    if case.refused:
        with pytest.raises(UnsupportedError, match="strict"):
            prepared(case, strict=True)
    else:
        assert prepared(case, strict=True).body == done.body


REPLAYED = (
    "extra_content",
    "provider_specific_fields",
    "reasoning_opaque",
    "reasoning_text",
    "thinking_blocks",
)


@pytest.mark.parametrize("name", REPLAYED)
@pytest.mark.parametrize("is_calls", [False, True])
@pytest.mark.parametrize("maker", [LITELLM, "litellm:other", "openrouter:other"])
def test_what_a_service_signed_goes_back_to_its_model(maker: str, is_calls: bool, name: str) -> None:
    """All but `extra_content`, which Gemini's page asks to send back whatever model is next."""
    kept = {name: {"a": 1}, "odd": 2}
    case = Case(LITELLM, turn_of(maker, *(({}, kept) if is_calls else (kept,))), roles, None)
    made = prepared(case)
    turn = json.loads(made.body)["messages"][1]
    holder = turn["tool_calls"][0] if is_calls else turn
    is_sent = maker == LITELLM or (maker.startswith("litellm:") and name == "extra_content")
    assert {key: holder.get(key) for key in kept} == {name: {"a": 1} if is_sent else None, "odd": None}
    place = f"messages[1].content[1].{name}" if is_calls else f"messages[1].{name}"
    assert (place in {d.field for d in made.report.dropped}) is not is_sent
    if maker == "litellm:other" and not is_sent:
        assert [d.reason for d in made.report.dropped] == [
            "what is signed is bound to the model that made it"
        ]


EVERYWHERE = (
    f"bedrock:{CLAUDE}",
    "anthropic:claude-sonnet-5",
    "google:gemini-2.5-flash",
    "google-interactions:gemini-2.5-flash",
    "ollama:m",
    OPENAI,
    "openai-chat:gpt-4o",
    "custom:claude",
    "brainwires:m",
)
"""Every protocol, and services of one."""


def done(model: str, *messages: Message, **request: Any) -> tuple[Any, list[tuple[str, str]]]:
    """The body, and what is reported."""
    made = prepared(Case(model, messages, roles, None, request=request))
    return json.loads(made.body), sorted((d.field, d.outcome) for d in made.report.deviations)


@pytest.mark.parametrize("blank", ["", " ", "\n"])
@pytest.mark.parametrize("role", ["system", "developer"])
@pytest.mark.parametrize("model", EVERYWHERE)
def test_an_instruction_without_text_is_dropped(model: str, role: Any, blank: str) -> None:
    hi, empty = Message.user("Hi"), Message(role, (TextPart(blank),))

    def is_as(usual: tuple[Message, ...], given: tuple[Message, ...], *lost: str, **request: Any) -> None:
        body, report = done(model, *usual)
        assert done(model, *given, **request) == (
            body,
            sorted([*report, *((name, "dropped") for name in lost)]),
        )

    is_as((hi,), (hi,), "system", system=blank)
    is_as((hi,), (empty, hi), "messages[0].content[0]")
    is_as((hi,), (hi, empty), "messages[1].content[0]")
    is_as((hi,), (Message(role, (blank, blank)), hi), "messages[0].content[0]", "messages[0].content[1]")
    is_as((hi,), (Message(role, ()), hi), "messages[0]")
    is_as((Message(role, ("A", "B")), hi), (Message(role, ("A", blank, "B")), hi), "messages[0].content[1]")
    first = Message(role, ("A",))
    is_as((first, hi), (first, empty, hi), "messages[1].content[0]")


BY_ANTHROPIC = Origin("anthropic_messages", "anthropic", "claude-opus-4-5")
BY_GEMINI = Origin("gemini", "google", "gemini-3-pro")
BY_INTERACTIONS = Origin("google_interactions", "google-interactions", "gemini-3-pro")
BY_CONVERSE = Origin("bedrock_converse", "bedrock", "claude-opus-4-5")
BY_OLLAMA = Origin("ollama", "ollama", "gemini-3-pro:cloud")


def call_of(origin: Origin, **extra: Any) -> ToolCallPart:
    return ToolCallPart("call_1", "weather", "{}", extra=extra, origin=origin)


STATES: dict[str, tuple[str, tuple[Any, ...], dict[str, Any] | None]] = {
    "thinking blocks": (
        ".thinking_blocks",
        (TextPart("Yes", origin=made_by(LITELLM)),),
        {"thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "STATE"}]},
    ),
    "fields of LiteLLM's": (
        ".provider_specific_fields",
        (TextPart("Yes", origin=made_by(LITELLM)),),
        {"provider_specific_fields": {"x": "STATE"}},
    ),
    "a call's fields of LiteLLM's": (
        ".content[0].provider_specific_fields",
        (call_of(made_by(LITELLM), provider_specific_fields={"thought_signature": "STATE"}),),
        None,
    ),
    "opaque reasoning": (
        ".reasoning_opaque",
        (TextPart("Yes", origin=made_by("copilot:m")),),
        {"reasoning_opaque": "STATE"},
    ),
    "a call's signature by Chat": (
        ".content[0].extra_content",
        (call_of(made_by("gemini-chat:m"), extra_content={"google": {"thought_signature": "STATE"}}),),
        None,
    ),
    "reasoning details": (
        ".content[0]",
        (
            ReasoningPart(
                "Hm.",
                extra={"fields": ["reasoning_details"], "reasoning_details": [{"data": "STATE"}]},
                origin=made_by("openrouter:m"),
            ),
            TextPart("Yes", origin=made_by("openrouter:m")),
        ),
        None,
    ),
    "a text's signature, Gemini": (
        ".content[0].thoughtSignature",
        (TextPart("Yes", extra={"thoughtSignature": "STATE"}, origin=BY_GEMINI),),
        None,
    ),
    "a call's signature, Gemini": (
        ".content[0].thoughtSignature",
        (call_of(BY_GEMINI, thoughtSignature="STATE"),),
        None,
    ),
    "a picture's signature, Gemini": (
        ".content[0].thoughtSignature",
        (
            ImagePart(
                data=PNG, media_type="image/png", extra={"thoughtSignature": "STATE"}, origin=BY_GEMINI
            ),
            TextPart("Yes", origin=BY_GEMINI),
        ),
        None,
    ),
    "a call's signature, Interactions": (
        ".content[0].signature",
        (call_of(BY_INTERACTIONS, signature="STATE"),),
        None,
    ),
    "a call's signature, Ollama": (
        ".content[0].function.thought_signature",
        (call_of(BY_OLLAMA, function={"thought_signature": "STATE"}),),
        None,
    ),
    **{
        f"thinking by {origin.protocol}": (
            ".content[0]",
            (ReasoningPart("Hm.", signature="STATE", origin=origin), TextPart("Yes", origin=origin)),
            None,
        )
        for origin in (BY_ANTHROPIC, BY_CONVERSE, BY_GEMINI, BY_INTERACTIONS)
    },
    "encrypted reasoning": (
        ".content[0]",
        (ReasoningPart("", encrypted="STATE", origin=BY_OPENAI), TextPart("Yes", origin=BY_OPENAI)),
        None,
    ),
}


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("model", EVERYWHERE)
def test_state_of_another_provider_is_sent_or_reported(model: str, name: str) -> None:
    place, parts, extra = STATES[name]
    tools = (WEATHER,)
    body, report = done(model, Message.user("Hi"), Message("assistant", parts, extra=extra), SUN, tools=tools)
    field = f"messages[1]{place}"
    lost = any(outcome == "dropped" and f"{field}.".startswith(f"{at}.") for at, outcome in report)
    assert lost != ("STATE" in json.dumps(body)), report


HARMLESS = {"id": "x", "index": 0, "status": "completed", "provider_specific_fields": {"refusal": None}}


WORDS_OF_STATE = (
    *("encrypted_content", "extra_content", "provider_specific_fields", "reasoning_details"),
    *("reasoning_opaque", "reasoning_text", "signature", "thinking_blocks", "thoughtSignature"),
    "thought_signature",
)


@pytest.mark.parametrize("name", WORDS_OF_STATE)
def test_every_word_of_state_is_reported_where_it_cannot_go(name: str) -> None:
    """At the part, below one of its fields, and at the message; and only where it holds something."""
    origin = Origin("another", "other", "m")

    def lost(value: Any) -> list[str]:
        extra = {name: value, "odd": {name: value, "more": {name: value}}}
        parts = (TextPart("A", origin=origin), TextPart("B", extra=extra, origin=origin))
        messages = (Message.user("Hi"), Message("assistant", parts, extra=extra), Message.user("And?"))
        return [d.field for d in prepared(Case("openai-chat:m", messages, roles, None)).report.dropped]

    places = [f"{name}", f"odd.{name}", f"odd.more.{name}"]
    told = [f"messages[1]{within}.{place}" for within in (".content[1]", "") for place in places]
    for value in ("x", ["x"], {"a": "x"}, {"a": {"b": 1}}):
        assert lost(value) == told
    for value in ("", [], {}, None, {"a": None}, {"a": {"b": ""}}):
        assert lost(value) == []


@pytest.mark.parametrize(
    ("media_type", "is_text"),
    [
        *((f"application/{name}", True) for name in ("javascript", "json", "toml", "x-yaml", "xml", "yaml")),
        ("text/plain", True),
        (" Text/CSV ; charset=utf-8", True),
        ("application/JSON;x", True),
        ("application/pdf", False),
        ("image/text", False),
        ("", False),
        (None, False),
    ],
)
def test_a_text_file_is_told_by_its_type(media_type: str | None, is_text: bool) -> None:
    assert is_text_file(FilePart(url="u", media_type=media_type)) is is_text


def test_ids_are_made_to_fit_and_stay_the_same() -> None:
    assert short_id("abcdefgh1") == "abcdefgh1"
    for id in ("abcdefgh", "abcdefgh12", "abcdefg-1", "abcdefghé", ""):
        made = short_id(id)
        assert made == short_id(id) != short_id(id + "x")
        assert re.fullmatch("[0-9a-f]{9}", made)
    assert len(short_id("x", 5)) == 5
    assert (wire_id("a-B_9"), wire_id("x" * 70), wire_id("a" * 64, longest=64)) == (
        "a-B_9",
        "x" * 70,
        "a" * 64,
    )
    assert re.fullmatch("a{48}_[0-9a-f]{12}", wire_id("a" * 65, longest=64))
    assert re.fullmatch("a__b_[0-9a-f]{12}", wire_id("a b".replace(" ", "é|")))
    assert re.fullmatch("call_[0-9a-f]{12}", wire_id(""))
    assert re.fullmatch("_bc_[0-9a-f]{12}", wire_id("abc", re.compile("a")))
    ids = {local_id(response, at, name) for response in (None, "r") for at in (0, 1) for name in "fg"}
    assert len(ids) == 8 and all(re.fullmatch("local_[0-9a-f]{24}", id) for id in ids)
    assert local_id("r", 0, "f") == local_id("r", 0, "f")
    assert local_id("r" * 1024, 0, "f") == local_id("r" * 1025, 0, "f") != local_id("r" * 1023, 0, "f")
    assert local_id("", 0, "f") == local_id(None, 0, "f")


@pytest.mark.parametrize("model", EVERYWHERE)
def test_harmless_fields_are_not_reported(model: str) -> None:
    origin = Origin("another", "other", "m")

    def report(extra: dict[str, Any] | None) -> Any:
        parts = (TextPart("Yes", extra=extra, origin=origin), call_of(origin, **(extra or {})))
        return done(
            model, Message.user("Hi"), Message("assistant", parts, extra=extra), SUN, tools=(WEATHER,)
        )

    assert report(HARMLESS) == report(None)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        *((f"bedrock:{CLAUDE}", name) for name in ("a b", LONG_NAME)),
        *(("anthropic:claude-sonnet-5", name) for name in ("a b", 2 * LONG_NAME)),
        *(("openai-chat:m", name) for name in ("a b", LONG_NAME)),
        *((OPENAI, name) for name in ("a b", 2 * LONG_NAME)),
        *(("google:gemini-2.5-flash", name) for name in ("a b", "21st", 2 * LONG_NAME)),
        *(("deepseek:deepseek-chat", name) for name in ("a b", "x.y")),
        *(("deepseek-responses:deepseek-flash", name) for name in ("a b", "x.y")),
        *(("mistral:mistral-large", name) for name in ("a b", "x.y", LONG_NAME)),
        *(("groq:openai/gpt-oss-120b", name) for name in ("a b", "x.y", LONG_NAME)),
        *(("moonshot:kimi-k3", name) for name in ("a b", "x.y", "21st", LONG_NAME)),
    ],
)
def test_a_tool_whose_calls_could_not_bear_its_name_is_refused(model: str, name: str) -> None:
    with pytest.raises(UnsupportedError, match=f"takes no tool named '{re.escape(name)}'"):
        client(model.partition(":")[0]).prepare(
            "Hi", model=model, tools=[Tool(name, "x", {"type": "object"})]
        )


def test_a_conversation_repeats_the_container_of_its_last_answer() -> None:
    bodies: list[Any] = []

    def answer(request: RecordedRequest) -> Answer:
        bodies.append(request.json())
        container = (
            {"id": f"c_{len(bodies)}", "expires_at": "2027-01-01T00:00:00Z"} if len(bodies) < 3 else None
        )
        message = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [{"type": "text", "text": "Yes"}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 1, "output_tokens": 1},
            "container": container,
        }
        return Answer(body=json.dumps(message).encode())

    with ScriptedServer(answer) as server:
        config = ProviderConfig("anthropic", api_key="k", base_url=server.url)
        with Client("anthropic:m", providers=[config]) as own:
            talk = own.conversation()
            for _ in range(4):
                talk.chat("Hi")
            talk.fork().chat("Hi")
            request = Request((Message.user("Hi"),), extra={"container": "by_hand"})
            own.chat(request)
    assert [body.get("container") for body in bodies] == [None, "c_1", "c_2", "c_2", "c_2", "by_hand"]


def test_asking_for_nothing_turns_encrypted_reasoning_off() -> None:
    asked = OpenAIResponsesOptions(include=[])
    body = json.loads(client("openai-responses").prepare("Hi", model=OPENAI, provider_options=asked).body)
    assert "include" not in body


def test_a_text_file_in_another_encoding_is_refused() -> None:
    part = FilePart(data=b"\xff", media_type="text/plain")
    with pytest.raises(UnsupportedError, match="must be UTF-8"):
        client("moonshot").prepare(Message.user(part), model="moonshot:kimi-k3")


INTERACTIONS = "google-interactions:gemini-3-flash-preview"
TEXT_FILES = (
    *("text/plain", "text/csv", "Text/Markdown; charset=utf-8", "APPLICATION/JSON ; charset=utf-8"),
    *(f"application/{name}" for name in ("javascript", "json", "toml", "x-yaml", "xml", "yaml")),
)
OTHER_FILES = ("application/octet-stream", "application/pdf", "application/x-yaml+zip", None)


@pytest.mark.parametrize("model", ["anthropic:m", INTERACTIONS, "ollama:m", "moonshot:kimi-k3"])
def test_a_file_of_text_is_sent_as_text_and_no_other_is(model: str) -> None:
    for media_type in (*TEXT_FILES, *OTHER_FILES):
        part = FilePart(data=b"<words>", media_type=media_type)
        try:
            body = client(model.partition(":")[0]).prepare(Message.user(part), model=model, max_tokens=9).body
        except UnsupportedError:
            body = b""
        is_csv = model == INTERACTIONS and media_type == "text/csv"  # it has documents of that type
        assert (b'"<words>"' in body) is (media_type in TEXT_FILES and not is_csv), media_type


@pytest.mark.parametrize("model", [OPENAI, "openai-chat:gpt-audio"])
def test_sound_has_the_name_of_its_format(model: str) -> None:
    """By `InputAudio.format` of the vendor's package: wav and mp3; services of its shape take others."""
    formats = {"wav": "wav", "x-wav": "wav", "mpeg": "mp3", "mp3": "mp3", "flac": "flac"}
    for media_type, name in formats.items():
        part = FilePart(data=b"x", media_type=f"audio/{media_type}")
        body = json.loads(client(model.partition(":")[0]).prepare(Message.user(part), model=model).body)
        [sent] = body.get("messages", body.get("input"))
        assert sent["content"] == [{"type": "input_audio", "input_audio": {"data": "eA==", "format": name}}]


@pytest.mark.parametrize(
    "model",
    [
        "vertex-anthropic:claude-sonnet-4-5@20250929",
        "bedrock-invoke:anthropic.claude-sonnet-4-5",
        "bedrock-anthropic:anthropic.claude-sonnet-4-5",
    ],
)
def test_a_cloud_has_no_files_of_anthropics(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "a-project")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    part = FilePart(file_id="file_1", media_type="application/pdf")
    with pytest.raises(UnsupportedError, match="no Files API"):
        client(model.partition(":")[0]).prepare(Message.user(part), model=model)


def test_thinking_blocks_of_a_stream_are_gathered() -> None:
    origin = Origin("openai_chat", "litellm", "claude")
    deltas = [chunk({"reasoning_content": "x", "thinking_blocks": [piece]}) for piece in PIECES]
    stream = sse(*deltas, chunk({"content": "Yes"}, "stop"))
    answer = collect(read_body(OpenAIChat(), origin, stream, framing_named("sse"))).message
    body = json.loads(client("litellm").prepare([Message.user("Hi"), answer, NOTE], model=LITELLM).body)
    assert body["messages"][1]["thinking_blocks"] == JOINED
