"""Encodes a request of `POST /completion`: one prompt as it stands, and only the options that are set.

`stream` is always sent, since a decoder must know it. Reference: the server's README, "POST /completion".
"""

from __future__ import annotations

from typing import Any

from brainwires_provider.protocols.base.facts import UNKNOWN, ModelFacts
from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.protocols.base.protocol import Call, ProtocolBase
from brainwires_provider.protocols.llamacpp.messages import encode_messages
from brainwires_provider.protocols.llamacpp.options import LlamaCppOptions
from brainwires_provider.types import Origin, Request

__all__ = ["encode_request"]

# Ours first, then llama.cpp's.
_FIELDS = (
    ("max_tokens", "n_predict"),
    ("temperature", "temperature"),
    ("top_p", "top_p"),
    ("top_k", "top_k"),
    ("seed", "seed"),
    ("presence_penalty", "presence_penalty"),
    ("frequency_penalty", "frequency_penalty"),
)
_ANY_OBJECT = {"type": "object"}


def encode_request(
    protocol: ProtocolBase[None],
    request: Request,
    origin: Origin,
    *,
    stream: bool,
    facts: ModelFacts = UNKNOWN,
) -> Call:
    """`POST /completion` for one prompt. Raises UnsupportedError for more than that."""
    reader = OptionReader(request, LlamaCppOptions)
    body: dict[str, Any] = {"prompt": encode_messages(request, origin), "stream": stream}
    if request.model:
        body["model"] = request.model
    for ours, wire in _FIELDS:
        if (value := reader.take(ours)) is not None:
            body[wire] = value
    if (stop := reader.take("stop")) is not None:
        body["stop"] = [stop] if isinstance(stop, str) else list(stop)
    _output(reader, body)
    if reader.take_cache_off():
        body["cache_prompt"] = False
    body.update(reader.provider_options())
    reader.absent("cache", "llama.cpp caches by itself")
    reader.absent("reasoning", "a plain completion has no reasoning apart from its text")
    reader.absent("parallel_tool_calls", "a plain completion has no tools")
    return Call("/completion", body, deviations=reader.finish(), sent=reader.sent, weakened=reader.weakened)


def _output(reader: OptionReader, body: dict[str, Any]) -> None:
    output = reader.take("output")
    if output is None:
        return
    if isinstance(output, str):
        body["json_schema"] = _ANY_OBJECT
        return
    body["json_schema"] = output.schema
    if output.description is not None:
        reader.weaken("output", "the schema is sent alone, without its description")
    elif output.strict is not None:
        reader.adapted("output", "llama.cpp takes the schema alone, and always holds the model to it")
