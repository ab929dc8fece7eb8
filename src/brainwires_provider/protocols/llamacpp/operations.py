"""The single calls of the native API besides a completion: tokens of a text, one choice among tokens.

Each is a pair of pure functions, one that makes the call and one that reads its answer. Paths begin below the server's
root, without the `/v1` of its OpenAI-like half. Reference: the server's README, "API Endpoints".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from brainwires_provider.errors import ProtocolError
from brainwires_provider.protocols.base.errors import object_in
from brainwires_provider.protocols.base.json import looks_like
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.protocols.llamacpp.response import usage_of
from brainwires_provider.types import Usage

__all__ = [
    "Choice",
    "choice_call",
    "constrained_call",
    "decode_choice",
    "decode_constrained",
    "decode_tokens",
    "literal",
    "models_call",
    "tokenize_call",
]

_LIFT = 100.0
"""Added to the allowed tokens' logits, which differ by tens at most: no other token keeps a share that counts."""
_LEAST = 1e-30


class Choice(Struct, frozen=True):
    """How the model weighs the tokens that may come next, together 1; None where the engine does not tell."""

    weights: Mapping[int, float] | None
    usage: Usage


# -- calls ---------------------------------------------------------------------------------------------------


def _for(model: str) -> dict[str, Any]:
    return {"model": model} if model else {}


def tokenize_call(text: str, model: str = "", *, parse_special: bool = False) -> Call:
    """`POST /tokenize`, with what a text begins with; what looks like a control token stays text unless told."""
    return Call(
        "/tokenize", {"content": text, "add_special": True, "parse_special": parse_special, **_for(model)}
    )


def choice_call(
    prompt: Sequence[int], allowed: Sequence[int], model: str = "", pushed: tuple[int, float] | None = None
) -> Call:
    """`POST /completion` for one token among `allowed`, with the probability of each of them.

    The server tells them only where the token that it draws is whole characters. `pushed` is one that is, and by how
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


def models_call() -> Call:
    """`GET /v1/models`."""
    return Call("/v1/models", {}, method="GET")


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
    """Token and probability, as the first place of an answer tells them; none where it does not."""
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
