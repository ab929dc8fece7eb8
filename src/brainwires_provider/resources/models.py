"""The models of a provider, listed page by page, and what a dated table adds to what the provider reports.

The provider's own values come first. Some services report more at further paths, which not every key may
read: what those say fills what the list left open, and a refusal there is no failure. Then comes the table, where it
is installed; each field from it is marked. What neither reports stays None: nothing is concluded from a model's name.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar, get_args, runtime_checkable

from msgspec.structs import replace

from brainwires_provider._core.session import Session
from brainwires_provider.errors import APIError, NotFoundError, ProtocolError, UnsupportedError
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.providers import Target, resolve_listing, split_model
from brainwires_provider.resources.model_catalog import load
from brainwires_provider.types import Capability, Model

__all__ = ["list_models", "max_output_tokens"]

T = TypeVar("T")

_MOST_PAGES = 1000
_ORDER = get_args(Capability)
_FILLED = (
    "display_name",
    "owner",
    "created",
    "context_window",
    "max_output_tokens",
    "lifecycle",
    "deprecated",
    "retires",
    "input_modalities",
    "output_modalities",
)


@runtime_checkable
class TellsOfOne(Protocol):
    """A protocol that can describe one model by its name."""

    def model_call(self, name: str) -> Call | None:
        """The request for one model; None where this service has none."""
        ...

    def decode_model(self, body: bytes, provider: str) -> Model:
        """Raises ProtocolError."""
        ...


async def list_models(session: Session, provider: str) -> list[Model]:
    """Every model that a provider lists, all pages, each once.

    Raises UnsupportedError where it lists none, ProtocolError for pages without end, and every other ProviderError.
    """
    target = _place(session, provider)
    found = await _told(session, target)
    return await _from_table(target, found)


async def max_output_tokens(session: Session, model: str) -> int | None:
    """The maximum output of a model, in tokens, as its provider reports; None where it does not.

    The dated table knows no such limits.
    """
    provider, name = split_model(model)
    target = _place(session, provider)
    protocol = target.protocol
    call = protocol.model_call(name) if isinstance(protocol, TellsOfOne) else None
    try:
        if call is not None and isinstance(protocol, TellsOfOne):
            told = await _ask(session, target, call, partial(protocol.decode_model, provider=provider))
            return told.max_output_tokens
        listed = await _told(session, target)
    except (NotFoundError, UnsupportedError):
        return None
    return next((each.max_output_tokens for each in listed if each.id == name), None)


def _place(session: Session, provider: str) -> Target:
    """Where a provider's models are listed."""
    target = resolve_listing(provider, session.configs)
    elsewhere = target.row.listing_url
    return target if elsewhere is None else replace(target, base_url=elsewhere(target.base_url))


async def _ask(session: Session, target: Target, call: Call, read: Callable[[bytes], T]) -> T:
    return await session.fetch(session.plan_call(call, target), read)


# -- what the provider reports ------------------------------------------------------------------------------


async def _told(session: Session, target: Target) -> list[Model]:
    found: dict[str, Model] = {}
    for model in await _pages(session, target):
        found[model.id] = _joined(found[model.id], model) if model.id in found else model
    for path in target.row.listing_more:
        for model in await _more(session, target, path):
            if model.id in found:
                found[model.id] = _joined(found[model.id], model)
    return list(found.values())


async def _pages(session: Session, target: Target) -> list[Model]:
    found: list[Model] = []
    seen: set[str | None] = {None}
    cursor: str | None = None
    protocol = target.protocol
    read = partial(protocol.decode_models, provider=target.provider)
    while True:
        page, cursor = await _ask(session, target, protocol.models_call(cursor), read)
        found += page
        if cursor is None:
            return found
        if cursor in seen or len(seen) >= _MOST_PAGES:
            why = "one that was read already" if cursor in seen else f"more than {_MOST_PAGES} of them"
            raise ProtocolError(
                f"the list of models has no end: after page {len(seen)} it names {why}",
                provider=target.provider,
            )
        seen.add(cursor)


async def _more(session: Session, target: Target, path: str) -> list[Model]:
    """What a further path reports; nothing where it does not exist, or not for this key."""
    read = partial(target.protocol.decode_models, provider=target.provider)
    try:
        page, _ = await _ask(session, target, Call(path, {}, method="GET"), read)
    except (APIError, ProtocolError) as error:
        if error.retryable:
            raise
        return []
    return page


def _joined(known: Model, other: Model) -> Model:
    """One model that was listed twice: the first value of each field stands."""
    told: dict[str, Any] = {
        name: getattr(other, name)
        for name in _FILLED
        if getattr(known, name) is None and getattr(other, name) is not None
    }
    if other.capabilities is not None:
        words = {*(known.capabilities or ()), *other.capabilities}
        told["capabilities"] = tuple(word for word in _ORDER if word in words)
    return replace(known, **told, raw={**(other.raw or {}), **(known.raw or {})})


# -- what the table adds -------------------------------------------------------------------------------------


async def _from_table(target: Target, found: list[Model]) -> list[Model]:
    """The models, with what the table knows of them. It knows nothing of servers that one runs oneself."""
    if target.row.keyless or target.row.transport == "local" or all(m.context_window for m in found):
        return found
    import asyncio

    table = await asyncio.to_thread(load, target.base_url)
    return found if table is None else [table.fill(model) for model in found]
