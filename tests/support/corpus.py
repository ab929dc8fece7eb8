"""Finds the recorded exchanges and reads them.

They lie beside the repository, at `../shared/wire`, or where `BRAINWIRES_WIRE_CORPUS` says. Tests that need
them are skipped, with the place that was looked at, on a machine that has none.
"""

from __future__ import annotations

import base64
import functools
import gzip
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from brainwires_provider.events import Event
from brainwires_provider.protocols.base.protocol import ChatProtocol, Decoder, Reply
from brainwires_provider.types import Origin
from paths import PROJECT
from reading import read_stream

_LIMIT = 64 * 1024 * 1024


class Record(Struct, frozen=True):
    """One line of the corpus; see its README."""

    id: str
    protocol: str
    kind: str
    host: str
    request: dict[str, Any] | None
    status: int
    headers: dict[str, str]
    body: str | None = None
    body_b64: str | None = None

    @property
    def data(self) -> bytes:
        """The answer's bytes."""
        return base64.b64decode(self.body_b64) if self.body_b64 is not None else (self.body or "").encode()

    @property
    def model(self) -> str | None:
        """The requested model."""
        return (self.request or {}).get("model")

    @property
    def origin(self) -> Origin:
        """What a client asking this host would mark the answer with."""
        return Origin(self.protocol, self.host, self.model)


def corpus_dir() -> Path:
    """Where the corpus is, or should be."""
    given = os.environ.get("BRAINWIRES_WIRE_CORPUS")
    return Path(given) if given else PROJECT.parent / "shared" / "wire"


def peer_cases_dir() -> Path:
    """Where the cases of other clients are, or should be."""
    given = os.environ.get("BRAINWIRES_PEER_CASES")
    return Path(given) if given else PROJECT.parent / "shared" / "peercases"


@functools.cache
def records(protocol: str) -> tuple[Record, ...]:
    """Every record of one protocol. Skips the calling test where there is no corpus."""
    path = corpus_dir() / f"{protocol}.jsonl.gz"
    if not path.is_file():
        pytest.skip(
            f"the recorded exchanges are not here: {path} (BRAINWIRES_WIRE_CORPUS names another place)"
        )
    with gzip.open(path) as lines:
        return tuple(msgspec.json.decode(line, type=Record) for line in lines)


def answers(protocol: str) -> list[Record]:
    """The records that a decoder reads: those that were not refused by status."""
    return [r for r in records(protocol) if r.status < 400]


def turns(protocol: str) -> Iterator[tuple[Record, Record]]:
    """Each recorded request with the one before it in the same recording."""
    known = {r.id: r for r in records(protocol)}
    for record in known.values():
        match = re.fullmatch(r"(.*)#(\d+)", record.id)
        before = known.get(f"{match[1]}#{int(match[2]) - 1}") if match else None
        if before is not None:
            yield before, record


def read(
    protocol: ChatProtocol, decoder: Decoder, record: Record, chunks: list[bytes] | None = None
) -> list[Event]:
    """The events of a record, its body in one chunk or in these. Raises what the decoder raises."""
    if record.status >= 400:
        raise protocol.decode_error(Reply(record.status, record.headers, record.data, 0))
    if record.kind == "whole":
        return decoder.feed_whole(record.data)
    return read_stream(protocol.framing(_LIMIT), decoder, [record.data] if chunks is None else chunks, [])
