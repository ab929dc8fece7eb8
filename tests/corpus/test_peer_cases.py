"""What other clients' own tests expect of the same bytes: it is what is decoded here, or a table says why not.

The cases lie beside the repository, at `../shared/peercases`, or where `BRAINWIRES_PEER_CASES` says. Some differences
are of notation and are evened out in `alike`; every other one stands in `peer_differences.toml`, by field and by the
name of the case, with the reason and the page that it rests on. An entry that no case needs fails too.
"""

from __future__ import annotations

import base64
import functools
import gzip
import re
import tomllib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest

from brainwires_provider.errors import ProviderError, ToolArgumentsError
from brainwires_provider.events import Event, collect
from brainwires_provider.framing.base import DEFAULT_MAX_MESSAGE
from brainwires_provider.protocols.base.bodies import feed_rest
from brainwires_provider.protocols.base.protocol import Reply
from brainwires_provider.providers import PROVIDERS
from brainwires_provider.types import Origin, Response, ToolCallPart
from corpus import peer_cases_dir

Case = dict[str, Any]
Found = dict[str, Any]
TABLE = Path(__file__).with_name("peer_differences.toml")
_OF_ERRORS = ("text", "reasoning", "error_type", "retryable", "retry_after")
FILES = ("py_decode", "sdk_decode", "small_decode", "vercel_decode")


@functools.cache
def cases() -> tuple[Case, ...]:
    """Every case of decoding. Skips the calling test where there are none."""
    folder = peer_cases_dir()
    if not folder.is_dir():
        pytest.skip(f"the peers' cases are not here: {folder} (BRAINWIRES_PEER_CASES names another place)")
    return tuple(
        msgspec.json.decode(line)
        for name in FILES
        if (folder / f"{name}.jsonl.gz").is_file()
        for line in gzip.open(folder / f"{name}.jsonl.gz")
    )


def responses() -> list[Case]:
    return [case for case in cases() if case["kind"] in ("stream", "whole")]


def read(case: Case) -> Response:
    body = base64.b64decode(case["body_b64"]) if "body_b64" in case else case["body"].encode()
    protocol = PROVIDERS[case["row"]].protocol()
    if case["status"] >= 400:
        raise protocol.decode_error(Reply(case["status"], {}, body, 0.0))
    decoder = protocol.decoder(Origin(case["protocol"], case["row"], case.get("model")))
    if case["kind"] == "whole":
        return collect(decoder.feed_whole(body))
    events: list[Event] = []
    framing = protocol.framing(DEFAULT_MAX_MESSAGE)
    for message in framing.feed(body):
        if not decoder.ended:
            events += decoder.feed(message)
    if not decoder.ended:
        feed_rest(decoder, *framing.finish(), events)
    return collect(events)


def found(case: Case) -> Found:
    """What this library makes of a case, under the case's own names."""
    try:
        response = read(case)
    except ProviderError as error:
        partial = getattr(error, "partial", None)
        told = {"error": True, "error_type": type(error).__name__, "retryable": error.retryable}
        said = {"text": "", "reasoning": "", "tool_calls": []} if partial is None else _said(partial)
        return {**told, "retry_after": getattr(error, "retry_after", None), **said}
    usage = response.usage
    counts = {
        "input": usage.input_tokens,
        "uncached": usage.uncached_input,
        "cache_read": usage.cache_read,
        "cache_write": usage.cache_write,
        "output": usage.output_tokens,
        "output_text": usage.output_text,
        "reasoning": usage.reasoning,
    }
    return {
        **_said(response),
        "error": False,
        "finish": response.finish_reason,
        "raw_finish": response.raw_finish_reason,
        "id": response.id,
        "model": response.model,
        **{f"usage.{name}": count for name, count in counts.items()},
    }


def _said(response: Response) -> Found:
    calls = [[call.name, call.arguments, call.id] for call in response.tool_calls]
    return {"text": response.text, "reasoning": response.reasoning, "tool_calls": calls}


def expected(case: Case) -> Iterator[tuple[str, Any]]:
    """What is asserted: no null is."""
    told = dict(case["expected"])
    failed = bool(told.pop("error", None))
    yield "error", failed
    if failed:  # what some of them report beside an error, such as a finish reason, is not part of one here
        told = {name: told[name] for name in _OF_ERRORS if name in told}
    for name, count in (told.pop("usage", None) or {}).items():
        if count is not None:
            yield f"usage.{name}", count
    for name in ("server_calls", "sources", "files", "unordered"):
        told.pop(name, None)  # counts of the other client's own parts
    yield from ((name, value) for name, value in told.items() if value is not None)


def alike(name: str, theirs: Any, ours: Any) -> bool:
    """Whether two values are the same but for their notation."""
    if name == "finish":
        return bool(ours == theirs.replace("-", "_"))
    if name == "reasoning":  # parts are joined by an empty line here
        return re.sub(r"\s", "", theirs) == re.sub(r"\s", "", ours or "")
    if name == "tool_calls":
        return _calls(theirs) == _calls(ours or [])  # clients make up ids where there are none
    if name == "model":
        return ours in (theirs, None)  # theirs is the one that was asked for where the service names none
    return bool(theirs == ours)


def _calls(calls: list[Any]) -> list[Any]:
    return [[name, _value(arguments)] for name, arguments, *_ in calls]


def _value(text: Any) -> Any:
    try:
        return msgspec.json.decode(text) if isinstance(text, str) else text
    except msgspec.DecodeError:
        return text


def differences(case: Case) -> dict[str, tuple[Any, Any]]:
    ours = found(case)
    pairs = ((name, theirs, ours.get(name)) for name, theirs in expected(case))
    return {name: (theirs, mine) for name, theirs, mine in pairs if not alike(name, theirs, mine)}


def known() -> list[dict[str, Any]]:
    """The entries of the table."""
    entries: list[dict[str, Any]] = tomllib.loads(TABLE.read_text())["difference"]
    return entries


def applies(entry: dict[str, Any], case: Case) -> bool:
    named = f"{case['suite']} {case['id']}"
    return any(part in named for part in entry["cases"])


def test_what_other_clients_decode_is_decoded_alike() -> None:
    entries = known()
    unknown = {}
    for case in responses():
        fields = {field for entry in entries if applies(entry, case) for field in entry["fields"]}
        left = {name: pair for name, pair in differences(case).items() if name not in fields}
        if left:
            unknown[f"{case['suite']} {case['id']}"] = left
    assert unknown == {}


def test_every_entry_of_the_table_is_needed_and_rests_on_a_page() -> None:
    for entry in known():
        assert entry["why"] and entry["page"].startswith("https://") and isinstance(entry["opened"], date)
        for part in entry["cases"]:
            hits = [case for case in responses() if applies({"cases": [part]}, case)]
            assert any(set(differences(case)) & set(entry["fields"]) for case in hits), part


def test_arguments_raise_only_their_own_error() -> None:
    wrong = [
        case["id"] for case in cases() if case["kind"] == "arguments" and _args(case) != case["expected"]
    ]
    assert wrong == []


def _args(case: Case) -> str:
    try:
        ToolCallPart("c", "f", case["text"]).args()
    except ToolArgumentsError as error:
        return type(error).__name__
    return "ok"
