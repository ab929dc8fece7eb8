"""What a model may call, what it must answer with, and which of both it is told to choose."""

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
    """A function that the model may call. `parameters` is its arguments' JSON Schema, sent as it is.

    `strict` asks the provider to hold the model to the schema. `extra` holds fields of one provider's tool
    definition by their wire names.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    strict: bool | None = None
    cache: Cache | None = None
    extra: Extra | None = None


class HostedTool(
    Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, tag_field="kind", tag="hosted", gc=False
):
    """A tool that the provider runs itself: `{"type": type, **fields}`, sent as it is."""

    type: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    cache: Cache | None = None


class ToolChoice(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """Whether and what the model must call.

    `names` limits the choice to those tools; `raw` is a provider's own form, sent as it is.
    """

    mode: Literal["auto", "none", "required"] = "auto"
    names: tuple[str, ...] = ()
    raw: Mapping[str, Any] | None = None

    @classmethod
    def tool(cls, name: str) -> Self:
        """This tool must be called."""
        return cls("required", (name,))

    @classmethod
    def allowed(cls, *names: str, mode: Literal["auto", "required"] = "auto") -> Self:
        """Only these tools may be called."""
        return cls(mode, names)


class JSONSchema(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """The shape that the answer's text must have. `name` is a label that some providers want."""

    name: str
    schema: Mapping[str, Any]
    description: str | None = None
    strict: bool | None = None
