"""The key of a row's request, and the JSON form of its result."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast

import pytest

from brainwires_provider import (
    AsyncClient,
    Message,
    OpenAIChatOptions,
    OutputParams,
    RateLimitError,
    Response,
    TextPart,
    Timeouts,
    Tool,
    ToolCallPart,
    Usage,
    tool,
)
from brainwires_provider.bulk.record import (
    COLUMNS,
    Failure,
    Record,
    columns,
    dump_record,
    embedding_key,
    load_record,
    record_of,
    record_of_embeddings,
    record_of_error,
    request_key,
)
from brainwires_provider.errors import OutputTruncated
from brainwires_provider.types import Cost, EmbeddingArgs, Embeddings

CLIENT = AsyncClient("openai-chat:m", api_key="k")


@dataclass
class City:
    name: str


@tool
def weather(city: str) -> str:
    """The weather."""
    return city


def key(text: str = "Hi", model: str = "openai-chat:m", **args: Any) -> str:
    more = {name: args.pop(name) for name in ("version", "more") if name in args}
    return request_key(CLIENT._session.request(text, cast(OutputParams, args))[1], model, **more)


def response(*content: Any, **fields: Any) -> Response[Any]:
    known = {
        "request_id": "req_1",
        "usage": Usage(uncached_input=3, output_text=2, complete=True, raw={"a": 1}),
    }
    return Response(
        "r1", "openai-chat", "m-1", Message("assistant", content), "stop", "stop", **{**known, **fields}
    )


@pytest.mark.parametrize(
    "args",
    [
        {"text": "Hi!"},
        {"model": "anthropic:m"},
        {"version": "2"},
        {"more": {"max_steps": 3}},
        {"system": "Be brief."},
        {"temperature": 0.5},
        {"tools": [weather]},
        {"output": City},
        {"output": "json"},
        {"provider_options": OpenAIChatOptions(logprobs=True)},
        {"extra_headers": {"x-variant": "b"}},
        {"tool_choice": "none"},
    ],
)
def test_what_changes_the_answer_changes_the_key(args: dict[str, Any]) -> None:
    assert key(**args) != key()


@pytest.mark.parametrize(
    "args",
    [
        {"timeouts": Timeouts(total=3)},
        {"strict": True},
        {"extra_headers": {"authorization": "Bearer sk-1234567890abcdef1234567890abcdef"}},
    ],
)
def test_what_changes_no_answer_leaves_the_key(args: dict[str, Any]) -> None:
    bare: dict[str, Any] = {"extra_headers": {}} if "extra_headers" in args else {}
    assert key(**args) == key(**bare)


def test_a_function_counts_as_the_tool_that_is_sent() -> None:
    sent = Tool(weather.name, weather.description, weather.parameters)

    assert key(tools=[weather]) == key(tools=[sent])


def test_a_key_is_the_same_in_another_process() -> None:
    script = (
        "from brainwires_provider import AsyncClient\nfrom brainwires_provider.bulk.record import request_key\n"
        "c = AsyncClient('openai-chat:m', api_key='other')\n"
        "print(request_key(c._session.request('Hi', {'temperature': 0.5})[1], 'openai-chat:m'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.strip() == key(temperature=0.5)
    assert len(done.stdout.strip()) == 32


def test_the_keys_of_texts_to_embed() -> None:
    keys = {
        embedding_key(["a"], "openai:e", EmbeddingArgs()),
        embedding_key(["b"], "openai:e", EmbeddingArgs()),
        embedding_key(["a"], "google:e", EmbeddingArgs()),
        embedding_key(["a"], "openai:e", EmbeddingArgs(dimensions=3)),
        embedding_key(["a"], "openai:e", EmbeddingArgs(), version="2"),
        request_key(CLIENT._session.request("a", {})[1], "openai:e"),
    }

    assert len(keys) == 6


RECORDS = {
    "text": record_of(response(TextPart("Ja ü\n\0"), cost=Cost(Decimal("0.000123"), "t"))),
    "typed": record_of(response(TextPart('{"name": "Rom"}'), output=City("Rom"))),
    "calls": record_of(response(TextPart("a"), ToolCallPart("c1", "weather", '{"city": "Rom"}'))),
    "vectors": record_of_embeddings(
        Embeddings([[0.5, 1e-9]], "openai", "e", Usage(uncached_input=1, complete=True))
    ),
    "error": record_of_error(RateLimitError("slow down", request_id="req_9")),
    "bare": record_of_error(KeyError("column")),
    "cut": record_of_error(OutputTruncated("cut", partial=response(TextPart("half")))),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_survives_its_json(name: str) -> None:
    line = dump_record(RECORDS[name])

    assert b"\n" not in line
    assert load_record(line) == RECORDS[name]


def test_what_records_hold() -> None:
    assert RECORDS["text"].message is None and RECORDS["text"].usage.raw is None
    assert RECORDS["typed"].output == {"name": "Rom"}
    assert RECORDS["calls"].message is not None and RECORDS["calls"].message.tool_calls[0].name == "weather"
    assert RECORDS["error"].error == Failure("RateLimitError", "slow down", "req_9", retryable=True)
    assert RECORDS["bare"].error == Failure("KeyError", "'column'")
    assert RECORDS["cut"].text == "half" and RECORDS["cut"].usage.output_text == 2  # it was paid for


@pytest.mark.parametrize("line", [b"", b"{", b'{"v":2,"text":"a"}', b'{"v":1,"text":3}', b"[]"])
def test_what_is_no_record_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match="no record of a row"):
        load_record(line)


@pytest.mark.parametrize("name", RECORDS)
def test_the_columns_are_always_the_same(name: str) -> None:
    assert list(columns(RECORDS[name])) == list(COLUMNS)


def test_columns() -> None:
    text = columns(RECORDS["text"], prefix="x_")
    assert (text["x_answer"], text["x_cost_usd"], text["x_input_tokens"]) == ("Ja ü\n\0", 0.000123, 3)
    assert columns(RECORDS["vectors"])["vector"] == [0.5, 1e-9]
    assert columns(Record(vectors=[[1.0], [2.0]]))["vector"] == [[1.0], [2.0]]
    assert columns(RECORDS["calls"])["tool_calls"] == [
        {"id": "c1", "name": "weather", "arguments": '{"city": "Rom"}'}
    ]
    failed = columns(RECORDS["error"])
    assert (failed["answer"], failed["error_type"], failed["error"], failed["request_id"]) == (
        None,
        "RateLimitError",
        "slow down",
        "req_9",
    )
    assert failed["input_tokens"] is None  # unknown, which is not 0


def test_an_output_without_a_json_form_is_refused() -> None:
    with pytest.raises(TypeError, match="no form in JSON"):
        record_of(response(TextPart("a"), output=object()))
