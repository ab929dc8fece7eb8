"""What the readers of model lists share: the words for abilities and stages of life, and how a value is checked.

A value of another type than the documented one is as good as none: no list is refused for one odd entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any, get_args

from brainwires_provider.errors import ProtocolError
from brainwires_provider.protocols.base.errors import error_in_body
from brainwires_provider.protocols.base.json import decode_json, looks_like
from brainwires_provider.types import Capability, Lifecycle

__all__ = [
    "able",
    "able_by_modality",
    "count_of",
    "day_of",
    "lower_words",
    "object_of",
    "read_json",
    "seconds_of",
    "stage_of",
    "text_of",
]

_ORDER: tuple[Capability, ...] = get_args(Capability)
# The services' words for what a model can do, without "supports_" and with "_" for "-" and blanks.
_WORDS: Mapping[str, tuple[Capability, ...]] = {
    "chat": ("chat",),
    "chat/completions": ("chat",),
    "chat_completion": ("chat",),
    "chat_completions": ("chat",),
    "completion_chat": ("chat",),
    "generatecontent": ("chat",),
    "llm": ("chat",),
    "vlm": ("chat", "vision"),
    "embed": ("embedding",),
    "embedcontent": ("embedding",),
    "embedding": ("embedding",),
    "embeddings": ("embedding",),
    "function_calling": ("tools",),
    "tool_calling": ("tools",),
    "tool_use": ("tools",),
    "tools": ("tools",),
    "trained_for_tool_use": ("tools",),
    "reasoning": ("reasoning",),
    "thinking": ("reasoning",),
    "response_schema": ("structured_output",),
    "structured_output": ("structured_output",),
    "structured_outputs": ("structured_output",),
    "image_in": ("vision",),
    "image_input": ("vision",),
    "vision": ("vision",),
    "audio": ("audio",),
    "audio_input": ("audio",),
    "audio_output": ("audio",),
    "audio_speech": ("audio",),
    "audio_transcription": ("audio",),
    "speech": ("audio",),
    "stt": ("audio",),
    "transcription": ("audio",),
    "tts": ("audio",),
    "image_generation": ("image_generation",),
}
_STAGES: Mapping[str, Lifecycle] = {
    "active": "active",
    "available": "active",
    "ga": "active",
    "generally_available": "active",
    "stable": "active",
    "experimental": "preview",
    "preview": "preview",
    "private_preview": "preview",
    "public_preview": "preview",
    "deprecated": "deprecated",
    "deprecating": "deprecated",
    "legacy": "deprecated",
    "retired": "retired",
}


def able(words: Iterable[str]) -> tuple[Capability, ...]:
    """What the services' words mean in ours, in our order. A word that we have none for says nothing here."""
    known = {ours for word in words for ours in _WORDS.get(_plain(word), ())}
    return tuple(word for word in _ORDER if word in known)


def able_by_modality(taken: Iterable[str] | None, made: Iterable[str] | None) -> set[str]:
    """What taking and making these says of a model, in words for `able`."""
    taken, made = set(taken or ()), set(made or ())
    words = {"vision"} if "image" in taken else set()
    words |= {"audio"} if "audio" in taken | made else set()
    words |= {"image_generation"} if "image" in made else set()
    return words | (made & {"embedding", "embeddings", "speech", "transcription"})


def stage_of(*words: Any) -> Lifecycle | None:
    """The first of a service's words for where in its life a model is that we know."""
    return next((_STAGES[_plain(w)] for w in words if isinstance(w, str) and _plain(w) in _STAGES), None)


def _plain(word: str) -> str:
    return word.strip().lower().replace("-", "_").replace(" ", "_")


# -- values --------------------------------------------------------------------------------------------------


def read_json(body: bytes, provider: str) -> Any:
    """The JSON of a list's page. Raises ProtocolError for what is none, and the APIError that an error object is."""
    try:
        value = decode_json(body)
    except ValueError as error:
        raise ProtocolError(
            f"the model list is not a list of models, nor any JSON ({error}): {looks_like(body)}",
            provider=provider,
        ) from None
    if isinstance(value, dict) and value.get("error"):
        raise error_in_body(value, status=None)
    return value


def object_of(value: Any) -> Mapping[str, Any]:
    """An object; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def text_of(value: Any) -> str | None:
    """A text that says something."""
    return value if isinstance(value, str) and value.strip() else None


def count_of(value: Any) -> int | None:
    """A number of tokens. Services say 0 where they do not know."""
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and value > 0 else None


def lower_words(value: Any) -> tuple[str, ...] | None:
    """A list of words, in lower case."""
    if not isinstance(value, list):
        return None
    return tuple(word.lower() for word in value if isinstance(word, str))


def seconds_of(value: Any) -> int | None:
    """A moment, given in seconds or as ISO 8601, in seconds since 1970. Those before it stand for "unknown"."""
    moment = _moment(value)
    return None if moment is None else int(moment.timestamp())


def day_of(value: Any) -> date | None:
    """The day of a moment, given as for `seconds_of`."""
    moment = _moment(value)
    return None if moment is None else moment.date()


def _moment(value: Any) -> datetime | None:
    try:
        if type(value) in (int, float):
            told = datetime.fromtimestamp(value, UTC)
        else:
            told = datetime.fromisoformat(value)
            told = told if told.tzinfo else told.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
    return told if told.timestamp() >= 1 else None
