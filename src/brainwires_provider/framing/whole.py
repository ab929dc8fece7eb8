"""Whole-body framing: the body is one message, returned at its end.

Only the transport knows whether a body is complete, so the end is always clean here.
"""

from __future__ import annotations

from typing import ClassVar

from brainwires_provider.framing.base import DEFAULT_MAX_MESSAGE, WireMessage
from brainwires_provider.framing.reader import TextReader

__all__ = ["WholeFraming"]


class WholeFraming(TextReader):
    """Reads one body of JSON text, without its byte order mark. An empty body is no message."""

    media_type: ClassVar[str] = "application/json"
    __slots__ = ("_body",)

    def __init__(self, max_message: int = DEFAULT_MAX_MESSAGE) -> None:
        super().__init__(max_message)
        self._body = bytearray()

    def _read(self, chunk: bytes, messages: list[WireMessage]) -> None:
        self._body += chunk
        self._check(len(self._body), "The body")

    def _end(self) -> tuple[list[WireMessage], bool]:
        body = bytes(self._body) + self._leftover_head()
        self._body.clear()
        return ([WireMessage(body)] if body else []), True
