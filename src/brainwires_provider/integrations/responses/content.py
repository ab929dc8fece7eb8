"""The content of a message that the caller says: texts, images, files, sound."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from brainwires_provider.types import Cache, FilePart, ImagePart, OpaquePart, Part, TextPart

__all__ = ["content_of"]

_AUDIO = {"wav": "audio/wav", "mp3": "audio/mpeg"}


def content_of(content: Any) -> str | list[Part]:
    """The parts of a message's content, or its text. Raises ValueError and TypeError for what is none."""
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        raise TypeError(f"content is a text or a list of pieces, not {type(content).__name__}")
    return [_piece(piece, index) for index, piece in enumerate(content)]


def _piece(piece: Mapping[str, Any], index: int) -> Part:
    if not isinstance(piece, Mapping):
        raise TypeError(f"content[{index}] is an object, not {type(piece).__name__}")
    kind = str(piece.get("type"))
    read = _PIECES.get(kind)
    if read is None:
        return OpaquePart(kind, dict(piece))
    given = {name: value for name, value in piece.items() if value is not None}
    try:
        part: Part = read(given)
    except (KeyError, TypeError, ValueError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"content[{index}], {kind}: {what}") from None
    mark = given.get("prompt_cache_breakpoint")
    if isinstance(part, (TextPart, ImagePart, FilePart)) and isinstance(mark, Mapping):
        return replace(part, cache=Cache(mark.get("ttl")))
    return part


def _text(piece: Mapping[str, Any]) -> Any:
    return TextPart(piece["text"])


def _image(piece: Mapping[str, Any]) -> Any:
    given = {"file_id": piece["file_id"]} if "file_id" in piece else {"url": piece["image_url"]}
    return ImagePart(**given, detail=piece.get("detail"))


def _file(piece: Mapping[str, Any]) -> Any:
    name = piece.get("filename")
    if "file_id" in piece:
        return FilePart(file_id=piece["file_id"], name=name)
    if "file_url" in piece:
        return FilePart(url=piece["file_url"], name=name)
    data = piece["file_data"]
    guess = mimetypes.guess_type(name)[0] if name else None
    if data[:5].lower() == "data:":
        return FilePart(url=data, name=name)
    part = FilePart.from_base64(data)
    return replace(part, name=name, media_type=part.media_type or guess)


def _audio(piece: Mapping[str, Any]) -> Any:
    audio = piece["input_audio"]
    form = audio["format"]
    return FilePart.from_base64(audio["data"], _AUDIO.get(form, f"audio/{form}"))


_PIECES: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "input_text": _text,
    "output_text": _text,
    "text": _text,
    "input_image": _image,
    "input_file": _file,
    "input_audio": _audio,
}
