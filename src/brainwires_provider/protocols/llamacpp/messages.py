"""The messages of a request as the one prompt that a plain completion takes."""

from __future__ import annotations

from brainwires_provider.errors import UnsupportedError
from brainwires_provider.types import Origin, Request, TextPart

__all__ = ["encode_messages"]


def encode_messages(request: Request, origin: Origin) -> str:
    """The one text that the request is. Raises UnsupportedError where it is more."""
    message = request.messages[0] if len(request.messages) == 1 else None
    if request.tools or request.system is not None or message is None or message.role != "user":
        raise _too_much("one prompt, without a system message, turns or tools", origin)
    texts = [part.text for part in message.content if isinstance(part, TextPart)]
    if len(texts) < len(message.content):
        raise _too_much("a prompt of text alone", origin)
    return "".join(texts)


def _too_much(takes: str, origin: Origin) -> UnsupportedError:
    return UnsupportedError(
        f"/completion takes {takes}; use client.chat or client.stream for more",
        provider=origin.provider,
        model=origin.model,
    )
