"""What is sent with a prompt: images and files (`--attach`), and text files (`--fragment`)."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from brainwires_provider.cli.terminal import utf8
from brainwires_provider.errors import ConfigError
from brainwires_provider.types import FilePart, ImagePart, Part

__all__ = ["attachments", "fragments", "is_url"]


def attachments(names: Iterable[str]) -> tuple[Part, ...]:
    """An image or a file for each path or URL, by its media type. A URL is sent as it is, and not fetched here.

    Raises ConfigError for a file that cannot be read.
    """
    return tuple(_linked(name) if is_url(name) else _read(name) for name in names)


def fragments(names: Iterable[str]) -> tuple[str, ...]:
    """The texts of files. Raises ConfigError for a file that cannot be read, or is not UTF-8."""
    texts = []
    for name in names:
        try:
            data = Path(name).expanduser().read_bytes()
        except OSError as error:
            raise ConfigError(f"--fragment {name}: {error.strerror}") from None
        texts.append(utf8(data, f"--fragment {name}"))
    return tuple(texts)


def is_url(name: str) -> bool:
    """Whether this is an address that a provider fetches, and no path."""
    return name.lower().startswith(("https://", "http://", "gs://", "s3://", "data:"))


def _linked(url: str) -> Part:
    """What a URL without a known ending leads to is a file."""
    try:
        if url[:5].lower() == "data:":
            return (ImagePart if url[5:11].lower() == "image/" else FilePart)(url=url)
        media_type = mimetypes.guess_type(urlsplit(url).path)[0]
    except ValueError as error:
        raise ConfigError(f"--attach: {error}") from None
    is_image = (media_type or "").startswith("image/")
    return (ImagePart if is_image else FilePart)(url=url, media_type=media_type)


def _read(name: str) -> Part:
    try:
        file = FilePart.from_path(Path(name).expanduser())
    except OSError as error:
        raise ConfigError(f"--attach {name}: {error.strerror}") from None
    if (file.media_type or "").startswith("image/"):
        return ImagePart(data=file.data, media_type=file.media_type)
    return file
