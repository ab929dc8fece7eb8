"""What other clients' tests ask for, in their own forms, as our requests.

The forms are vercel/ai's prompts, LangChain's messages and OpenAI's. `NotOurs` says why a case has no counterpart
here: a value that only that client has, or that is refused when it is made.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from brainwires_provider import (
    AnthropicOptions,
    GeminiOptions,
    OpenAIChatOptions,
    OpenAIResponsesOptions,
    ProviderOptions,
)
from brainwires_provider.types import (
    Cache,
    FilePart,
    ImagePart,
    JSONSchema,
    Message,
    Options,
    Origin,
    ReasoningPart,
    Request,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)

Body = dict[str, Any]
_OPTIONS = {
    "maxOutputTokens": "max_tokens",
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "seed": "seed",
    "stopSequences": "stop",
    "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty",
    "reasoning": "reasoning",
}
_EFFORTS = {"none": "off", "xhigh": "max", "provider-default": None}
_SKIPPED = ("prompt", "headers", "includeRawChunks", "abortSignal")


class NotOurs(Exception):
    """The case has no counterpart here; the message says why."""


# -- vercel/ai -------------------------------------------------------------------------------------------------


def of_vercel(case: Body) -> Request:
    """The request that a case of vercel/ai's language-model specification describes."""
    given = case["request"]
    options: Body = {}
    if given.get("providerOptions"):
        options["provider_options"] = _provider_options(given["providerOptions"], case["protocol"])
    for name, value in given.items():
        if name in _OPTIONS and value is not None:
            options[_OPTIONS[name]] = _EFFORTS.get(value, value) if name == "reasoning" else value
        elif name not in (*_SKIPPED, "tools", "toolChoice", "responseFormat", "providerOptions"):
            raise NotOurs(f"it has an argument {name}")
    origin = Origin(case["protocol"], case["row"], case["model"])
    return Request(
        vercel_messages(given["prompt"], origin),
        tools=tuple(map(_tool, given.get("tools") or ())),
        tool_choice=_choice(given.get("toolChoice")),
        output=_output(given.get("responseFormat")),
        options=Options(**options),
    )


_OWN: dict[str, type[ProviderOptions]] = {
    "anthropic_messages": AnthropicOptions,
    "gemini": GeminiOptions,
    "openai_chat": OpenAIChatOptions,
    "openai_responses": OpenAIResponsesOptions,
}


def _provider_options(given: Body, protocol: str) -> ProviderOptions:
    """The options of a protocol, whose names there are the API's own in another notation."""
    kind = _OWN.get(protocol)
    fields: Body = {}
    for options in given.values():
        for name, value in (options or {}).items():
            own = name if kind is GeminiOptions else _snake(name)
            if kind is OpenAIResponsesOptions and own in ("reasoning_effort", "reasoning_summary"):
                fields["reasoning"] = {**fields.get("reasoning", {}), own.partition("_")[2]: value}
            elif kind is None or own not in kind.__struct_fields__:
                raise NotOurs("it sets that client's provider options")
            else:
                fields[own] = _snaked(value) if kind is AnthropicOptions else value
    assert kind is not None
    return kind(**fields)


def _snake(name: str) -> str:
    return re.sub("[A-Z]", lambda upper: "_" + upper[0].lower(), name)


def _snaked(value: Any) -> Any:
    if isinstance(value, list):
        return [_snaked(each) for each in value]
    return {_snake(n): _snaked(v) for n, v in value.items()} if isinstance(value, dict) else value


def vercel_messages(prompt: Any, origin: Origin) -> tuple[Message, ...]:
    if isinstance(prompt, str):
        raise NotOurs("its prompt is no list of messages")
    messages = []
    for message in prompt:
        role, content = message["role"], message["content"]
        parts = [TextPart(content)] if isinstance(content, str) else [_part(p, role, origin) for p in content]
        mark, rest = _own_options(message.get("providerOptions"))
        if rest:
            raise NotOurs("it sets that client's provider options on a message")
        if mark is not None and parts:
            parts[-1] = replace(parts[-1], cache=mark)
        messages.append(Message(role, tuple(parts)))
    return tuple(messages)


def _own_options(options: Any) -> tuple[Cache | None, Body]:
    """The cache mark that provider options are, and the rest of them."""
    mark: Cache | None = None
    rest: Body = {}
    for provider, given in (options or {}).items():
        for name, value in (given or {}).items():
            if name in ("cacheControl", "cache_control", "cachePoint") and isinstance(value, dict):
                mark = Cache(value.get("ttl"))
            elif provider in ("anthropic", "bedrock", "amazonBedrock") and value is not None:
                rest[name] = value
            elif value is not None:
                rest[f"{provider}.{name}"] = value
    return mark, rest


def _part(part: Body, role: str, origin: Origin | None) -> Any:
    mark, rest = _own_options(part.get("providerOptions") or part.get("providerMetadata"))
    signature = rest.pop("signature", None)
    encrypted = rest.pop("redactedData", None)
    if rest or (part["type"] != "reasoning" and (signature or encrypted)):
        raise NotOurs("it sets that client's provider options on a part")
    if part["type"] == "reasoning":
        is_chat = origin is not None and origin.protocol == "openai_chat"
        extra = {"fields": ["reasoning_content"]} if is_chat else None
        redacted = encrypted is not None
        return ReasoningPart(part["text"], (), signature, encrypted, redacted, mark, extra, origin)
    made = _plain_part(part, role)
    return made if mark is None else replace(made, cache=mark)


def _plain_part(part: Body, role: str) -> Any:
    match part["type"]:
        case "text":
            return TextPart(part["text"])
        case "file":
            return _file(part)
        case "tool-call":
            if part.get("providerExecuted"):
                raise NotOurs("it has a call that the provider ran")
            given = part.get("input", "")
            text = given if isinstance(given, str) else json.dumps(given, separators=(",", ":"))
            return ToolCallPart(part["toolCallId"], part["toolName"], text)
        case "tool-result":
            return _result(part)
    raise NotOurs(f"it has a part {part['type']}")


def _file(part: Body) -> Any:
    data = part["data"]
    media_type = part["mediaType"]
    kind = ImagePart if media_type.startswith("image") else FilePart
    name = {} if kind is ImagePart or not part.get("filename") else {"name": part["filename"]}
    if "*" in media_type or "/" not in media_type:
        media_type = None if kind is ImagePart else media_type.replace("*", "mp4")
    where = data.get("type") if isinstance(data, dict) else "data"
    if where == "data":
        inner = data["data"] if isinstance(data, dict) else data
        coded = inner.get("__b64") if isinstance(inner, dict) else inner
        try:
            decoded = base64.b64decode(coded, validate=True)
        except (TypeError, ValueError):
            raise NotOurs("its data is no bytes") from None
        return kind(data=decoded, media_type=media_type or "image/png", **name)
    if where == "url":
        url = data["url"]
        return kind(url=url["__url"] if isinstance(url, dict) else url, media_type=media_type, **name)
    if where == "text":
        return FilePart(data=data["text"].encode(), media_type=media_type, **name)
    raise NotOurs(f"a file by {where}")


def _result(part: Body) -> ToolResultPart:
    output = part["output"]
    kind, value = output["type"], output.get("value")
    is_error = kind.startswith("error")
    if kind in ("text", "error-text"):
        content: Any = (TextPart(value),)
    elif kind in ("json", "error-json"):
        content = (TextPart(json.dumps(value, separators=(",", ":"), ensure_ascii=False)),)
    elif kind == "content":
        content = tuple(_part(p, "tool", None) for p in value)
    else:
        raise NotOurs(f"a tool's result of kind {kind}")
    return ToolResultPart(part["toolCallId"], content, is_error=is_error, name=part["toolName"])


def _tool(tool: Body) -> Any:
    if tool["type"] != "function" or tool.get("providerOptions"):
        raise NotOurs("it has a tool of that client's form for hosted tools")
    return Tool(tool["name"], tool.get("description") or "", tool["inputSchema"], tool.get("strict"))


def _choice(choice: Any) -> ToolChoice | None:
    if choice is None:
        return None
    return ToolChoice.tool(choice["toolName"]) if choice["type"] == "tool" else ToolChoice(choice["type"])


def _output(form: Any) -> Any:
    if form is None or form["type"] == "text":
        return None
    if form.get("schema") is None:
        return "json"
    return JSONSchema(form.get("name") or "response", form["schema"], form.get("description"))


# -- vercel/ai's functions ---------------------------------------------------------------------------------------

# By function: our provider, its model, and where the prompt and the result are.
CONVERTERS: dict[str, tuple[str, str]] = {
    "convertToAlibabaChatMessages": ("alibaba", "qwen3"),
    "convertToAmazonBedrockChatMessages": ("bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
    "convertToAnthropicPrompt": ("anthropic", "claude-sonnet-4-5"),
    "convertToDeepSeekChatMessages": ("deepseek", "deepseek-chat"),
    "convertToGoogleMessages": ("google", "gemini-2.5-flash"),
    "convertToGroqChatMessages": ("groq", "llama-3.3-70b-versatile"),
    "convertToHuggingFaceResponsesMessages": ("openai-responses", "gpt-4o"),
    "convertToMistralChatMessages": ("mistral", "mistral-small-latest"),
    "convertToMoonshotAIChatMessages": ("moonshot", "kimi-k3"),
    "convertToOpenAIChatMessages": ("openai-chat", "gpt-4o"),
    "convertToOpenAICompatibleChatMessages": ("custom", "m"),
    "convertToOpenAIResponsesInput": ("openai-responses", "gpt-4o"),
    "convertToOpenResponsesInput": ("openai-responses", "gpt-4o"),
    "convertToPerplexityMessages": ("perplexity", "sonar"),
    "convertToXaiChatMessages": ("custom", "grok-3"),
    "convertToXaiResponsesInput": ("xai", "grok-4"),
}
_RESULTS = ("prompt", "messages", "input", "contents", "system", "systemInstruction", "instructions")


TOOLS = {
    "vercel:alibaba": ("alibaba", "qwen3"),
    "vercel:amazon-bedrock": ("bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
    "vercel:anthropic": ("anthropic", "claude-sonnet-4-5"),
    "vercel:deepseek": ("deepseek", "deepseek-chat"),
    "vercel:google": ("google", "gemini-2.5-flash"),
    "vercel:groq": ("groq", "llama-3.3-70b-versatile"),
    "vercel:mistral": ("mistral", "mistral-small-latest"),
    "vercel:openai": ("openai-chat", "gpt-4o"),
    "vercel:openai-compatible": ("custom", "m"),
    "vercel:xai": ("custom", "grok-3"),
}
RESPONSES_TOOLS = {"vercel:openai": ("openai-responses", "gpt-4o"), "vercel:xai": ("xai", "grok-4")}


def of_tools(case: Body) -> tuple[str, str, Request, Body]:
    """As `of_function`, of the functions that convert tools."""
    table = RESPONSES_TOOLS if case["name"] == "prepareResponsesTools" else TOOLS
    if case["suite"] not in table:
        raise NotOurs(f"a function of another kind: {case['name']}")
    if case.get("error") or case["expected"] is None:
        raise NotOurs("that client refuses it")
    provider, model = table[case["suite"]]
    given = case["args"][0] if case["args"] else {}
    tools = tuple(map(_tool, given.get("tools") or ()))
    request = Request((Message.user("Hi"),), tools=tools, tool_choice=_choice(given.get("toolChoice")))
    choice = "toolConfig" if provider in ("google", "bedrock") else "tool_choice"
    expected = {"tools": case["expected"].get("tools")}
    if provider == "bedrock":
        expected = {}
    expected[choice] = case["expected"].get("toolConfig") or case["expected"].get("toolChoice")
    return provider, given.get("modelId") or model, request, expected


def of_function(case: Body, protocol: str) -> tuple[str, str, Request, Body]:
    """Provider, model, request, and the part of the body that a conversion function of vercel/ai gives."""
    if case["name"].startswith("prepare"):
        return of_tools(case)
    if case["name"] not in CONVERTERS:
        raise NotOurs(f"a function of another kind: {case['name']}")
    if case.get("error") or case["expected"] is None:
        raise NotOurs("that client refuses it")
    provider, model = CONVERTERS[case["name"]]
    (given, *_) = case["args"]
    prompt = given["prompt"] if isinstance(given, dict) else given
    expected = case["expected"]
    if isinstance(expected, list):
        expected = {"messages": expected}
    expected = expected.get("prompt") or expected
    wanted = {name: value for name, value in expected.items() if name in _RESULTS}
    return provider, model, Request(vercel_messages(prompt, Origin(protocol, provider, model))), wanted


# -- OpenAI's and LangChain's messages -------------------------------------------------------------------------


def of_openai(case: Body) -> Request:
    return Request(tuple(_openai_message(m) for m in case["messages"]))


def _openai_message(message: Body) -> Message:
    role, content = message["role"], message.get("content")
    if role == "tool":
        return Message(
            "tool", (ToolResultPart(message["tool_call_id"], content or "", name=message.get("name")),)
        )
    parts: list[Any] = (
        [] if content is None else [content] if isinstance(content, str) else [*map(_piece, content)]
    )
    for call in message.get("tool_calls") or ():
        function = call["function"]
        parts.append(ToolCallPart(call["id"], function["name"], function["arguments"]))
    return Message(role, tuple(parts), message.get("name"))


def _piece(piece: Any) -> Any:
    if isinstance(piece, str):
        return TextPart(piece)
    match piece.get("type"):
        case "text" if piece.keys() == {"type", "text"}:
            return TextPart(piece["text"])
        case "image_url":
            url = piece["image_url"]
            return ImagePart(url=url["url"] if isinstance(url, dict) else url)
    raise NotOurs(f"it has a content item {piece.get('type')} of a service's own form")


def of_langchain(case: Body) -> Request:
    return Request(tuple(_langchain_message(m) for m in case["messages"]))


_LANGCHAIN_ROLES = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool"}


def _langchain_message(message: Body) -> Message:
    role = _LANGCHAIN_ROLES.get(message["type"])
    if role is None or message.get("additional_kwargs"):
        raise NotOurs(f"a message of kind {message['type']} with that client's own fields")
    content = message["content"]
    parts: list[Any] = [content] if isinstance(content, str) else [*map(_piece, content)]
    if role == "tool":
        result = ToolResultPart(
            message["tool_call_id"], tuple(parts), is_error=message.get("status") == "error"
        )
        return Message("tool", (result,))
    if role == "assistant" and parts == [""] and message.get("tool_calls"):
        parts = []
    for call in message.get("tool_calls") or ():
        parts.append(ToolCallPart(call["id"], call["name"], json.dumps(call["args"], separators=(",", ":"))))
    return Message(role, tuple(parts), message.get("name"))


# -- what is only notation --------------------------------------------------------------------------------------


def alike(value: Any) -> Any:
    """A body with what is only notation evened out, so that two clients' can be compared.

    Absent, null and empty are one; a single text and a list of it; JSON in a text is compared as JSON; a result that
    did not fail says nothing of that; Responses' instructions are its first item.
    """
    if isinstance(value, list):
        return [alike(each) for each in value]
    if not isinstance(value, dict):
        return value
    body = {name: _member(name, inner) for name, inner in value.items()}
    body = {name: inner for name, inner in body.items() if inner not in (None, [], "", {})}
    if isinstance(body.get("content"), list) and len(body["content"]) == 1:
        (only,) = body["content"]
        texts = only.keys() - {"annotations"} if isinstance(only, dict) else ()
        if texts and texts <= {"type", "text"} and "text" in only:
            body["content"] = only["text"]
    if "role" in body and body.get("type") == "message":
        del body["type"]
    if body.get("strict") is False:
        del body["strict"]
    if body.get("status") == "success" or body.get("is_error") is False:
        body = {name: inner for name, inner in body.items() if name not in ("status", "is_error")}
    if "instructions" in body:
        first = {"role": "system", "content": body.pop("instructions")}
        body["input"] = [first, *body.get("input", [])]
    if isinstance(body.get("input"), list):
        body["input"] = [
            {**i, "role": "system"} if i.get("role") == "developer" else i for i in body["input"]
        ]
    return body


def _member(name: str, value: Any) -> Any:
    if name in ("arguments", "output", "content") and isinstance(value, str):
        try:
            return json.loads(value) if value[:1] in "{[" else value
        except ValueError:
            return value
    if name == "image_url" and isinstance(value, dict) and value.keys() == {"url"}:
        return value["url"]
    return alike(value)


def differences(ours: Body, theirs: Body, *, only: bool) -> list[str]:
    """The members that differ; with `only`, of those that theirs has."""
    ours, theirs = alike(ours), alike(theirs)
    names = theirs.keys() if only else ours.keys() | theirs.keys()
    return sorted(name for name in names if ours.get(name) != theirs.get(name))


FORMS: dict[str | None, Callable[[Body], Request]] = {
    None: of_vercel,
    "lc": of_langchain,
    "openai": of_openai,
}
