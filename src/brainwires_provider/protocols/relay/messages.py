"""Messages as the entries of `conversationHistory`: what was said, the calls, and their results.

Each turn is encoded by itself, so that a longer history begins with the very entries of a shorter one. An entry is a
text (`user`, `assistant`), a call (`function_call`) or a result (`tool`): the relay's own history without state, which
holds any number of calls and results. Only the leading system messages are instructions.
Reference: `serialize_messages_to_stateless_history` in the framework's `brainwires-core`.
"""

from __future__ import annotations

from collections.abc import Sequence

from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.protocols.base.replay import INSTRUCTION_ROLES, MessageEncoderBase, part_name
from brainwires_provider.protocols.relay.parts import (
    BETWEEN_TEXTS,
    ONLY_TEXT,
    Entry,
    encode_call,
    encode_result,
    encode_text,
)
from brainwires_provider.types import (
    Message,
    Origin,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

__all__ = ["encode_messages"]


def encode_messages(
    messages: Sequence[Message], origin: Origin, reader: OptionReader
) -> tuple[list[str], list[list[Entry]]]:
    """The leading instructions, and each message's entries: none for what became instructions or says nothing.

    Raises UnsupportedError for content that the relay cannot express.
    """
    encoder = _MessageEncoder(origin, reader)
    instructions: list[str] = []
    turns: list[list[Entry]] = [[] for _ in messages]
    leads = True
    for index, message in encoder.sendable(messages):
        encoder.at = (index,)
        if message.name is not None:
            encoder.dropped("this API has no names of speakers", ".name")
        leads = leads and message.role in INSTRUCTION_ROLES
        if leads:
            instructions.append(encoder.encode_instruction(message))
        else:
            turns[index] = encoder.encode_message(message)
    return instructions, turns


class _MessageEncoder(MessageEncoderBase):
    def __init__(self, origin: Origin, reader: OptionReader) -> None:
        super().__init__(origin, reader)
        self._names: dict[str, str] = {}
        self._texts: list[str] = []

    def encode_instruction(self, message: Message) -> str:
        """The text of a leading system message."""
        if message.role == "developer":
            self.adapted("this API has no developer role: sent as system", ".role")
        return BETWEEN_TEXTS.join(encode_text(part, self) for part in message.content)

    def encode_message(self, message: Message) -> list[Entry]:
        """The entries of one message, in order."""
        if message.role == "assistant":
            return self._assistant(message)
        if message.role in INSTRUCTION_ROLES:
            self.weaken("only leading ones can be instructions: sent as the user's", ".role")
        self.split_results(message)
        entries: list[Entry] = []
        for index, part in enumerate(message.content):
            if isinstance(part, ToolResultPart):
                self._flush("user", entries)
                name = part.name or self._names.get(part.call_id)
                entries.append(encode_result(part, name, self, f".content[{index}]"))
            else:
                self._texts.append(encode_text(part, self))
        self._flush("user", entries)
        return entries or [{"role": "user", "content": ""}]

    def _flush(self, role: str, entries: list[Entry]) -> None:
        """The texts so far become an entry; an assistant's that is blank is none."""
        said = BETWEEN_TEXTS.join(self._texts)
        if self._texts and (role != "assistant" or said.strip()):
            entries.append({"role": role, "content": said})
        self._texts = []

    def _assistant(self, message: Message) -> list[Entry]:
        entries: list[Entry] = []
        for index, part in enumerate(message.content):
            place = f".content[{index}]"
            match part:
                case TextPart():
                    self._texts.append(part.text)
                    self.report_citations(part, place)
                case RefusalPart():
                    self._texts.append(part.text)
                    self.adapted("this API has no refusals: sent as text", place)
                case ToolCallPart():
                    self._flush("assistant", entries)
                    self._names[part.call_id] = part.name
                    entries.append(encode_call(part, self, place))
                case _:
                    self._drop(part, place)
        self._flush("assistant", entries)
        return entries

    def _drop(self, part: Part, place: str) -> None:
        """What has no place in the relay's history; what a caller has put there is an error."""
        if isinstance(part, ReasoningPart):
            self.dropped("this API has no reasoning", place)
        elif isinstance(part, ToolResultPart):
            raise self.unsupported("a tool result belongs in a message of role tool")
        elif part.origin is None:
            raise self.unsupported(f"{part_name(part)} cannot be sent: {ONLY_TEXT}")
        else:
            self.dropped(f"{part_name(part)} has no place in the relay's history", place)
