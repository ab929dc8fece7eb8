"""Tools that a model may call, the choice among them, and the schema of a response."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from msgspec import Struct, field

from brainwires_provider.types.parts import Cache, Extra

__all__ = ["HostedTool", "JSONSchema", "Tool", "ToolChoice"]


class Tool(
    Struct,
    frozen=True,
    omit_defaults=True,
    repr_omit_defaults=True,
    tag_field="kind",
    tag="function",
    gc=False,
):
    """A function that the model may call, and that the caller runs."""

    name: str
    """The function's name, as it will be in the model's calls."""
    description: str
    """What the function does and when to call it, for the model."""
    parameters: Mapping[str, Any]
    """The JSON Schema of the arguments, sent as it is."""
    strict: bool | None = None
    """Whether the provider must make the model's arguments match the schema. None: the provider's default."""
    cache: Cache | None = None
    """A prompt-cache breakpoint after this tool."""
    extra: Extra | None = None
    """Fields of one provider's tool definition, by their wire names."""


class HostedTool(
    Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, tag_field="kind", tag="hosted", gc=False
):
    """A tool that the provider runs itself, such as web search; sent as `{"type": type, **fields}`."""

    type: str
    """The provider's name of the tool."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """The tool's settings, by their wire names."""
    cache: Cache | None = None
    """A prompt-cache breakpoint after this tool."""


class ToolChoice(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """Whether the model must call a tool, and which."""

    mode: Literal["auto", "none", "required"] = "auto"
    """One of "auto" (the model decides), "none" (no call), "required" (at least one call)."""
    names: tuple[str, ...] = ()
    """The tools to choose from. Empty: all tools of the request."""
    raw: Mapping[str, Any] | None = None
    """A choice in one provider's own form, sent as it is in place of the other fields."""

    @classmethod
    def tool(cls, name: str) -> Self:
        """The model must call this tool."""
        return cls("required", (name,))

    @classmethod
    def allowed(cls, *names: str, mode: Literal["auto", "required"] = "auto") -> Self:
        """The model may call only these tools."""
        return cls(mode, names)


class JSONSchema(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """A JSON Schema that the response's text must match."""

    name: str
    """A label, which some providers require."""
    schema: Mapping[str, Any]
    """The schema; a protocol that supports a part of JSON Schema only adapts it, and reports that."""
    description: str | None = None
    """What the output is for, for the model."""
    strict: bool | None = None
    """Whether the provider must enforce the schema exactly. None: the provider's default."""
