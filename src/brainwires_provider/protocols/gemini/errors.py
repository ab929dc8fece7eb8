"""Error bodies of generateContent are Google's: as a refusal, and inside a stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainwires_provider.errors import APIError
from brainwires_provider.protocols.base.google import google_error, google_refusal
from brainwires_provider.protocols.base.protocol import Reply
from brainwires_provider.types import Origin, Response

__all__ = ["chunk_error", "decode_error"]


def decode_error(reply: Reply) -> APIError:
    """The error of a refused request."""
    return google_refusal(reply)


def chunk_error(chunk: Mapping[str, Any], partial: Response, origin: Origin) -> APIError:
    """The error of a chunk of a stream."""
    return google_error(chunk, partial=partial, origin=origin)
