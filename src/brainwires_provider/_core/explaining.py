"""Errors as their caller sees them: what a refusal means, where it came from, and what to do."""

from __future__ import annotations

import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from brainwires_provider._core.plan import Plan
from brainwires_provider.auth.redaction import conceal
from brainwires_provider.errors import (
    APIError,
    AuthenticationError,
    ContextLengthError,
    NotFoundError,
    ProviderError,
    RateLimitError,
)
from brainwires_provider.protocols.base.protocol import ChatProtocol, Reply

__all__ = ["explain", "refusal"]


def refusal(protocol: ChatProtocol, status: int, headers: Mapping[str, str], body: bytes) -> APIError:
    """The error of a status that is none of success, of a handshake too. Redirects are not followed."""
    if not 300 <= status < 400:
        return protocol.decode_error(Reply(status, headers, body, time.time()))
    try:
        place = urlsplit(headers.get("location", ""))
        target = (f"{place.scheme}://{place.hostname}" if place.hostname else "") + place.path
    except ValueError:
        target = "what is no URL"
    return APIError(
        f"the server redirects to {target or 'nowhere'} (HTTP {status}), which is not followed, because "
        "the key would be sent along; set base_url to the address that answers",
        status=status,
    )


def explain(error: ProviderError, plan: Plan, secrets: tuple[str, ...]) -> ProviderError:
    """The same error with its provider, and what to do; secrets removed."""
    target = plan.target
    error.provider = error.provider or target.provider
    error.model = error.model or target.model
    error.message = f"{target.provider}: {error.message}{_advice(error, plan)}"
    conceal(error, secrets + plan.secrets)
    return error


def _advice(error: ProviderError, plan: Plan) -> str:
    """What to do, where the error's kind says it."""
    target = plan.target
    match error:
        case AuthenticationError() if target.auth is not None:
            return f" ({target.auth.advice})"
        case AuthenticationError():
            where = f" or {target.row.key_env}" if target.row.key_env else ""
            return f" (check the key: api_key={where})"
        case NotFoundError() if plan.subject is not None:
            return f" (check {plan.subject})"
        case NotFoundError():
            return f" (check the model's name, {target.model!r}, and base_url)"
        case ContextLengthError():
            return " (shorten the messages, or lower max_tokens)"
        case RateLimitError(retry_after=float(seconds)):
            return f" (try again in {seconds:g} s)"
    return ""
