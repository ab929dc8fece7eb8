"""What other clients send for the same requests, by their own tests: it is what is sent here, or a table says why not.

The cases lie beside the repository, at `../shared/peercases`, or where `BRAINWIRES_PEER_CASES` says. What is only
notation is evened out in `peer_requests.alike`; every other difference, refusal and case without a counterpart is in
`peer_request_differences.toml`. An entry that no case needs fails too.
"""

from __future__ import annotations

import functools
import gzip
import json
import os
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from brainwires_provider import PROVIDERS, AsyncClient, ConfigError, ProviderConfig, UnsupportedError
from paths import PROJECT
from peer_functions import function_differences, is_compared
from peer_requests import CONVERTERS, FORMS, NotOurs, differences, of_function

Case = dict[str, Any]
pytestmark = pytest.mark.long
TABLE = tomllib.loads(Path(__file__).with_name("peer_request_differences.toml").read_text())
FILES = ("py_request", "vercel_request", "small_request", "vercel_fn")
OURS = (
    ("vercel:alibaba", "tool message"),
    ("vercel:google", "should coerce reasoning|Gemma|image-url data URL"),
    (
        "vercel:(anthropic|amazon-bedrock)",
        "without signature|omit unsigned|foreign provider|trailing whitespace",
    ),
    ("vercel:(anthropic|amazon-bedrock)", "sanitize unsupported|structured outputs are GA"),
    ("vercel:amazon-bedrock", "filter tool content|toolChoice is none|strip invalid characters"),
    ("langchain-aws", "trailing_whitespace"),
    ("langchain-mistralai", "."),
    ("vercel:mistral", "prefix true|trailing assistant"),
    ("vercel:deepseek", "back-fill empty"),
    ("vercel:(moonshotai|openai-compatible)", r"text/\*|video"),
    ("vercel:xai", "xhigh"),
    ("vercel:openai", "clear .*temperature"),
    ("anthropic-sdk-python", "test_transform"),
)
"""Suites and cases whose expectation was judged right."""


@functools.cache
def cases() -> tuple[Case, ...]:
    """Every case of a request or of a conversion. Skips the calling test where there are none."""
    given = os.environ.get("BRAINWIRES_PEER_CASES")
    folder = Path(given) if given else PROJECT.parent / "shared" / "peercases"
    if not folder.is_dir():
        pytest.skip(f"the peers' cases are not here: {folder} (BRAINWIRES_PEER_CASES names another place)")
    return tuple(
        msgspec.json.decode(line)
        for name in FILES
        if (folder / f"{name}.jsonl.gz").is_file()
        for line in gzip.open(folder / f"{name}.jsonl.gz")
    )


@functools.cache
def client(provider: str) -> AsyncClient:
    entry = PROVIDERS[provider]
    config = ProviderConfig(
        provider,
        api_key=None if entry.keyless else "k",
        base_url=None if entry.base_url else "https://a.test/v1",
        region={"aws": "us-east-1", "google": "global", None: None}[entry.cloud],
        project="p" if entry.cloud == "google" else None,
    )
    return AsyncClient(providers=[config])


def compared(case: Case) -> list[str]:
    """The members of the body that differ. Raises NotOurs, and what this library refuses."""
    if case["kind"] == "fn" and is_compared(case["name"]):
        if case.get("error") or case["expected"] is None:
            raise NotOurs("that client refuses it")
        return function_differences(case)
    if case["kind"] == "fn":
        provider = CONVERTERS.get(case["name"], ("openai-chat", ""))[0]
        provider, model, request, expected = of_function(case, PROVIDERS[provider].protocol().name)
        done = client(provider).prepare(request, model=f"{provider}:{model}")
        return differences(json.loads(done.body), expected, only=True)
    request = FORMS[case.get("form")](case)
    model = f"{case['row']}:{case['model']}"
    done = client(case["row"]).prepare(request, model=model, stream=bool(case.get("stream")))
    return differences(json.loads(done.body), case["expected"], only=case.get("form") is not None)


@functools.cache
def results() -> tuple[tuple[Case, str, str], ...]:
    """For each case: `equal`, or one entry a difference with its member, a refusal or a missing counterpart."""
    found: list[tuple[Case, str, str]] = []
    for case in cases():
        try:
            members = compared(case)
        except NotOurs as why:
            found.append((case, "not_ours", str(why)))
        except (UnsupportedError, ConfigError, TypeError, ValueError) as error:
            found.append((case, "refusal", str(error)))
        else:
            found += [(case, "difference", member) for member in members] or [(case, "equal", "")]
    return tuple(found)


def entries_for(case: Case, kind: str, what: str) -> Iterator[Any]:
    for entry in TABLE.get(kind, ()):
        if kind == "not_ours":
            fits = re.fullmatch(entry["why"], what)
        elif kind == "refusal":
            fits = re.search(entry["error"], what)
        else:
            fits = (
                re.fullmatch(entry["suite"], case["suite"])
                and re.fullmatch(entry["field"], what)
                and re.search(entry.get("case", ""), case["id"])
            )
        if fits:
            yield entry


def test_every_difference_has_a_reason() -> None:
    unexplained = [
        (case["suite"], case["id"].rpartition(" > ")[2], kind, what)
        for case, kind, what in results()
        if kind != "equal" and not any(entries_for(case, kind, what))
    ]
    assert unexplained == []


def test_what_was_judged_right_is_done_or_has_the_services_page() -> None:
    wrong = [
        (case["id"], what)
        for case, kind, what in results()
        if kind == "difference"
        and any(re.fullmatch(suite, case["suite"]) and re.search(name, case["id"]) for suite, name in OURS)
        and not any("page" in entry for entry in entries_for(case, kind, what))
    ]
    assert wrong == []


def test_every_entry_is_needed() -> None:
    needed = [id(entry) for case, kind, what in results() for entry in entries_for(case, kind, what)]
    idle = [entry for kind in TABLE for entry in TABLE[kind] if id(entry) not in needed]
    assert idle == []


def test_most_requests_are_equal() -> None:
    count = Counter(kind for _, kind, _ in results())
    assert count["equal"] >= 425, count
    assert count["not_ours"] <= 513, count
