"""Parts as the blocks of a user's or system's turn, and of a tool's result.

Media go as base64, or by an `s3://` address, which the service reads itself; any other URL and every file id is
refused before anything is sent. Fields that a caller puts into `extra` (citations, context, bucketOwner inside a
source, …) are added as they are, and blocks that we have no word for, such as guardContent or searchResult, go as
OpaqueParts. A cache mark is a block of its own, behind what it marks.
Reference: the API reference of "ContentBlock", "ToolResultBlock", "DocumentBlock".
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any, Literal

from brainwires_provider.errors import UnsupportedError
from brainwires_provider.protocols.bedrock.blocks import FORMATS
from brainwires_provider.protocols.bedrock.options import BedrockQuirks
from brainwires_provider.types import (
    Cache,
    Deviation,
    FilePart,
    ImagePart,
    OpaquePart,
    Origin,
    Part,
    TextPart,
    ToolResultPart,
)

__all__ = ["ContentEncoder", "cache_point", "part_name", "wire_id"]

_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_REFUSED_IN_ID = re.compile(r"[^a-zA-Z0-9_.:-]")
_REFUSED_IN_NAME = re.compile(r"[^a-zA-Z0-9\s()\[\]-]")
_SPACES = re.compile(r"\s+")
Block = dict[str, Any]
Outcome = Literal["adapted", "emulated", "dropped"]


def wire_id(call_id: str) -> str:
    """A call's id in the form that this API takes; the same for the same id, for the call and for its result."""
    if _ID.fullmatch(call_id):
        return call_id
    digest = hashlib.sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{_REFUSED_IN_ID.sub('_', call_id)[:48] or 'call'}_{digest}"


def cache_point(cache: Cache) -> Block:
    """A mark as the wire has it."""
    return {"cachePoint": {"type": "default", "ttl": cache.ttl} if cache.ttl else {"type": "default"}}


def part_name(part: Part) -> str:
    """A part's class, and an opaque part's kind, for messages."""
    return f"{type(part).__name__}({part.kind!r})" if isinstance(part, OpaquePart) else type(part).__name__


class ContentEncoder:
    """Encodes the parts of one request's turns; `where` names the turn, `deviations` gathers what was changed."""

    def __init__(
        self, origin: Origin, quirks: BedrockQuirks, model: str, deviations: list[Deviation]
    ) -> None:
        self._origin = origin
        self._takes_status = re.search(quirks.result_status, model) is not None
        self._deviations = deviations
        self._names: set[str] = set()
        self.where = ""

    def report(self, outcome: Outcome, reason: str, part: str = "") -> None:
        """Something of this turn did not go out as given."""
        self._deviations.append(Deviation(self.where + part, outcome, reason))

    def unsupported(self, message: str) -> UnsupportedError:
        """The error for what cannot be said."""
        told = f"{self.where}: {message}"
        return UnsupportedError(told, provider=self._origin.provider, model=self._origin.model)

    # -- blocks ----------------------------------------------------------------------------------------------

    def blocks(self, parts: tuple[Part, ...]) -> list[Block]:
        """A block a part, and one behind each mark. The API refuses blank texts: beside others they are left out."""
        blocks: list[Block] = []
        for index, part in enumerate(parts):
            at = f".content[{index}]"
            if len(parts) > 1 and isinstance(part, TextPart) and not part.text.strip():
                self.report("dropped", "the API refuses a blank text", at)
                continue
            blocks.append(self._block(part, at))
            cache = getattr(part, "cache", None)
            if cache is not None:
                blocks.append(cache_point(cache))
        return blocks

    def _block(self, part: Part, at: str) -> Block:
        match part:
            case TextPart():
                if part.citations:
                    self.report("dropped", "only a model's text has citations", f"{at}.citations")
                return {"text": part.text}
            case ImagePart() | FilePart():
                return self.media(part, at)
            case ToolResultPart():
                return self._result(part, at)
            case OpaquePart() if isinstance(part.data, dict) and (
                part.origin is None or part.origin.protocol == self._origin.protocol
            ):
                return dict(part.data)
        raise self.unsupported(f"{part_name(part)} cannot be sent in a message of this role")

    # -- media -----------------------------------------------------------------------------------------------

    def media(self, part: ImagePart | FilePart, at: str) -> Block:
        """An image, document, video or audio block; for one that came by this protocol, the block that it was."""
        extra = dict(part.extra or {})
        if part.origin is not None and part.origin.protocol == self._origin.protocol:
            (kind, fields), *_ = extra.items()
            return {kind: {**fields, "source": self._source(part)}}
        if isinstance(part, ImagePart) and part.detail is not None:
            self.report("dropped", "this protocol has no such knob", f"{at}.detail")
        kind, word = self._format(part)
        block: Block = {"format": word, "source": self._source(part)}
        if kind == "document":
            block["name"] = self._named(part, at)
        return {kind: block | (extra if part.origin is None else {})}

    def _format(self, part: ImagePart | FilePart) -> tuple[str, str]:
        media_type = (part.media_type or "").partition(";")[0].strip().lower()
        if not media_type:
            raise self.unsupported(f"{part_name(part)} needs its media_type: nothing else tells it")
        for kind, known in FORMATS.items():
            if media_type in known:
                return kind, known[media_type]
        if media_type.startswith("text/"):
            return "document", "txt"
        raise self.unsupported(f"Converse takes no media of type {media_type}")

    def _source(self, part: ImagePart | FilePart) -> Block:
        if part.data is not None:
            return {"bytes": base64.b64encode(part.data).decode()}
        if part.url is None or not part.url.startswith("s3://"):
            raise self.unsupported(
                "Converse takes media as data or by an s3:// address; URLs are never fetched"
            )
        return {"s3Location": {"uri": part.url}}

    def _named(self, part: ImagePart | FilePart, at: str) -> str:
        """A document's name: of the characters that are taken, and no other document's."""
        given = (part.name or "" if isinstance(part, FilePart) else "").rpartition("/")[2]
        stem = given.rpartition(".")[0] or given
        name = _SPACES.sub(" ", _REFUSED_IN_NAME.sub(" ", stem)).strip()[:180] or "document"
        if stem and name != stem:
            self.report("adapted", f"documents' names take few characters: sent as {name!r}", f"{at}.name")
        if name in self._names:
            name = next(
                n for i in range(2, len(self._names) + 3) if (n := f"{name} ({i})") not in self._names
            )
        self._names.add(name)
        return name

    # -- tool results ----------------------------------------------------------------------------------------

    def _result(self, part: ToolResultPart, at: str) -> Block:
        """A result and its content. A cache point can stand behind the whole, not inside it."""
        block: Block = {"toolUseId": wire_id(part.call_id)}
        block["content"] = [piece for piece in self.blocks(part.content) if "cachePoint" not in piece]
        if any(piece.cache is not None for piece in part.content):
            self.report(
                "dropped", "inside a tool's result no cache point can stand: mark the result", f"{at}.cache"
            )
        for piece in block["content"]:
            if "audio" in piece:
                raise self.unsupported("a tool's result takes no audio")
        if part.is_error and self._takes_status:
            block["status"] = "error"
        elif part.is_error:
            self.report("dropped", "this model takes no error flag: the text goes as it is", f"{at}.is_error")
        return {"toolResult": {**block, **(part.extra or {})}}
