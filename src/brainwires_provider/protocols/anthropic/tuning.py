"""The knobs of a request, as far as its model takes them: reasoning, the answer's limit, sampling, stop sequences.

Models up to 4.5 think by a budget in tokens, those from 4.7 on as much as they find right, steered by an effort, and
4.6 does both. A budget counts within `max_tokens`. Sampling knobs are refused by the newer models, beside thinking,
and by the API version of October 2026; a request that sets some for a model that takes them goes out under the
version before it.
Reference: the guides "Extended thinking", "Adaptive thinking" and "Effort", and "Versions" of the API reference.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Literal

from brainwires_provider.protocols.anthropic.abilities import Abilities
from brainwires_provider.protocols.anthropic.options import AnthropicQuirks
from brainwires_provider.types import Deviation, Options, Reasoning

__all__ = ["Tuner"]

_BUDGETS = MappingProxyType({"minimal": 1_024, "low": 2_048, "medium": 8_192, "high": 16_384, "max": 32_768})
_LEAST_BUDGET = 1_024
_ABSENT = ("seed", "presence_penalty", "frequency_penalty")
_SAMPLERS = ("temperature", "top_p", "top_k")
_LEAST_TOP_P = 0.95  # beside thinking
Body = dict[str, Any]
Outcome = Literal["adapted", "emulated", "dropped"]


class Tuner:
    """Says one request's options; `own` are the protocol's own fields, which win."""

    def __init__(
        self,
        options: Options,
        own: Body,
        takes: Abilities,
        quirks: AnthropicQuirks,
        deviations: list[Deviation],
    ) -> None:
        self._options = options
        self._own = own
        self._takes = takes
        self._quirks = quirks
        self._deviations = deviations

    def _report(self, name: str, outcome: Outcome, reason: str) -> None:
        self._deviations.append(Deviation(name, outcome, reason))

    # -- reasoning -------------------------------------------------------------------------------------------

    def reason(self, body: Body) -> None:
        """`thinking`, and the effort in `output_config`."""
        wanted = self._options.reasoning
        if wanted is None:
            return
        if isinstance(wanted, str):
            wanted = Reasoning(effort=wanted)
        if not self._takes.budgets and not self._takes.adaptive:
            if wanted.effort != "off":
                self._report("reasoning", "dropped", "this model does not think before it answers")
            return
        if wanted.effort == "off":
            self._stop(body)
            return
        thinking = self._thinking(wanted, body)
        if thinking is not None and wanted.summary is not None:
            thinking["display"] = "summarized"
            if wanted.summary != "auto":
                self._report("reasoning", "adapted", "summaries have no sizes here")
        if thinking is not None:
            body["thinking"] = thinking

    def _stop(self, body: Body) -> None:
        off = self._takes.thinking_off
        if off is None:
            self._report("reasoning", "dropped", "this model always thinks")
            return
        body["thinking"] = {"type": off}
        if off != "disabled":
            self._report("reasoning", "adapted", "this model still says a word between its tool calls")

    def _thinking(self, wanted: Reasoning, body: Body) -> Body | None:
        if wanted.budget_tokens is not None and self._takes.budgets:
            if wanted.effort is not None and not self._takes.adaptive:
                self._report(
                    "reasoning", "adapted", "this model takes a budget or an effort: the budget is sent"
                )
            elif wanted.effort is not None:
                self._effort(wanted.effort, body)
            return {"type": "enabled", "budget_tokens": wanted.budget_tokens}
        if wanted.budget_tokens is not None:
            self._report(
                "reasoning", "dropped", "this model takes no budget: it thinks as much as it finds right"
            )
        if self._takes.adaptive:
            if wanted.effort is not None:
                self._effort(wanted.effort, body)
            return {"type": "adaptive"}
        return self._budget(_BUDGETS[wanted.effort or "medium"])

    def _effort(self, effort: str, body: Body) -> None:
        if effort == "minimal":
            effort = "low"
            self._report("reasoning", "adapted", "the least effort here is low")
        body["output_config"] = {**body.get("output_config", {}), "effort": effort}

    def _budget(self, budget: int) -> Body | None:
        """An effort as a budget, which has to stay below the answer's limit where one is set."""
        limit = self._asked_limit()
        if limit is not None and limit <= _LEAST_BUDGET:
            self._report(
                "reasoning", "dropped", f"max_tokens leaves no room for {_LEAST_BUDGET} tokens of thought"
            )
            return None
        room = limit - 1 if limit is not None else (self._takes.max_output or 2 * budget) // 2
        budget = min(budget, room)
        self._report("reasoning", "adapted", f"this model takes no effort but a budget: {budget} tokens")
        return {"type": "enabled", "budget_tokens": budget}

    # -- the answer's limit ----------------------------------------------------------------------------------

    def _asked_limit(self) -> int | None:
        limit: int | None = self._own.get("max_tokens", self._options.max_tokens)
        return limit

    def limit(self, body: Body) -> int:
        """`max_tokens`: as asked, else the default and a thinking budget on top, as far as the model gives."""
        asked = self._asked_limit()
        if asked is not None:
            return asked
        thinking = self._own.get("thinking", body.get("thinking")) or {}
        limit: int = self._quirks.default_max_tokens + (thinking.get("budget_tokens") or 0)
        if self._takes.max_output is not None:
            limit = min(limit, self._takes.max_output)
        self._report("max_tokens", "adapted", f"the API demands a limit: {limit} tokens unless set")
        return limit

    # -- sampling --------------------------------------------------------------------------------------------

    def sample(self, body: Body) -> str:
        """The sampling knobs and stop sequences; the API version that the request goes under."""
        options = self._options
        for name in _ABSENT:
            if getattr(options, name) is not None:
                self._report(name, "dropped", "the Messages API has no such field")
        if options.stop is not None and "stop_sequences" not in body:
            body["stop_sequences"] = [options.stop] if isinstance(options.stop, str) else list(options.stop)
        version = self._quirks.version
        thinking = (body.get("thinking") or {}).get("type")
        thinks = thinking in ("enabled", "adaptive") and not self._takes.samples_thinking
        for name in _SAMPLERS:
            value = getattr(options, name)
            if value is None:
                continue
            objection = self._objection(name, value, thinks, body)
            if objection is not None:
                self._report(name, "dropped", objection)
                continue
            body[name] = value
            assert self._quirks.sampling_version is not None
            version = self._quirks.sampling_version
            if version != self._quirks.version:
                reason = (
                    f"{self._quirks.version} takes no sampling: the request goes out under version {version}"
                )
                self._report(name, "adapted", reason)
        return version

    def _objection(self, name: str, value: float, thinks: bool, body: Body) -> str | None:
        """Why a sampling knob cannot go out; None if it can."""
        if self._quirks.sampling_version is None:
            return "this service takes no sampling knobs"
        if not self._takes.sampling:
            return "this model takes no sampling knobs"
        if thinks and name == "top_p" and value < _LEAST_TOP_P:
            return f"beside thinking, top_p is at least {_LEAST_TOP_P}"
        if thinks and (name == "top_k" or (name == "temperature" and value != 1)):
            return "not beside thinking"
        if name == "top_p" and "temperature" in body and not self._takes.both_samplers:
            return "this model takes temperature or top_p, not both"
        return None
