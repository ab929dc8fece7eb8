"""Every fixture is held against something besides the code that it was written from."""

from __future__ import annotations

import datetime
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from test_sdk_types import CHECKS, is_allowed

from fixture_cases import PROTOCOLS, Case, Source, cases
from paths import PROJECT, TESTS
from sdk_answers import READERS, differences, refused_by_types

CASES = list(cases())
READ_BY_SDK = [case for case in CASES if case.source is not None and case.source.sdk is not None]
OWN = {
    "anthropic_messages": 1,
    "bedrock_converse": 21,
    "gemini": 9,
    "ollama": 16,
    "openai_chat": 10,
    "openai_responses": 18,
    "relay": 50,
}
"""By protocol: of how many folders nothing outside speaks, each with its reason. A number only becomes less."""


PACKAGES = {
    "anthropic_messages": "anthropic",
    "bedrock_converse": "botocore",
    "gemini": "google-genai",
    "google_interactions": "google-genai",
    "ollama": "ollama",
    "openai_chat": "openai",
    "openai_responses": "openai",
}
"""By protocol: the vendor's SDK."""


def named(case: Case) -> str:
    return f"{case.folder.parent.name}-{case.folder.name}"


def confirmed(case: Case) -> bool:
    """Whether the SDK reads an answer as we do, by text, calls, the reason for the end and counts, or refuses it, too.

    Of what we refuse to send: whether the SDK's types refuse a body that says it.

    Of a request: whether its body is of the SDK's types, but for the fields in that test's table of reasons. Services
    behind the Chat protocol state that they take OpenAI's.
    """
    protocol, call = case.folder.parent.name, case.expected("call.json")
    if case.wire is not None:
        return protocol in READERS and (differences(case) == {} or refused_by_types(case))
    if case.source is not None and case.source.refuses is not None:
        return "error" in call and CHECKS[protocol](case.source.refuses, False) != []
    rows = (None, PROTOCOLS[protocol][0])
    if protocol not in CHECKS or "error" in call or (protocol != "openai_chat" and case.spec.row not in rows):
        return False
    found = CHECKS[protocol](call["body"], case.spec.stream)
    return all(case.spec.row in rows and is_allowed(case.folder.name, each) for each in found)


def test_every_folder_has_a_source() -> None:
    assert [named(case) for case in CASES if case.source is None] == []


def test_folders_of_which_nothing_outside_speaks_become_fewer() -> None:
    found = [case for case in CASES if case.source is not None and case.source.own is not None]
    assert Counter(case.folder.parent.name for case in found) == OWN


@pytest.mark.parametrize("case", READ_BY_SDK, ids=named)
def test_the_vendors_sdk_says_the_same(case: Case) -> None:
    source = case.source
    assert source is not None and source.sdk == PACKAGES[case.folder.parent.name]
    assert confirmed(case), differences(case) if case.wire else "the body is not of the SDK's types"


def test_a_source_says_where_it_can_be_read() -> None:
    page = {"page": "https://example.com/api", "read": datetime.date(2026, 11, 29), "says": "So it is."}
    assert Source(**page).page == page["page"]
    assert Source(sdk="openai").sdk == "openai"
    assert Source(own="A rule of our values.").own == "A rule of our values."
    for wrong in ({}, {**page, "page": "example.com"}, {**page, "read": None}, {**page, "says": None}):
        with pytest.raises(ValueError, match="a source is an sdk, or a page"):
            Source(**wrong)


def test_make_fixture_writes_nothing_that_names_no_source(tmp_path: Path) -> None:
    """Run on a copy of the tree that has one folder."""
    case = next(case for case in READ_BY_SDK if case.wire is not None)
    tools, support = tmp_path / "tools", tmp_path / "tests" / "support"
    shutil.copytree(PROJECT / "tools", tools)
    shutil.copytree(TESTS / "support", support, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "src").symlink_to(PROJECT / "src")
    folder = tmp_path / "tests" / "fixtures" / case.folder.parent.name / case.folder.name
    folder.mkdir(parents=True)
    for path in (*case.folder.glob("wire.*"), case.folder / "request.json"):
        shutil.copy(path, folder)
    command = [sys.executable, str(tools / "make_fixture.py")]

    refused = subprocess.run(command, capture_output=True, text=True)
    assert (refused.returncode, "names no source" in refused.stderr) == (1, True)
    assert not (folder / "call.json").exists()

    shutil.copy(case.folder / "source.toml", folder)
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert (folder / "events.json").read_bytes() == (case.folder / "events.json").read_bytes()
