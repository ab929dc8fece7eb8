"""Message history → the `input` and the `system_instruction` of the Interactions API.

The input is a list of steps: a user's message is one, an assistant's as many as it had, a function's result one. The
results of a turn's calls follow them at once. Only leading system messages of plain text become the instruction; a
later one is a user's input, where it stands. Thoughts go back with their signatures, to the model that made them.
Reference: the API reference of `Step`; "Interactions API" of the Gemini API's guides, on conversations without state.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from brainwires_provider.errors import APIError, NotFoundError, PermissionDeniedError
from brainwires_provider.protocols.base.continuation import Head, Heads, Match, Outline, head_of, outline_of
from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.protocols.base.replay import INSTRUCTION_ROLES, in_order, part_name
from brainwires_provider.protocols.google_interactions.options import (
    GoogleInteractionsOptions,
    InteractionsQuirks,
)
from brainwires_provider.protocols.google_interactions.parts import OUTPUT, PartEncoder, encoded_media
from brainwires_provider.types import (
    FilePart,
    ImagePart,
    Message,
    OpaquePart,
    Origin,
    Request,
    TextPart,
    ToolResultPart,
)

__all__ = ["HistoryEncoder", "StoredInteractions"]

_RESOLUTIONS = ("low", "medium", "high", "ultra_high")
_ASIDE = frozenset(("input", "stream", "labels", "webhook_config"))
_PARENT = "previous_interaction_id"
_COMPLETED = frozenset(("completed", "requires_action"))
P = TypeVar("P", bound=Hashable)
Wire = dict[str, Any]


class HistoryEncoder(PartEncoder):
    """Encodes the messages of one request."""

    def __init__(self, origin: Origin, quirks: InteractionsQuirks, reader: OptionReader) -> None:
        super().__init__(origin, quirks, reader)
        self._names: dict[str, str] = {}
        self._takes_media = reader.facts.media_results

    def encode_messages(self, messages: Sequence[Message]) -> tuple[str | None, list[Wire]]:
        """The instruction, and the steps. Raises UnsupportedError for what the API cannot express."""
        instructions: list[str] = []
        steps: list[Wire] = []
        leads = True
        for index, message in in_order(messages, self):
            self.at = (index,)
            self.drop_name(message)
            leads = leads and _is_instruction(message)
            if leads:
                instructions.append(message.text)
                if message.role == "developer":
                    self.adapted("this protocol has no developer role: sent as the system's", ".role")
            elif message.role == "assistant":
                steps += self._answer(message)
            else:
                steps += self._input(message)
        return "\n\n".join(instructions) if instructions else None, steps

    def _input(self, message: Message) -> list[Wire]:
        """The results of calls, and the user's input behind them."""
        at = self.at
        if message.role in INSTRUCTION_ROLES:
            self.weaken("only leading texts can be instructions: sent as the user's", ".role")
        steps: list[Wire] = []
        content: list[Wire] = []
        results, others = self.split_results(message)
        for index, part in results:
            self.at = (*at, index)
            step, beside = self._result(part)
            steps.append(step)
            content += beside
        for index, other in others:
            self.at = (*at, index)
            content.append(self.encode_part(other))
        extra = self.reader.take_extra(message)
        if content or extra or not results:
            empty = [{"type": "text", "text": ""}]
            steps.append({"type": "user_input", "content": content or empty, **extra})
        return steps

    def _answer(self, message: Message) -> list[Wire]:
        """An assistant's turn."""
        at = self.at
        dropped = self.dropped_parts(message.content, needs_follower=None, also={})
        steps: list[Wire] = []
        output: Wire | None = None
        for index, part in enumerate(message.content):
            self.at = (*at, index)
            if index in dropped:
                self.dropped(dropped[index])
                continue
            wire = self.encode_answer_part(part)
            if not self.is_content(part):
                steps.append(wire)
                output = None
                continue
            fields = self.begun_output(part)
            if output is None or fields is not None:
                output = {"type": OUTPUT, "content": [], **(fields or {})}
                steps.append(output)
            output["content"].append(wire)
        self.at = at
        self._names |= {call.call_id: call.name for call in message.tool_calls}
        if not steps:
            self.dropped("nothing is left of this turn")
        return steps

    # -- results of functions --------------------------------------------------------------------------------

    def _result(self, part: ToolResultPart) -> tuple[Wire, list[Wire]]:
        """The step, and the media that a model takes only beside it."""
        step: Wire = {"type": "function_result", "call_id": part.call_id}
        name = part.name or self._names.get(part.call_id)
        if name is not None:
            step["name"] = name
        beside: list[Wire] = []
        step["result"] = self._content(part, beside)
        if beside:
            self.emulated("this model takes no media inside a result: they are sent beside it", ".content")
        if part.is_error:
            step["is_error"] = True
        return step | self.own_extra(part), beside

    def _content(self, part: ToolResultPart, beside: list[Wire]) -> Any:
        """A text; a list of contents where there are others; an object, passed as an opaque part, as it is."""
        contents: list[Wire] = []
        for inner in part.content:
            if isinstance(inner, OpaquePart) and "type" not in (inner.data or {}):
                if len(part.content) > 1:
                    raise self.unsupported(
                        f"{part_name(inner)} holds the whole result: it can have no other part"
                    )
                return self.encode_part(inner)
            wire = self.encode_part(inner)
            is_media = isinstance(inner, (ImagePart, FilePart)) and wire["type"] != "text"
            (contents if self._takes_media or not is_media else beside).append(wire)
        if all(type(inner) is TextPart and not inner.extra for inner in part.content):
            return part.text
        return contents

    # -- media -----------------------------------------------------------------------------------------------

    def input_media(self, part: ImagePart | FilePart) -> Wire:
        """See `PartEncoder`. Raises UnsupportedError for bytes of no known kind."""
        if part.data is not None and part.media_type is None:
            raise self.unsupported(f"{part_name(part)} needs its media_type: the bytes do not show it")
        wire = encoded_media(part)
        if part.file_id is not None:
            wire["uri"] = self._file(part.file_id)
        if isinstance(part, FilePart) and part.name is not None:
            self.dropped("this API takes no names of files", ".name")
        if isinstance(part, ImagePart) and part.detail in _RESOLUTIONS:
            wire["resolution"] = part.detail
        elif isinstance(part, ImagePart) and part.detail is not None:
            self.dropped("detail is a resolution here: low, medium, high or ultra_high", ".detail")
        return wire

    def _file(self, file_id: str) -> str:
        if "://" in file_id:
            return file_id
        if self.quirks.files_url is None:
            raise self.unsupported("this service has no file ids: pass the file's URL (gs://… or https://…)")
        return self.quirks.files_url + file_id


# -- what continues what -------------------------------------------------------------------------------------


class StoredHeads(Heads[P]):
    """See `base.continuation.Heads`."""

    def unanswered(self, calls: Iterable[str], items: Sequence[Any]) -> list[str]:
        """The calls without a result."""
        answered = {item.get("call_id") for item in items if item.get("type") == "function_result"}
        return [call for call in calls if call not in answered]


class StoredInteractions:
    """The declarations by which a stored interaction is continued by content. See `base.protocol.OverHTTP`."""

    def __init__(self, quirks: InteractionsQuirks) -> None:
        self._quirks = quirks

    def carries(self, call: Call) -> bool:
        """Whether a call asks a model for an interaction that is to be stored."""
        return call.path == "/interactions" and call.body.get("store") is True and "model" in call.body

    def held(self) -> StoredHeads[str]:
        """An empty index of what a server holds."""
        return StoredHeads()

    def outline(self, body: Mapping[str, Any]) -> tuple[Outline, Sequence[Any]]:
        """The outline of a body, and its steps."""
        return outline_of(body, body["input"], aside=_ASIDE, handles=(_PARENT,)), body["input"]

    def continued(self, body: Mapping[str, Any], found: Match[Any]) -> dict[str, Any]:
        """The body with its parent's id, and the new steps only."""
        return {**body, _PARENT: found.head.response_id, "input": body["input"][found.tail :]}

    def head(self, asked: Outline, decoder: Any) -> Head | None:
        """What an interaction stands for. One that was cut or cancelled is not gone on with."""
        if not decoder.ended or decoder.id is None or decoder.status not in _COMPLETED:
            return None
        message = decoder.partial().message
        reader = OptionReader(Request((message,)), GoogleInteractionsOptions)
        _, steps = HistoryEncoder(decoder.origin, self._quirks, reader).encode_messages((message,))
        calls = [step["id"] for step in steps if step["type"] == "function_call"]
        open_calls = tuple(self.held().unanswered(calls, steps))
        return head_of(asked, steps, decoder.id, stored=True, open_calls=open_calls)

    def is_gone(self, error: APIError) -> bool:
        """Whether the parent is not known."""
        return isinstance(error, (NotFoundError, PermissionDeniedError))


def _is_instruction(message: Message) -> bool:
    return (
        message.role in INSTRUCTION_ROLES
        and not message.extra
        and all(type(part) is TextPart and not part.extra for part in message.content)
    )
