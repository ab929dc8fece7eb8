"""The parts of a message: text, reasoning, images, files, tool calls and results.

Each part is an immutable value that can be stored as JSON, tagged by `type`. Most have these fields: `extra`, fields
of the provider's item that have no place of their own here, by their wire names; `origin`, the model that produced the
part, or None for the caller's own; `cache`, a prompt-cache breakpoint after the part, which equality ignores.
"""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec.structs import fields, force_setattr

from brainwires_provider.types.checked import Checked, check, shown

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
"""Fields of one provider, by their wire names."""


class ToolArgumentsError(ValueError):
    """A tool call's arguments are not a JSON object. The message can be sent to the model as the tool's result."""


class Origin(Checked, frozen=True, gc=False):
    """The model that produced a part, which decides where the part may be sent back."""

    protocol: str
    """The protocol's name, such as "anthropic_messages"."""
    provider: str
    """The provider's name, as in `"provider:model"`."""
    model: str | None = None
    """The model's name in the request."""
    reported: str | None = None
    """The model's name in the response; often more specific."""


class Cache(Checked, frozen=True, gc=False):
    """A prompt-cache breakpoint after this part or tool."""

    ttl: str | None = None
    """Its time to live, as the provider writes it, such as `"5m"`. None: the provider's default."""


class Citation(Checked, frozen=True, gc=False):
    """A source that a text cites."""

    url: str | None = None
    """The address of a web page."""
    title: str | None = None
    """The source's title."""
    quote: str | None = None
    """The cited passage of the source."""
    start: int | None = None
    """Where the citing passage begins in the part's text, as the provider counts."""
    end: int | None = None
    """Where it ends."""
    source: str | None = None
    """What is cited if it is not a web page: a file id, a document's index or title."""
    raw: Any = None
    """The provider's whole item, unchanged."""

    def _is_searched(self) -> bool:
        return False


class _Part(Checked, frozen=True, gc=False):
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
    """Text, and the sources that it cites."""

    text: str
    citations: tuple[Citation, ...] = ()
    cache: Cache | None = None
    extra: Extra | None = None
    origin: Origin | None = None


class ReasoningPart(_Part, frozen=True, tag="reasoning", gc=False):
    """A model's reasoning before or between its texts and calls."""

    text: str = ""
    """The reasoning itself, or else the joined summary."""
    summary: tuple[str, ...] = ()
    """The paragraphs of a summary, for models that return one."""
    signature: str | None = None
    """The provider's signature of the reasoning, sent back unchanged, and only to the model that produced it."""
    encrypted: str | None = None
    """The reasoning in encrypted form, sent back likewise."""
    redacted: bool = False
    """Whether the provider withheld the text."""
    cache: Cache | None = None
    extra: Extra | None = None
    origin: Origin | None = None


class RefusalPart(_Part, frozen=True, tag="refusal", gc=False):
    """The text with which a model declines. It is not part of `Response.text`."""

    text: str
    extra: Extra | None = None
    origin: Origin | None = None


class _Media(_Part, frozen=True, gc=False):
    """Media, given by exactly one of: its bytes, a URL (sent as it is, never fetched here), a provider's file id.

    A `data:` URL holds the bytes, and is decoded.
    """

    data: bytes | None = None
    url: str | None = None
    file_id: str | None = None
    media_type: str | None = None

    def __post_init__(self) -> None:
        if self.data is not None and not isinstance(self.data, bytes):
            force_setattr(self, "data", _bytes(self.data, type(self).__name__))
        check(self)
        if self.url is not None and self.url[:5].lower() == "data:":
            self._decode_url(self.url)
        given = [name for name in ("data", "url", "file_id") if getattr(self, name) is not None]
        if len(given) != 1:
            what = "none was" if not given else " and ".join(given) + " were"
            raise ValueError(
                f"{type(self).__name__} takes exactly one of data, url and file_id; {what} given"
            )
        if self.data is not None and self.media_type is None:
            force_setattr(self, "media_type", sniff_media_type(self.data))

    def _decode_url(self, url: str) -> None:
        head, comma, payload = url[5:].partition(",")
        try:
            if not comma:
                raise ValueError
            is_base64 = head.lower().endswith(";base64")
            data = base64.b64decode(payload, validate=True) if is_base64 else unquote_to_bytes(payload)
        except ValueError:
            if getattr(self, "origin", None) is None:
                raise ValueError(f"{type(self).__name__}.url is a data: URL that cannot be decoded") from None
            return  # as a service sent it
        force_setattr(self, "data", data)
        force_setattr(self, "url", None)
        if self.media_type is None:
            force_setattr(self, "media_type", head.partition(";")[0] or None)

    @classmethod
    def from_path(cls, path: str | PathLike[str]) -> Self:
        """Read a file. Its media type is recognised by its first bytes, else by its name.

        Raises OSError if it cannot be read.
        """
        data = Path(fspath(path)).read_bytes()
        media_type = sniff_media_type(data) or mimetypes.guess_type(fspath(path))[0]
        part = cls(data=data, media_type=media_type)
        if "name" in cls.__struct_fields__:
            force_setattr(part, "name", Path(fspath(path)).name)
        return part

    @classmethod
    def from_base64(cls, data: str, media_type: str | None = None) -> Self:
        """Decode base64 text. Raises ValueError if it is not base64."""
        return cls(data=base64.b64decode(data, validate=True), media_type=media_type)

    def __repr__(self) -> str:
        """Sizes instead of contents, since a repr may be logged."""
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
    """An image, given by its bytes, a URL, or a provider's file id."""

    detail: str | None = None
    """The resolution at which the model reads it, for providers with such an option: `"low"`, `"high"`, `"auto"`."""
    cache: Cache | None = None
    extra: Extra | None = None
    origin: Origin | None = None


class FilePart(_Media, frozen=True, tag="file", gc=False):
    """A document, audio or video, given by its bytes, a URL, or a provider's file id."""

    name: str | None = None
    """The file's name."""
    text: str | None = None
    """A transcript, for audio that a model produced."""
    cache: Cache | None = None
    extra: Extra | None = None
    origin: Origin | None = None


class ToolCallPart(_Part, frozen=True, tag="tool_call", gc=False):
    """A tool call that the caller must answer with a tool result (`Message.tool_result`)."""

    id: str | None
    """The provider's id of the call. None if it sent none, as Gemini usually does."""
    name: str
    """The tool's name."""
    arguments: str
    """The arguments as the provider sent them: JSON for `kind="function"`, free text for `kind="custom"`."""
    kind: str = "function"
    """The kind of tool: "function", "custom", or a kind that one provider has, such as "apply_patch"."""
    local_id: str | None = None
    """An id generated here if the provider sent none. It is derived from the response, and not sent to the
    provider."""
    cache: Cache | None = None
    extra: Extra | None = None
    origin: Origin | None = None

    @property
    def call_id(self) -> str:
        """The id that a tool result refers to: the provider's, else the generated one."""
        return self.id or self.local_id or ""

    def args(self) -> dict[str, Any]:
        """The arguments as a dict; `{}` if there are none.

        Raises ToolArgumentsError if they are not a JSON object; its text can be sent to the model as the tool's
        result.
        """
        if not self.arguments.strip():
            return {}
        try:
            value = msgspec.json.decode(self.arguments)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise ToolArgumentsError(
                f"The arguments of {self.name!r} are not valid JSON ({error}). Call it again with a JSON object."
            ) from None
        if not isinstance(value, dict):
            kind = type(value).__name__
            raise ToolArgumentsError(f"The arguments of {self.name!r} must be a JSON object, not {kind}.")
        return value


class ToolResultPart(_Part, frozen=True, tag="tool_result", gc=False):
    """The result of a tool call."""

    call_id: str
    """The id of the call that it answers (`ToolCallPart.call_id`)."""
    content: tuple[TextPart | ImagePart | FilePart | OpaquePart, ...] = ()
    """What the tool returned. Text or a list may be given, and becomes a tuple of parts."""
    is_error: bool = False
    """Whether the tool failed; the content then says why."""
    name: str | None = None
    """The tool's name, which some protocols require again."""
    cache: Cache | None = None
    extra: Extra | None = None
    origin: Origin | None = None

    if TYPE_CHECKING:  # what is taken, which is more than what is kept

        def __init__(  # noqa: PLR0917
            self,
            call_id: str,
            content: str | Part | Sequence[str | Part] = (),
            is_error: bool = False,
            name: str | None = None,
            cache: Cache | None = None,
            extra: Extra | None = None,
            origin: Origin | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "content", as_parts(self.content, "ToolResultPart.content"))
        check(self)

    @property
    def text(self) -> str:
        """The joined text of the result."""
        return "".join(p.text for p in self.content if isinstance(p, TextPart))


class OpaquePart(_Part, frozen=True, tag="opaque", gc=False):
    """A provider's item without a type of its own here, such as a hosted tool's call or result.

    It is kept whole, and sent back unchanged to the protocol that it came from.
    """

    kind: str
    """The provider's name of the kind of item."""
    data: Any
    """The whole item, as JSON values."""
    id: str | None = None
    """The item's id, if it has one."""
    name: str | None = None
    """The hosted tool's name, if it belongs to one."""
    role: Literal["call", "result"] | None = None
    """Whether it is a hosted tool's call or its result. None: neither."""
    cache: Cache | None = None
    extra: Extra | None = None
    origin: Origin | None = None
    citations: tuple[Citation, ...] = ()
    """The citations in `data`, for an item that consists of them (`kind="citations"`); not sent separately."""


Part: TypeAlias = (
    TextPart | ReasoningPart | RefusalPart | ImagePart | FilePart | ToolCallPart | ToolResultPart | OpaquePart
)


def as_parts(content: object, where: str) -> tuple[Any, ...]:
    """Text, a part, or a list of both, as a tuple of parts. Raises TypeError for anything else."""
    if type(content) is tuple:
        for item in content:
            if not isinstance(item, _Part):
                break
        else:
            return content
    if isinstance(content, (str, _Part)):
        content = (content,)
    if not isinstance(content, (list, tuple)):
        raise TypeError(f"{where} takes text, parts, or a list of them, not {shown(content)}")
    return tuple(_as_part(item, where) for item in content)


def _as_part(item: object, where: str) -> Any:
    if isinstance(item, str):
        return TextPart(item)
    if isinstance(item, _Part):
        return item
    raise TypeError(f"{where} takes text and parts (TextPart, ImagePart, …), not {shown(item)}")


def _bytes(data: object, owner: str) -> bytes:
    if isinstance(data, (bytearray, memoryview)):
        return bytes(data)
    raise TypeError(
        f"{owner}.data takes bytes, not {shown(data)}: {owner}.from_path reads a file, {owner}.from_base64 decodes "
        f"base64 text, and {owner}(url=…) takes an address"
    )


def _hashable(value: Any) -> Any:
    """A hashable substitute for a value; equal values have equal substitutes, whatever kinds of dict they are."""
    try:
        hash(value)
    except TypeError:
        return None
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
    """The media type by the first bytes of a file; None if they are not known."""
    for offset, magic, media_type in _MAGIC:
        if data[offset : offset + len(magic)] == magic:
            return media_type
    return None
