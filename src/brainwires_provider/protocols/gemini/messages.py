"""Message history → the `contents` and the `systemInstruction` of generateContent.

Each message is one content, with one exception: the results of one turn's calls, which the caller passes as messages
of their own, are one content right after that turn, since Google wants as many function responses there as the turn
has calls; what stood between is sent after them. Only the leading system messages become the instruction; a later one
is a content of the user, where it stands.

Some models refuse a turn whose first function call has no thought signature. Where it has none, because another model
or the caller made the call, the placeholder that Google documents is sent.
Reference: the API reference of `Content`; "Function calling" and "Thought signatures" of the Gemini API's guides.
"""

from __future__ import annotations

from typing import Any

from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.protocols.base.replay import INSTRUCTION_ROLES, part_name
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
_NO_RESULT = "a tool message takes ToolResultParts; use Message.tool_result(call, …)"
Wire = dict[str, Any]


class _Turn:
    """A content of the model, if there is one, and the content of the user that follows it: results come first."""

    __slots__ = ("answer", "extra", "has_calls", "parts", "results")

    def __init__(self, answer: Wire | None) -> None:
        self.answer = answer
        self.has_calls = False
        self.parts: list[Wire] | None = None
        """The content of the user, if there is one."""
        self.results = 0
        """How many of its parts, the first ones, are results."""
        self.extra: Wire = _NO_EXTRA

    def add(self, results: list[Wire], others: list[Wire]) -> None:
        """Add to the content of the user."""
        if self.parts is None:
            self.parts = results + others if results else others
        else:
            self.parts[self.results : self.results] = results
            self.parts += others
        self.results += len(results)


_NO_EXTRA: Wire = {}


class HistoryEncoder(PartEncoder):
    """Encodes the messages of one request."""

    def __init__(self, origin: Origin, quirks: GeminiQuirks, reader: OptionReader) -> None:
        super().__init__(origin, quirks, reader)
        self._calls: dict[str, ToolCallPart] = {}
        self._called: dict[str, _Turn] = {}
        self._turns: list[_Turn] = []
        self._takes_media = reader.facts.media_results
        self._wants_signature = reader.facts.signed_calls

    def encode_messages(self, messages: tuple[Message, ...]) -> tuple[list[Wire], list[Wire]]:
        """The parts of the instruction, and the contents in order."""
        instruction: list[Wire] = []
        leads = True
        for index, message in self.sendable(messages):
            self.at = (index,)
            if message.name is not None:
                self.drop_name(message)
            leads = leads and message.role in INSTRUCTION_ROLES
            if leads:
                instruction += self._instruction(message)
            elif message.role == "assistant":
                self._add_answer(message)
            else:
                self._add_input(message)
        return instruction, self._contents()

    def _contents(self) -> list[Wire]:
        contents: list[Wire] = []
        for turn in self._turns:
            if turn.answer is not None:
                contents.append(turn.answer)
            if turn.parts:
                contents.append({"role": "user", "parts": turn.parts, **turn.extra})
        return contents

    # -- turns -----------------------------------------------------------------------------------------------

    def _instruction(self, message: Message) -> list[Wire]:
        if message.role == "developer":
            reason = "this protocol has no developer role: sent as the system's"
            self.adapted(reason, ".role")
        return [self.encode_part(part) for part in message.content]

    def _add_input(self, message: Message) -> None:
        """A message of any role but the assistant's. Its results go right after the calls that they answer."""
        at = self.at
        if message.role in INSTRUCTION_ROLES:
            self.weaken("only leading ones can be instructions: sent as the user's", ".role")
        parts: list[Wire] = []
        turn = None
        for index, part in enumerate(message.content):
            self.at = (*at, index)
            if type(part) is ToolResultPart:
                response, media = self._result(part)
                turn = self._turn_of(part.call_id)
                turn.add([response], [])
                parts += media
            elif message.role == "tool":
                raise self.unsupported(_NO_RESULT)
            else:
                parts.append(self.encode_part(part))
        self.at = at
        if turn is None:
            turn = self._new_turn()
            parts = parts or [{"text": ""}]
        elif turn is not self._turns[-1]:
            self.adapted("results are sent right after the calls that they answer")
            if message.role != "tool" and parts:
                turn = self._new_turn()
        turn.add([], parts)
        if message.extra:
            turn.extra = turn.extra | self.reader.take_extra(message)

    def _new_turn(self, answer: Wire | None = None) -> _Turn:
        turn = _Turn(answer)
        self._turns.append(turn)
        return turn

    def _turn_of(self, call_id: str) -> _Turn:
        """Where the result of a call goes; behind the last turn, if the call is not known."""
        turn = self._called.get(call_id)
        if turn is None:
            last = self._turns[-1] if self._turns else None
            turn = last if last is not None and (last.results or last.has_calls) else self._new_turn()
        return turn

    def _add_answer(self, message: Message) -> None:
        """An assistant's turn; one that follows calls without their results is part of the turn with the calls."""
        content, calls = self._answer(message)
        if content is None:
            return
        last = self._turns[-1] if self._turns else None
        if last is not None and last.answer is not None and last.has_calls and not last.parts:
            self.adapted("a turn between calls and their results is part of the turn before it")
            last.answer["parts"] += content["parts"]
            turn = last
        else:
            turn = self._new_turn(content)
        for call_id in calls:
            turn.has_calls = True
            self._called[call_id] = turn

    def _answer(self, message: Message) -> tuple[Wire | None, list[str]]:
        """An assistant's turn, None if nothing is left of it, and the ids of its calls."""
        at = self.at
        parts: list[Wire] = []
        calls: list[str] = []
        unsigned: Wire | None = None
        for index, part in enumerate(message.content):
            self.at = (*at, index)
            wire = self.encode_answer_part(part)
            if wire is None:
                continue
            parts.append(wire)
            if type(part) is ToolCallPart:
                call_id = part.call_id
                if not calls and SIGNATURE not in wire and not self.is_own_model(part):
                    unsigned = wire
                self._calls[call_id] = part
                calls.append(call_id)
        self.at = at
        if unsigned is not None and self._wants_signature:
            unsigned[SIGNATURE] = self.quirks.placeholder
            reason = (
                "the model requires a signature on the turn's first call: the documented placeholder is sent"
            )
            self.emulated(reason)
        if not parts:
            self.dropped("nothing is left of this turn, and an empty one is refused")
            return None, calls
        return {"role": "model", "parts": parts}, calls

    # -- tool results ----------------------------------------------------------------------------------------

    def _result(self, part: ToolResultPart) -> tuple[Wire, list[Wire]]:
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
        return {"functionResponse": response}, media

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
