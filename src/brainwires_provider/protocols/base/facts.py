"""What a model accepts, whatever service leads to it: the facts that decide what an encoder sends.

They come with the target of a request: `providers/facts.py` finds them by the model's name. The defaults are those
of a model of which nothing is known: everything is sent as it is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal, TypeAlias

from msgspec import Struct

from brainwires_provider.errors import UnsupportedError
from brainwires_provider.types import Effort, FilePart, ImagePart, Origin, Part, Request, ToolResultPart

__all__ = ["EFFORT_WORDS", "UNKNOWN", "Media", "ModelFacts", "check_media", "media_kind", "nearest_effort"]

Media: TypeAlias = Literal["image", "audio", "video", "document"]
_KINDS: dict[str, Media] = {"image": "image", "audio": "audio", "video": "video"}


class ModelFacts(Struct, frozen=True, kw_only=True):
    """What one model accepts. A field that is not set leaves the request as it is."""

    family: str = ""
    """The family by whose rules a protocol writes a model's own fields: "claude", "nova", "gpt-oss"."""

    sampling: bool = True
    """Accepts temperature, top_p and top_k."""
    both_samplers: bool = True
    """Accepts temperature and top_p in one request."""
    samples_thinking: bool = True
    """Accepts them while it thinks."""
    penalties: bool = True
    """Accepts presence_penalty and frequency_penalty."""
    stop: bool = True
    """Accepts stop texts."""

    efforts: tuple[str, ...] | None = None
    """The words for an effort that it accepts, of `EFFORT_WORDS`. Empty: it takes no effort. None: not known."""
    budgets: bool = True
    """Accepts a thinking budget in tokens."""
    least_budget: int = 0
    """The smallest budget; 0: thinking can be switched off by it."""
    adaptive: bool = True
    """Accepts adaptive thinking, steered by an effort."""
    thinks_unasked: bool = False
    """Thinks unless that is switched off."""
    thinking_off: Literal["disabled", "between_tools"] | None = "disabled"
    """How thinking is stopped; None where nothing stops it."""
    limits_high_effort: bool = True
    """Accepts max_tokens, temperature and top_p beside the highest effort."""
    signed_thinking: bool = False
    """Refuses thinking that comes back without its signature."""
    signed_calls: bool = False
    """Refuses a turn's first function call without a signature."""
    encrypted_reasoning: bool | None = None
    """Gives reasoning as a ciphertext; False: refuses to be asked for it. None: not known."""
    own_reasoning: bool = True
    """Accepts its own reasoning of earlier turns."""

    system: bool = True
    """Accepts a system message."""
    one_system: bool = False
    """Accepts one system message, the first, where the service applies its template (Chat Completions)."""
    system_turns: bool = False
    """Accepts a system message in the middle of a conversation, after a user's turn."""

    prefill: bool = True
    """Continues an assistant's message that the request begins."""

    schema: bool = True
    """Accepts a JSON Schema for its output."""
    bedrock_schema: bool = True
    """Accepts it through Bedrock's Converse and InvokeModel too."""
    bedrock_strict: bool = True
    """Accepts strict tools there."""
    json_schema: bool = True
    """Accepts JSON Schema as it is; else Google's own dialect of it."""
    strict_schema: bool = True
    """Accepts `strict` beside a schema."""

    tools: bool | None = None
    """Accepts tools; False: they are emulated where the service can constrain the output, or refused. None: not
    known."""
    chat_tools: Literal["any", "unreasoned", "none"] = "any"
    """Accepts tools in Chat Completions: always, only without reasoning, or never."""
    forced_tools: bool = True
    """Accepts a tool choice that forces a call."""
    forced_tools_thinking: bool = True
    """Accepts it while it thinks, or beside a thinking budget."""
    parallel_tool_calls: bool = True
    """Accepts the option."""
    runs_tools: bool = False
    """Runs tools of the service without being asked to: a search, code."""
    refused_media: tuple[Media, ...] = ()
    """The kinds of media that it does not read."""
    media_results: bool = False
    """Accepts media inside a function's response."""
    result_status: bool = False
    """Accepts a status of a tool's result (Converse)."""

    cache_points: bool = False
    """Accepts cache points (Converse)."""
    tool_cache_points: bool = False
    """Accepts a cache point after its tools (Converse)."""

    max_output: int | None = None
    """The largest number of output tokens."""


UNKNOWN = ModelFacts()
"""The facts of a model of which nothing is known."""

EFFORT_WORDS: Mapping[str, int] = MappingProxyType(
    {"none": 0, "minimal": 1, "low": 2, "medium": 3, "default": 3, "high": 4, "xhigh": 5, "max": 6}
)
"""Services' words for an effort, with their places in a scale from no reasoning to the most."""


def nearest_effort(effort: Effort, words: Sequence[str]) -> str:
    """The word of `words` that is nearest to an effort; of two that are equally near, the higher.

    Only "off" becomes "none".
    """
    wanted = 0 if effort == "off" else EFFORT_WORDS[effort]
    able = [word for word in words if word != "none" or effort == "off"] or list(words)
    return min(able, key=lambda word: (abs(EFFORT_WORDS[word] - wanted), -EFFORT_WORDS[word]))


def check_media(request: Request, refused: Sequence[Media], origin: Origin) -> None:
    """Raises UnsupportedError for media that the model does not read; earlier answers are not looked at."""
    for index, message in enumerate(request.messages):
        for at, part in enumerate(message.content if message.role != "assistant" else ()):
            for inner in part.content if isinstance(part, ToolResultPart) else (part,):
                if (kind := _media_of(inner)) in refused:
                    raise UnsupportedError(
                        f"messages[{index}].content[{at}]: {origin.model} reads no {kind}; if yours does, state it: "
                        f'ProviderConfig(…, models={{"{origin.model}": {{"refused_media": []}}}})',
                        provider=origin.provider,
                        model=origin.model,
                    )


def _media_of(part: Part) -> Media | None:
    """A text file is none: where there is no place for files, it is sent as text."""
    if isinstance(part, ImagePart):
        return "image"
    if not isinstance(part, FilePart) or part.media_type is None or part.media_type.startswith("text/"):
        return None
    return media_kind(part.media_type)


def media_kind(media_type: str | None) -> Media:
    """The kind of content that a media type is of; whatever is no image, audio or video is a document."""
    return _KINDS.get((media_type or "").partition("/")[0], "document")
