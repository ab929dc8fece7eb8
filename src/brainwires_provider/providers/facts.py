"""The facts of a model by its name: what the table of families says of it, and what the user states."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec
from msgspec.structs import replace

from brainwires_provider.errors import ConfigError
from brainwires_provider.local.weights.names import near_names
from brainwires_provider.protocols.base.facts import UNKNOWN, ModelFacts
from brainwires_provider.providers.models import FAMILIES, Change, Family, Version

__all__ = ["ModelRules", "facts_of"]

ModelRules: TypeAlias = Mapping[str, str | Mapping[str, Any]]
"""Facts of models by their names, or by the beginning of names and `*`: the name of a known model that has the same
facts, or fields of `ModelFacts`, with `like` for the model whose other facts it has."""

_NEWEST: Version = (99, 0)
_LIKE = "like"


def facts_of(model: str, provider: str = "", rules: ModelRules | None = None) -> ModelFacts:
    """The facts of a model by its name, which may be a cloud's: `us.anthropic.claude-opus-4-6-v1:0`.

    `provider` is the built-in provider, `rules` what the user states. Raises ConfigError for a rule that does not fit.
    """
    rule = None if not rules else _rule(model, rules)
    if rule is None:
        return _found(model.lower(), provider)
    if isinstance(rule, str):
        return _found(rule.lower(), provider)
    like = rule.get(_LIKE, model)
    known = _found(str(like).lower(), provider)
    own = {name: value for name, value in rule.items() if name != _LIKE}
    for name in own:
        if name not in ModelFacts.__struct_fields__:
            near = near_names(name, ModelFacts.__struct_fields__)
            words = f"models[{model!r}]: models have no fact {name!r}{near}"
            raise ConfigError(words, provider=provider or None)
    try:
        return msgspec.convert({**msgspec.to_builtins(known), **own}, ModelFacts)
    except msgspec.ValidationError as error:
        raise ConfigError(f"models[{model!r}]: {error}", provider=provider or None) from None


def _rule(model: str, rules: ModelRules) -> str | Mapping[str, Any] | None:
    """The rule of that name, else the one with the longest beginning of it."""
    if model in rules:
        return rules[model]
    starts = (name for name in rules if name.endswith("*") and model.startswith(name[:-1]))
    return rules.get(max(starts, key=len, default=""))


@lru_cache(512)
def _found(model: str, provider: str) -> ModelFacts:
    facts = UNKNOWN
    for family in FAMILIES:
        if (not family.at or provider in family.at) and re.search(family.pattern, model):
            for change in _changes(family, model):
                facts = replace(facts, **change.facts)
    return facts


def _changes(family: Family, model: str) -> Iterator[Change]:
    found = re.search(family.version, model) if family.version else None
    numbers = [int(number) for number in found.groups() if number] if found else []
    version = (numbers[0], numbers[1] if len(numbers) > 1 else 0) if numbers else _NEWEST
    for change in family.changes:
        if change.since <= version < change.before and re.search(change.only, model):
            yield change
