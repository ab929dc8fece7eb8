"""Reads the model list of OpenAI and of the many services that copy it.

OpenAI reports four fields of a model; others add their own, under names of their own, and none contradicts another: so
one reader knows them all, and needs no word on whose list it is. Beside `{"data": […]}` it reads a bare array,
`{"models": […]}`, a model by itself, and lists by kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from brainwires_provider.errors import ProtocolError
from brainwires_provider.protocols.base.json import looks_like
from brainwires_provider.protocols.base.models import (
    able,
    able_by_modality,
    count_of,
    day_of,
    lower_words,
    object_of,
    read_json,
    seconds_of,
    stage_of,
    text_of,
)
from brainwires_provider.types import Lifecycle, Model

__all__ = ["decode_models", "decode_page", "page_query"]

Entry = Mapping[str, Any]

_ID = ("id", "model_name", "key", "canonical_name", "name")
_NAME = ("display_name", "displayName", "name")
_OWNER = ("owned_by", "organization", "publisher")
_CREATED = ("created", "created_at")
_CONTEXT = (
    "context_length",
    "context_window",
    "max_context_length",
    "max_model_len",
    "context_size",
    "max_input_tokens",
    "n_ctx",
    "n_ctx_train",
)
_OUTPUT = ("max_output_tokens", "max_completion_tokens")
_INSIDE = ("model_info", "top_provider", "limits", "metadata", "meta")
_DEPRECATED = ("deprecated_at", "deprecation_date", "deprecation")
_RETIRES = ("retires_at", "retirement_date", "shutdown_date", "expiration_date")
_STAGE = ("lifecycle", "lifecycle_status", "status")
_ABILITIES = ("capabilities", "features", "endpoints", "supported_parameters")
_HINTS = ("tags", "type", "mode")
"""Say something of abilities only by the words that we know."""
_TAKES = ("input_modalities", "supported_input_modalities")
_MAKES = ("output_modalities", "supported_output_modalities")
_SUPPORTS = "supports_"


def decode_models(body: bytes, provider: str) -> list[Model]:
    """`decode_page` of a list that has one page."""
    return decode_page(body, provider)[0]


def decode_page(body: bytes, provider: str) -> tuple[list[Model], str | None]:
    """Every entry that has an id, and the cursor of the next page, for `page_query`.

    Raises ProtocolError for what is no list, and the APIError that an error object is.
    """
    value = read_json(body, provider)
    entries = _entries(value)
    if entries is None:
        raise ProtocolError(f"the model list is not a list of models: {looks_like(body)}", provider=provider)
    named = ((_text(entry, _ID), entry) for entry in entries if isinstance(entry, dict))
    return [_model(name, entry, provider) for name, entry in named if name], _after(value)


def page_query(after: str | None) -> dict[str, str]:
    """The query of the page at a cursor: the field that the service reads, and its value."""
    if after is None:
        return {}
    field, _, value = after.partition("=")
    return {field: value}


def _after(value: Any) -> str | None:
    told = object_of(value)
    token, last = text_of(told.get("next_page_token")), text_of(told.get("last_id"))
    if token is not None:
        return f"page_token={token}"
    return f"after={last}" if told.get("has_more") is True and last is not None else None


def _entries(value: Any) -> list[Any] | None:
    if isinstance(value, list):
        return value
    told = object_of(value)
    for name in ("data", "models"):
        if isinstance(told.get(name), list):
            entries: list[Any] = told[name]
            return entries
    return [told] if text_of(told.get("id")) else _by_kind(told)


def _by_kind(told: Entry) -> list[Any] | None:
    """`{"stt": […], "tts": […]}`, each entry with the kind that it is listed under."""
    found = [(kind, entry) for kind, listed in told.items() if isinstance(listed, list) for entry in listed]
    if not found or not all(isinstance(entry, dict) and _text(entry, _ID) for _, entry in found):
        return None
    return [{"type": kind, **entry} for kind, entry in found]


# -- one model -----------------------------------------------------------------------------------------------


def _model(name: str, entry: Entry, provider: str) -> Model:
    places = (entry, *(object_of(entry.get(inside)) for inside in _INSIDE))
    taken, made = _modalities(entry)
    deprecated, retires = _ends(places)
    return Model(
        id=name,
        provider=provider,
        display_name=_text(entry, _NAME),
        owner=_text(entry, _OWNER),
        created=next(filter(None, (seconds_of(entry.get(field)) for field in _CREATED)), None),
        context_window=_limit(places, _CONTEXT) or _agreed(entry, "context_length"),
        max_output_tokens=_limit(places, _OUTPUT) or _second_limit(entry),
        capabilities=_capabilities(places, taken, made),
        raw=entry,
        lifecycle=_stage(entry, ends=bool(deprecated or retires)),
        deprecated=deprecated,
        retires=retires,
        input_modalities=taken,
        output_modalities=made,
    )


def _text(entry: Entry, names: Iterable[str]) -> str | None:
    return next(filter(None, (text_of(entry.get(name)) for name in names)), None)


def _limit(places: Sequence[Entry], names: Iterable[str]) -> int | None:
    counts = (count_of(place.get(name)) for place in places for name in names)
    return next(filter(None, counts), None)


def _second_limit(entry: Entry) -> int | None:
    """`max_tokens` is the answer's limit where another field is the context's; alone it may be either."""
    return count_of(entry.get("max_tokens")) if count_of(entry.get("context_window")) else None


def _servers(entry: Entry) -> list[Entry]:
    """Those that a router sends a model's requests to."""
    told = entry.get("providers")
    return [each for each in told if isinstance(each, dict)] if isinstance(told, list) else []


def _agreed(entry: Entry, name: str) -> int | None:
    """A limit that all servers of a model have alike."""
    said = {count_of(server.get(name)) for server in _servers(entry)}
    return said.pop() if len(said) == 1 else None


def _modalities(entry: Entry) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    places = (entry, object_of(entry.get("architecture")))
    taken = next(filter(None, (lower_words(p.get(name)) for p in places for name in _TAKES)), None)
    made = next(filter(None, (lower_words(p.get(name)) for p in places for name in _MAKES)), None)
    told = text_of(places[1].get("modality"))
    if taken is None and made is None and told is not None and "->" in told:
        before, _, after = told.lower().partition("->")
        return tuple(before.split("+")), tuple(after.split("+"))
    return taken, made


def _capabilities(
    places: Sequence[Entry], taken: tuple[str, ...] | None, made: tuple[str, ...] | None
) -> tuple[str, ...] | None:
    """What the entry says of abilities; None where it does not speak of them."""
    entry = places[0]
    told = [words for place in places for words in _told(place)]
    words = {word for words in told for word in words}
    words |= {word for field in _HINTS for place in places for word in _names(place.get(field))}
    words |= able_by_modality(taken, made)
    if "text" in (taken or ()) and "text" in (made or ()):
        words.add("chat")
    if entry.get("type") == "image":
        words.add("image_generation")
    servers = _servers(entry)
    if servers and all(server.get("supports_tools") is True for server in servers):
        words.add("tools")
    ours = able(words)
    return ours if ours or told else None


def _told(place: Entry) -> Iterator[list[str]]:
    """The words of each field that is about abilities."""
    for field in _ABILITIES:
        if isinstance(place.get(field), (list, dict)):
            yield list(_names(place[field]))
    flags = {name: value for name, value in place.items() if name.startswith(_SUPPORTS)}
    if any(type(value) is bool for value in flags.values()):
        yield [name.removeprefix(_SUPPORTS) for name, value in flags.items() if value is True]


def _names(value: Any) -> Iterator[str]:
    """A word, the words of a list, or those names of an object that are true."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        yield from (word for word in value if isinstance(word, str))
    else:
        yield from (name for name, yes in object_of(value).items() if yes is True or _is_supported(yes))


def _is_supported(value: Any) -> bool:
    return object_of(value).get("supported") is True


# -- how long --------------------------------------------------------------------------------------------------


def _ends(places: Sequence[Entry]) -> tuple[date | None, date | None]:
    """The days from which a model is deprecated, and retired."""
    deprecated, retires = (
        next(filter(None, (day_of(place.get(name)) for place in places for name in names)), None)
        for names in (_DEPRECATED, _RETIRES)
    )
    return deprecated, retires or day_of(object_of(places[0].get("deprecation")).get("inference"))


def _stage(entry: Entry, *, ends: bool) -> Lifecycle | None:
    told = stage_of(*(entry.get(name) for name in _STAGE))
    if told is not None:
        return told
    if ends or entry.get("is_deprecated") is True:
        return "deprecated"
    return "active" if entry.get("active") is True else None
