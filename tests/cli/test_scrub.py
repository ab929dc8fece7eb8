"""What is stored of conversations holds no secret, whatever it is in; other text stays as it is."""

from __future__ import annotations

import pytest

from brainwires_provider.cli.scrub import Scrubber
from brainwires_provider.types import FilePart, Message, ToolCallPart

KEY = "sk-planted-0123456789abcdef"
PLAIN = "correct-horse-battery"  # known by its variable's name alone
SCRUBBER = Scrubber(
    ["from-a-file-1"], {"LAB_API_KEY": PLAIN, "GITHUB_TOKEN": "short", "HOME": "/home/somebody"}
)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"the key {KEY}, see", "the key [redacted], see"),
        (f"export OPENAI_API_KEY={KEY}\n", "export OPENAI_API_KEY=[redacted]\n"),
        (f"it is {PLAIN}!", "it is [redacted]!"),
        ("it is from-a-file-1", "it is [redacted]"),
        ("Authorization: Bearer abcdefgh12345678", "Authorization: Bearer [redacted]"),
        ('{"password": "hunter2hunter2"}', '{"password": "[redacted]"}'),
        ("postgres://me:hunter2@host/db", "postgres://me:[redacted]@host/db"),
        ("short, /home/somebody", "short, /home/somebody"),
        ("Explain basic concepts of token: sequences", "Explain basic concepts of token: sequences"),
        ("basic telecommunications", "basic telecommunications"),
        ("see https://example.com/a?b=c1234567890", "see https://example.com/a?b=c1234567890"),
    ],
)
def test_a_text(text: str, kept: str) -> None:
    assert SCRUBBER.clean(text) == kept


def test_all_parts_of_a_message() -> None:
    given = [
        Message.user("Hi", FilePart(data=f"A={KEY}".encode(), media_type="text/plain", name=".env")),
        Message.assistant(ToolCallPart("c", "f", f'{{"a": "{KEY}"}}')),
        Message.user("plain"),
    ]
    first, second, third = SCRUBBER.clean(given)
    assert first.content[1].data == b"[redacted]"
    assert second.content[0].args() == {"a": "[redacted]"}
    assert third is given[2]
    assert KEY not in repr([each.content for each in (first, second)])
