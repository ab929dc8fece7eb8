"""Messages as the `contents` and the `systemInstruction` that generateContent wants.

Each turn is encoded by itself. One thing is put together: the results of one turn's calls, which the caller gives as
messages of their own, are one content, since Google wants as many responses there as the turn before has calls. Only
the leading system messages become the instruction; a later one is a user's content, where it stands.
"""

from __future__ import annotations

import re
from typing import Any

from brainwires_provider.errors import UnsupportedError
from brainwires_provider.protocols.gemini.options import GeminiQuirks
from brainwires_provider.protocols.gemini.replay import Turn, media_part, part_name
from brainwires_provider.types import (
    Deviation,
    FilePart,
    ImagePart,
    Message,
    OpaquePart,
    Origin,
    Part,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

__all__ = ["HistoryEncoder"]

_LOCAL = "local_"
Wire = dict[str, Any]


def _is_beside(part: Wire) -> bool:
    """Whether a part of the results' content is none itself: those come after all results."""
    return "functionResponse" not in part


class HistoryEncoder:
    """Encodes the messages of one request; `deviations` gathers what did not go out as given."""

    def __init__(self, origin: Origin, quirks: GeminiQuirks, deviations: list[Deviation]) -> None:
        self._origin = origin
        self._quirks = quirks
        self._deviations = deviations
        self._where = ""
        self._calls: dict[str, ToolCallPart] = {}
        self._takes_media = re.search(quirks.media_result_models, str(origin.model)) is not None

    def encode(self, messages: tuple[Message, ...]) -> tuple[Wire | None, list[Wire]]:
        """The instruction, if there is one, and the contents in order."""
        leading = 0
        while leading < len(messages) and messages[leading].role in ("system", "developer"):
            leading += 1
        instruction = self._instruction(messages[:leading]) if leading else None
        contents: list[Wire] = []
        before = None
        for index, message in enumerate(messages[leading:], leading):
            self._look_at(index, message)
            content = self._content(message)
            if content is not None and message.role == "tool" and before == "tool":
                both = contents[-1]["parts"] + content["parts"]
                contents[-1]["parts"] = sorted(both, key=_is_beside)
            elif content is not None:
                contents.append(content)
            before = message.role
        return instruction, contents

    def _look_at(self, index: int, message: Message) -> None:
        self._where = f"messages[{index}]"
        if message.name is not None:
            self._report("dropped", "this protocol has no names for speakers", ".name")

    def _report(self, outcome: Any, reason: str, part: str = "") -> None:
        self._deviations.append(Deviation(self._where + part, outcome, reason))

    def _unsupported(self, message: str) -> UnsupportedError:
        where = f"{self._where}: {message}"
        return UnsupportedError(where, provider=self._origin.provider, model=self._origin.model)

    # -- turns -----------------------------------------------------------------------------------------------

    def _instruction(self, messages: tuple[Message, ...]) -> Wire:
        parts: list[Wire] = []
        for index, message in enumerate(messages):
            self._look_at(index, message)
            if message.role == "developer":
                self._report("adapted", "this protocol has no developer role: sent as the system's", ".role")
            parts += [self._said(part) for part in message.content]
        return {"parts": parts}

    def _content(self, message: Message) -> Wire | None:
        """None for a turn of which nothing can be sent."""
        if message.role == "assistant":
            self._calls |= {call.call_id: call for call in message.tool_calls}
            parts = Turn(message, self._origin, self._quirks, self._where, self._deviations).parts()
            if not parts:
                self._report("dropped", "nothing is left of this turn, and an empty one is refused")
                return None
            return {"role": "model", "parts": parts}
        if message.role in ("system", "developer"):
            self._report("adapted", "only leading ones can be instructions: sent as the user's", ".role")
        return {"role": "user", "parts": self._parts(message), **(message.extra or {})}

    def _parts(self, message: Message) -> list[Wire]:
        made: list[Wire] = []
        for part in message.content:
            if isinstance(part, ToolResultPart):
                made = sorted([*made, *self._result(part)], key=_is_beside)
            elif message.role == "tool":
                raise self._unsupported(
                    "a tool message takes ToolResultParts; use Message.tool_result(call, …)"
                )
            else:
                made.append(self._said(part))
        return made or [{"text": ""}]

    # -- what is said ----------------------------------------------------------------------------------------

    def _said(self, part: Part) -> Wire:
        """One part of a user's or the system's message."""
        match part:
            case TextPart():
                wire: Wire = {"text": part.text}
            case ImagePart() | FilePart():
                wire = self._media(part)
            case OpaquePart() if isinstance(part.data, dict) and self._is_mine(part):
                return dict(part.data)
            case _:
                raise self._unsupported(f"{part_name(part)} cannot be sent in a message of this role")
        if part.cache is not None:
            self._report("dropped", "this protocol caches by itself and takes no marks", ".cache")
        return {**wire, **part.extra} if part.extra and part.origin is None else wire

    def _is_mine(self, part: Part) -> bool:
        return part.origin is None or part.origin.protocol == self._origin.protocol

    def _media(self, part: ImagePart | FilePart) -> Wire:
        if isinstance(part, ImagePart) and part.detail is not None:
            self._report("dropped", "detail is said by mediaResolution, in GeminiOptions", ".detail")
        if part.file_id is not None:
            return self._file(part, part.file_id)
        if part.data is not None and part.media_type is None:
            raise self._unsupported(f"{part_name(part)} needs its media_type: the bytes do not tell it")
        wire = media_part(part)
        name = part.name if isinstance(part, FilePart) else None
        if name is not None and self._quirks.display_names:
            next(iter(wire.values()))["displayName"] = name
        elif name is not None:
            self._report("dropped", "this service takes no names of files", ".name")
        return wire

    def _file(self, part: ImagePart | FilePart, file_id: str) -> Wire:
        kind = {} if part.media_type is None else {"mimeType": part.media_type}
        if "://" not in file_id:
            if self._quirks.files_url is None:
                raise self._unsupported(
                    "this service has no file ids: pass the file's URL (gs://… or https://…)"
                )
            file_id = self._quirks.files_url + file_id
        return {"fileData": {**kind, "fileUri": file_id}}

    # -- tool results ----------------------------------------------------------------------------------------

    def _result(self, part: ToolResultPart) -> list[Wire]:
        """A function response; media that the model takes only beside it come after it."""
        call = self._calls.get(part.call_id)
        name = part.name or (call.name if call is not None else None)
        if name is None:
            raise self._unsupported(
                f"a result must name its tool, and no call {part.call_id!r} is in the messages before it; "
                "pass the call itself to Message.tool_result"
            )
        response: Wire = {}
        wire_id = call.id if call is not None else part.call_id
        if wire_id and not (call is None and wire_id.startswith(_LOCAL)):
            response["id"] = wire_id
        response |= {"name": name, "response": self._response(part)}
        if any(p is not None for p in (part.cache, *(c.cache for c in part.content))):
            self._report("dropped", "this protocol caches by itself and takes no marks", ".cache")
        media = [self._media(p) for p in part.content if isinstance(p, (ImagePart, FilePart))]
        if media and self._takes_media:
            response["parts"] = media
            media = []
        elif media:
            self._report(
                "emulated", "this model takes no media inside a result: they go beside it", ".content"
            )
        extra = part.extra if part.extra and self._is_mine(part) else {}
        return [{"functionResponse": {**response, **extra}}, *media]

    def _response(self, part: ToolResultPart) -> Wire:
        """The texts under the documented keys; an object, given as an opaque part, as it is."""
        made: Wire = {}
        for piece in part.content:
            if isinstance(piece, OpaquePart):
                if not isinstance(piece.data, dict) or not self._is_mine(piece):
                    raise self._unsupported(
                        f"{part_name(piece)} in a result must hold an object of the caller's own"
                    )
                made |= piece.data
        if part.is_error:
            return {**made, "error": part.text}
        if part.text or not part.content:
            return {**made, "output": part.text}
        return made
