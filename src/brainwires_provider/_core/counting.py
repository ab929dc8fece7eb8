"""How many tokens a request takes of a provider's limits: estimated before it is sent, corrected by its usage.

Providers count differently what a request reserves, and what counts against a limit afterwards; see `RULES`.
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from brainwires_provider._core.limits import Amounts
from brainwires_provider.types import Limits, Usage

__all__ = ["Counting", "Size", "at_most", "estimated", "limits_at", "measured", "rule_of", "used"]

_BYTES_PER_TOKEN = 4
_MEDIA_TOKENS = 1_000
_LARGEST_MEDIA = 10_000
_FRAME = 8  # tokens that a service adds around a text
_USUAL_OUTPUT = 16_384
_MAX_TOKENS = frozenset(
    (
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "maxOutputTokens",
        "maxTokens",
        "num_predict",
    )
)
_ANSWERS = frozenset(("n", "best_of", "candidateCount", "candidate_count"))
_OF_THE_OUTPUT = _MAX_TOKENS | _ANSWERS
_SCALARS = frozenset((int, float, bool, type(None)))
_WITHIN = ("generationConfig", "generation_config", "inferenceConfig", "options")
_SAYS_OUTPUT = _OF_THE_OUTPUT.union(_WITHIN)

# Where an encoded file, its URL or its id stands: no other text is one, whatever it looks like.
_FILES = frozenset(
    ("image", "image_url", "file_url", "document_url", "video_url", "audio_url", "input_audio", "file_data")
)
"""Fields that hold one, or an object around it."""
_AROUND = _FILES | {"file", "source", "s3Location", "inlineData", "inline_data", "fileData"}
"""Fields with an object around one."""
_FILE = frozenset(("data", "bytes", "url", "uri", "fileUri", "file_uri", "file_id", "file_data", "result"))
"""Fields of such an object, and of a part of these types."""
_TYPES = frozenset(("image", "document", "audio", "video", "file", "input_image", "input_file")) | {
    "container_upload",
    "image_generation_call",
}
_JSON = frozenset(("args", "arguments", "input", "json", "response", "result")) | {
    "parameters",
    "parametersJsonSchema",
    "input_schema",
    "inputSchema",
    "schema",
}
"""Fields with an object that a model reads as JSON: arguments and results of tools, and schemas."""
_HEAD = 4_096  # characters of a file that show what it is
_USUAL_ALPHABET = str.maketrans("-_", "+/")
_BINARY = re.compile(rb"^%PDF|[\x00-\x08\x0e-\x1f]")
_FILE_OR_JSON = _AROUND | _FILE | _JSON | {"images"}


class Counting(Struct, frozen=True, gc=False):
    """How one provider counts."""

    reserves_output: bool = True
    """The maximum output counts from the beginning."""
    counts_output: bool = True
    """Output counts among all tokens (`tpm`)."""
    counts_cached: bool = True
    """Tokens read from a cache count like others."""
    daily: frozenset[str] = frozenset()
    """The kinds of limits whose headers are of a day, not of a minute."""


# https://platform.claude.com/docs/en/api/rate-limits (copies of 2026): output counts as it is produced, max_tokens
# does not; cache reads are free but for some old models. Copies of 2025 still reserve max_tokens.
_ANTHROPIC = Counting(reserves_output=False, counts_cached=False)
# https://github.com/aws/agent-toolkit-for-aws (quota-health.md): cache reads are reserved, and given back at
# the end. https://docs.aws.amazon.com/bedrock/latest/userguide/quotas-token-burndown.html: Claude's output
# counts five times, which is not followed here: set the limit accordingly.
# https://docs.aws.amazon.com/bedrock/latest/userguide/quotas-runtime.html: all operations count together.
# https://docs.aws.amazon.com/bedrock/latest/userguide/quotas-mantle.html: max_tokens is reserved, and cache reads do
# not count, in all of its APIs (both read on 2026-11-30).
_BEDROCK = Counting(counts_cached=False)
# https://ai.google.dev/gemini-api/docs/rate-limits: tokens a minute are those of the input.
# https://cloud.google.com/vertex-ai/generative-ai/docs/quotas (read on 2026-11-30): so they are at Vertex AI.
_GEMINI = Counting(reserves_output=False, counts_output=False)

# Read on 2026-11-29 where nothing else is said, in stored copies of the pages; its date where it is known.
RULES: Mapping[str, Counting] = {
    "anthropic": _ANTHROPIC,
    # https://console.groq.com/docs/rate-limits: cached tokens do not count; the headers' requests are of a day.
    "groq": Counting(counts_cached=False, daily=frozenset(("requests",))),
    "bedrock": _BEDROCK,
    "bedrock-invoke": _BEDROCK,
    "bedrock-anthropic": _BEDROCK,
    "bedrock-openai": _BEDROCK,
    "google": _GEMINI,
    "google-interactions": _GEMINI,
    "vertex": _GEMINI,
    "vertex-interactions": _GEMINI,
    # https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/partner-models/claude/use-claude (copies of
    # its models' pages, read on 2026-11-30): of the input what is uncached and cache writes.
    "vertex-anthropic": Counting(counts_cached=False),
}
"""By provider. All others reserve the maximum output, and count all, as Cerebras
(https://inference-docs.cerebras.ai/support/rate-limits) and Azure do
(https://learn.microsoft.com/answers/questions/1839866). OpenAI reserves the larger one of the maximum and an estimate
of the request, so less than is reserved here: https://developers.openai.com/api/docs/guides/rate-limits, as others
quote it; no copy of the page with the sentence was found."""
_USUAL = Counting()


def rule_of(provider: str) -> Counting:
    """How a provider counts."""
    return RULES.get(provider, _USUAL)


@lru_cache(64)
def limits_at(limits: Limits, provider: str) -> Limits:
    """Limits as a provider counts: where output is no part of all tokens, `tpm` is a limit of the input."""
    if limits.tpm is None or rule_of(provider).counts_output:
        return limits
    return replace(limits, tpm=None, itpm=min(limits.tpm, limits.itpm or limits.tpm))


class Size(Struct, frozen=True, gc=False):
    """What a request consists of."""

    characters: int
    bytes: int
    media: int
    """Pictures, sounds and files, encoded or by reference."""
    values: int
    """All values in the body."""
    max_tokens: int
    """Of the output; 0 if it is not set."""
    answers: int
    """How many are asked for."""


def measured(body: Mapping[str, Any] | None) -> Size:
    """The size of everything in a body that is text, in any place."""
    characters = further = media = 0  # further bytes, where characters have several
    body = body or {}
    values: list[Any] = [body]
    for value in values:  # which grows meanwhile
        kind = type(value)  # an exact type is a tenth of the question to an abstract one
        if kind is str:
            characters += len(value)
            if not value.isascii():
                further += len(value.encode("utf-8", "replace")) - len(value)
        elif kind is dict:
            if _FILE_OR_JSON.isdisjoint(value):
                values += value.values()
            else:
                files, text = _split(value, values)
                media += files
                characters += text
        elif kind is list or kind is tuple:
            values += value
        elif kind is bytes:
            media += 1
        elif kind not in _SCALARS and isinstance(value, Mapping):
            values.append(dict(value))
    most, answers = (0, 1) if _SAYS_OUTPUT.isdisjoint(body) else _output(body)
    return Size(characters, characters + further, media, len(values), most, answers)


def estimated(size: Size, rule: Counting) -> Amounts:
    """What a request takes before its usage is known."""
    input = size.characters // _BYTES_PER_TOKEN + size.media * _MEDIA_TOKENS + 1
    return Amounts(1, input, size.max_tokens * size.answers if rule.reserves_output else 0)


def at_most(size: Size, has_output: bool = True) -> tuple[int, int]:
    """The most input and output tokens that a request may use, as far as it states: no token is less than a byte."""
    input = size.bytes + size.media * _LARGEST_MEDIA + size.values * _FRAME
    return input, (size.max_tokens or _USUAL_OUTPUT) * size.answers if has_output else 0


def used(usage: Usage, rule: Counting) -> Amounts:
    """What a request took. Tokens of which only the total is stated count as input."""
    input = usage.input_tokens + usage.unattributed
    return Amounts(1, input if rule.counts_cached else input - usage.cache_read, usage.output_tokens)


def _output(body: Mapping[str, Any]) -> tuple[int, int]:
    """The maximum of one answer, and how many are asked for."""
    most, answers = 0, 1
    for place in (body, *map(body.get, _WITHIN)):
        if place and isinstance(place, dict) and not _OF_THE_OUTPUT.isdisjoint(place):
            for name in _OF_THE_OUTPUT & place.keys():
                if type(place[name]) is int:
                    if name in _ANSWERS:
                        answers = max(answers, place[name])
                    else:
                        most = max(most, place[name])
    return most, answers


def _split(value: dict[str, Any], values: list[Any]) -> tuple[int, int]:
    """How many files are in a dict, and the bytes of text in them and in its JSON; the rest goes to `values`."""
    files: list[str] = []
    text = 0
    kind = value.get("type")
    is_file = type(kind) is str and kind in _TYPES
    for name, each in value.items():
        if type(each) is str and (name in _FILES or (is_file and name in _FILE)):
            files.append(each)
        elif name == "images" and type(each) is list:
            files += (one for one in each if type(one) is str)
            values += (one for one in each if type(one) is not str)
        elif type(each) is not dict:
            values.append(each)
        elif name in _JSON:
            text += _length(each)
            values.append(None)
        elif name in _AROUND and each.get("type") != "text" and not _FILE.isdisjoint(each):
            for field, one in each.items():
                (files if field in _FILE and type(one) is str else values).append(one)
        else:
            values.append(each)
    return len(files), text + sum(map(_text_in, files))


def _length(value: Any) -> int:
    """In bytes, as JSON."""
    try:
        return len(msgspec.json.encode(value))
    except (UnicodeEncodeError, TypeError, RecursionError):
        return len(repr(value).encode("utf-8", "replace"))


def _text_in(file: str) -> int:
    """The bytes of a file that is text, or may be; 0 for others, and for URLs."""
    scheme, found, rest = file[:_HEAD].partition(":")
    if found and scheme != "data":
        return 0
    start, encoding = 0, "base64"
    if found:
        encoding = rest.partition(",")[0]
        start = len("data:,") + len(encoding)
    try:
        if not encoding.endswith("base64"):
            raise ValueError
        begin = a2b_base64(file[start : start + _HEAD].translate(_USUAL_ALPHABET), strict_mode=True)
    except ValueError:
        return len(file.encode("utf-8", "replace"))
    try:
        begin.decode()
    except UnicodeDecodeError as error:
        if error.start < len(begin) - 3:  # not the character that the head's end has cut
            return 0
    return 0 if _BINARY.search(begin) else (len(file) - start) * 3 // 4
