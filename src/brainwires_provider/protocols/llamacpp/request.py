"""Writes a request of `POST /completion`: one prompt as it stands, and only the knobs that were set.

`stream` goes out unasked, since it is what a decoder must know. Reference: the server's README, "POST /completion".
"""

from __future__ import annotations

from typing import Any

from brainwires_provider.errors import UnsupportedError
from brainwires_provider.protocols.base.options import own_options
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.protocols.llamacpp.options import LlamaCppOptions
from brainwires_provider.types import Deviation, Options, Origin, Request, TextPart

__all__ = ["encode_completion", "prompt_of"]

# Ours first, then llama.cpp's.
_KNOBS = (
    ("max_tokens", "n_predict"),
    ("temperature", "temperature"),
    ("top_p", "top_p"),
    ("top_k", "top_k"),
    ("seed", "seed"),
    ("presence_penalty", "presence_penalty"),
    ("frequency_penalty", "frequency_penalty"),
)
_ANY_OBJECT = {"type": "object"}


def encode_completion(request: Request, origin: Origin, *, stream: bool) -> Call:
    """`POST /completion` for one prompt. Raises UnsupportedError for more than that."""
    deviations: list[Deviation] = []
    options = request.options
    body: dict[str, Any] = {"prompt": prompt_of(request, origin), "stream": stream}
    if request.model:
        body["model"] = request.model
    for ours, wire in _KNOBS:
        if (value := getattr(options, ours)) is not None:
            body[wire] = value
    if options.stop is not None:
        body["stop"] = [options.stop] if isinstance(options.stop, str) else list(options.stop)
    _output(request, body, deviations)
    _unsaid(options, body, deviations)
    body.update(own_options(options, LlamaCppOptions, deviations))
    return Call("/completion", body, deviations=tuple(deviations))


def prompt_of(request: Request, origin: Origin) -> str:
    """The one text that the request is. Raises UnsupportedError where it is more."""
    message = request.messages[0] if len(request.messages) == 1 else None
    if request.tools or request.system is not None or message is None or message.role != "user":
        raise _too_much("one prompt, without a system message, turns or tools", origin)
    texts = [part.text for part in message.content if isinstance(part, TextPart)]
    if len(texts) < len(message.content):
        raise _too_much("a prompt of text alone", origin)
    return "".join(texts)


def _too_much(takes: str, origin: Origin) -> UnsupportedError:
    return UnsupportedError(
        f"/completion takes {takes}; use client.chat or client.stream for more",
        provider=origin.provider,
        model=origin.model,
    )


def _output(request: Request, body: dict[str, Any], deviations: list[Deviation]) -> None:
    output = request.output
    if output is None:
        return
    if isinstance(output, str):
        body["json_schema"] = _ANY_OBJECT
        return
    body["json_schema"] = output.schema
    if output.description is not None or output.strict is not None:
        reason = "llama.cpp takes the schema alone, and always holds the model to it"
        deviations.append(Deviation("output", "adapted", reason))


def _unsaid(options: Options, body: dict[str, Any], deviations: list[Deviation]) -> None:
    """What a plain completion has no field for."""
    if options.cache is not None:
        if options.cache.mode == "off":
            body["cache_prompt"] = False
        else:
            deviations.append(Deviation("cache", "dropped", "llama.cpp caches by itself"))
    for name, reason in (
        ("reasoning", "a plain completion does not think apart"),
        ("parallel_tool_calls", "a plain completion has no tools"),
    ):
        if getattr(options, name) is not None:
            deviations.append(Deviation(name, "dropped", reason))
