"""The asynchronous conversation: a history that grows with each turn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload

from brainwires_provider._core.plan import (
    Input,
    Plan,
    build_request,
    check_args,
    is_typed,
    messages_of,
    stored_args,
)
from brainwires_provider._core.session import Session
from brainwires_provider._core.stream import AsyncStream
from brainwires_provider.providers import Target
from brainwires_provider.types import ChatParams, JSONSchema, Message, OutputParams, Request, Response
from brainwires_provider.types.checked import misfit

if TYPE_CHECKING:
    from typing_extensions import TypeForm

__all__ = ["AsyncConversation", "check_kept", "kept_state"]


def kept_state(
    target: Target | None, response: Response, before: Mapping[str, Any] | None
) -> Mapping[str, Any] | None:
    """What the request after `response` must repeat to find what the service keeps; else what was `before`."""
    names: tuple[str, ...] = getattr(target.protocol, "state_fields", ()) if target is not None else ()
    state = {name: response.extra[name] for name in names if response.extra.get(name) is not None}
    if not state or target is None or target.provider != response.provider:  # a fallback's
        return before
    return {**state, "origin": {"protocol": target.protocol.name, "provider": target.provider}}


def check_kept(args: Mapping[str, Any]) -> None:
    """Check arguments that are kept for later requests: raises what a request with them would raise."""
    model = args.get("model")
    if model is not None and not isinstance(model, str):
        raise misfit("model", (str,), model)
    rest: Any = dict(args)
    if is_typed(rest):
        del rest["output"]
    build_request("-", rest, model="-", defaults=None)


T = TypeVar("T")


class AsyncConversation:
    """A history and the settings of its turns. `messages` change only when a turn has ended well."""

    def __init__(self, session: Session, messages: Iterable[Message], args: OutputParams) -> None:
        check_args(args)
        check_kept(args)
        self.messages: list[Message] = list(messages)
        self._session = session
        self._args = args
        self._is_fork = False
        self._target: Target | None = None
        self._state: Mapping[str, Any] | None = None

    def _take_plan(self, said: tuple[Message, ...], args: OutputParams, *, stream: bool) -> Plan:
        """The next turn. A fork's first leaves what it goes on from for the others."""
        fork, self._is_fork = self._is_fork, False
        messages = (*self.messages, *said)
        input = messages if self._state is None else Request(messages, extra=self._state)
        plan = self._session.plan(input, stored_args(self._args, args), stream=stream, fork=fork)
        self._target = plan.target
        return plan

    def _join(self, said: tuple[Message, ...], response: Response) -> None:
        """Add a turn that has ended well, and keep what the next one must repeat: Anthropic's container."""
        self.messages += [*said, response.message]
        self._state = kept_state(self._target, response, self._state)

    @overload
    async def chat(self, input: Input, *, output: type[T], **args: Unpack[ChatParams]) -> Response[T]: ...
    @overload
    async def chat(
        self, input: Input, *, output: JSONSchema | Literal["json"], **args: Unpack[ChatParams]
    ) -> Response[Any]: ...
    @overload
    async def chat(self, input: Input, *, output: TypeForm[T], **args: Unpack[ChatParams]) -> Response[T]: ...
    @overload
    async def chat(self, input: Input, **args: Unpack[ChatParams]) -> Response[Any]: ...
    async def chat(self, input: Input, **args: Unpack[OutputParams]) -> Response[Any]:
        """One turn: what is said and the whole answer join `messages`."""
        said = messages_of(input)
        response = await self._session.chat(self._take_plan(said, args, stream=False))
        self._join(said, response)
        return response

    @overload
    def stream(self, input: Input, *, output: type[T], **args: Unpack[ChatParams]) -> AsyncStream[T]: ...
    @overload
    def stream(
        self, input: Input, *, output: JSONSchema | Literal["json"], **args: Unpack[ChatParams]
    ) -> AsyncStream[Any]: ...
    @overload
    def stream(self, input: Input, *, output: TypeForm[T], **args: Unpack[ChatParams]) -> AsyncStream[T]: ...
    @overload
    def stream(self, input: Input, **args: Unpack[ChatParams]) -> AsyncStream[Any]: ...
    def stream(self, input: Input, **args: Unpack[OutputParams]) -> AsyncStream[Any]:
        """One turn as it comes; it joins `messages` once it has come to its end."""
        said = messages_of(input)
        stream = self._begin_turn(said, args)
        stream.when_whole(lambda response: self._join(said, response))
        return stream

    def _begin_turn(self, said: tuple[Message, ...], args: OutputParams) -> AsyncStream:
        """`stream`, of which nothing is remembered."""
        return AsyncStream(self._take_plan(said, args, stream=True), self._session)

    def fork(self) -> AsyncConversation:
        """A conversation of its own with the same beginning."""
        other = AsyncConversation(self._session, self.messages, self._args)
        other._state = self._state
        self._is_fork = other._is_fork = True  # whichever goes on first leaves the other what it goes on from
        return other
