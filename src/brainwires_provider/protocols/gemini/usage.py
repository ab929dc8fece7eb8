"""Google's `usageMetadata` as disjoint buckets.

Its counts lie beside each other (prompt, candidates, thoughts, what server tools brought), only the cached ones lie
inside the prompt's, and audio is a modality of the prompt. `raw` has all details by modality.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainwires_provider.types import Usage

__all__ = ["usage_of"]

_COUNTS = (
    "promptTokenCount",
    "candidatesTokenCount",
    "responseTokenCount",
    "thoughtsTokenCount",
    "toolUsePromptTokenCount",
    "totalTokenCount",
)


def usage_of(counts: Mapping[str, Any]) -> Usage:
    """The buckets. Metadata without any count (a traffic type alone) is incomplete usage."""
    if not any(name in counts for name in _COUNTS):
        return Usage(raw=dict(counts) or None)
    anomalies: list[str] = []

    def count(name: str) -> int:
        value = counts.get(name)
        if type(value) is int and value < 0:
            anomalies.append(f"{name} is negative: {value}")
        return value if type(value) is int and value > 0 else 0

    prompt = left = count("promptTokenCount")
    inside = {"cache_read": count("cachedContentTokenCount"), "audio_input": _audio(counts)}
    for name, told in inside.items():
        if told > left:
            anomalies.append(f"{name} {told} exceeds the {left} input tokens left")
            inside[name] = left
        left -= inside[name]
    output = count("candidatesTokenCount") or count("responseTokenCount")
    reasoning, tools = count("thoughtsTokenCount"), count("toolUsePromptTokenCount")
    used = prompt + output + reasoning + tools
    total = count("totalTokenCount") if "totalTokenCount" in counts else used
    if total < used:
        anomalies.append(f"total {total} is less than its parts, {used}")
    return Usage(
        uncached_input=left,
        output_text=output,
        reasoning=reasoning,
        tool_input=tools,
        unattributed=max(0, total - used),
        anomalies=tuple(anomalies),
        complete=True,
        raw=dict(counts),
        cache_read=inside["cache_read"],
        audio_input=inside["audio_input"],
    )


def _audio(counts: Mapping[str, Any]) -> int:
    """The prompt's audio that did not come from the cache."""
    return max(0, _modality(counts, "promptTokensDetails") - _modality(counts, "cacheTokensDetails"))


def _modality(counts: Mapping[str, Any], name: str) -> int:
    details = counts.get(name)
    told = [d for d in details if isinstance(d, dict)] if isinstance(details, list) else []
    numbers = [d.get("tokenCount") for d in told if d.get("modality") == "AUDIO"]
    return sum(n for n in numbers if type(n) is int)
