"""The Interactions API's other operations: stored interactions by their id.

Each makes a call; an answer that is itself an interaction is read by `InteractionsDecoder`, like any other.
Reference: the API reference, "Retrieving", "Cancelling" and "Deleting an interaction".
"""

from __future__ import annotations

from brainwires_provider.protocols.base.errors import object_in
from brainwires_provider.protocols.base.google import google_error
from brainwires_provider.protocols.base.protocol import Call, stored_path

__all__ = ["cancel_call", "check_deleted", "delete_call", "resume_call", "retrieve_call"]


def retrieve_call(id: str, *, include_input: bool = False) -> Call:
    """`GET /interactions/{id}`. Raises ConfigError for what is no id."""
    query = {"include_input": "true"} if include_input else {}
    return Call(_path(id), {}, method="GET", query=query)


def resume_call(id: str, after: str | None) -> Call:
    """`GET /interactions/{id}?stream=true`: the events behind one, or all. Raises ConfigError."""
    query = {"stream": "true", "alt": "sse"} | ({} if after is None else {"last_event_id": after})
    return Call(_path(id), {}, method="GET", query=query)


def cancel_call(id: str) -> Call:
    """`POST /interactions/{id}/cancel`. Raises ConfigError for what is no id."""
    return Call(_path(id) + "/cancel", {})


def delete_call(id: str) -> Call:
    """`DELETE /interactions/{id}`. Raises ConfigError for what is no id."""
    return Call(_path(id), {}, method="DELETE")


def check_deleted(body: bytes) -> None:
    """Raises the APIError that an answer is; a deletion is answered by nothing, or an empty object."""
    if body.strip():
        object_in(body, "the answer to a deletion", google_error)


def _path(id: str) -> str:
    return stored_path("interactions", id)
