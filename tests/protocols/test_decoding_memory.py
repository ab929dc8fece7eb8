"""A body of 4 MB takes at most 64 MB of memory, wherever in an answer it stands.

Each body is read in a process of its own: the most that a process ever held does not go down. CI reads the shapes
that take the most memory in each place; `tools/decoding_cost.py` and the nightly tests read all.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "decoding_cost.py"
sys.path.insert(0, str(TOOL.parent))

import decoding_cost  # noqa: E402

PLACES = [(protocol, place) for protocol, (_, places) in decoding_cost.PLACES.items() for place in places]
HEAVIEST = ("dense", "distinct", "keys")
OTHERS = [shape for shape in decoding_cost.SHAPES if shape not in HEAVIEST]


def check(protocol: str, place: str, shape: str) -> None:
    run = subprocess.run(
        [sys.executable, str(TOOL), protocol, place, shape], capture_output=True, text=True, timeout=100
    )
    _, megabytes, outcome = run.stdout.split()
    assert float(megabytes) <= decoding_cost.MEGABYTES, f"{megabytes} MB, {outcome}"
    assert outcome in {"read", "ProtocolError", "APIError", "StreamInterrupted"}, outcome


@pytest.mark.many
@pytest.mark.parametrize(("protocol", "place"), PLACES)
@pytest.mark.parametrize("shape", HEAVIEST)
def test_a_large_answer_takes_no_more_memory_than_is_said(protocol: str, place: str, shape: str) -> None:
    check(protocol, place, shape)


@pytest.mark.nightly
@pytest.mark.parametrize(("protocol", "place"), PLACES)
@pytest.mark.parametrize("shape", OTHERS)
def test_no_shape_takes_more(protocol: str, place: str, shape: str) -> None:
    check(protocol, place, shape)
