"""Answers of llama.cpp's server as they come by its native API, and what our decoder makes of them."""

from __future__ import annotations

from typing import Any

import msgspec

from brainwires_provider.events import Event
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.llamacpp import LlamaCpp
from brainwires_provider.types import Origin

ORIGIN = Origin("llamacpp", "local", "m")
TIMINGS = {"cache_n": 4, "prompt_n": 1, "prompt_ms": 39.5, "predicted_n": 3, "predicted_ms": 64.0}
COUNTS = {"tokens_predicted": 3, "tokens_evaluated": 5, "tokens_cached": 7, "timings": TIMINGS}
PLACES = [
    {"id": 7042, "token": " Paris", "logprob": -0.26, "top_logprobs": [{"id": 7042, "logprob": -0.26}]},
    {"id": 30, "token": ".", "logprob": -0.5, "top_logprobs": [{"id": 30, "logprob": -0.5}]},
]


def piece(text: str, **more: Any) -> dict[str, Any]:
    return {"index": 0, "content": text, "tokens": [1], "stop": False, "id_slot": -1, **more}


def last(text: str = "", **more: Any) -> dict[str, Any]:
    said = {"index": 0, "content": text, "tokens": [], "stop": True, "model": "smollm2", "id_slot": 1}
    return {**said, "stop_type": "eos", "stopping_word": "", "truncated": False, **COUNTS, **more}


CHUNKS = [
    piece(" Par", completion_probabilities=PLACES[:1]),
    piece("is", prompt_progress={"total": 5, "processed": 5}),
    piece(" ☃", completion_probabilities=PLACES[1:]),
    last(),
]
VECTORS = {
    "object": "list",
    "model": "smollm2",
    "data": [
        {"object": "embedding", "index": 1, "embedding": [0.5, -0.25]},
        {"object": "embedding", "index": 0, "embedding": [1, 0]},
    ],
    "usage": {"prompt_tokens": 7, "total_tokens": 7},
}


def read(chunks: list[Any], *, whole: bool = False, provider: str = "local") -> list[Event]:
    decoder = LlamaCpp().decoder(Origin("llamacpp", provider, "m"))
    if whole:
        events = decoder.feed_whole(msgspec.json.encode(chunks[0]))
        assert decoder.finish() == []
        return events
    events = []
    for chunk in chunks:
        data = chunk if isinstance(chunk, bytes) else msgspec.json.encode(chunk)
        events += decoder.feed(WireMessage(data))
    return events + decoder.finish()
