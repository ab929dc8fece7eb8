"""Ollama's API, the pure part: addresses, prompts, calls without ids, progress, refusals, and what is told of models.

What a chat is encoded to, and how answers are decoded, stands in `fixtures/ollama`.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from ollama._client import _parse_host

from brainwires_provider import Client, ProviderConfig
from brainwires_provider.errors import (
    APIError,
    AuthenticationError,
    ConfigError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProtocolError,
    ServerError,
    StreamInterrupted,
    UnsupportedError,
)
from brainwires_provider.events import Event, OpaqueDelta, PartEnd, PartStart, ResponseEnd, collect
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.framing.ndjson import NDJSONFraming
from brainwires_provider.protocols.ollama import (
    Ollama,
    OllamaDecoder,
    OllamaOptions,
    models,
    operations,
)
from brainwires_provider.protocols.ollama.errors import decode_error_object
from brainwires_provider.protocols.ollama.operations import ProgressDecoder
from brainwires_provider.providers.ollama_host import host_url
from brainwires_provider.testing import Answer, RecordedRequest, ScriptedServer
from brainwires_provider.types import (
    FilePart,
    HostedTool,
    ImagePart,
    Message,
    Model,
    Options,
    Origin,
    Reasoning,
    ReasoningPart,
    Request,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
    Usage,
)
from brainwires_provider.types.ollama import (
    OllamaDetails,
    OllamaEmbeddings,
    OllamaLoad,
    OllamaModel,
    OllamaModelInfo,
    OllamaProgress,
    OllamaRunningModel,
)
from decoder_fuzz import check_grammar
from known import count_known, encode_known
from reading import read_stream

ORIGIN = Origin("ollama", "ollama", "m")
PNG = b"\x89PNG\r\n\x1a\n"


def lines(*objects: object) -> bytes:
    return b"".join(json.dumps(o, ensure_ascii=False).encode() + b"\n" for o in objects)


# -- addresses -------------------------------------------------------------------------------------------

SPELLINGS = {
    "": "http://127.0.0.1:11434",
    "1.2.3.4": "http://1.2.3.4:11434",
    ":56789": "http://127.0.0.1:56789",
    "1.2.3.4:56789": "http://1.2.3.4:56789",
    "http://1.2.3.4": "http://1.2.3.4",
    "https://1.2.3.4": "https://1.2.3.4",
    "HTTPS://1.2.3.4:56789/": "https://1.2.3.4:56789",
    "example.com": "http://example.com:11434",
    "example.com:56789/path/": "http://example.com:56789/path",
    "example.com/a/b": "http://example.com:11434/a/b",
    "https://example.com/path": "https://example.com/path",
    "http://:8000": "http://127.0.0.1:8000",
    "[0001:002:003:0004::1]": "http://[0001:002:003:0004::1]:11434",
    "[0001:002:003:0004::1]:56789/path": "http://[0001:002:003:0004::1]:56789/path",
    "https://[::1]": "https://[::1]",
}
"""What `ollama` and we agree on."""
OURS_ONLY = {
    "0.0.0.0": "http://127.0.0.1:11434",
    "0.0.0.0:8000": "http://127.0.0.1:8000",
    "http://0.0.0.0:8000": "http://127.0.0.1:8000",
    "::": "http://[::1]:11434",
    "::1": "http://[::1]:11434",
    "[::]:8000": "http://[::1]:8000",
    "[0:0:0:0:0:0:0:1]": "http://[::1]:11434",
    "[no address]": "http://[no address]:11434",
    ' "127.0.0.1" ': "http://127.0.0.1:11434",
    "'localhost:1'": "http://localhost:1",
    "host:": "http://host:11434",
    "/path": "http://127.0.0.1:11434/path",
    "me:pw@host": "http://me:pw@host:11434",
    "tcp://host:1": "tcp://host:1",
    "[::1": "http://[::1:11434",
    "fe80::1%eth0": "http://[fe80::1%eth0]:11434",
}
"""What a server listens on, what shells leave around it, and what is refused later, in words."""


@pytest.mark.parametrize("text", SPELLINGS | OURS_ONLY)
def test_an_address_in_every_spelling(text: str) -> None:
    assert host_url(text) == (SPELLINGS | OURS_ONLY)[text]


@pytest.mark.parametrize("text", SPELLINGS)
def test_the_same_address_as_the_ollama_package(text: str) -> None:
    ours, theirs = urlsplit(host_url(text)), urlsplit(_parse_host(text))
    default = {"http": 80, "https": 443}
    assert (ours.scheme, ours.hostname, ours.port or default[ours.scheme], ours.path) == (
        theirs.scheme,
        theirs.hostname,
        theirs.port,
        theirs.path,
    )


@given(st.text(max_size=30))
def test_no_text_is_too_odd_for_an_address(text: str) -> None:
    assert isinstance(host_url(text), str)
    assert host_url(host_url(text)) == host_url(text)


# -- answers, however they are cut -----------------------------------------------------------------------

CHAT = lines(
    {"model": "m", "created_at": "t1", "message": {"role": "assistant", "thinking": "hm ☃"}, "done": False},
    {"model": "m", "created_at": "t2", "message": {"role": "assistant", "content": "Hé🧑‍🚀"}, "done": False},
    {"message": {"tool_calls": [{"function": {"name": "f", "arguments": {"ö": [1]}}}]}, "created_at": "t3"},
    {
        "message": {"content": ""},
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 2,
        "eval_count": 3,
    },
)


def read(decoder: Any, chunks: list[bytes]) -> list[Event]:
    """The events of a stream that comes in these pieces."""
    return read_stream(NDJSONFraming(), decoder, chunks, [])


@settings(max_examples=60)
@given(cuts=st.sets(st.integers(1, len(CHAT) - 1)), crlf=st.booleans(), ended=st.booleans())
def test_any_cut_gives_the_same_events(cuts: set[int], crlf: bool, ended: bool) -> None:
    body = CHAT if ended else CHAT[:-1]
    places = sorted(n for n in cuts if n < len(body))
    chunks = [body[a:b] for a, b in zip([0, *places], [*places, len(body)], strict=True)]
    if crlf:
        chunks = [chunk.replace(b"\n", b"\r\n") for chunk in chunks]
    assert read(OllamaDecoder(ORIGIN), chunks) == read(OllamaDecoder(ORIGIN), [CHAT])


def test_nothing_is_read_after_the_end() -> None:
    decoder = OllamaDecoder(ORIGIN)
    assert decoder.feed_whole(CHAT)
    assert decoder.feed(WireMessage(b"oops")) == []
    assert decoder.finish() == []


def test_calls_without_ids_get_their_own_that_are_not_sent_back() -> None:
    def answered(date: str) -> Any:
        call = {"function": {"name": "f", "arguments": {}}}
        told = {"model": "m", "created_at": date, "message": {"tool_calls": [call, call]}, "done": True}
        return collect(OllamaDecoder(ORIGIN).feed_whole(lines(told)))

    first, again, later = answered("t1"), answered("t1"), answered("t2")
    ids = [call.call_id for call in (*first.tool_calls, *later.tool_calls)]
    assert len(set(ids)) == 4
    assert first.message == again.message
    assert all(call.id is None for call in first.tool_calls)
    history = (Message.user("?"), first.message, Message.tool_result(first.tool_calls[1], "4"))
    body = encode_known(Ollama(), Request(history, "m"), ORIGIN, stream=False).body
    assert body["messages"][1]["tool_calls"] == [{"function": {"name": "f", "arguments": {}}}] * 2
    assert body["messages"][2] == {"role": "tool", "content": "4", "tool_name": "f"}


def test_a_call_with_the_same_id_is_one() -> None:
    def called(*ids: str | None) -> int:
        calls = [{"id": id, "function": {"name": "f", "arguments": {"a": 1}}} for id in ids]
        told = [{"message": {"tool_calls": [call]}} for call in calls]
        body = lines(*told, {"message": {"tool_calls": calls}, "done": True})
        return len(collect(OllamaDecoder(ORIGIN).feed_whole(body)).tool_calls)

    assert (called("a"), called("a", "b"), called(None)) == (1, 2, 2)


@pytest.mark.parametrize(
    ("field", "api"),
    [
        ("choices", "Chat Completions"),
        ("output", "Responses"),
        ("status", "/api/pull, /api/push or /api/create"),
    ],
)
def test_an_answer_of_another_api_is_named(field: str, api: str) -> None:
    for feed in (
        lambda data: OllamaDecoder(ORIGIN).feed(WireMessage(data)),
        lambda data: OllamaDecoder(ORIGIN).feed_whole(data),
    ):
        with pytest.raises(ProtocolError, match=f"this is an answer of {api}, and has no message"):
            feed(lines({field: 3}))
    started = OllamaDecoder(ORIGIN)
    started.feed(WireMessage(b'{"message": {"content": "a"}}'))
    assert started.feed(WireMessage(lines({field: 3}))) == []


@pytest.mark.parametrize("field", ["message", "response", "image", "completed", "done"])
def test_each_of_these_fields_alone_makes_a_line_one_of_an_answer(field: str) -> None:
    decoder = OllamaDecoder(ORIGIN)
    decoder.feed(WireMessage(lines({field: None})))
    assert decoder.started


def test_what_an_answer_is_made_of_is_not_kept_beside_it() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": {}}}
    chat = {
        "message": {
            "role": "assistant",
            "content": "a",
            "thinking": "b",
            "images": [b64encode(PNG).decode()],
            "tool_calls": [call],
            "none": None,
            "odd": 1,
        }
    }
    generated = {
        "response": "a",
        "thinking": "b",
        "image": b64encode(PNG).decode(),
        "completed": 1,
        "total": 2,
    }
    end = {"model": "m", "done": True, "done_reason": "stop", "prompt_eval_count": 1, "eval_count": 2}
    for body, odd in ((chat, {"odd": 1}), (generated, None)):
        decoder = OllamaDecoder(ORIGIN)
        response = collect(decoder.feed(WireMessage(lines({**body, **end, "none": None, "context": [1]}))))
        assert (response.extra, response.message.extra) == ({"context": [1]}, odd)
        assert all(part.extra is None for part in response.tool_calls)


def test_a_part_begins_empty_and_grows() -> None:
    body = lines({"model": "m", "message": {"thinking": "a", "content": "b"}, "done": True})
    events = OllamaDecoder(ORIGIN).feed_whole(body)
    made = replace(ORIGIN, reported="m")
    assert [event.part for event in events if isinstance(event, PartStart)] == [
        ReasoningPart("", origin=made),
        TextPart("", origin=made),
    ]


IMAGE = b64encode(PNG).decode()
FLOWS: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "texts": ([{"content": "a"}, {"content": ""}, {"content": "b"}], ["text ab"]),
    "a thought between": (
        [{"content": "a"}, {"thinking": "b"}, {"content": "c"}],
        ["text a", "thought b", "text c"],
    ),
    "an image between": (
        [{"content": "a"}, {"images": [IMAGE]}, {"content": "b"}],
        ["text a", "image", "text b"],
    ),
    "a call between": (
        [{"content": "a"}, {"tool_calls": [{"function": {"name": "f"}}]}, {"content": "b"}],
        ["text a", "call f", "text b"],
    ),
    "an image between thoughts": (
        [{"thinking": "a"}, {"images": [IMAGE]}, {"thinking": "b"}],
        ["thought a", "image", "thought b"],
    ),
}


@pytest.mark.parametrize(
    ("name", "is_chat"),
    [*((name, True) for name in FLOWS), *((name, False) for name in FLOWS if name != "a call between")],
)
def test_which_parts_go_on_and_which_are_over(name: str, is_chat: bool) -> None:
    """A part is over before another begins. A prompt has no tools."""

    def told(part: Any) -> str:
        match part:
            case TextPart():
                return f"text {part.text}"
            case ReasoningPart():
                return f"thought {part.text}"
        return f"call {part.name}" if isinstance(part, ToolCallPart) else "image"

    def generates(message: dict[str, Any]) -> dict[str, Any]:
        names = {"content": "response", "images": "image"}
        return {names.get(n, n): value[0] if n == "images" else value for n, value in message.items()}

    messages, parts = FLOWS[name]
    wire = [{"message": each} if is_chat else {"response": "", **generates(each)} for each in messages]
    decoder = OllamaDecoder(ORIGIN)
    events = [
        e for each in [*wire, {"response": "", "done": True}] for e in decoder.feed(WireMessage(lines(each)))
    ]
    assert [told(part) for part in collect(events).message.content] == parts
    ends = [isinstance(e, PartEnd) for e in events if isinstance(e, (PartStart, PartEnd))]
    assert ends == [False, True] * len(parts)


def test_a_longer_history_begins_with_a_shorter_one() -> None:
    call = ToolCallPart(None, "f", "{}", local_id="l")
    history = [
        Message.system("S"),
        Message.user("?", ImagePart(data=PNG)),
        Message.assistant("Let me see.", call),
        Message.tool_result(call, "4"),
        Message.assistant("4."),
        Message.user("And?"),
    ]

    def encoded(count: int) -> Any:
        return encode_known(Ollama(), Request(tuple(history[:count]), "m"), ORIGIN, stream=True).body[
            "messages"
        ]

    whole = encoded(len(history))
    for count in range(len(history)):
        assert whole[:count] == encoded(count)


# -- prompts ---------------------------------------------------------------------------------------------


def generated(request: Request, *, stream: bool = True) -> Any:
    return Ollama().encode_generate(request, ORIGIN, stream=stream)


def test_a_prompt_with_all_that_it_can_have() -> None:
    own = OllamaOptions(raw=True, template="T", suffix="S", context=[1, 2], width=8, height=8, steps=2)
    call = generated(
        Request(
            (Message.developer("B"), Message.user("Hi", ImagePart(data=PNG))),
            "m",
            system="A",
            output="json",
            options=Options(seed=1, reasoning="off", provider_options=own),
        )
    )
    assert (call.path, call.method) == ("/api/generate", "POST")
    assert call.headers["Accept"] == "application/x-ndjson"
    assert call.body == {
        "model": "m",
        "system": "A\n\nB",
        "prompt": "Hi",
        "images": ["iVBORw0KGgo="],
        "format": "json",
        "think": False,
        "options": {"seed": 1},
        "raw": True,
        "template": "T",
        "suffix": "S",
        "context": [1, 2],
        "width": 8,
        "height": 8,
        "steps": 2,
        "stream": True,
    }


def test_a_part_beside_results_is_named_by_its_place() -> None:
    table = FilePart(data=b"a,b", media_type="text/csv", name="a.csv")
    image = ImagePart(data=PNG)
    failed = ToolResultPart("c1", (TextPart("Oh"), table, image), is_error=True)
    other = ToolResultPart("c2", (TextPart("4"),), is_error=True)
    request = Request(
        (Message.user("Hi"), Message("user", (failed, TextPart("So?"), other, table, image))), "m"
    )
    call = encode_known(Ollama(), request, ORIGIN, stream=False)
    assert [(d.field, d.outcome) for d in call.deviations] == [
        ("messages[1].content[0].content[1]", "adapted"),
        ("messages[1].content[0].content[2]", "adapted"),
        ("messages[1].content[0].is_error", "dropped"),
        ("messages[1].content[2].is_error", "dropped"),
        ("messages[1].content[3]", "adapted"),
        ("messages[1].content[4]", "adapted"),
    ]
    refused = Message("user", (other, TextPart("So?"), FilePart(data=b"%PDF", media_type="application/pdf")))
    with pytest.raises(UnsupportedError) as caught:
        encode_known(Ollama(), Request((refused,), "m"), ORIGIN, stream=False)
    assert caught.value.message == "messages[0].content[2]: Ollama takes text and images, not FilePart"


def test_a_tool_that_is_refused_is_no_messages_fault() -> None:
    request = Request((Message.user("a"), Message.user("b")), "m", tools=(HostedTool("web_search"),))
    with pytest.raises(UnsupportedError) as caught:
        encode_known(Ollama(), request, ORIGIN, stream=False)
    assert caught.value.message == (
        "Ollama runs no tools itself: 'web_search' has to be a Tool that you answer"
    )
    assert (caught.value.provider, caught.value.model) == ("ollama", "m")


GENERATE_ONLY: dict[str, Any] = {
    "context": [1],
    "height": 8,
    "raw": True,
    "steps": 2,
    "suffix": "S",
    "template": "T",
    "width": 8,
}


def test_a_chat_drops_what_only_a_prompt_takes() -> None:
    both = {"keep_alive": "1m", "logprobs": True, "top_logprobs": 1, "shift": False, "truncate": False}
    own = OllamaOptions(**GENERATE_ONLY, **both)
    request = Request((Message.user("Hi"),), "m", options=Options(provider_options=own))
    call = encode_known(Ollama(), request, ORIGIN, stream=False)
    assert call.body.keys() - {"model", "messages", "stream"} == both.keys()
    assert [(d.field, d.outcome, d.reason) for d in call.deviations] == [
        (f"provider_options.{name}", "dropped", "only /api/generate takes it") for name in GENERATE_ONLY
    ]
    assert generated(request).body == {
        "model": "m",
        "prompt": "Hi",
        **GENERATE_ONLY,
        **both,
        "stream": True,
    }


def test_instructions_after_the_prompt() -> None:
    call = generated(Request((Message.user("Hi"), Message.system("B")), "m"))
    assert call.body == {"model": "m", "system": "B", "prompt": "Hi", "stream": True}


def test_no_instructions_before_a_prompt() -> None:
    call = generated(Request((Message.system("", TextPart(" ")), Message.user("Hi")), "m", system="\n"))
    assert call.body == {"model": "m", "prompt": "Hi", "stream": True}
    assert sorted(d.field for d in call.deviations) == [
        "messages[0].content[0]",
        "messages[0].content[1]",
        "system",
    ]


def test_no_prompt_at_all() -> None:
    call = generated(Request((), "m"), stream=False)
    assert (call.body, call.headers) == ({"model": "m", "stream": False}, {})


@pytest.mark.parametrize(
    "request_",
    [
        Request((Message.user("a"), Message.user("b")), "m"),
        Request((Message.assistant("a"),), "m"),
        Request((Message.user("a"),), "m", tools=(Tool("f", "", {}),)),
    ],
    ids=["two turns", "a turn of the model", "a tool"],
)
def test_what_is_no_prompt(request_: Request) -> None:
    with pytest.raises(UnsupportedError, match="one prompt, without tools or turns"):
        generated(request_)


@pytest.mark.parametrize(
    ("reasoning", "think", "reported"),
    [
        ("off", False, None),
        (Reasoning(), True, None),
        ("max", "max", None),
        ("minimal", "low", ("adapted", "the nearest level that this model has is 'low'")),
        (Reasoning(summary="auto"), True, ("dropped", "Ollama has no summary")),
        (Reasoning(budget_tokens=5), True, ("dropped", "Ollama has no budget_tokens")),
        (
            Reasoning("minimal", 5, "auto"),
            "low",
            (
                "adapted",
                "the nearest level that this model has is 'low'; Ollama has no budget_tokens or summary",
            ),
        ),
    ],
)
def test_how_much_it_thinks(reasoning: Any, think: Any, reported: tuple[str, str] | None) -> None:
    request = Request((Message.user("Hi"),), "m", options=Options(reasoning=reasoning))
    for call in (encode_known(Ollama(), request, ORIGIN, stream=False), generated(request)):
        assert call.body["think"] == think
        assert [(d.field, d.outcome, d.reason) for d in call.deviations] == (
            [] if reported is None else [("reasoning", *reported)]
        )


def test_a_part_of_a_prompt_is_named_by_its_place() -> None:
    texts = FilePart(data=b"a,b", media_type="text/csv", name="a.csv")
    messages = (Message.system("S"), Message.user("Hi", texts, ImagePart(data=PNG)))
    call = generated(Request(messages, "m"))
    assert [(d.field, d.reason) for d in call.deviations] == [
        ("messages[1].content[1]", "this API has no files: sent as text"),
        ("messages[1].content[2]", "the images of a message stand before its text"),
    ]
    refused = (Message.system("S"), Message.user("Hi", FilePart(data=b"%PDF", media_type="application/pdf")))
    with pytest.raises(UnsupportedError) as caught:
        generated(Request(refused, "m"))
    assert caught.value.message == "messages[1].content[1]: Ollama takes text and images, not FilePart"


NO_LEVELS = "levels of thinking need Ollama 0.17.7: update the server, or pass OllamaOptions(think=True)"
NO_MAX = 'this level needs Ollama 0.21.3: update the server, or ask for reasoning="high"'


@pytest.mark.parametrize(
    ("effort", "words", "advice"),
    [
        # 0.9, 0.11.1, 0.17.7 and 0.21.3: api/types.go and server/routes.go (2026-11)
        (
            "high",
            "json: cannot unmarshal string into Go struct field ChatRequest.think of type bool",
            f"; {NO_LEVELS}",
        ),
        ("high", 'think value "high" is not supported for this model', f"; {NO_LEVELS}"),
        (
            "max",
            'invalid think value: "max" (must be "high", "medium", "low", true, or false)',
            f"; {NO_MAX}",
        ),
        ("low", 'invalid think value: "x" (must be "high", "medium", "low", "max", true, or false)', ""),
    ],
)
def test_a_server_without_the_level_of_thinking(effort: Any, words: str, advice: str) -> None:
    def answer(request: RecordedRequest) -> Answer:
        assert request.json()["think"] == effort
        return Answer(400, body=json.dumps({"error": words}).encode())

    with ScriptedServer(answer) as server:
        own = ProviderConfig("ollama", base_url=server.url)
        with Client("ollama:m", providers=[own]) as client, pytest.raises(InvalidRequestError) as caught:
            client.chat("Hi", reasoning=effort)
    assert caught.value.message == f"ollama: {words}{advice}"


def test_nothing_counts_tokens() -> None:
    with pytest.raises(UnsupportedError, match="no call that counts tokens"):
        count_known(Ollama(), Request((Message.user("?"),), "m"), ORIGIN)
    with pytest.raises(UnsupportedError, match="no call that counts tokens"):
        Ollama().decode_count(b"{}")


# -- refusals in words -----------------------------------------------------------------------------------

WORDS: dict[str, type[APIError]] = {
    'model "x:1b" not found, try pulling it first': NotFoundError,
    "model 'x' not found": NotFoundError,
    "pull model manifest: file does not exist": NotFoundError,
    "you are not authorized to push to this namespace, create the model under a namespace you own": (
        PermissionDeniedError
    ),
    "unauthorized": AuthenticationError,
    '"x" does not support thinking': InvalidRequestError,
    "invalid model name": InvalidRequestError,
    "invalid duration": InvalidRequestError,
    "server busy, please try again.  maximum pending requests exceeded": OverloadedError,
    "an error was encountered while running the model: unexpected EOF": ServerError,
    "llama runner process has terminated: exit status 2": ServerError,
    'max retries exceeded: Get \\"https://x.test/v2/…\\": dial tcp: lookup x.test': ServerError,
    "no such model: x": NotFoundError,
    "open blob: no such file or directory": NotFoundError,
    "permission denied": PermissionDeniedError,
    "access forbidden": PermissionDeniedError,
    "Unauthorised": AuthenticationError,
    "authentication with the registry has failed": AuthenticationError,
    "model is required": InvalidRequestError,
    "the context must be a list": InvalidRequestError,
    "unknown type: modelfile": InvalidRequestError,
    "unsupported architecture": InvalidRequestError,
    "too many pulls": OverloadedError,
    "overloaded": OverloadedError,
    "please try again": OverloadedError,
    "unexpected status": ServerError,
    "failed to load the library": ServerError,
    "timeout awaiting response headers": ServerError,
    "CUDA error: out of memory": ServerError,
    "EOF": ServerError,
    "mu": APIError,
}


@pytest.mark.parametrize("words", WORDS)
def test_an_error_without_a_status_is_told_by_its_words(words: str) -> None:
    error = decode_error_object({"error": words}, origin=ORIGIN)
    assert type(error) is WORDS[words]
    assert error.message.startswith(words)
    assert error.args == (error.message,)
    assert error.body == {"error": words}


def test_what_to_do_is_added() -> None:
    absent = decode_error_object({"error": 'model "x:1b" not found, try pulling it first'}, origin=ORIGIN)
    assert 'client.ollama.pull("x:1b") fetches it' in absent.message
    abilities = {
        "generate": "completion",
        "chat": "completion",
        "image": "vision",
        "Images": "vision",
        "Thinking": "thinking",
    }
    for word, ability in abilities.items():
        said = f'"x" does not support {word}'
        assert decode_error_object({"error": said}).message == (
            f"{said}; client.ollama.show(MODEL).capabilities says {ability!r} where a model does"
        )
    for name in ("model x:1b not found", "MODEL 'x:1b', not found"):
        assert decode_error_object({"error": name}).message == (
            f'{name}; client.ollama.pull("x:1b") fetches it'
        )
    signed_out = {"error": "unauthorized", "signin_url": "https://ollama.com/connect?x"}
    assert decode_error_object(signed_out).message == (
        'unauthorized; "ollama signin", where the server runs, signs it in'
    )


def test_log_probabilities_are_in_what_had_arrived_too() -> None:
    decoder = OllamaDecoder(ORIGIN)
    for token in "ab":
        decoder.feed(WireMessage(lines({"message": {"content": token}, "logprobs": [{"token": token}]})))
    with pytest.raises(StreamInterrupted) as caught:
        decoder.finish()
    assert caught.value.partial is not None
    assert caught.value.partial.extra == {"logprobs": [{"token": "a"}, {"token": "b"}]}


def test_an_error_of_a_stream_says_whose_it_is_and_what_came_before() -> None:
    answer, progress = OllamaDecoder(ORIGIN), ProgressDecoder(ORIGIN)
    answer.feed(WireMessage(b'{"message": {"content": "Hel"}}'))
    progress.feed(WireMessage(b'{"status": "pulling manifest"}'))
    for decoder in (answer, progress):
        with pytest.raises(APIError) as caught:
            decoder.feed(WireMessage(b'{"error": "mu"}'))
        assert (caught.value.provider, caught.value.model) == ("ollama", "m")
        assert (decoder.ended, decoder.feed(WireMessage(b"oops")), decoder.finish()) == (True, [], [])
        assert (decoder is answer) == (caught.value.partial is not None)
        if caught.value.partial is not None:
            assert caught.value.partial.text == "Hel"
    with pytest.raises(StreamInterrupted) as cut:
        ProgressDecoder(ORIGIN).finish()
    assert (cut.value.how, cut.value.provider, cut.value.model) == ("eof", "ollama", "m")


# -- progress --------------------------------------------------------------------------------------------

PULL = lines(
    {"status": "pulling manifest"},
    {"status": "pulling aé", "digest": "sha256:a", "total": 10},
    {"status": "pulling aé", "digest": "sha256:a", "total": 10, "completed": 10},
    {"other": 1},
    {"status": "success"},
)


def test_progress_at_every_split_point() -> None:
    whole = read(ProgressDecoder(ORIGIN), [PULL])
    assert [event.data["status"] for event in whole[:-1] if isinstance(event, OpaqueDelta)] == [
        "pulling manifest",
        "pulling aé",
        "pulling aé",
        "success",
    ]
    assert isinstance(whole[-1], ResponseEnd)
    for body in (PULL, PULL.replace(b"\n", b"\r\n"), PULL[:-1]):
        for at in range(1, len(body)):
            assert read(ProgressDecoder(ORIGIN), [body[:at], body[at:]]) == whole, at
    assert ProgressDecoder(ORIGIN).feed_whole(PULL) == whole
    assert ProgressDecoder(ORIGIN).feed_whole(b'{\n "status": "success"\n}') == whole[-2:]


def test_a_listed_error_is_an_error_and_nothing_follows_an_end() -> None:
    with pytest.raises(APIError, match="boom"):
        OllamaDecoder(ORIGIN).feed(WireMessage(b'[{"error": "boom"}]'))
    decoder = ProgressDecoder(ORIGIN)
    assert decoder.feed(WireMessage(b'{"status": "success"}')) == [
        OpaqueDelta(None, "progress", {"status": "success"}),
        ResponseEnd("stop", "success", Usage()),
    ]
    assert decoder.feed(WireMessage(b'{"status": "again"}')) == []


def test_progress_that_stops_at_any_byte_is_never_success() -> None:
    for n in range(len(PULL) - 1):
        with pytest.raises(StreamInterrupted, match="no success was reported"):
            read(ProgressDecoder(ORIGIN), [PULL[:n]])


@pytest.mark.parametrize(
    ("body", "kind", "says"),
    [
        (
            PULL[:30] + lines({"error": "pull model manifest: file does not exist"}),
            NotFoundError,
            "does not exist",
        ),
        (lines({"status": 3}), ProtocolError, "not the shape of progress"),
        (lines({"message": {"content": "Hi"}}), ProtocolError, "not the shape of progress"),
        (b"oops\n", ProtocolError, "not JSON"),
    ],
    ids=["an error", "a status that is none", "a chat's answer", "no JSON"],
)
def test_progress_that_fails(body: bytes, kind: type[Exception], says: str) -> None:
    body = body.replace(PULL[:30], lines({"status": "pulling manifest"}))
    with pytest.raises(kind, match=says):
        read(ProgressDecoder(ORIGIN), [body])


def test_nothing_is_read_after_success() -> None:
    decoder = ProgressDecoder(ORIGIN)
    decoder.feed_whole(PULL)
    assert read(decoder, [b"oops\n"]) == []


@pytest.mark.parametrize(
    ("total", "completed", "fraction"),
    [(None, None, None), (0, 0, None), (10, None, 0.0), (10, 5, 0.5), (10, 20, 1.0), (10, -5, 0.0)],
)
def test_how_much_of_a_layer_is_there(total: Any, completed: Any, fraction: float | None) -> None:
    assert OllamaProgress("x", total=total, completed=completed).fraction == fraction


# -- what is told of models ------------------------------------------------------------------------------

ENTRY = {
    "name": "llama3.2:3b",
    "model": "llama3.2:3b",
    "modified_at": "2026-11-20T10:00:00.123456789+02:00",
    "size": 2019393189,
    "digest": "a80c4f17acd5",
    "details": {"format": "gguf", "family": "llama", "families": ["llama"], "parameter_size": "3.2B"},
    "capabilities": ["completion", "tools"],
}


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ({"prompt_eval_count": 11, "eval_count": 5}, (11, 5, True)),
        ({"prompt_eval_count": 0, "eval_count": 5}, (0, 5, True)),
        ({"eval_count": 5}, (0, 5, False)),
        ({"prompt_eval_count": None, "eval_count": 5}, (0, 5, False)),
        ({"prompt_eval_count": 11}, (11, 0, False)),
        ({}, (0, 0, False)),
    ],
)
def test_usage_without_one_of_its_counts_is_incomplete(
    counts: dict[str, Any], told: tuple[int, int, bool]
) -> None:
    body = {"model": "m", "message": {"role": "assistant", "content": "a"}, "done": True, **counts}
    usage = collect(Ollama().decoder(ORIGIN).feed_whole(json.dumps(body).encode())).usage
    assert (usage.input_tokens, usage.output_tokens, usage.complete) == told


def test_models_are_listed() -> None:
    quantized = {**ENTRY, "details": {"quantization_level": "Q4_K_M"}}
    body = json.dumps({"models": [ENTRY, quantized, {"name": "bare"}, {"size": 3}, 4]}).encode()
    full, other, bare, nameless = models.decode_list(body)
    assert full.modified_at == datetime.fromisoformat("2026-11-20T10:00:00.123456+02:00")
    assert (full.name, full.size, full.details.parameter_size) == ("llama3.2:3b", 2019393189, "3.2B")
    assert (other.details.quantization, full.raw) == ("Q4_K_M", ENTRY)
    assert (bare.name, bare.size, bare.modified_at, bare.capabilities) == ("bare", None, None, None)
    assert (nameless.name, nameless.size) == ("", 3)
    listed, after = Ollama().decode_models(body, "ollama")
    assert after is None
    assert [(m.id, m.display_name, m.capabilities) for m in listed] == [
        ("llama3.2:3b", "llama3.2:3b (3.2B)", ("chat", "tools")),
        ("llama3.2:3b", "llama3.2:3b (Q4_K_M)", ("chat", "tools")),
        ("bare", "bare", None),
    ]
    assert models.decode_list(b'{"models": null}') == ()


def test_a_model_is_shown() -> None:
    told = {
        "license": "MIT",
        "parameters": "stop x",
        "template": "{{ .Prompt }}",
        "details": {"family": "llama"},
        "model_info": {"general.architecture": "llama", "llama.context_length": 131072},
        "capabilities": ["completion"],
        "modified_at": "0001-01-01T00:00:00Z",
    }
    info = operations.decode_info(json.dumps(told).encode(), "m")
    assert (info.name, info.architecture, info.context_length) == ("m", "llama", 131072)
    assert (info.capabilities, info.modified_at) == (("completion",), datetime(1, 1, 1, tzinfo=UTC))
    empty = operations.decode_info(b"{}", "m")
    assert (empty.architecture, empty.context_length, empty.capabilities) == (None, None, None)


DETAILS = {
    "format": "gguf",
    "family": "llama",
    "families": ["llama", "clip"],
    "parameter_size": "3.2B",
    "quantization_level": "Q4_K_M",
    "parent_model": "base",
}
TOLD = OllamaDetails("gguf", "llama", ("llama", "clip"), "3.2B", "Q4_K_M", "base", DETAILS)
WHEN, THEN = "2026-11-20T10:00:00Z", datetime(2026, 11, 20, 10, tzinfo=UTC)
LISTED = {
    "model": "a:1b",
    "name": "a",
    "size": 3,
    "digest": "d",
    "modified_at": WHEN,
    "details": DETAILS,
    "capabilities": ["tools"],
    "remote_model": "b",
    "remote_host": "https://h",
}
LOADED = {
    "model": "a:1b",
    "size": 3,
    "size_vram": 2,
    "context_length": 4,
    "expires_at": WHEN,
    "digest": "d",
    "details": DETAILS,
}
SHOWN = {
    "details": DETAILS,
    "capabilities": ["tools"],
    "model_info": {"general.architecture": "llama"},
    "parameters": "stop x",
    "template": "T",
    "system": "S",
    "license": "MIT",
    "modelfile": "FROM a",
    "modified_at": WHEN,
}
EMBEDDED = {
    "embeddings": [[1, 2]],
    "model": "e",
    "prompt_eval_count": 3,
    "total_duration": 1_500_000_000,
    "load_duration": 250_000_000.0,
}
FIELDS: dict[str, tuple[Callable[[bytes], Any], Any, Any]] = {
    "a model": (
        lambda body: models.decode_list(body)[0],
        {"models": [LISTED]},
        OllamaModel("a:1b", 3, "d", THEN, TOLD, ("tools",), "b", "https://h", LISTED),
    ),
    "one that runs": (
        lambda body: operations.decode_running(body)[0],
        {"models": [LOADED]},
        OllamaRunningModel("a:1b", 3, 2, 4, THEN, "d", TOLD, LOADED),
    ),
    "one in detail": (
        lambda body: operations.decode_info(body, "a"),
        SHOWN,
        OllamaModelInfo(
            name="a",
            details=TOLD,
            capabilities=("tools",),
            model_info={"general.architecture": "llama"},
            parameters="stop x",
            template="T",
            system="S",
            license="MIT",
            modelfile="FROM a",
            modified_at=THEN,
            raw=SHOWN,
        ),
    ),
    "loading": (
        operations.decode_load,
        {"done": True, "model": "a", "done_reason": "load", "load_duration": 500_000_000},
        OllamaLoad(
            "a",
            "load",
            0.5,
            {"done": True, "model": "a", "done_reason": "load", "load_duration": 500_000_000},
        ),
    ),
    "embeddings": (
        lambda body: operations.decode_embeddings(body, "a"),
        EMBEDDED,
        OllamaEmbeddings(
            vectors=((1.0, 2.0),),
            model="e",
            input_tokens=3,
            total_duration=1.5,
            load_duration=0.25,
            raw={name: value for name, value in EMBEDDED.items() if name != "embeddings"},
        ),
    ),
    "progress": (
        lambda body: operations.decode_progress(json.loads(body)),
        {"status": "pulling a", "digest": "sha256:a", "total": 10, "completed": 4},
        OllamaProgress(
            "pulling a",
            "sha256:a",
            10,
            4,
            {"status": "pulling a", "digest": "sha256:a", "total": 10, "completed": 4},
        ),
    ),
}


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_that_is_told(name: str) -> None:
    decode, body, told = FIELDS[name]
    assert decode(json.dumps(body).encode()) == told


def test_every_field_of_a_model_in_the_common_form() -> None:
    body = json.dumps({"models": [LISTED]}).encode()
    assert models.decode_models(body, "p") == [
        Model("a:1b", "p", "a:1b (3.2B, Q4_K_M)", capabilities=("tools",), raw=LISTED)
    ]


@pytest.mark.parametrize(
    ("name", "body", "told"),
    [
        (
            "a model",
            {"models": [dict.fromkeys(LISTED, 1.5)]},
            OllamaModel("", raw=dict.fromkeys(LISTED, 1.5)),
        ),
        (
            "one that runs",
            {"models": [dict.fromkeys(LOADED, "")]},
            OllamaRunningModel("", raw=dict.fromkeys(LOADED, "")),
        ),
        ("one in detail", dict.fromkeys(SHOWN, True), OllamaModelInfo("a", raw=dict.fromkeys(SHOWN, True))),
        (
            "loading",
            {"done": 1, "load_duration": True},
            OllamaLoad(None, None, None, {"done": 1, "load_duration": True}),
        ),
        (
            "progress",
            {"status": None, "total": True},
            OllamaProgress("", raw={"status": None, "total": True}),
        ),
    ],
)
def test_a_field_of_another_type_is_none(name: str, body: Any, told: Any) -> None:
    assert FIELDS[name][0](json.dumps(body).encode()) == told


BODIES: dict[str, tuple[Callable[[bytes], Any], dict[bytes, str]]] = {
    "list": (
        models.decode_list,
        {
            b"oops": "not JSON",
            b"[]": "not an object",
            b"{}": "has no models",
            b'{"models": 3}': "has no models",
        },
    ),
    "version": (operations.decode_version, {b'{"version": 3}': "no version"}),
    "load": (operations.decode_load, {b'{"done": false}': "that it is done"}),
    "embeddings": (
        lambda body: operations.decode_embeddings(body, ["a", "b"]),
        {
            b"{}": "no embeddings",
            b'{"embeddings": [1]}': "no embeddings",
            b'{"embeddings": [[1]]}': "2 texts were sent, and 1 vectors came back",
            b'{"embeddings": [[1], [null]]}': "Expected `float`, got `null`",
            b'{"embeddings": [[1], ["x"]]}': "Expected `float`, got `str`",
        },
    ),
}
BROKEN = [(name, body) for name, (_, bodies) in BODIES.items() for body in bodies]


@pytest.mark.parametrize(("name", "body"), BROKEN)
def test_bodies_that_are_not_what_was_asked_for(name: str, body: bytes) -> None:
    decode, bodies = BODIES[name]
    with pytest.raises(ProtocolError, match=bodies[body]):
        decode(body)


@pytest.mark.parametrize(
    ("decode", "what"),
    [
        (models.decode_list, "the list of models"),
        (operations.decode_running, "the list of running models"),
        (lambda body: operations.decode_info(body, "m"), "the description of the model"),
        (operations.decode_load, "the answer"),
        (operations.decode_version, "the answer"),
        (lambda body: operations.decode_embeddings(body, "a"), "the answer"),
    ],
)
def test_what_should_have_come_is_said(decode: Callable[[bytes], Any], what: str) -> None:
    with pytest.raises(ProtocolError, match=f"^{what} is not an object"):
        decode(b"[1]")
    with pytest.raises(OverloadedError, match="server busy"):
        decode(b'{"error": "server busy"}')


def test_an_error_in_a_body_is_the_error() -> None:
    with pytest.raises(NotFoundError, match="model 'm' not found"):
        operations.decode_load(b'{"error": "model \'m\' not found"}')


@pytest.mark.parametrize("name", ["", "  ", None, 3])
def test_what_is_no_name(name: Any) -> None:
    for call in (operations.show_call, operations.delete_call, operations.pull_call, operations.unload_call):
        with pytest.raises(ConfigError, match="as Ollama names it"):
            call(name)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["message", "content", "tool_calls", "function", "name", "models", "details", "done"]
            )
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def events_of(body: bytes, decoder: Any, *, whole: bool) -> list[Event]:
    """The events of a body, which keep the grammar."""
    events = decoder.feed_whole(body) if whole else read(decoder, [body])
    check_grammar(events, whole=True)
    return events


# By what reads it: the reader, the type of what it gives, and a body that it takes.
READERS: dict[str, tuple[Callable[[bytes], Any], type, Any]] = {
    "a whole body": (
        lambda body: events_of(body, OllamaDecoder(ORIGIN), whole=True),
        list,
        {"message": {"content": "a"}, "done": True},
    ),
    "a stream": (
        lambda body: events_of(body, OllamaDecoder(ORIGIN), whole=False),
        list,
        {"message": {"content": "a"}, "done": True},
    ),
    "progress": (lambda body: read(ProgressDecoder(ORIGIN), [body]), list, {"status": "success"}),
    "a list": (models.decode_list, tuple, {"models": []}),
    "what runs": (operations.decode_running, tuple, {"models": []}),
    "a model": (lambda body: operations.decode_info(body, "m"), OllamaModelInfo, {"details": {}}),
    "loading": (operations.decode_load, OllamaLoad, {"done": True}),
    "embeddings": (
        lambda body: operations.decode_embeddings(body, "a"),
        OllamaEmbeddings,
        {"embeddings": [[1.0]]},
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_whatever_comes_is_read_or_a_typed_error(name: str) -> None:
    reader, kind, good = READERS[name]
    outcomes: set[str] = set()

    @settings(max_examples=60)
    @example(good)
    @example([])
    @given(ANYTHING)
    def check(value: Any) -> None:
        try:
            found = reader(json.dumps(value).encode())
        except (ProtocolError, StreamInterrupted, APIError) as error:
            outcomes.add(type(error).__name__)
        else:
            assert isinstance(found, kind)
            outcomes.add("read")

    check()
    assert "read" in outcomes and len(outcomes) > 1


def test_a_text_part_keeps_its_surrogates_out() -> None:
    body = b'{"model": "m", "message": {"content": "\\ud83d"}, "done": true}'
    [part] = collect(OllamaDecoder(ORIGIN).feed_whole(body)).message.content
    assert isinstance(part, TextPart)
    assert part.text == "\ufffd"


@pytest.mark.parametrize("lines", [1, 2])
def test_the_text_of_generate_is_no_other_field(lines: int) -> None:
    """Some gateways leave `done` out where it is false."""
    said: list[dict[str, Any]] = [{"model": "m", "response": "Hi", "thinking": "Hm."}, {"x": 1, "done": True}]
    if lines == 1:
        said = [said[0] | said[1]]
    decoder = OllamaDecoder(ORIGIN)
    events = [event for line in said for event in decoder.feed(WireMessage(json.dumps(line).encode()))]
    response = collect(events)
    assert (response.text, response.extra) == ("Hi", {"x": 1})
