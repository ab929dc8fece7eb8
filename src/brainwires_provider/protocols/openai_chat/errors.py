"""Error bodies and error objects inside a stream, as services that speak Chat Completions send them.

The fields and the classification are those of `base.errors`.
"""

from __future__ import annotations

from typing import Any

from brainwires_provider.errors import APIError
from brainwires_provider.protocols.base.decoder import DecoderBase, well_formed
from brainwires_provider.protocols.base.errors import error_in_body, error_in_reply

__all__ = ["decode_error", "error_in_stream"]

decode_error = error_in_reply


def error_in_stream(body: dict[str, Any], decoder: DecoderBase) -> APIError:
    """The error that an object under status 200 is, with what had arrived before it."""
    decoder.extra.pop("error", None)
    error = error_in_body(well_formed(body), status=None, partial=decoder.partial())
    error.provider, error.model = decoder.origin.provider, decoder.origin.model
    return error
