"""pydantic-ai's model settings as arguments of this library's calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

from msgspec.structs import replace
from pydantic_ai.exceptions import UserError
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.settings import ModelSettings, ThinkingLevel

from brainwires_provider.types import (
    Budget,
    CacheStrategy,
    Fallback,
    Hedge,
    Limits,
    Options,
    ProviderOptions,
    Reasoning,
    Retry,
    Timeouts,
)

__all__ = ["BrainwiresModelSettings", "call_arguments", "unsent"]


class BrainwiresModelSettings(ModelSettings, total=False):
    """pydantic-ai's `ModelSettings`, and what this library has beside them; each over the settings it overlaps with.

    - `brainwires_options`: `Options`; pydantic-ai's settings override its fields.
    - `brainwires_provider_options`: options of one protocol or several, such as `AnthropicOptions(…)`.
    - `brainwires_reasoning`: an effort or a `Reasoning`, in place of `thinking`.
    - `brainwires_cache`: a `CacheStrategy`, in place of `cache`.
    - `brainwires_timeouts`: `Timeouts`, in place of `timeout`.
    - `brainwires_extra_query`: parameters to add to the URL.
    - `brainwires_strict`: raise `UserError` for a setting of which less would be sent. Default: it is only reported.
    - `brainwires_retry`, `brainwires_limits`, `brainwires_budget`, `brainwires_fallback`, `brainwires_hedge`: the
      policies of one call, over the client's. `max_retries` overrides the attempts of a retry.
    """

    brainwires_options: Options
    brainwires_provider_options: ProviderOptions | Sequence[ProviderOptions]
    brainwires_reasoning: Literal["off", "minimal", "low", "medium", "high", "max"] | Reasoning
    brainwires_cache: CacheStrategy
    brainwires_timeouts: Timeouts
    brainwires_extra_query: Mapping[str, str]
    brainwires_strict: bool
    brainwires_retry: Retry
    brainwires_limits: Limits
    brainwires_budget: Budget
    brainwires_fallback: Sequence[str | Fallback]
    brainwires_hedge: Hedge


_SAME = (
    *("max_tokens", "temperature", "top_p", "top_k", "seed", "presence_penalty", "frequency_penalty"),
    *("parallel_tool_calls", "extra_headers", "extra_body"),
)
_RENAMED: Mapping[str, str] = MappingProxyType(
    {
        "stop_sequences": "stop",
        "brainwires_options": "options",
        "brainwires_reasoning": "reasoning",
        "brainwires_cache": "cache",
        "brainwires_timeouts": "timeouts",
        "brainwires_extra_query": "extra_query",
        "brainwires_strict": "strict",
        "brainwires_retry": "retry",
        "brainwires_limits": "limits",
        "brainwires_budget": "budget",
        "brainwires_fallback": "fallback",
        "brainwires_hedge": "hedge",
    }
)
_SAME_TIERS = {name: name for name in ("auto", "default", "flex", "priority")}
_GOOGLE_TIERS = {"default": "standard", "flex": "flex", "priority": "priority"}
_TIERS: Mapping[str, tuple[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "openai_chat": ("service_tier", _SAME_TIERS),
        "openai_responses": ("service_tier", _SAME_TIERS),
        "anthropic_messages": ("service_tier", {"auto": "auto", "default": "standard_only"}),
        "bedrock_converse": (
            "serviceTier",
            {name: {"type": name} for name in ("default", "flex", "priority")},
        ),
        "gemini": ("serviceTier", _GOOGLE_TIERS),
        "google_interactions": ("service_tier", _GOOGLE_TIERS),
    }
)
"""The option for a tier where a protocol has one, and its words. Without a word, the service decides."""
_CITE_WHEN_ASKED = ("anthropic_messages", "bedrock_converse")


def unsent(settings: ModelSettings, protocol: str, system: str) -> list[str]:
    """What of the settings is not sent, with the reason, in the form of a report's lines.

    `system` is pydantic-ai's name of the provider.
    """
    found = []
    tier = settings.get("service_tier")
    if tier in ("flex", "priority") and _tier(tier, protocol, system)[1] is None:
        found.append(f"service_tier: dropped, {system} has no word for {tier!r}")
    if settings.get("logit_bias") and protocol != "openai_chat":
        found.append("logit_bias: dropped, this protocol has no such option")
    if settings.get("citations") and (protocol in _CITE_WHEN_ASKED or system == "xai"):
        found.append("citations: dropped, ask for them with the provider's own options")
    return found


def _tier(tier: str | None, protocol: str, system: str) -> tuple[str, Any]:
    """The option for a tier, and its value there; None: none is sent. Google Cloud has another way."""
    field, words = _TIERS.get(protocol, ("service_tier", {}))
    return field, None if system == "google-cloud" and words is _GOOGLE_TIERS else words.get(tier or "")


def call_arguments(
    settings: ModelSettings, parameters: ModelRequestParameters, protocol: str, system: str
) -> dict[str, Any]:
    """The keyword arguments of `AsyncClient.chat` that the settings amount to.

    `system` is pydantic-ai's name of the provider.
    """
    given: dict[str, Any] = dict(settings)
    args = {name: given[name] for name in _SAME if given.get(name) is not None}
    for name, ours in _RENAMED.items():
        if given.get(name) is not None:
            args[ours] = given[name]
    if parameters.thinking is not None:
        args.setdefault("reasoning", _effort(parameters.thinking))
    if parameters.cache:
        args.setdefault("cache", _cache(parameters.cache))
    if given.get("timeout") is not None:
        args.setdefault("timeouts", _timeouts(given["timeout"]))
    if given.get("max_retries") is not None:
        args["retry"] = replace(args.get("retry", Retry()), attempts=1 + given["max_retries"])
    if "extra_body" in args and not isinstance(args["extra_body"], Mapping):
        kind = type(args["extra_body"]).__name__
        raise UserError(f"extra_body takes a mapping of the request's further fields, not {kind}")
    options = _provider_options(given, protocol, system)
    if options:
        args["provider_options"] = options
    return args


def _effort(thinking: ThinkingLevel) -> str:
    """Where thinking is only switched on, the level in the middle."""
    if isinstance(thinking, bool):
        return "medium" if thinking else "off"
    return "max" if thinking == "xhigh" else thinking


def _cache(cache: Any) -> CacheStrategy:
    config: Mapping[str, Any] = cache if isinstance(cache, Mapping) else {"retention": cache}
    retention = config.get("retention")
    ttl = retention if isinstance(retention, str) else None
    if config.get("messages", True):
        return CacheStrategy.system_and_tail_turn(threshold=0, ttl=ttl)
    return CacheStrategy.system_and_tools(ttl)


def _timeouts(timeout: Any) -> Timeouts:
    """Of a number of seconds, or of an `httpx.Timeout`: the time to connect, and the wait for what comes next."""
    if isinstance(timeout, (int, float)):
        return Timeouts(connect=min(10, timeout), first_event=timeout, idle=timeout)
    read = getattr(timeout, "read", None)
    return Timeouts(connect=getattr(timeout, "connect", None), first_event=read, idle=read)


def _provider_options(given: Mapping[str, Any], protocol: str, system: str) -> tuple[ProviderOptions, ...]:
    """The options of one protocol: those that were given, before what the general settings amount to."""
    own = given.get("brainwires_provider_options") or ()
    options = (own,) if isinstance(own, ProviderOptions) else tuple(own)
    fields: dict[str, Any] = {}
    field, tier = _tier(given.get("service_tier"), protocol, system)
    if tier is not None:
        fields[field] = tier
    if given.get("logit_bias") is not None and protocol == "openai_chat":
        fields["logit_bias"] = given["logit_bias"]
    if not fields:
        return options
    from brainwires_provider.providers.config import provider_options_kinds

    kind = provider_options_kinds()[protocol]
    index = next((at for at, each in enumerate(options) if isinstance(each, kind)), None)
    if index is None:
        return (*options, kind(**fields))
    set_already = options[index].items()
    more = {name: value for name, value in fields.items() if name not in set_already}
    return (*options[:index], replace(options[index], **more), *options[index + 1 :])
