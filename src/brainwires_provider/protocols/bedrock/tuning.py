"""The knobs of a request, as far as its model takes them: sampling, the answer's limit, reasoning.

Converse has words for four knobs. The others are fields of a model's own, which stand in
`additionalModelRequestFields`; only those that a model's page documents are said, by the family that the name tells.
What stands behind an ARN is not known: for that, BedrockOptions takes the fields as they are.
Reference: the API reference of "InferenceConfiguration" and "OutputConfig"; the user guide's pages on the models'
parameters; Amazon Nova's guide "Extended thinking"; Anthropic's "Adaptive thinking".
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Literal

from brainwires_provider.protocols.anthropic.abilities import Abilities, abilities
from brainwires_provider.types import Deviation, Effort, Options, Reasoning

__all__ = ["Tuner"]

_KNOBS = (("max_tokens", "maxTokens"), ("temperature", "temperature"), ("top_p", "topP"))
_ABSENT = ("seed", "presence_penalty", "frequency_penalty", "parallel_tool_calls")
_BUDGETS = MappingProxyType({"minimal": 1_024, "low": 2_048, "medium": 8_192, "high": 16_384, "max": 32_768})
_LEAST_BUDGET = 1_024
_ELSEWHERE = "BedrockOptions(additionalModelRequestFields=…) takes a model's own fields"
_EFFORTS = ("low", "medium", "high")
Body = dict[str, Any]
Outcome = Literal["adapted", "emulated", "dropped"]


class Tuner:
    """Says one request's options. `fields` are the model's own, `effort` what Converse itself has a word for."""

    def __init__(self, options: Options, model: str, deviations: list[Deviation]) -> None:
        self._options = options
        self._model = model
        self._deviations = deviations
        self.inference: Body = {}
        self.fields: Body = {}
        self.effort: str | None = None

    def say(self) -> None:
        """Fills `inference`, `fields` and `effort`."""
        options = self._options
        for name, wire_name in _KNOBS:
            value = getattr(options, name)
            if value is not None:
                self.inference[wire_name] = value
        if options.stop is not None:
            self.inference["stopSequences"] = (
                [options.stop] if isinstance(options.stop, str) else list(options.stop)
            )
        for name in _ABSENT:
            if getattr(options, name) is not None:
                self._report(name, "dropped", f"Converse has no such field; {_ELSEWHERE}")
        if options.top_k is not None:
            self._top_k(options.top_k)
        if options.reasoning is not None:
            wanted = options.reasoning
            self._reason(Reasoning(effort=wanted) if isinstance(wanted, str) else wanted)

    def _report(self, name: str, outcome: Outcome, reason: str) -> None:
        self._deviations.append(Deviation(name, outcome, reason))

    def _top_k(self, top_k: int) -> None:
        if "claude" in self._model or "mistral" in self._model:
            self.fields["top_k"] = top_k
        elif "nova" in self._model:
            self.fields["inferenceConfig"] = {"topK": top_k}
        else:
            self._report("top_k", "dropped", f"no field of this model's is known for it; {_ELSEWHERE}")

    # -- reasoning -------------------------------------------------------------------------------------------

    def _reason(self, wanted: Reasoning) -> None:
        if wanted.summary is not None:
            self._report("reasoning", "dropped", "Converse has no word for summaries")
        if "claude" in self._model:
            self._claude(wanted, abilities(self._model))
            return
        if wanted.budget_tokens is not None:
            self._report("reasoning", "dropped", f"this model is asked for no budget; {_ELSEWHERE}")
        if wanted.effort is not None:
            self._by_family(wanted.effort)

    def _by_family(self, effort: Effort) -> None:
        if "nova" in self._model:
            told = {"type": "disabled"} if effort == "off" else {"type": "enabled"}
            if effort != "off":
                told["maxReasoningEffort"] = self._nearest(effort)
            self.fields["reasoningConfig"] = told
        elif effort == "off":
            self._report("reasoning", "dropped", f"Converse has no word that stops reasoning; {_ELSEWHERE}")
        elif "gpt-oss" in self._model:
            self.fields["reasoning_effort"] = self._nearest(effort)
        elif "qwen" in self._model:
            self.fields["reasoning_config"] = self._nearest(effort)
        else:
            self.effort = self._least_low(effort)

    def _nearest(self, effort: Effort) -> str:
        """One of three efforts."""
        near = effort if effort in _EFFORTS else {"minimal": "low", "max": "high"}[effort]
        if near != effort:
            self._report("reasoning", "adapted", f"this model knows low, medium and high: {near} is sent")
        return near

    def _least_low(self, effort: Effort) -> str:
        if effort == "minimal":
            self._report("reasoning", "adapted", "the least effort here is low")
            return "low"
        return effort

    def _claude(self, wanted: Reasoning, takes: Abilities) -> None:
        if not takes.budgets and not takes.adaptive:
            if wanted.effort != "off":
                self._report("reasoning", "dropped", "this model does not think before it answers")
            return
        if wanted.effort == "off":
            if takes.thinking_off is None:
                self._report("reasoning", "dropped", "this model always thinks")
            else:
                self.fields["thinking"] = {"type": takes.thinking_off}
            return
        thinking = self._thinking(wanted, takes)
        if thinking is not None:
            self.fields["thinking"] = thinking

    def _thinking(self, wanted: Reasoning, takes: Abilities) -> Body | None:
        if wanted.budget_tokens is not None and takes.budgets:
            if wanted.effort is not None:
                self._report(
                    "reasoning", "adapted", "this model takes a budget or an effort: the budget is sent"
                )
            return {"type": "enabled", "budget_tokens": wanted.budget_tokens}
        if wanted.budget_tokens is not None:
            reason = "this model takes no budget: it thinks as much as it finds right"
            self._report("reasoning", "dropped", reason)
        if takes.adaptive:
            if wanted.effort is not None:
                self.effort = self._least_low(wanted.effort)
            return {"type": "adaptive"}
        return self._budget(_BUDGETS[wanted.effort or "medium"], takes)

    def _budget(self, budget: int, takes: Abilities) -> Body | None:
        """An effort as a budget, which has to stay below the answer's limit."""
        limit = self._options.max_tokens
        if limit is not None and limit <= _LEAST_BUDGET:
            reason = f"max_tokens leaves no room for {_LEAST_BUDGET} tokens of thought"
            self._report("reasoning", "dropped", reason)
            return None
        bound = (takes.max_output or 2 * budget) // 2 if limit is None else limit - 1
        budget = min(budget, bound)
        self._report("reasoning", "adapted", f"this model takes no effort but a budget: {budget} tokens")
        return {"type": "enabled", "budget_tokens": budget}
