"""The synchronous conversation: a history that grows with each turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload

from brainwires_provider._core.plan import Input, messages_of
from brainwires_provider.conversation import AsyncConversation
from brainwires_provider.errors import ProviderError
from brainwires_provider.sync.stream import Owner, Stream, made
from brainwires_provider.types import ChatParams, JSONSchema, Message, OutputParams, Response

if TYPE_CHECKING:
    from typing_extensions import TypeForm

__all__ = ["Conversation"]

T = TypeVar("T")


class Conversation:
    """A history and the settings of its turns. `messages` change only when a turn has ended well."""

    def __init__(self, client: Owner, core: AsyncConversation) -> None:
        self._client = client
        self._core = core

    @property
    def messages(self) -> list[Message]:
        """The history so far."""
        return self._core.messages

    @messages.setter
    def messages(self, messages: list[Message]) -> None:
        self._core.messages = messages

    @overload
    def stream(self, input: Input, *, output: type[T], **args: Unpack[ChatParams]) -> Stream[T]: ...
    @overload
    def stream(
        self, input: Input, *, output: JSONSchema | Literal["json"], **args: Unpack[ChatParams]
    ) -> Stream[Any]: ...
    @overload
    def stream(self, input: Input, *, output: TypeForm[T], **args: Unpack[ChatParams]) -> Stream[T]: ...
    @overload
    def stream(self, input: Input, **args: Unpack[ChatParams]) -> Stream[Any]: ...
    def stream(self, input: Input, **args: Unpack[OutputParams]) -> Stream[Any]:
        """One turn as it comes; it joins `messages` once it has come to its end."""
        said = messages_of(input)

        def remember(response: Response) -> None:
            self._core._join(said, response)

        try:
            stream = Stream(self._core._begin_turn(said, args), self._client)
        except ProviderError as error:
            raise error.with_traceback(None) from None
        stream._when_whole = remember
        return stream

    # -- written by tools/write_sync.py from AsyncConversation --

    @overload
    def chat(self, input: Input, *, output: type[T], **args: Unpack[ChatParams]) -> Response[T]: ...
    @overload
    def chat(
        self, input: Input, *, output: JSONSchema | Literal["json"], **args: Unpack[ChatParams]
    ) -> Response[Any]: ...
    @overload
    def chat(self, input: Input, *, output: TypeForm[T], **args: Unpack[ChatParams]) -> Response[T]: ...
    @overload
    def chat(self, input: Input, **args: Unpack[ChatParams]) -> Response[Any]: ...
    def chat(self, input: Input, **args: Unpack[OutputParams]) -> Response[Any]:
        """One turn: what is said and the whole answer join `messages`."""
        return self._client._share.call(lambda: self._core.chat(input, **args))

    def fork(self) -> Conversation:
        """A conversation of its own with the same beginning."""
        return Conversation(self._client, made(self._core.fork))

    # -- end of what is written --
