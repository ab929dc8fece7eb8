"""The conversation of `chat`: its history, and one turn after another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeAlias

from brainwires_provider._core.stream import AsyncStream
from brainwires_provider.cli.options import Question
from brainwires_provider.conversation import AsyncConversation
from brainwires_provider.errors import ConfigError
from brainwires_provider.runs.run import AsyncRun
from brainwires_provider.types import Message, ToolResultPart

__all__ = ["Answer", "Prints", "Talk"]

Answer: TypeAlias = AsyncStream | AsyncRun[Any]


class Prints(Protocol):
    """Prints answers."""

    async def print(self, make: Callable[[], Answer]) -> bool:
        """Print an answer to its end; whether it is complete."""
        ...

    def wait_for(self, model: str) -> None:
        """The next answers are of this model."""
        ...


class Talk:
    """A conversation, with or without tools. A turn that has not ended well is not kept.

    What is sent with the first prompt is sent again until a turn has ended well.
    """

    def __init__(self, question: Question) -> None:
        self.question = question
        self._unanswered: Message | None = None
        self._messages: list[Message] = []
        self._talk: AsyncConversation | None = None
        self.begin(())

    @property
    def messages(self) -> list[Message]:
        """The history."""
        return self._messages if self._talk is None else self._talk.messages

    def begin(self, messages: Iterable[Message]) -> None:
        """Go on from this history."""
        client, args = self.question.client, self.question.args
        self._messages, self._unanswered = list(messages), None
        self._talk = None if "tools" in args else client.conversation(messages=self._messages, **args)

    async def use(self, question: Question) -> None:
        """Go on with another client, model or arguments."""
        before, self.question = self.question, question
        self.begin(self.messages)
        if before.client is not question.client:
            await before.client.aclose()

    async def turn(self, text: str, printer: Prints) -> bool:
        """One turn, printed; whether it is complete. Raises ConfigError."""
        return await self._say(self.question.message(text), printer)

    async def retry(self, printer: Prints) -> bool:
        """The last turn once more: one that failed, or instead of the answer that it has. Raises ConfigError."""
        if self._unanswered is not None:
            return await self._say(self._unanswered, printer)
        whole = self.messages
        at = next((at for at in reversed(range(len(whole))) if _is_prompt(whole[at])), None)
        if at is None:
            raise ConfigError("there is no turn to repeat")
        kept, done = (self._talk, self._messages), False
        self.begin(whole[:at])
        try:
            done = await self._say(whole[at], printer)
        finally:
            if not done:
                self._talk, self._messages = kept
                self._unanswered = None
        return done

    async def _say(self, said: Message, printer: Prints) -> bool:
        self._unanswered = said
        if not await (self._run(said, printer) if self._talk is None else self._plain(said, printer)):
            return False
        self._unanswered = None
        self.question = self.question._replace(fragments=(), parts=())
        return True

    async def _plain(self, said: Message, printer: Prints) -> bool:
        talk = self._talk
        assert talk is not None
        return await printer.print(lambda: talk.stream(said))

    async def _run(self, said: Message, printer: Prints) -> bool:
        runs: list[AsyncRun[Any]] = []

        def run() -> AsyncRun[Any]:
            args: Any = self.question.args
            runs.append(self.question.client.run([*self._messages, said], **args))
            return runs[0]

        if not await printer.print(run):
            return False
        self._messages = runs[0].messages
        return True


def _is_prompt(message: Message) -> bool:
    """Whether it is the user's, and not made of the results of tools."""
    return message.role == "user" and not all(isinstance(part, ToolResultPart) for part in message.content)
