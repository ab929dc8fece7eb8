"""A turn of the model with calls, and their results as far as there are any: at every moment a valid history."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from brainwires_provider.types import Message, ToolCallPart, ToolResultPart

__all__ = ["INTERRUPTED", "NOT_RUN", "WAITING", "Turn", "distinct", "open_turn"]

WAITING = "This call waits for the user's approval; it has not been run."
NOT_RUN = "This call was not run, because the run has ended."
INTERRUPTED = "This call was interrupted; whether it had an effect is not known."


class Turn:
    """The calls of one message, their results in the same order, and which of them wait for an approval."""

    def __init__(self, message: Message, results: Sequence[ToolResultPart] = ()) -> None:
        known: dict[str, list[ToolResultPart]] = {}
        for result in results:
            known.setdefault(result.call_id, []).append(result)
        given = [
            known[call.call_id].pop(0) if known.get(call.call_id) else None for call in message.tool_calls
        ]
        self.message = distinct(message)
        self.calls = self.message.tool_calls
        self.results = [
            None if result is None or _is_waiting(result) else replace(result, call_id=call.call_id)
            for call, result in zip(self.calls, given, strict=True)
        ]
        self.waiting: set[int] = set()
        self.begun: set[int] = set()

    @property
    def open(self) -> list[int]:
        """The places of the calls that have no result."""
        return [index for index, result in enumerate(self.results) if result is None]

    @property
    def pending(self) -> tuple[ToolCallPart, ...]:
        """The calls that wait for an approval."""
        return tuple(self.calls[index] for index in sorted(self.waiting))

    def messages(self) -> list[Message]:
        """The message, and a result for each of its calls: a text in place of one that is missing."""
        results = [result or self._missing(index) for index, result in enumerate(self.results)]
        return [self.message, Message("tool", tuple(results))] if results else [self.message]

    def _missing(self, index: int) -> ToolResultPart:
        text = WAITING if index in self.waiting else INTERRUPTED if index in self.begun else NOT_RUN
        call = self.calls[index]
        return ToolResultPart(call.call_id, text, is_error=True, name=call.name)


def _is_waiting(result: ToolResultPart) -> bool:
    return result.is_error and result.text == WAITING


def distinct(message: Message, taken: Iterable[str] = ()) -> Message:
    """The message with an id for each call that no other call has; `taken` are those of the history.

    Ollama and some others give no ids, or the same in every response: a verdict and a result are for one call.
    """
    seen = set(taken)
    content = [_distinct(part, seen) if isinstance(part, ToolCallPart) else part for part in message.content]
    return message if content == list(message.content) else replace(message, content=tuple(content))


def _distinct(call: ToolCallPart, seen: set[str]) -> ToolCallPart:
    name, number = call.call_id, 1
    while name in seen:
        number += 1
        name = f"{call.call_id}_{number}"
    seen.add(name)
    if name == call.call_id:
        return call
    return replace(call, local_id=name) if call.id is None else replace(call, id=name)


def open_turn(messages: Sequence[Message]) -> tuple[list[Message], Turn | None]:
    """The history before the last turn, and that turn, if it has calls without a result; else all of it, and None."""
    index = len(messages) - 1
    while index >= 0 and messages[index].role == "tool":
        index -= 1
    if index < 0 or messages[index].role != "assistant":
        return list(messages), None
    results = (part for message in messages[index + 1 :] for part in message.content)
    turn = Turn(messages[index], [part for part in results if isinstance(part, ToolResultPart)])
    return (list(messages[:index]), turn) if turn.open else (list(messages), None)
