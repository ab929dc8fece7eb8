"""The parts of a message: what a turn is made of.

Each part is a frozen value with a JSON round trip, tagged by `type`. `extra` holds what the wire said about
the part and the model has no word for; `origin` says which model made it, for parts that came from one.
`cache` is a mark for prompt caching, not content: equality ignores it.
"""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

import msgspec
from msgspec import Struct
from msgspec.structs import fields, force_setattr

__all__ = [
    "Cache",
    "Citation",
    "Extra",
    "FilePart",
    "ImagePart",
    "OpaquePart",
    "Origin",
    "Part",
    "ReasoningPart",
    "RefusalPart",
    "TextPart",
    "ToolArgumentsError",
    "ToolCallPart",
    "ToolResultPart",
]

Extra: TypeAlias = Mapping[str, Any]
"""Fields of one provider under their wire names."""


class ToolArgumentsError(ValueError):
    """A tool call's arguments are no JSON object. The message can go back to the model as the tool's result."""


class Origin(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """Which model made a part: the protocol, the provider's row, and the model by both its names.

    `model` is the name that was requested, `reported` the one that the answer gave; they often differ.
    """

    protocol: str
    provider: str
    model: str | None = None
    reported: str | None = None


class Cache(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """Mark a prompt-cache breakpoint after this part or tool. `ttl` is the provider's word, such as `"5m"`."""

    ttl: str | None = None


class Citation(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """A source that the text leans on.

    `start` and `end` are offsets into the part's text, as the provider counts them. `source` names what was
    cited when that is no web page (a file id, a document's index or title); `raw` is the whole item as it came.
    """

    url: str | None = None
    title: str | None = None
    quote: str | None = None
    start: int | None = None
    end: int | None = None
    source: str | None = None
    raw: Any = None


class _Part(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """Equality for parts: all fields but the cache mark."""

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, n) == getattr(other, n) for n in self.__struct_fields__ if n != "cache")

    def __hash__(self) -> int:
        return hash(
            (type(self), *(_hashable(getattr(self, n)) for n in self.__struct_fields__ if n != "cache"))
        )


class TextPart(_Part, frozen=True, tag="text", gc=False):
    """Text, with the sources that it cites."""

    text: str
    citations: tuple[Citation, ...] = ()
    cache: Cache | None = None
    extra: Extra | None = None
    origin: Origin | None = None


class ReasoningPart(_Part, frozen=True, tag="reasoning", gc=False):
    """What a model thought before or between its answers.

    `text` is the thinking itself, or else the joined `summary`. `signature` and `encrypted` are the provider's
    own proof or ciphertext, sent back byte for byte to the model that made them; `redacted` means that the
    provider withheld the text.
    """

    text: str = ""
    summary: tuple[str, ...] = ()
    signature: str | None = None
    encrypted: str | None = None
    redacted: bool = False
    cache: Cache | None = None
    extra: Extra | None = None
    origin: Origin | None = None


class RefusalPart(_Part, frozen=True, tag="refusal", gc=False):
    """The model's words when it declines. Never counted in `Response.text`."""

    text: str
    extra: Extra | None = None
    origin: Origin | None = None


class _Media(_Part, frozen=True, gc=False):
    """Media by exactly one of: its bytes, a URL (passed on, never fetched here), a provider's file id."""

    data: bytes | None = None
    url: str | None = None
    file_id: str | None = None
    media_type: str | None = None

    def __post_init__(self) -> None:
        if self.data is not None and not isinstance(self.data, bytes):
            force_setattr(self, "data", _bytes(self.data, type(self).__name__))
        given = [name for name in ("data", "url", "file_id") if getattr(self, name) is not None]
        if len(given) != 1:
            what = "none was" if not given else " and ".join(given) + " were"
            raise ValueError(
                f"{type(self).__name__} takes exactly one of data, url and file_id; {what} given"
            )
        if self.data is not None and self.media_type is None:
            force_setattr(self, "media_type", sniff_media_type(self.data))

    @classmethod
    def from_path(cls, path: str | PathLike[str]) -> Self:
        """Read the file now. The media type is told from its first bytes, else from its name.

        Raises OSError when it cannot be read.
        """
        data = Path(fspath(path)).read_bytes()
        media_type = sniff_media_type(data) or mimetypes.guess_type(fspath(path))[0]
        part = cls(data=data, media_type=media_type)
        if "name" in cls.__struct_fields__:
            force_setattr(part, "name", Path(fspath(path)).name)
        return part

    @classmethod
    def from_base64(cls, data: str, media_type: str | None = None) -> Self:
        """Raises ValueError when `data` is no base64."""
        return cls(data=base64.b64decode(data, validate=True), media_type=media_type)

    def __repr__(self) -> str:
        """Sizes instead of bytes: a repr ends up in logs."""
        shown = []
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "data" and value is not None:
                shown.append(f"data=<{len(value):,} bytes>")
            elif field.name == "url" and value is not None and len(value) > 200:
                shown.append(f"url={value[:60]!r}…<{len(value):,} characters>")
            elif value != field.default:
                shown.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


class ImagePart(_Media, frozen=True, tag="image", gc=False):
    """An image. `detail` is `"low"`, `"high"`, `"auto"` where the provider has such a knob."""

    detail: str | None = None
    cache: Cache | None = None
    extra: Extra | None = None
    origin: Origin | None = None


class FilePart(_Media, frozen=True, tag="file", gc=False):
    """A document, audio or video. `name` is the file's name; `text` a transcript, where a model made one."""

    name: str | None = None
    text: str | None = None
    cache: Cache | None = None
    extra: Extra | None = None
    origin: Origin | None = None


class ToolCallPart(_Part, frozen=True, tag="tool_call", gc=False):
    """A call that the caller must answer with a tool result.

    `id` is the wire's own, or None where the wire had none; `local_id` is then one that we made up from what
    the answer says of itself, and is never sent as if the provider had given it. `arguments` is the provider's
    own text: JSON for `kind="function"`, free text for `kind="custom"`.
    """

    id: str | None
    name: str
    arguments: str
    kind: str = "function"
    local_id: str | None = None
    cache: Cache | None = None
    extra: Extra | None = None
    origin: Origin | None = None

    @property
    def call_id(self) -> str:
        """What a tool result refers to: the wire's id, else the made-up one."""
        return self.id or self.local_id or ""

    def args(self) -> dict[str, Any]:
        """The arguments as a dict; no arguments at all are `{}`.

        Raises ToolArgumentsError, whose text can go back to the model, when they are no JSON object.
        """
        if not self.arguments.strip():
            return {}
        try:
            value = msgspec.json.decode(self.arguments)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise ToolArgumentsError(
                f"The arguments of {self.name!r} are not valid JSON ({error}). Call it again with a JSON object."
            ) from None
        if not isinstance(value, dict):
            kind = type(value).__name__
            raise ToolArgumentsError(f"The arguments of {self.name!r} must be a JSON object, not {kind}.")
        return value


class ToolResultPart(_Part, frozen=True, tag="tool_result", gc=False):
    """The answer to a tool call. `name` is the tool's, for the wires that want it again."""

    call_id: str
    content: tuple[TextPart | ImagePart | FilePart | OpaquePart, ...] = ()
    is_error: bool = False
    name: str | None = None
    cache: Cache | None = None
    extra: Extra | None = None
    origin: Origin | None = None

    def __post_init__(self) -> None:
        content = as_parts(self.content, "ToolResultPart.content")
        force_setattr(self, "content", content)

    @property
    def text(self) -> str:
        """The joined text of the result."""
        return "".join(p.text for p in self.content if isinstance(p, TextPart))


class OpaquePart(_Part, frozen=True, tag="opaque", gc=False):
    """An item that the model has no word for, kept whole and sent back JSON-equal to whoever made it.

    Server-side tool calls (`role="call"`) and their results (`role="result"`) are of this kind. `citations` are those
    of an item that only cites (`kind="citations"`), told from its `data`; they are read, never sent.
    """

    kind: str
    data: Any
    id: str | None = None
    name: str | None = None
    role: Literal["call", "result"] | None = None
    cache: Cache | None = None
    extra: Extra | None = None
    origin: Origin | None = None
    citations: tuple[Citation, ...] = ()


Part: TypeAlias = (
    TextPart | ReasoningPart | RefusalPart | ImagePart | FilePart | ToolCallPart | ToolResultPart | OpaquePart
)


def as_parts(content: object, where: str) -> tuple[Any, ...]:
    """A string, a part, or an iterable of both, as a tuple of parts. Raises TypeError naming what is neither."""
    if type(content) is tuple:
        for item in content:
            if not isinstance(item, _Part):
                break
        else:
            return content
    if isinstance(content, (str, _Part)):
        content = (content,)
    if not isinstance(content, (list, tuple)):
        raise TypeError(f"{where} takes text, parts, or a list of them, not {type(content).__name__}")
    return tuple(_as_part(item, where) for item in content)


def _as_part(item: object, where: str) -> Any:
    if isinstance(item, str):
        return TextPart(item)
    if isinstance(item, _Part):
        return item
    raise TypeError(f"{where} takes text and parts (TextPart, ImagePart, …), not {type(item).__name__}")


def _bytes(data: object, owner: str) -> bytes:
    if isinstance(data, (bytearray, memoryview)):
        return bytes(data)
    raise TypeError(
        f"{owner}.data takes bytes, not {type(data).__name__}; for base64 text use {owner}.from_base64"
    )


def _hashable(value: Any) -> Any:
    """A stand-in that hashes: equal values give equal stand-ins."""
    try:
        hash(value)
    except TypeError:
        return repr(type(value))
    return value


_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF8", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (8, b"WAVE", "audio/wav"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"\xff\xfb", "audio/mpeg"),
    (0, b"\xff\xf3", "audio/mpeg"),
    (0, b"OggS", "audio/ogg"),
    (0, b"fLaC", "audio/flac"),
    (4, b"ftypM4A", "audio/mp4"),
    (4, b"ftyp", "video/mp4"),
)


def sniff_media_type(data: bytes) -> str | None:
    """The media type that the first bytes tell, or None."""
    for offset, magic, media_type in _MAGIC:
        if data[offset : offset + len(magic)] == magic:
            return media_type
    return None
