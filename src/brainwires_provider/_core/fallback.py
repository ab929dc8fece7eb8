"""Which failure another model is asked after, and with what: decisions without I/O.

A request goes to the next model when its own model has failed for good, for a cause that another may not have: the
network, a limit, no capacity, a failure of the server. What is wrong with the request itself is wrong elsewhere too,
unless the caller knows better (`Fallback.on`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Protocol

from msgspec.structs import replace

from brainwires_provider._core.plan import Plan
from brainwires_provider._core.retry import NO_RETRY
from brainwires_provider.errors import (
    BudgetExceededError,
    ConfigError,
    ConnectError,
    OverloadedError,
    ProviderError,
    RateLimitError,
    RequestTimeout,
    ServerError,
    SharedServerError,
    TransportError,
    UnsupportedError,
)
from brainwires_provider.providers import ProviderConfig, find_row, split_model
from brainwires_provider.types import Attempt, Fallback, Policies

__all__ = [
    "CANNOT_TAKE",
    "fallbacks_of",
    "falls_back",
    "may_be_hedged",
    "next_plan",
    "second_plan",
]

CANNOT_TAKE = (ConfigError, UnsupportedError, BudgetExceededError, SharedServerError)
"""What a model fails with that nothing was sent to: the next one is asked, for the cause that this one was."""

_ASKS_FOR_MORE = re.compile("search|plugin|mcp|connector|data_source|retriev|code_interpreter", re.IGNORECASE)
_DECLARED = frozenset(("functionDeclarations", "function_declarations", "toolSpec", "cachePoint"))
_LOOKED_AT = frozenset(("store", "background", "conversation", "tools", "toolConfig"))
_CAUSES = (TransportError, RateLimitError, OverloadedError, ServerError)


class Models(Protocol):
    """What is needed of a session."""

    configs: dict[str, ProviderConfig]

    def spelt_out(self, model: str) -> str: ...


def fallbacks_of(models: Models, policies: Policies) -> tuple[Fallback, ...]:
    """Each with its conditions. Raises ConfigError where a policy names a model of an unknown provider."""
    given = policies.fallback or ()
    fallbacks = tuple(Fallback(each) if isinstance(each, str) else each for each in given)
    for each in fallbacks:
        _check_model(models, each.model, "fallback")
    if policies.hedge is not None and policies.hedge.model is not None:
        _check_model(models, policies.hedge.model, "hedge")
    return fallbacks


def _check_model(models: Models, model: str, policy: str) -> None:
    try:
        provider = split_model(models.spelt_out(model))[0]
        if provider not in models.configs:
            find_row(provider)
    except ConfigError as error:
        raise ConfigError(f"{policy}: {error.message}") from None


def second_plan(first: Plan, client: Policies) -> Plan:
    """The request beside a first one that is hedged. Raises ConfigError, UnsupportedError."""
    assert first.hedge is not None and first.other is not None
    model, policies = first.hedge.model, first.policies or client
    made = first if model is None else first.other(model)
    return replace(made, others=(), hedge=None, policies=replace(policies, retry=NO_RETRY))


def may_be_hedged(plan: Plan) -> bool:
    """Whether two such requests do no more than one: the provider keeps nothing, and runs nothing."""
    if plan.target.facts.runs_tools:
        return False
    body = plan.call.body or {}
    names, is_sensitive = _names_asking_for_more(tuple(body))
    for name in names:
        if body[name] not in (None, False):
            return False
    if not is_sensitive:
        return True
    if body.get("store") or body.get("background") or body.get("conversation"):
        return False
    tools = body.get("tools")
    if not tools and "toolConfig" in body:
        tools = _field_of(body["toolConfig"], "tools")
    return not tools or (isinstance(tools, (list, tuple)) and all(map(_is_callers, tools)))


@lru_cache(256)
def _names_asking_for_more(names: tuple[str, ...]) -> tuple[tuple[str, ...], bool]:
    """Of a body's fields those that ask for a search, a plugin, a server; and whether it has others to look at."""
    return tuple(filter(_ASKS_FOR_MORE.search, names)), not _LOOKED_AT.isdisjoint(names)


def _is_callers(tool: Any) -> bool:
    """Whether a tool of a body is one that the caller runs, in any protocol's form."""
    if not isinstance(tool, Mapping):
        return False
    kind = tool.get("type")
    if kind is None:
        return "name" in tool or tool.keys() <= _DECLARED
    return kind in ("function", "custom")


def _field_of(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else None


def falls_back(error: ProviderError, fallback: Fallback, *, is_stored: bool) -> bool:
    """Whether this model is asked after an error. An answer that the provider stores may exist already.

    A condition that raises is logged, and refuses.
    """
    if isinstance(error, RequestTimeout) and error.clock == "total":
        return False
    if is_stored and not isinstance(error, ConnectError | RateLimitError | OverloadedError):
        return False
    if fallback.on is None:
        return isinstance(error, _CAUSES)
    try:
        return bool(fallback.on(error))
    except Exception:  # as with a hook: the provider's error stays the call's
        import logging

        words = "the condition Fallback.on of %s raised an exception: it is not asked"
        logging.getLogger("brainwires_provider").warning(words, fallback.model, exc_info=True)
        return False


def next_plan(
    failed: Plan, others: tuple[Fallback, ...], error: ProviderError
) -> tuple[Plan | None, tuple[Fallback, ...], list[Attempt]]:
    """The request to the first model that is asked after an error, if one is; who is left; who could not take it."""
    skipped: list[Attempt] = []
    other = failed.other
    while others and other is not None:
        fallback, others = others[0], others[1:]
        if falls_back(error, fallback, is_stored=failed.is_stored):
            try:
                return replace(other(fallback.model), other=other), others, skipped
            except CANNOT_TAKE as fault:
                skipped.append(Attempt(fault.message, model=fallback.model))
    return None, others, skipped
