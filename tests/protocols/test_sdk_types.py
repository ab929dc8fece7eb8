"""Every body of the fixtures and of the services' rules, held to the types that the vendors' SDKs declare.

`ALLOWED` has what a fixture sends on purpose that a type does not have, with the reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from test_message_rules import CASES as RULES
from test_message_rules import prepared

from fixture_cases import PROTOCOLS, called, cases
from sdk_types import faults

pytestmark = pytest.mark.long

OWN = "the caller's own field, sent as it is given"
NOVEL = "an item of a kind that is not known, sent back as it came"
OLD_MODELS = "a field of older models, which the SDK takes by version 2023-06-01 only"
SERVICES = "a field of another service behind the same protocol"
BASE64 = "the Python type encodes; the API takes base64"
SERVERS_OWN = "a field that the server sent with the call, and that its API documents"
PIECES = "https://github.com/openai/openai-openapi/issues/475 (2026-09): the API takes a model's pieces without an id"
ALLOWED: tuple[tuple[str, str, str], ...] = (
    ("request_media", r".messages\[0\].content\[6\].citations", OWN),
    ("request_options", r".(temperature|top_p|top_k)", OLD_MODELS),
    ("request_reasoning_effort", ".temperature", OLD_MODELS),
    ("request_own_options", ".context_management", "a beta field, declared in the SDK's beta types"),
    ("ask_own_fields", ".(cachedContent|labels)", "fields of the request that the SDK keeps in its config"),
    ("ask_replay", r".contents\[1\].parts\[2\].functionCall.flavour", NOVEL),
    (
        "request_options_merged",
        ".(shift|truncate)",
        "https://docs.ollama.com/api/chat has them, the SDK not yet",
    ),
    ("request_tools", r".tools\[1\].items", OWN),
    ("request_foreign_parts", r".messages\[2\].(images|content\[0\].*)", SERVICES),
    ("request_media", r".messages\[0\].content\[6\].(type|a)", NOVEL),
    ("request_reasoning_back", r".messages\[0\].(reasoning.*|extra_content)", SERVICES),
    ("request_reasoning_back", r".messages\[1\].content\[0\].*", SERVICES),
    ("request_roles", r".messages\[3\].weight", OWN),
    ("request_tool_turn", r".messages\[1\].tool_calls\[0\].extra_content", SERVICES),
    ("request_tool_turn", r".messages\[4\].name", OWN),
    ("request_tools", r".tools\[[12]\].(x|type|size)", OWN),
    ("request_assistant_own", r".input\[2\].content\[2\].type", NOVEL),
    ("request_media", r".input\[0\].content\[(9|8)\].*", "ResponseInputAudio, which no union of the SDK has"),
    ("request_media", r".input\[0\].content\[1[12]\].*", NOVEL),
    ("request_system_with_fields", r".input\[[01]\].[xy]", OWN),
    ("tool_choice_hosted", r".tool_choice.type", "a hosted tool that is newer than the SDK"),
    ("request_foreign_parts|request_media|request_tool_turn", r".messages\[\d\].images\[\d\]", BASE64),
    ("request_thinking_back_reported", r".messages\[1\].mood", OWN),
    ("request_tool_turn", r".messages\[1\].tool_calls\[\d\].(id|x|function.index)", SERVERS_OWN),
    ("request_tool_turn", r".messages\[\d\].(tool_call_id|z)", SERVERS_OWN),
    ("a note .*, Ollama", r".messages\[\d\].(tool_calls\[0\].id|tool_call_id)", SERVERS_OWN),
    ("request_media", r".messages\[0\].content\[6\]", NOVEL),
    ("request_options", ".audio", "the fixture gives half of the object"),
    ("request_tools", r".tools\[2\]", OWN),
    ("request_answers", r".input\[\d+\].*", "the fixture's calls have arguments of a line"),
    ("request_assistant_(other_model|plain)", r".input\[\d\].content\[\d\].*", PIECES),
    ("another service's ids, Responses", r".input\[1\].content\[0\].*", PIECES),
    ("request_assistant_own", r".input\[2\].content\[2\]", NOVEL),
    ("own_fields|request_.*|tool_choice_.*", r".*\.novel", OWN),
    ("own_tool_choice_alone", ".toolConfig.tools", OWN),
    ("request_media", r".input\[0\].content\[[23]\]", "`detail` has a default, which the type does not show"),
    ("ask_results_of_objects", r".input\[2\].result.sun", "the SDK's type of any object has no fields"),
    ("nulls, Responses", r".input\[2\]", "the service's own item had a null as its status"),
)


def _chat(body: Any, stream: bool) -> list[str]:
    params = pytest.importorskip("openai.types.chat.completion_create_params")
    kind = params.CompletionCreateParamsStreaming if stream else params.CompletionCreateParamsNonStreaming
    return faults(body, kind)


def _responses(body: Any, stream: bool) -> list[str]:
    params = pytest.importorskip("openai.types.responses.response_create_params")
    kind = params.ResponseCreateParamsStreaming if stream else params.ResponseCreateParamsNonStreaming
    return faults(body, kind)


def _messages(body: Any, stream: bool) -> list[str]:
    params = pytest.importorskip("anthropic.types.message_create_params")
    kind = params.MessageCreateParamsStreaming if stream else params.MessageCreateParamsNonStreaming
    return faults(body, kind)


def _gemini(body: Any, stream: bool) -> list[str]:
    """The SDK's types are of the members; the whole is its own config."""
    types = pytest.importorskip("google.genai.types")
    members = {
        "contents": list[types.Content],
        "systemInstruction": types.Content,
        "tools": list[types.Tool],
        "toolConfig": types.ToolConfig,
        "generationConfig": types.GenerationConfig,
        "safetySettings": list[types.SafetySetting],
    }
    found = [f".{name}: no member" for name in body if name not in members]
    return found + [
        each for n, value in body.items() if n in members for each in faults(value, members[n], f".{n}")
    ]


def _interactions(body: Any, stream: bool) -> list[str]:
    types = pytest.importorskip("google.genai._gaos.types.interactions")
    return faults(
        body, types.CreateAgentInteractionParam if "agent" in body else types.CreateModelInteractionParam
    )


def _ollama(body: Any, stream: bool) -> list[str]:
    types = pytest.importorskip("ollama._types")
    return faults(body, types.ChatRequest if "messages" in body else types.GenerateRequest)


def _converse(body: Any, stream: bool) -> list[str]:
    session = pytest.importorskip("botocore.session").Session()
    validator = pytest.importorskip("botocore.validate").ParamValidator()
    operation = session.get_service_model("bedrock-runtime").operation_model(
        "ConverseStream" if stream else "Converse"
    )
    report = validator.validate({"modelId": "m", **_with_bytes(body)}, operation.input_shape)
    return [_placed(line) for line in report.generate_report().splitlines()]


def _placed(line: str) -> str:
    """A line of botocore's report, with its place first."""
    unknown = re.match(r'Unknown parameter in (\S*): "(\w+)"', line)
    missing = re.match(r'Missing required parameter in (\S+): "(\w+)"', line)
    if unknown is not None:
        return f".{unknown[1]}.{unknown[2]}: no such parameter".replace("..", ".")
    return f".{missing[1]}.{missing[2]}: is required" if missing is not None else line


def _with_bytes(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: v.encode() if k == "bytes" else _with_bytes(v) for k, v in value.items()}
    return [_with_bytes(each) for each in value] if isinstance(value, list) else value


CHECKS: dict[str, Callable[[Any, bool], list[str]]] = {
    "anthropic_messages": _messages,
    "bedrock_converse": _converse,
    "gemini": _gemini,
    "google_interactions": _interactions,
    "ollama": _ollama,
    "openai_chat": _chat,
    "openai_responses": _responses,
}
BY_PROVIDER = {provider: protocol for protocol, (provider, _) in PROTOCOLS.items()}


def bodies(protocol: str) -> Iterator[tuple[str, Any, bool]]:
    """The bodies for the protocol's own service: name, body, whether it is streamed."""
    provider = PROTOCOLS[protocol][0]
    for case in cases():
        if case.folder.parent.name == protocol and case.spec.row in (None, provider):
            call = called(case)
            if "error" not in call:
                yield case.folder.name, call["body"], case.spec.stream
    for name, rule in RULES.items():
        if rule.model.partition(":")[0] == provider:
            yield name, json.loads(prepared(rule).body), False


def is_allowed(name: str, fault: str) -> bool:
    place = fault.partition(": ")[0]
    return any(re.fullmatch(case, name) and re.fullmatch(where, place) for case, where, _ in ALLOWED)


@pytest.mark.parametrize("protocol", CHECKS)
def test_a_body_is_what_the_vendors_types_declare(protocol: str) -> None:
    found = [(name, CHECKS[protocol](body, stream)) for name, body, stream in bodies(protocol)]
    assert len(found) >= 9
    wrong = [(name, fault) for name, all in found for fault in all if not is_allowed(name, fault)]
    assert wrong == []


def test_every_exception_is_still_needed() -> None:
    found = {
        (name, fault.partition(": ")[0])
        for protocol, check in CHECKS.items()
        for name, body, stream in bodies(protocol)
        for fault in check(body, stream)
    }
    idle = [
        a
        for a in ALLOWED
        if not any(re.fullmatch(a[0], n) and re.fullmatch(a[1], place) for n, place in found)
    ]
    assert idle == []


WRONG = (
    ("openai_chat", {"model": "m", "messages": [{"role": "user", "content": [{"type": "text"}]}]}),
    ("openai_chat", {"model": "m", "messages": [{"role": "tool", "content": "x"}]}),
    ("openai_chat", {"model": "m", "messages": [], "temperature": "hot"}),
    (
        "openai_responses",
        {"model": "m", "input": [{"type": "function_call", "name": "x", "arguments": "{}"}]},
    ),
    ("anthropic_messages", {"model": "m", "messages": []}),
    ("anthropic_messages", {"model": "m", "max_tokens": 1, "messages": [{"role": "owner", "content": "x"}]}),
    ("gemini", {"contents": [{"role": "user", "parts": [{"text": 5}]}]}),
    ("google_interactions", {"model": "m", "input": [{"type": "user_input", "content": [{"type": "text"}]}]}),
    ("google_interactions", {"model": "m", "input": [{"type": "function_result", "result": "sun"}]}),
    ("google_interactions", {"model": "m", "input": "x", "generation_config": {"thinkingLevel": "low"}}),
    ("ollama", {"model": "m", "messages": [{"role": "user", "content": ["x"]}]}),
    ("bedrock_converse", {"messages": [{"role": "user", "content": [{"text": 5}]}]}),
)


@pytest.mark.parametrize(("protocol", "body"), WRONG)
def test_a_wrong_body_is_noticed(protocol: str, body: Any) -> None:
    assert CHECKS[protocol](body, False) != []
