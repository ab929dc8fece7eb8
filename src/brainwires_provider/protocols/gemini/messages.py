"""Message history → the `contents` and the `systemInstruction` of generateContent.

Each message is one content, with one exception: the results of one turn's calls, which the caller passes as messages
of their own, are one content, since Google wants as many function responses there as the turn before has calls. Only
the leading system messages become the instruction; a later one is a content of the user, where it stands.

Some models refuse a turn whose first function call has no thought signature. Where it has none, because another model
or the caller made the call, the placeholder that Google documents is sent.
Reference: the API reference of `Content`; "Function calling" and "Thought signatures" of the Gemini API's guides.
"""

from __future__ import annotations

import re
from typing import Any

from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.protocols.base.replay import part_name
from brainwires_provider.protocols.gemini.options import GeminiQuirks
from brainwires_provider.protocols.gemini.parts import SIGNATURE, PartEncoder
from brainwires_provider.types import (
    FilePart,
    ImagePart,
    Message,
    OpaquePart,
    Origin,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

__all__ = ["HistoryEncoder"]

_LOCAL = "local_"
Wire = dict[str, Any]


def _is_beside(part: Wire) -> bool:
    """Whether a part among the results is no function response: those come after all responses."""
    return "functionResponse" not in part


class HistoryEncoder(PartEncoder):
    """Encodes the messages of one request."""

    def __init__(self, origin: Origin, quirks: GeminiQuirks, reader: OptionReader) -> None:
        super().__init__(origin, quirks, reader)
        self._calls: dict[str, ToolCallPart] = {}
        self._takes_media = re.search(quirks.media_result_models, str(origin.model)) is not None
        self._wants_signature = re.search(quirks.signed_models, str(origin.model)) is not None

    def encode_messages(self, messages: tuple[Message, ...]) -> tuple[list[Wire], list[Wire]]:
        """The parts of the instruction, and the contents in order."""
        leading = 0
        while leading < len(messages) and messages[leading].role in ("system", "developer"):
            leading += 1
        instruction = [part for i in range(leading) for part in self._instruction(messages[i], i)]
        contents: list[Wire] = []
        before = None
        for index in range(leading, len(messages)):
            message = messages[index]
            content = self._content(message, f"messages[{index}]")
            if content is not None and message.role == "tool" and before == "tool":
                both = contents[-1]["parts"] + content["parts"]
                contents[-1]["parts"] = sorted(both, key=_is_beside)
            elif content is not None:
                contents.append(content)
            before = message.role
        return instruction, contents

    # -- turns -----------------------------------------------------------------------------------------------

    def _instruction(self, message: Message, index: int) -> list[Wire]:
        self.where = f"messages[{index}]"
        self.drop_name(message)
        if message.role == "developer":
            reason = "this protocol has no developer role: sent as the system's"
            self.adapted(reason, ".role")
        return self._parts(message)

    def _content(self, message: Message, place: str) -> Wire | None:
        """One message. None for a turn of which nothing can be sent."""
        self.where = place
        self.drop_name(message)
        if message.role == "assistant":
            return self._answer(message, place)
        if message.role in ("system", "developer"):
            reason = "only leading ones can be instructions: sent as the user's"
            self.reader.adapted(f"{place}.role", reason)
        content = {"role": "user", "parts": self._parts(message) or [{"text": ""}]}
        return content if not message.extra else {**content, **self.reader.take_extra(message)}

    def _answer(self, message: Message, place: str) -> Wire | None:
        """An assistant's turn."""
        parts: list[Wire] = []
        unsigned: Wire | None = None
        called = False
        for index, part in enumerate(message.content):
            self.where = f"{place}.content[{index}]"
            wire = self.encode_answer_part(part)
            if wire is None:
                continue
            parts.append(wire)
            if isinstance(part, ToolCallPart):
                self._calls[part.call_id] = part
                if not called and SIGNATURE not in wire and not self.is_own_model(part):
                    unsigned = wire
                called = True
        if unsigned is not None and self._wants_signature:
            unsigned[SIGNATURE] = self.quirks.placeholder
            reason = (
                "the model requires a signature on the turn's first call: the documented placeholder is sent"
            )
            self.reader.emulated(place, reason)
        if not parts:
            self.reader.dropped(place, "nothing is left of this turn, and an empty one is refused")
            return None
        return {"role": "model", "parts": parts}

    def _parts(self, message: Message) -> list[Wire]:
        """The parts of any other role's message; results come first."""
        parts: list[Wire] = []
        place = self.where
        has_results = False
        for index, part in enumerate(message.content):
            self.where = f"{place}.content[{index}]"
            if isinstance(part, ToolResultPart):
                has_results = True
                parts += self._result(part)
            elif message.role == "tool":
                raise self.unsupported(
                    "a tool message takes ToolResultParts; use Message.tool_result(call, …)"
                )
            else:
                parts.append(self.encode_part(part))
        return sorted(parts, key=_is_beside) if has_results and len(parts) > 1 else parts

    # -- tool results ----------------------------------------------------------------------------------------

    def _result(self, part: ToolResultPart) -> list[Wire]:
        """A function response; media that the model takes only beside it come after it."""
        call = self._calls.get(part.call_id)
        name = part.name or (call.name if call is not None else None)
        if name is None:
            raise self.unsupported(
                f"a result must name its tool, and no call {part.call_id!r} is in the messages before it; "
                "pass the call itself to Message.tool_result"
            )
        wire_id = call.id if call is not None else part.call_id
        response: Wire = {}
        if wire_id and not (call is None and wire_id.startswith(_LOCAL)):
            response["id"] = wire_id
        response["name"] = name
        response["response"] = self._response(part)
        media = [self.encode_part(p) for p in part.content if type(p) in (ImagePart, FilePart)]
        if media and self._takes_media:
            response["parts"] = media
            media = []
        elif media:
            reason = "this model takes no media inside a result: they are sent beside it"
            self.emulated(reason, ".content")
        if part.extra:
            response |= self.own_extra(part)
        return [{"functionResponse": response}, *media]

    def _response(self, part: ToolResultPart) -> Wire:
        """The texts under the documented keys; an object, passed as an opaque part, as it is."""
        response: Wire = {}
        text = ""
        for inner in part.content:
            if type(inner) is TextPart:
                text += inner.text
            elif isinstance(inner, OpaquePart):
                if not isinstance(inner.data, dict) or not self.is_own(inner):
                    raise self.unsupported(
                        f"{part_name(inner)} in a result must hold an object of the caller's own"
                    )
                response |= inner.data
        if part.is_error:
            response["error"] = text
        elif text or not part.content:
            response["output"] = text
        return response
