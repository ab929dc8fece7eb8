"""The options that hold where a call sets none, and what of a call's options goes to no other provider."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from msgspec.structs import replace

from brainwires_provider._core.plan import Input, Plan
from brainwires_provider.providers import Target
from brainwires_provider.types import Deviation, Options, OutputParams, Request
from brainwires_provider.types.options import merge_options

__all__ = ["Defaults", "call_elsewhere"]

_WITHHELD = "it was set for another provider, and is sent to no other"

_OF_ONE_PROVIDER = ("extra_headers", "extra_body", "extra_query")


class Defaults(NamedTuple):
    """A client's options. Those of code go before the file's, and in each those of a provider or name first."""

    filed: Options | None
    given: Options | None
    coded: frozenset[str]
    """The providers that code has set up."""
    are_plain: bool
    """Whether those that were given are all, and the same for every provider."""

    @classmethod
    def of(cls, filed: Options | None, given: Options | None, coded: frozenset[str]) -> Defaults:
        return cls(filed, given, coded, filed is None and not _has_own(given))

    def at(self, target: Target, by_name: Options | None, home: str | None) -> Options:
        """Of a request to a target. `home` is the provider to which what is meant for one provider goes; None: all."""
        filed, given, own = self.filed, self.given, target.options
        if home not in (None, target.provider):
            filed, given = _without_own(filed), _without_own(given)
        if target.provider in self.coded:
            return merge_options(filed, by_name, given, own)
        return merge_options(filed, own, by_name, given)

    def reported(self, plan: Plan, request: Request, *others: Any) -> Plan:
        """The plan, with what is not sent of these options and those of a call (`others`) on its report."""
        names = [
            name
            for name in _OF_ONE_PROVIDER
            if not getattr(request.options, name) and any(map(partial(_has, name), (*self[:2], *others)))
        ]
        if not names:
            return plan
        dropped = tuple(Deviation(name, "dropped", _WITHHELD) for name in names)
        return replace(plan, report=replace(plan.report, deviations=(*plan.report.deviations, *dropped)))


def call_elsewhere(input: Input, args: OutputParams) -> tuple[Input, OutputParams]:
    """A call as it goes to another provider: without what it has for its own one alone, in any place."""
    if isinstance(input, Request):
        input = replace(input, options=_without_own(input.options))
    left: Any = {name: value for name, value in args.items() if name not in _OF_ONE_PROVIDER}
    if "options" in left:
        left["options"] = _without_own(left["options"])
    return input, left


def _has(name: str, given: Any) -> bool:
    return bool(given.get(name) if isinstance(given, Mapping) else getattr(given, name, None))


def _has_own(options: Options | None) -> bool:
    return any(_has(name, options) for name in _OF_ONE_PROVIDER)


def _without_own(options: Any) -> Any:
    return replace(options, **dict.fromkeys(_OF_ONE_PROVIDER)) if _has_own(options) else options
