"""Messages of a conversation, and their storage as JSON.

`dump_messages` writes a versioned JSON document that keeps every part, opaque ones and origins included;
`load_messages` reads every version that was ever written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, Self, TypeAlias

import msgspec
from msgspec import Struct
from msgspec.structs import force_setattr

from brainwires_provider.types.checked import Checked, check, misfit, shown
from brainwires_provider.types.parts import (
    Extra,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    as_parts,
)

__all__ = ["Message", "Role", "dump_messages", "load_messages"]

Role: TypeAlias = Literal["system", "developer", "user", "assistant", "tool"]
_ROLES = frozenset(("system", "developer", "user", "assistant", "tool"))


class Message(Checked, frozen=True, gc=False):
    """One message: a role and its ordered parts.

    Raises TypeError for content of another type than text and parts, ValueError for an unknown role.
    """

    role: Role
    """Whose message it is."""
    content: tuple[Part, ...]
    """The parts, in order. Text or a list may be given, and becomes a tuple of parts."""
    name: str | None = None
    """The participant's name, for providers that support several participants of one role."""
    extra: Extra | None = None
    """Fields of the whole message that have no place of their own here, by their wire names."""

    if TYPE_CHECKING:  # what is taken, which is more than what is kept

        def __init__(
            self,
            role: Role,
            content: str | Part | Sequence[str | Part],
            name: str | None = None,
            extra: Extra | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        if not isinstance(self.role, str) or self.role not in _ROLES:
            raise misfit("Message.role", (Role,), self.role)
        if type(self.role) is not str:
            force_setattr(self, "role", str.__str__(self.role))
        force_setattr(self, "content", as_parts(self.content, "Message.content"))
        if self.name is not None or self.extra is not None:
            check(self)

    def _is_searched(self) -> bool:
        return self.role != "assistant"  # whose fields a service may have made

    @classmethod
    def system(cls, *content: str | Part) -> Self:
        """A system prompt: instructions that hold for the whole conversation."""
        return cls("system", content)

    @classmethod
    def developer(cls, *content: str | Part) -> Self:
        """Instructions of the application's developer, for providers that distinguish them from a system prompt."""
        return cls("developer", content)

    @classmethod
    def user(cls, *content: str | Part) -> Self:
        """A message of the user: text, images, files."""
        return cls("user", content)

    @classmethod
    def assistant(cls, *content: str | Part) -> Self:
        """A message of the model, such as an example to follow."""
        return cls("assistant", content)

    @classmethod
    def tool_result(cls, call: ToolCallPart | str, *content: str | Part, is_error: bool = False) -> Self:
        """The result of one tool call; `call` is the call or its id. Raises TypeError for anything else."""
        if isinstance(call, ToolCallPart):
            call_id, name = call.call_id, call.name
        elif isinstance(call, str):
            call_id, name = call, None
        else:
            raise TypeError(f"Message.tool_result takes a ToolCallPart or its id, not {shown(call)}")
        result = ToolResultPart(call_id, content, is_error=is_error, name=name)
        return cls("tool", (result,))

    @property
    def text(self) -> str:
        """The joined text parts: no reasoning, no refusal."""
        return "".join([p.text for p in self.content if isinstance(p, TextPart)])

    @property
    def reasoning(self) -> str:
        """The joined reasoning parts, separated by blank lines."""
        return "\n\n".join(p.text for p in self.content if isinstance(p, ReasoningPart) and p.text)

    @property
    def tool_calls(self) -> tuple[ToolCallPart, ...]:
        """The tool calls that the caller must answer."""
        return tuple(p for p in self.content if isinstance(p, ToolCallPart))


class _Transcript(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    version: int
    messages: list[Message]


_VERSION = 1


def dump_messages(messages: Iterable[Message]) -> bytes:
    """Encode a conversation as JSON, `{"version": 1, "messages": […]}`. Raises TypeError for a non-message."""
    if isinstance(messages, (str, bytes)) or not isinstance(messages, Iterable):
        raise misfit("messages", (Iterable[Message],), messages)
    history = list(messages)
    for message in history:
        if not isinstance(message, Message):
            raise TypeError(f"dump_messages takes messages, not {type(message).__name__}")
    return msgspec.json.encode(_Transcript(_VERSION, history))


def load_messages(data: bytes | str) -> list[Message]:
    """Decode the JSON that `dump_messages` wrote. Raises ValueError with the reason if it cannot be decoded."""
    try:
        version = msgspec.json.decode(data, type=dict[str, msgspec.Raw]).get("version")
        if version is None or bytes(version) != b"1":
            found = (
                "no version" if version is None else f"version {bytes(version)[:20].decode(errors='replace')}"
            )
            raise ValueError(f"this is {found}; this release reads version {_VERSION}")
        return msgspec.json.decode(data, type=_Transcript).messages
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(f"not a dump_messages document: {error}") from None
