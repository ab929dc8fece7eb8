"""What the writers of both sides' turns share: the place they are at, what they report, and what no turn can hold.

Reference: the API reference of "Create a Message"; which texts are refused is told by the API's own refusals only.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from brainwires_provider.errors import UnsupportedError
from brainwires_provider.types import Deviation, OpaquePart, Origin, Part, RefusalPart, TextPart

__all__ = ["Block", "Outcome", "Writer", "part_name", "refused_texts", "wire_id"]

Block: TypeAlias = dict[str, Any]
Outcome: TypeAlias = Literal["adapted", "emulated", "dropped"]
_ID = re.compile(r"[a-zA-Z0-9_-]+")
_REFUSED = re.compile(r"[^a-zA-Z0-9_-]")


class Writer:
    """Writes turns for `origin`, the new request's; `where` names the turn, `deviations` gathers what was changed."""

    def __init__(self, origin: Origin, deviations: list[Deviation], where: str = "") -> None:
        self.where = where
        self._origin = origin
        self._deviations = deviations

    def report(self, outcome: Outcome, reason: str, at: str = "") -> None:
        """Something of this turn did not go out as given."""
        self._deviations.append(Deviation(self.where + at, outcome, reason))

    def unsupported(self, message: str) -> UnsupportedError:
        """The error for what cannot be said."""
        told = f"{self.where}: {message}"
        return UnsupportedError(told, provider=self._origin.provider, model=self._origin.model)


def part_name(part: Part) -> str:
    """What a part is called in reports and errors."""
    return f"{type(part).__name__}({part.kind!r})" if isinstance(part, OpaquePart) else type(part).__name__


def refused_texts(parts: Sequence[Part]) -> dict[int, str]:
    """The places of the texts that the API refuses, with the reasons.

    One of no length is refused anywhere, a blank one only where no other text of its turn says something.
    """
    texts = {i: part.text for i, part in enumerate(parts) if isinstance(part, (TextPart, RefusalPart))}
    speaks = any(text.strip() for text in texts.values())
    refused = {}
    for index, text in texts.items():
        if not text:
            refused[index] = "a text of no length is refused"
        elif not speaks and not text.strip():
            refused[index] = "a blank text is refused where no other says anything"
    return refused


def wire_id(call_id: str) -> str:
    """A call's id in the form that this API takes; the same for the same id, for the call and for its result."""
    if _ID.fullmatch(call_id):
        return call_id
    digest = hashlib.sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{_REFUSED.sub('_', call_id)[:48] or 'call'}_{digest}"
