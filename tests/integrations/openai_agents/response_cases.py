"""The whole answers of every protocol's fixtures, and what the encoder makes of them, without any framework."""

from __future__ import annotations

from typing import Any

import pytest

from brainwires_provider.events import Event, ResponseEnd
from brainwires_provider.integrations.responses import ResponsesEncoder
from fixture_cases import Case, cases, read


def _read(case: Case) -> list[Event]:
    events, error = read(case, lambda data: [data])
    return events if error is None and events and isinstance(events[-1], ResponseEnd) else []


_EVENTS = {case.folder: _read(case) for case in cases() if case.wire is not None}


def events_of(case: Case) -> list[Event]:
    """The events of a whole answer; none for one that failed."""
    return _EVENTS[case.folder]


WHOLE = [case for case in cases() if _EVENTS.get(case.folder)]
IN_EVERY_WAY = pytest.mark.parametrize(
    "case", WHOLE, ids=lambda case: f"{case.folder.parent.name}-{case.folder.name}"
)


def encoded(events: list[Event], **args: Any) -> tuple[list[dict[str, Any]], ResponsesEncoder]:
    encoder = ResponsesEncoder(seed="s", model="m", created_at=1.0, **args)
    wire = [each for event in events for each in encoder.feed(event)]
    return wire, encoder
