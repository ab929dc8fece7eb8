"""API keys: given, called for, or read from the environment, and never shown.

A callable is asked for each request, so that a short-lived token stays fresh; a synchronous one runs in a thread,
since it may block.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from brainwires_provider.errors import ConfigError

__all__ = ["REDACTED", "Key", "key_headers", "redact", "resolve_key"]

Key: TypeAlias = str | Callable[[], str | Awaitable[str]]

REDACTED = "[redacted]"


async def resolve_key(key: Key, provider: str) -> str:
    """The key's text. Raises ConfigError when there is none in it, or it could not be a header."""
    value: Any = key
    if callable(value):
        import asyncio
        import inspect

        if inspect.iscoroutinefunction(value):
            value = await value()
        else:
            value = await asyncio.to_thread(value)
            if inspect.isawaitable(value):
                value = await value
    if not isinstance(value, str):
        raise ConfigError(
            f"the key for {provider} must be text, not {type(value).__name__}", provider=provider
        )
    text = value.strip()
    if not text.isprintable():
        raise ConfigError(
            f"the key for {provider} has a character that no header can carry; was it pasted whole?",
            provider=provider,
        )
    return text


def key_headers(scheme: str, key: str) -> dict[str, str]:
    """The headers that carry a key: `scheme` is `"bearer"` or a header's own name. No key, no header."""
    if not key:
        return {}
    return {"Authorization": f"Bearer {key}"} if scheme == "bearer" else {scheme: key}


def redact(value: Any, secrets: tuple[str, ...]) -> Any:
    """The same value without the secrets: some services repeat the key in their error."""
    if isinstance(value, str):
        for secret in secrets:
            if len(secret) > 3:
                value = value.replace(secret, REDACTED)
        return value
    if isinstance(value, dict):
        return {redact(k, secrets): redact(v, secrets) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(redact(item, secrets) for item in value)
    return value
