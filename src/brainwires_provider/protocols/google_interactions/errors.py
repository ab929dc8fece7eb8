"""Errors of the Interactions API: refusals are Google's; `error` events and failed interactions have a code in words.

Reference: the API reference of `Error`, `ErrorEvent` and `Interaction.errors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainwires_provider.errors import APIError
from brainwires_provider.protocols.base.google import google_error, google_refusal
from brainwires_provider.protocols.base.json import objects_in
from brainwires_provider.protocols.base.protocol import Reply
from brainwires_provider.types import Origin, Response

__all__ = ["decode_error", "event_error", "failed_error"]

_BESIDE = frozenset(("event_type", "event_id", "metadata"))


def decode_error(reply: Reply) -> APIError:
    """The error of a refused request."""
    return google_refusal(reply)


def event_error(event: Mapping[str, Any], partial: Response, origin: Origin) -> APIError:
    """The error of an `error` event, of such an object without a name, or in the place of a body."""
    given = {name: value for name, value in event.items() if name not in _BESIDE}
    return google_error(given, partial=partial, origin=origin)


def failed_error(errors: Any, partial: Response, origin: Origin) -> APIError:
    """The error of an interaction whose status is `failed`: the first that it lists with anything to say."""
    listed = [error for error in objects_in(errors) if error.get("message") or error.get("code")]
    told = listed[0] if listed else {"message": "the interaction failed, and does not state why"}
    return google_error({"error": told}, partial=partial, origin=origin)
