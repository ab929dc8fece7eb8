"""Error bodies, and the `error` events of a stream: JSON of any shape, or a text.

The fields and the classification are those of `base.errors`.
"""

from __future__ import annotations

import re
from typing import Any

from brainwires_provider.errors import APIError
from brainwires_provider.protocols.base.decoder import DecoderBase, listed_error, well_formed
from brainwires_provider.protocols.base.errors import error_in_body, error_in_reply
from brainwires_provider.protocols.base.json import decode_json, looks_like

__all__ = ["decode_error", "error_in_stream"]

_NO_TEXT = "the relay reports an error, and not which"
_STATUS = re.compile(r"\s*([45]\d\d)\b")  # which vendors' SDKs put before the text that the relay repeats

decode_error = error_in_reply


def error_in_stream(data: bytes, decoder: DecoderBase) -> APIError:
    """The error of an `error` event, or of an object in its place. Raises ProtocolError where it was cut."""
    told = _read(data, decoder)
    told = listed_error(told) or told
    body = told if told and isinstance(told, dict) else {"message": told or _NO_TEXT}
    decoder.ended = True
    error = error_in_body(body, status=None, partial=decoder.partial())
    claimed = _STATUS.match(error.message)
    if type(error) is APIError and claimed is not None:
        fields = {
            "message": error.message,
            "code": error.code,
            "type": error.type,
            "status": int(claimed[1]),
        }
        error = error_in_body(fields, status=None, partial=error.partial)
        error.body = body
    error.provider, error.model = decoder.origin.provider, decoder.origin.model
    return error


def _read(data: bytes, decoder: DecoderBase) -> Any:
    try:
        return well_formed(decode_json(data))
    except ValueError as fault:
        if data.lstrip().startswith(b"{"):  # it was cut: its end may have held what it is
            decoder.broken(f"the relay's error is not JSON ({fault}): {looks_like(data)}")
        return data.decode("utf-8", "replace")
