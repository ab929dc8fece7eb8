"""google-genai and our client, pointed at the same scripted server: the same requests, the same content.

Each case says one request twice, in our words and in google-genai's; what both put on the wire is compared field by
field. `SAME` holds the few ways of saying the same thing that differ.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from brainwires_provider import (
    Client,
    FilePart,
    HostedTool,
    ImagePart,
    JSONSchema,
    Message,
    OpaquePart,
    Reasoning,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)
from brainwires_provider.protocols.gemini import GeminiOptions
from brainwires_provider.testing import Answer, RecordedRequest, ScriptedServer

pytestmark = pytest.mark.long
genai = pytest.importorskip("google.genai")
types = pytest.importorskip("google.genai.types")

MODEL = "gemini-3-flash"
PIXEL = b"\x89PNG\r\n\x1a\n-not-really"
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PERSON = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}
TOOL = Tool("weather", "The weather of a city.", WEATHER)
THEIR_TOOL = {
    "function_declarations": [
        {"name": "weather", "description": "The weather of a city.", "parameters_json_schema": WEATHER}
    ]
}
SIGNATURE = "c2lnbmVk"
USAGE = {
    "promptTokenCount": 9,
    "candidatesTokenCount": 4,
    "thoughtsTokenCount": 2,
    "cachedContentTokenCount": 3,
    "totalTokenCount": 15,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 9}],
}


def answer(*parts: dict[str, Any], finish: str = "STOP", **candidate: Any) -> dict[str, Any]:
    content = {"role": "model", "parts": list(parts)}
    return {
        "candidates": [{"content": content, "finishReason": finish, "index": 0, **candidate}],
        "usageMetadata": USAGE,
        "modelVersion": "gemini-3-flash-001",
        "responseId": "resp-1",
    }


HELLO = answer({"text": "Hello"})
CALLS = answer(
    {"text": "Let me see.", "thought": True},
    {
        "functionCall": {"name": "weather", "args": {"city": "Rome"}, "id": "c1"},
        "thoughtSignature": SIGNATURE,
    },
    {"functionCall": {"name": "weather", "args": {"city": "Oslo"}, "id": "c2"}},
)
CODE = answer(
    {"executableCode": {"language": "PYTHON", "code": "print(6*7)"}},
    {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "42\n"}},
    {"text": "42."},
)
PICTURE = answer({"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}})
GROUNDED = answer(
    {"text": "It rains."},
    groundingMetadata={
        "webSearchQueries": ["rain"],
        "groundingChunks": [{"web": {"uri": "https://example.com", "title": "Rain"}}],
        "groundingSupports": [
            {
                "segment": {"startIndex": 0, "endIndex": 9, "text": "It rains."},
                "groundingChunkIndices": [0],
            }
        ],
    },
)
LOGPROBS = answer(
    {"text": "Hello"},
    avgLogprobs=-0.5,
    logprobsResult={"chosenCandidates": [{"token": "Hello", "tokenId": 7, "logProbability": -0.5}]},
)
BLOCKED = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": USAGE}


@dataclass(frozen=True)
class Case:
    """One request: what we are asked, what google-genai is asked, and the answer. `contents` may follow an answer."""

    ask: Any = "hi"
    args: dict[str, Any] = field(default_factory=dict)
    contents: Any = "hi"
    config: dict[str, Any] = field(default_factory=dict)
    says: dict[str, Any] = field(default_factory=lambda: HELLO)
    model: str = MODEL


def options(**fields: Any) -> dict[str, Any]:
    return {"provider_options": GeminiOptions(**fields)}


def user(*parts: Any) -> list[Any]:
    return [types.Content(role="user", parts=list(parts))]


def blob(data: bytes, kind: str) -> Any:
    return types.Part.from_bytes(data=data, mime_type=kind)


def uri(url: str, kind: str) -> Any:
    return types.Part.from_uri(file_uri=url, mime_type=kind)


SAFETY = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_ONLY_HIGH"}]
CASES = {
    "text": Case(),
    "system": Case(args={"system": "Be brief."}, config={"system_instruction": "Be brief."}),
    "a conversation": Case(
        [Message.user("a"), Message.assistant("b"), Message.user("c")],
        contents=[
            types.Content(role="user", parts=[types.Part(text="a")]),
            types.Content(role="model", parts=[types.Part(text="b")]),
            types.Content(role="user", parts=[types.Part(text="c")]),
        ],
    ),
    "an image": Case(
        Message.user("What?", ImagePart(data=PIXEL)),
        contents=user(types.Part(text="What?"), blob(PIXEL, "image/png")),
    ),
    "a PDF": Case(
        Message.user(FilePart(data=b"%PDF-1"), "Read."),
        contents=user(blob(b"%PDF-1", "application/pdf"), types.Part(text="Read.")),
    ),
    "sound": Case(Message.user(FilePart(data=b"ID3x")), contents=user(blob(b"ID3x", "audio/mpeg"))),
    "a film, from a second on": Case(
        Message.user(
            FilePart(
                url="https://youtu.be/x",
                media_type="video/mp4",
                extra={"videoMetadata": {"startOffset": "3s", "fps": 1.0}},
            )
        ),
        contents=user(
            types.Part(
                file_data=types.FileData(file_uri="https://youtu.be/x", mime_type="video/mp4"),
                video_metadata=types.VideoMetadata(start_offset="3s", fps=1.0),
            )
        ),
    ),
    "an uploaded file": Case(
        Message.user(FilePart(file_id="files/abc", media_type="application/pdf")),
        contents=user(uri("https://generativelanguage.googleapis.com/v1beta/files/abc", "application/pdf")),
    ),
    "sampling": Case(
        args={
            "max_tokens": 50,
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 7,
            "seed": 3,
            "stop": ["END", "###"],
            "presence_penalty": 0.1,
            "frequency_penalty": 0.2,
        },
        config={
            "max_output_tokens": 50,
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 7,
            "seed": 3,
            "stop_sequences": ["END", "###"],
            "presence_penalty": 0.1,
            "frequency_penalty": 0.2,
        },
    ),
    "a thinking level, with summaries": Case(
        args={"reasoning": Reasoning(effort="low", summary="auto")},
        config={"thinking_config": {"thinking_level": "LOW", "include_thoughts": True}},
        says=CALLS,
    ),
    "a thinking budget": Case(
        args={"reasoning": Reasoning(budget_tokens=512)},
        config={"thinking_config": {"thinking_budget": 512}},
        model="gemini-2.5-flash",
    ),
    "no thinking": Case(
        args={"reasoning": "off"},
        config={"thinking_config": {"thinking_budget": 0}},
        model="gemini-2.5-flash",
    ),
    "functions": Case(args={"tools": [TOOL]}, config={"tools": [THEIR_TOOL]}, says=CALLS),
    "a function must be called": Case(
        args={"tools": [TOOL], "tool_choice": ToolChoice.tool("weather")},
        config={
            "tools": [THEIR_TOOL],
            "tool_config": {
                "function_calling_config": {"mode": "ANY", "allowed_function_names": ["weather"]}
            },
        },
        says=CALLS,
    ),
    "no function may be called": Case(
        args={"tools": [TOOL], "tool_choice": "none"},
        config={"tools": [THEIR_TOOL], "tool_config": {"function_calling_config": {"mode": "NONE"}}},
    ),
    "some functions may be called": Case(
        args={"tools": [TOOL], "tool_choice": ToolChoice.allowed("weather")},
        config={
            "tools": [THEIR_TOOL],
            "tool_config": {
                "function_calling_config": {"mode": "VALIDATED", "allowed_function_names": ["weather"]}
            },
        },
    ),
    "any function must be called": Case(
        args={"tools": [TOOL], "tool_choice": "required"},
        config={"tools": [THEIR_TOOL], "tool_config": {"function_calling_config": {"mode": "ANY"}}},
        says=CALLS,
    ),
    "JSON": Case(args={"output": "json"}, config={"response_mime_type": "application/json"}),
    "JSON by a schema": Case(
        args={"output": JSONSchema("person", PERSON)},
        config={"response_mime_type": "application/json", "response_json_schema": PERSON},
        says=answer({"text": '{"name": "Ada", "age": 36}'}),
    ),
    "safety settings": Case(
        args=options(safetySettings=SAFETY), config={"safety_settings": SAFETY}, says=answer(finish="SAFETY")
    ),
    "search": Case(
        args={"tools": [HostedTool("googleSearch")]},
        config={"tools": [{"google_search": {}}]},
        says=GROUNDED,
    ),
    "maps, from a place": Case(
        args={
            "tools": [HostedTool("googleMaps")],
            **options(toolConfig={"retrievalConfig": {"latLng": {"latitude": 1.5, "longitude": 2.5}}}),
        },
        config={
            "tools": [{"google_maps": {}}],
            "tool_config": {"retrieval_config": {"lat_lng": {"latitude": 1.5, "longitude": 2.5}}},
        },
    ),
    "URL context": Case(args={"tools": [HostedTool("urlContext")]}, config={"tools": [{"url_context": {}}]}),
    "code execution": Case(
        args={"tools": [HostedTool("codeExecution")]},
        config={"tools": [{"code_execution": {}}]},
        says=CODE,
    ),
    "file search": Case(
        args={"tools": [HostedTool("fileSearch", {"fileSearchStoreNames": ["fileSearchStores/a"]})]},
        config={"tools": [{"file_search": {"file_search_store_names": ["fileSearchStores/a"]}}]},
    ),
    "computer use": Case(
        args={"tools": [HostedTool("computerUse", {"environment": "ENVIRONMENT_BROWSER"})]},
        config={"tools": [{"computer_use": {"environment": "ENVIRONMENT_BROWSER"}}]},
    ),
    "functions beside a hosted tool": Case(
        args={
            "tools": [TOOL, HostedTool("googleSearch")],
            **options(toolConfig={"includeServerSideToolInvocations": True}),
        },
        config={
            "tools": [THEIR_TOOL, {"google_search": {}}],
            "tool_config": {"include_server_side_tool_invocations": True},
        },
        says=CALLS,
    ),
    "cached content": Case(
        args=options(cachedContent="cachedContents/a"), config={"cached_content": "cachedContents/a"}
    ),
    "logprobs": Case(
        args=options(responseLogprobs=True, logprobs=2),
        config={"response_logprobs": True, "logprobs": 2},
        says=LOGPROBS,
    ),
    "an image out": Case(
        args=options(responseModalities=["TEXT", "IMAGE"], imageConfig={"aspectRatio": "16:9"}),
        config={"response_modalities": ["TEXT", "IMAGE"], "image_config": {"aspect_ratio": "16:9"}},
        says=PICTURE,
    ),
    "sound out": Case(
        args=options(
            responseModalities=["AUDIO"],
            speechConfig={"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}},
        ),
        config={
            "response_modalities": ["AUDIO"],
            "speech_config": {"voice_config": {"prebuilt_voice_config": {"voice_name": "Kore"}}},
        },
        says=answer({"inlineData": {"mimeType": "audio/L16;rate=24000", "data": "AAEC"}}),
    ),
    "resolution and candidates": Case(
        args=options(mediaResolution="MEDIA_RESOLUTION_LOW", candidateCount=2),
        config={"media_resolution": "MEDIA_RESOLUTION_LOW", "candidate_count": 2},
    ),
    "a service tier": Case(
        args=options(serviceTier="flex", store=False), config={"service_tier": "flex", "store": False}
    ),
    "calls and results by hand": Case(
        [
            Message.user("?"),
            Message.assistant(
                ToolCallPart("c1", "weather", '{"city": "Rome"}', extra={"thoughtSignature": SIGNATURE})
            ),
            Message.tool_result("c1", OpaquePart("response", {"sky": "blue"})),
        ],
        contents=[
            types.Content(role="user", parts=[types.Part(text="?")]),
            types.Content(
                role="model",
                parts=[
                    types.Part(
                        function_call=types.FunctionCall(id="c1", name="weather", args={"city": "Rome"}),
                        thought_signature=b"signed",
                    )
                ],
            ),
            types.Content(
                role="user",
                parts=[
                    types.Part(
                        function_response=types.FunctionResponse(
                            id="c1", name="weather", response={"sky": "blue"}
                        )
                    )
                ],
            ),
        ],
    ),
    "a result that is an error, and one with an image": Case(
        [
            Message.user("?"),
            Message.assistant(
                ToolCallPart("c1", "weather", "{}", extra={"thoughtSignature": SIGNATURE}),
                ToolCallPart("c2", "weather", "{}"),
            ),
            Message.tool_result("c1", "no such city", is_error=True),
            Message("tool", (ToolResultPart("c2", ("see", ImagePart(data=PIXEL))),)),  # type: ignore[arg-type]
        ],
        contents=[
            types.Content(role="user", parts=[types.Part(text="?")]),
            types.Content(
                role="model",
                parts=[
                    types.Part(
                        function_call=types.FunctionCall(id="c1", name="weather", args={}),
                        thought_signature=b"signed",
                    ),
                    types.Part(function_call=types.FunctionCall(id="c2", name="weather", args={})),
                ],
            ),
            types.Content(
                role="user",
                parts=[
                    types.Part(
                        function_response=types.FunctionResponse(
                            id="c1", name="weather", response={"error": "no such city"}
                        )
                    ),
                    types.Part(
                        function_response=types.FunctionResponse(
                            id="c2",
                            name="weather",
                            response={"output": "see"},
                            parts=[
                                types.FunctionResponsePart(
                                    inline_data=types.FunctionResponseBlob(mime_type="image/png", data=PIXEL)
                                )
                            ],
                        )
                    ),
                ],
            ),
        ],
    ),
    "a blocked prompt": Case(says=BLOCKED),
}


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[ScriptedServer, list[dict[str, Any]]]]:
    """Gives each case's answer, streamed where it is asked for so."""
    says: list[dict[str, Any]] = [HELLO]

    def reply(request: RecordedRequest) -> Answer:
        body = json.dumps(says[0]).encode()
        if "streamGenerateContent" in request.path:
            return Answer(200, {"content-type": "text/event-stream"}, b"data: " + body + b"\r\n\r\n")
        return Answer(200, {"content-type": "application/json"}, body)

    with ScriptedServer(reply) as running:
        yield running, says


@pytest.fixture(scope="module")
def theirs(server: Any) -> Iterator[Any]:
    options = types.HttpOptions(base_url=server[0].url, api_version="v1beta")
    client = genai.Client(api_key="sk-planted", http_options=options)
    yield client
    client.close()


@pytest.fixture(scope="module")
def ours(server: Any) -> Iterator[Client]:
    with Client(
        f"google:{MODEL}", base_url=f"{server[0].url}/v1beta", api_key="sk-planted", proxy=None
    ) as client:
        yield client


def their_config(case: Case) -> Any:
    return types.GenerateContentConfig(
        **case.config, automatic_function_calling={"disable": True}, automatic_continuation=False
    )


def same(request: RecordedRequest) -> Any:
    """A request without what google-genai says and that says nothing."""
    body = request.json() if request.body else None
    if isinstance(body, dict):
        body.get("systemInstruction", {}).pop("role", None)  # an instruction has no speaker
        if body.get("generationConfig") == {}:
            del body["generationConfig"]
        body.get("tools", []).sort(key=sorted)  # google-genai puts functions last
    return request.method, request.path, request.query, request.header("x-goog-api-key"), canonical(body)


def canonical(value: Any) -> Any:
    """google-genai mixes two spellings of names, and writes bytes in the other alphabet of base64: both are JSON's."""
    if isinstance(value, dict):
        named = {re.sub(r"_([a-z])", lambda m: m[1].upper(), name): inner for name, inner in value.items()}
        return {
            name: _plain(inner) if name in ("data", "thoughtSignature") else canonical(inner)
            for name, inner in named.items()
        }
    return [canonical(inner) for inner in value] if isinstance(value, list) else value


def _plain(text: str) -> str:
    return text.replace("-", "+").replace("_", "/")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", CASES)
def test_the_same_request_and_the_same_content(
    name: str, stream: bool, server: Any, ours: Client, theirs: Any
) -> None:
    case, (scripted, says) = CASES[name], server
    says[0] = case.says
    asked = {"model": case.model, "contents": case.contents, "config": their_config(case)}
    if stream:
        [told] = list(theirs.models.generate_content_stream(**asked))
    else:
        told = theirs.models.generate_content(**asked)
    args = {"model": f"google:{case.model}", **case.args}
    response = ours.stream(case.ask, **args).collect() if stream else ours.chat(case.ask, **args)

    their_request, our_request = scripted.requests[-2:]
    assert same(our_request) == same(their_request)
    assert "sk-planted" not in our_request.target
    compare(response, told)


def compare(response: Any, told: Any) -> None:
    candidate = told.candidates[0] if told.candidates else None
    parts = (candidate.content.parts if candidate and candidate.content else None) or []
    thoughts = "".join(p.text for p in parts if p.text and p.thought)
    assert response.text == "".join(p.text for p in parts if p.text and not p.thought)
    assert response.reasoning == thoughts
    assert [(c.id, c.name, c.args()) for c in response.tool_calls] == [
        (p.function_call.id, p.function_call.name, p.function_call.args) for p in parts if p.function_call
    ]
    media = [p for p in response.message.content if isinstance(p, (ImagePart, FilePart))]
    assert [(p.media_type, p.data) for p in media] == [
        (p.inline_data.mime_type, p.inline_data.data) for p in parts if p.inline_data
    ]
    opaque = [p.data for p in response.message.content if isinstance(p, OpaquePart)]
    assert [o.get("executableCode", {}).get("code") for o in opaque if "executableCode" in o] == [
        p.executable_code.code for p in parts if p.executable_code
    ]
    assert [o["codeExecutionResult"]["output"] for o in opaque if "codeExecutionResult" in o] == [
        p.code_execution_result.output for p in parts if p.code_execution_result
    ]
    reason = candidate.finish_reason if candidate else told.prompt_feedback.block_reason
    assert response.raw_finish_reason == reason.value
    assert (response.id, response.model) == (told.response_id, told.model_version)
    usage = told.usage_metadata
    assert (response.usage.total_tokens, response.usage.cache_read, response.usage.reasoning) == (
        usage.total_token_count,
        usage.cached_content_token_count,
        usage.thoughts_token_count,
    )
    for ours, wire in (("grounding_metadata", "groundingMetadata"), ("logprobs_result", "logprobsResult")):
        value = getattr(candidate, ours, None)
        dumped = value and value.model_dump(mode="json", by_alias=True, exclude_none=True)
        assert response.extra.get(wire) == dumped
    chunks = (
        candidate.grounding_metadata.grounding_chunks if candidate and candidate.grounding_metadata else []
    )
    assert [(c.url, c.title) for c in response.citations] == [(c.web.uri, c.web.title) for c in chunks]


def test_a_turn_goes_back_as_google_genai_sends_it_back(server: Any, ours: Client, theirs: Any) -> None:
    """Thoughts, signatures, parallel calls and code, each in the place where it came."""
    scripted, says = server
    for first in (CALLS, CODE, PICTURE, HELLO):
        says[0] = first
        told = theirs.models.generate_content(model=MODEL, contents="hi")
        response = ours.chat("hi")
        calls = [p.function_call for p in told.candidates[0].content.parts if p.function_call]
        results = [
            types.Part(
                function_response=types.FunctionResponse(id=c.id, name=c.name, response={"output": "sun"})
            )
            for c in calls
        ] or [types.Part(text="on")]
        says[0] = HELLO
        theirs.models.generate_content(
            model=MODEL,
            contents=[
                types.Content(role="user", parts=[types.Part(text="hi")]),
                told.candidates[0].content,
                types.Content(role="user", parts=results),
            ],
        )
        more = [Message.tool_result(call, "sun") for call in response.tool_calls] or [Message.user("on")]
        ours.chat([Message.user("hi"), response.message, *more])
        their_request, our_request = scripted.requests[-2:]
        assert same(our_request) == same(their_request)


def test_tokens_are_counted_and_models_listed_as_by_google_genai(
    server: Any, ours: Client, theirs: Any
) -> None:
    scripted, says = server
    says[0] = {"totalTokens": 7, "cachedContentTokenCount": 2}
    told = theirs.models.count_tokens(model=MODEL, contents="hi")
    counted = ours.count_tokens("hi")
    their_request, our_request = scripted.requests[-2:]
    assert counted.input_tokens == told.total_tokens == 7
    assert our_request.path == their_request.path
    # Ours holds the whole request, so that tools and the system's words count too.
    assert our_request.json() == {
        "generateContentRequest": {"model": f"models/{MODEL}", **their_request.json()}
    }

    entry = {
        "name": "models/gemini-3-flash",
        "displayName": "Gemini 3 Flash",
        "inputTokenLimit": 1048576,
        "outputTokenLimit": 65536,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
    }
    says[0] = {"models": [entry]}
    [model] = ours.models("google")
    [listed] = list(theirs.models.list())
    assert (model.display_name, model.context_window, model.max_output_tokens) == (
        listed.display_name,
        listed.input_token_limit,
        listed.output_token_limit,
    )
    assert model.raw is not None and model.raw["supportedGenerationMethods"] == listed.supported_actions
    assert model.id == "gemini-3-flash"


def test_the_cases_are_enough() -> None:
    assert len(CASES) >= 25
