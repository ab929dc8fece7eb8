"""The native API besides a completion: tokens of a text, one choice among tokens, and routing, which is made of both.

Each operation is a pair of pure functions, one that makes the call and one that reads its response. Paths begin below
the server's root, without the `/v1` of its OpenAI-like half. Reference: the server's README, "API Endpoints".

Routing chooses one of several labels for a text: by constraint, so whatever the model, it is one of them. The engine
is asked how likely each label is after a prompt. The prompts of all labels are cut into tokens whole, so that no cut
depends on where a label begins; where their tokens part, one request gives the weights of the tokens that may follow,
and nothing else may. A label ends with the line, and so is never the beginning of another.

Small models lean to a label whatever the text is, and to the last one that they have read. So three prompts are
asked, two of which show the labels in opposite orders, and each is asked again without a text: what is left when that
is taken away is what the text says. The prompts were chosen by what a model of 135 million parameters got right.

`Choosing.route` is a generator: it yields what is to be asked, is sent what came, and returns the result. It does no
I/O.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias, TypeVar

from msgspec import Struct

from brainwires_provider.errors import ConfigError, ProtocolError, UnsupportedError
from brainwires_provider.protocols.base.errors import object_in
from brainwires_provider.protocols.base.json import looks_like
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.protocols.llamacpp.response import usage_of
from brainwires_provider.types import Usage

__all__ = [
    "Ask",
    "Choice",
    "Choosing",
    "Prior",
    "Question",
    "Route",
    "choice_call",
    "constrained_call",
    "decode_choice",
    "decode_constrained",
    "decode_tokens",
    "literal",
    "question_of",
    "tokenize_call",
]

_LIFT = 100.0
"""Added to the allowed tokens' logits, which differ by tens at most: no other token keeps a share that counts."""
_LEAST = 1e-30


class Choice(Struct, frozen=True):
    """How the model weighs the tokens that may come next, together 1; None where the engine does not report it."""

    weights: Mapping[int, float] | None
    usage: Usage


# -- calls ---------------------------------------------------------------------------------------------------


def _for(model: str) -> dict[str, Any]:
    return {"model": model} if model else {}


def tokenize_call(text: str, model: str = "", *, parse_special: bool = False) -> Call:
    """`POST /tokenize`, with what a text begins with; what looks like a control token stays text unless asked for."""
    return Call(
        "/tokenize", {"content": text, "add_special": True, "parse_special": parse_special, **_for(model)}
    )


def choice_call(
    prompt: Sequence[int], allowed: Sequence[int], model: str = "", pushed: tuple[int, float] | None = None
) -> Call:
    """`POST /completion` for one token among `allowed`, with the probability of each of them.

    The server reports them only where the token that it draws is whole characters. `pushed` is one that is, and by how
    much its logit is raised so that it is drawn; `decode_choice` takes that out again.
    """
    lifted = dict.fromkeys(allowed, _LIFT)
    if pushed is not None:
        lifted[pushed[0]] = _LIFT + pushed[1]
    body = {
        "prompt": list(prompt),
        "n_predict": 1,
        "n_probs": len(lifted),
        "post_sampling_probs": True,
        "samplers": ["temperature"],
        "temperature": 1.0,
        "seed": 1,
        "logit_bias": [[token, lift] for token, lift in lifted.items()],
        "cache_prompt": True,
        "stream": False,
    }
    return Call("/completion", {**body, **_for(model)})


def constrained_call(prompt: Sequence[int], texts: Sequence[str], model: str = "") -> Call:
    """`POST /completion` for one of the texts, held to them by a grammar."""
    body = {
        "prompt": list(prompt),
        "n_predict": max(len(text.encode()) for text in texts) + 1,  # a token is a byte at least
        "temperature": 0.0,
        "grammar": f"root ::= {' | '.join(literal(text) for text in texts)}",
        "cache_prompt": True,
        "stream": False,
    }
    return Call("/completion", {**body, **_for(model)})


def literal(text: str) -> str:
    """A text as GBNF says it."""
    return f'"{"".join(_escaped(character) for character in text)}"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character >= " " and character != "\x7f" else f"\\x{ord(character):02X}"


# -- answers -------------------------------------------------------------------------------------------------


def decode_tokens(body: bytes) -> tuple[int, ...]:
    """The ids of a text's tokens. Raises ProtocolError."""
    tokens = object_in(body, "the list of tokens").get("tokens")
    if not isinstance(tokens, list) or any(type(token) is not int for token in tokens):
        raise ProtocolError(f"the answer has no list of tokens: {looks_like(body)}")
    return tuple(tokens)


def decode_choice(body: bytes, allowed: Sequence[int], pushed: tuple[int, float] | None = None) -> Choice:
    """The weights of the allowed tokens, which sum to 1. Raises ProtocolError."""
    answer = object_in(body, "the choice")
    told = _told_weights(answer)
    if pushed is not None and pushed[0] in told:
        told[pushed[0]] *= math.exp(-pushed[1])
    total = sum(told.get(token, 0.0) for token in allowed)
    if not total > 0:
        return Choice(None, usage_of(answer))
    shares = {token: max(told.get(token, 0.0) / total, _LEAST) for token in allowed}
    return Choice(shares, usage_of(answer))


def _told_weights(answer: Mapping[str, Any]) -> dict[int, float]:
    """Token and probability, as the first place of an answer reports them; none where it does not."""
    try:
        entries = answer["completion_probabilities"][0]["top_probs"]
        return {int(entry["id"]): float(entry["prob"]) for entry in entries}
    except (KeyError, IndexError, TypeError, ValueError):
        return {}


def decode_constrained(body: bytes, texts: Sequence[str]) -> tuple[str, Usage]:
    """Which of the texts was chosen. Raises ProtocolError where it is none of them."""
    answer = object_in(body, "the choice")
    chosen = answer.get("content")
    if not isinstance(chosen, str) or chosen not in texts:
        raise ProtocolError(f"the engine did not keep to the grammar that was sent: {looks_like(body)}")
    return chosen, usage_of(answer)


# -- routing -------------------------------------------------------------------------------------------------


class Route(Struct, frozen=True):
    """The label that was chosen, always one of those given.

    `probabilities` has one for each label, in the order given, and sums to 1; it is empty where the engine gives none.
    They are the model's own, corrected by how it leans without a text: good for comparing labels, not calibrated
    chances. `usage` sums every request that it took.
    """

    label: str
    probabilities: Mapping[str, float]
    usage: Usage
    provider: str
    model: str | None = None


T = TypeVar("T")
Tokens: TypeAlias = Mapping[str, tuple[int, ...]]
Prior: TypeAlias = tuple[Mapping[str, float], ...]
"""For each prompt, the logarithm of each label's probability without a text."""

_INSTRUCTIONS = "What kind of text is this?"
_PUSHES = (0.0, 20.0, 40.0, 60.0)
"""By how much a line's end is made likelier, until it is drawn: as little as will do, for floats end somewhere."""
_COUNTS = ("uncached_input", "cache_read", "output_text", "unattributed")


class Ask(NamedTuple):
    """One request, and what reads its answer."""

    call: Call
    read: Callable[[bytes], Any]


Steps: TypeAlias = Generator[Ask, Any, T]


class Question(Struct, frozen=True):
    """What a text is asked. `model` is the server's name for it."""

    labels: tuple[str, ...]
    instructions: str = _INSTRUCTIONS
    examples: tuple[tuple[str, str], ...] = ()
    model: str = ""

    def prompts(self, text: str) -> tuple[str, ...]:
        """What the model goes on with a label, three times. A space and the label come next."""
        asked = "".join(self._asked(*example) for example in self.examples)
        shown = "".join(_shown(*example) for example in self.examples)
        forth = "".join(_shown(label, label) for label in self.labels)
        back = "".join(_shown(label, label) for label in reversed(self.labels))
        return (
            f"{self.instructions}\n\n{forth}{shown}Text: {text}\nAnswer:",
            f"{self.instructions}\n\n{back}{shown}Text: {text}\nAnswer:",
            f"{asked}{self._ask(text)}",
        )

    def _ask(self, text: str) -> str:
        return f"Text: {text}\n\nQuestion: {self.instructions}\n\nAnswer: The answer is"

    def _asked(self, text: str, label: str) -> str:
        return f"{self._ask(text)} {label}\n\n"


def _shown(text: str, label: str) -> str:
    return f"Text: {text}\nAnswer: {label}\n\n"


def question_of(
    labels: Sequence[str],
    instructions: str | None = None,
    examples: Sequence[tuple[str, str]] | None = None,
    model: str = "",
) -> Question:
    """Raises ConfigError for labels that cannot be distinguished or written on a line, and for examples of others."""
    if isinstance(labels, str) or not labels:
        raise ConfigError('route takes a list of labels, for example ["positive", "negative"]')
    for label in labels:
        if not isinstance(label, str) or label != label.strip() or label.splitlines() != [label]:
            raise ConfigError(
                f"the label {label!r} cannot be used: a label is text on one line, without space around it"
            )
    twice = sorted({label for label in labels if list(labels).count(label) > 1})
    if twice:
        raise ConfigError(f"labels are given twice: {', '.join(map(repr, twice))}")
    for _, label in examples or ():
        if label not in labels:
            raise ConfigError(f"an example has the label {label!r}, which is none of {list(labels)}")
    return Question(tuple(labels), instructions or _INSTRUCTIONS, tuple(examples or ()), model)


class Choosing:
    """One routing under way.

    `usage` sums what its requests took. `prior` is what it makes once of a question, and another routing can be given.
    """

    def __init__(self, question: Question, prior: Prior | None = None) -> None:
        self.question = question
        self.prior = prior
        self.usage = Usage()
        self._is_complete = True

    def route(self, text: str) -> Steps[tuple[str, Mapping[str, float]]]:
        """The chosen label, and each label's probability: none where the engine does not report it.

        Raises UnsupportedError for labels whose tokens are the same.
        """
        labels = self.question.labels
        if len(labels) == 1:
            return labels[0], {labels[0]: 1.0}
        told = yield from self._measure(text)
        if told is not None and self.prior is None:
            self.prior = yield from self._measure("")
        if told is None or self.prior is None:
            return (yield from self._constrained(text)), {}
        pairs = list(zip(told, self.prior, strict=True))
        means = {label: sum(t[label] - p[label] for t, p in pairs) / len(pairs) for label in labels}
        shares = _shares(means)
        return max(labels, key=lambda label: shares[label]), shares

    def _measure(self, text: str) -> Steps[Prior | None]:
        """The logarithm of each label's probability, after each prompt; None where the engine does not report it."""
        told = []
        for prompt in self.question.prompts(text):
            tokens: dict[str, tuple[int, ...]] = {}
            for label in self.question.labels:
                call = tokenize_call(f"{prompt} {label}\n", self.question.model)
                tokens[label] = yield Ask(call, decode_tokens)
            weighed = yield from self._weigh(tokens)
            if weighed is None:
                return None
            told.append(weighed)
        return tuple(told)

    def _weigh(self, tokens: Tokens) -> Steps[Mapping[str, float] | None]:
        """Down every way that the labels' tokens go."""
        weights = dict.fromkeys(tokens, 0.0)
        groups = [tuple(tokens)]
        while groups:
            group = groups.pop()
            if len(group) == 1:
                continue
            prompt, ways = _parting(group, tokens)
            shares = yield from self._choose(prompt, list(ways), tokens[group[0]][-1])
            if shares is None:
                return None
            for token, some in ways.items():
                groups.append(tuple(some))
                for label in some:
                    weights[label] += math.log(shares[token])
        return weights

    def _choose(
        self, prompt: tuple[int, ...], allowed: list[int], newline: int
    ) -> Steps[Mapping[int, float] | None]:
        """How the model weighs the allowed tokens, some of which may be but a part of a character."""
        for push in _PUSHES:
            pushed = (newline, push) if push else None
            choice: Choice = yield Ask(
                choice_call(prompt, allowed, self.question.model, pushed),
                partial(decode_choice, allowed=allowed, pushed=pushed),
            )
            self._count(choice.usage)
            if choice.weights is not None:
                return choice.weights
        return None

    def _constrained(self, text: str) -> Steps[str]:
        """The label that a grammar leaves, of an engine that gives no probabilities."""
        prompt = self.question.prompts(text)[-1]
        tokens = yield Ask(tokenize_call(prompt, self.question.model), decode_tokens)
        texts = [f" {label}" for label in self.question.labels]
        call = constrained_call(tokens, texts, self.question.model)
        chosen, usage = yield Ask(call, partial(decode_constrained, texts=texts))
        self._count(usage)
        return str(chosen).removeprefix(" ")

    def _count(self, usage: Usage) -> None:
        sums = {name: getattr(self.usage, name) + getattr(usage, name) for name in _COUNTS}
        self._is_complete = self._is_complete and usage.complete
        self.usage = Usage(**sums, complete=self._is_complete)


def _parting(group: Sequence[str], tokens: Tokens) -> tuple[tuple[int, ...], dict[int, list[str]]]:
    """The tokens that these labels share, and the labels by the token that follows."""
    first = tokens[group[0]]
    shortest = min(len(tokens[label]) for label in group)
    depth = 0
    while depth < shortest and all(tokens[label][depth] == first[depth] for label in group):
        depth += 1
    if depth == shortest:
        raise UnsupportedError(
            f"the model's tokens do not distinguish these labels: {', '.join(map(repr, group))}; name them otherwise"
        )
    ways: dict[int, list[str]] = {}
    for label in group:
        ways.setdefault(tokens[label][depth], []).append(label)
    return first[:depth], ways


def _shares(logs: Mapping[str, float]) -> Mapping[str, float]:
    """What sums to 1, of logarithms."""
    highest = max(logs.values())
    raised = {label: math.exp(value - highest) for label, value in logs.items()}
    total = sum(raised.values())
    return {label: value / total for label, value in raised.items()}
