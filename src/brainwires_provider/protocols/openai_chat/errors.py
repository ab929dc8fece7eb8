"""Error bodies and error objects inside a stream, as services that speak Chat Completions send them.

The fields and the classification are those of `base.errors`.
"""

from __future__ import annotations

from typing import Any

from brainwires_provider.errors import APIError, ProtocolError
from brainwires_provider.protocols.base.decoder import DecoderBase, well_formed
from brainwires_provider.protocols.base.errors import error_in_body, error_in_reply

__all__ = ["decode_error", "error_event", "error_in_stream", "is_error"]

decode_error = error_in_reply


def is_error(body: dict[str, Any]) -> bool:
    """Whether an object without choices is an error of any of the usual shapes."""
    if body.get("error") or body.get("object") == "error":
        return True
    base = body.get("base_resp")
    if isinstance(base, dict) and base.get("status_code"):
        return True
    message = body.get("message") or body.get("detail")
    return bool(message) and not body.get("id")


def error_in_stream(body: dict[str, Any], decoder: DecoderBase) -> APIError:
    """The error that an object under status 200 is, with what had arrived before it."""
    decoder.extra.pop("error", None)
    error = error_in_body(well_formed(body), status=None, partial=decoder.partial())
    error.provider, error.model = decoder.origin.provider, decoder.origin.model
    return error


def error_event(data: bytes, decoder: DecoderBase) -> dict[str, Any]:
    """What an event named `error` holds that is not the usual JSON."""
    try:
        return decoder.read_json(data)
    except ProtocolError:
        return {"error": data.decode("utf-8", "replace")}
