"""What was measured of each answer, and what rounds of answers come to: speeds, medians, ratios."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median
from typing import Any, Self

from msgspec import Struct

from brainwires_provider.errors import ConfigError

__all__ = ["Comparison", "Round", "Shot", "Speeds", "compare"]


class Shot(Struct, frozen=True):
    """One answer. Times are of `time.perf_counter`: the call, the first text, the last text.

    `engine_prompt` and `engine_generation` are the engine's own figures for this answer, in tokens a second.
    """

    began: float
    first: float
    last: float
    text: str
    prompt_tokens: int
    cached_tokens: int
    tokens: int
    engine_prompt: float
    engine_generation: float

    @classmethod
    def taken(cls, began: float, times: Sequence[float], text: str, timings: Mapping[str, Any]) -> Self:
        """From when each text came, and the engine's timings. Raises ConfigError for too little text to be timed."""
        if len(times) < 2:
            raise ConfigError(
                "the model wrote too little text to be timed; ask for more --tokens, or bench another"
            )
        return cls(
            began,
            times[0],
            times[-1],
            text,
            timings["prompt_n"],
            timings["cache_n"],
            timings["predicted_n"],
            timings["prompt_per_second"],
            timings["predicted_per_second"],
        )


class Round(Struct, frozen=True):
    """What was asked our way, and the same asked directly: one answer each, or several at once."""

    ours: tuple[Shot, ...]
    direct: tuple[Shot, ...]


class Speeds(Struct, frozen=True):
    """`prompt` and `generation` are in tokens a second, `first_token` is in seconds; None: not measured.

    Of one answer: the prompt's tokens by the time to the first text, and the tokens after the first by the time from
    the first text to the last. Of several at once: `generation` is all their tokens by the time from the first call
    to the last text, and `first_token` their mean: the engine reads prompts in batches, so single ones come in steps.
    """

    prompt: float | None
    generation: float | None
    first_token: float | None


class Comparison(Struct, frozen=True):
    """Medians over the rounds. `ratio` is ours ÷ direct: the median of the ratios within each round.

    `engine` is what the engine says itself of the answers that it gave directly, by its own clock.
    """

    ours: Speeds
    direct: Speeds
    ratio: Speeds
    engine: Speeds


def compare(rounds: Sequence[Round]) -> Comparison:
    """What the rounds, one at least, come to."""
    ours = [_speeds(each.ours) for each in rounds]
    direct = [_speeds(each.direct) for each in rounds]
    ratios = [_ratio(a, b) for a, b in zip(ours, direct, strict=True)]
    return Comparison(
        _medians(ours),
        _medians(direct),
        _medians(ratios),
        _medians(_own_speeds(each.direct) for each in rounds),
    )


def _speeds(shots: Sequence[Shot]) -> Speeds:
    first_token = fmean(shot.first - shot.began for shot in shots)
    if len(shots) == 1:
        [shot] = shots
        generation = (shot.tokens - 1) / (shot.last - shot.first)
        return Speeds(shot.prompt_tokens / first_token, generation, first_token)
    time = max(shot.last for shot in shots) - min(shot.began for shot in shots)
    return Speeds(None, sum(shot.tokens for shot in shots) / time, first_token)


def _own_speeds(shots: Sequence[Shot]) -> Speeds:
    if len(shots) > 1:  # it tells of each by itself, which does not add up
        return Speeds(None, None, None)
    [shot] = shots
    return Speeds(shot.engine_prompt, shot.engine_generation, None)


def _ratio(ours: Speeds, direct: Speeds) -> Speeds:
    def of(name: str) -> float | None:
        one, other = getattr(ours, name), getattr(direct, name)
        return None if one is None or not other else one / other

    return Speeds(*map(of, Speeds.__struct_fields__))


def _medians(many: Iterable[Speeds]) -> Speeds:
    columns = zip(*((each.prompt, each.generation, each.first_token) for each in many), strict=True)
    known = ([value for value in column if value is not None] for column in columns)
    return Speeds(*(median(column) if column else None for column in known))
