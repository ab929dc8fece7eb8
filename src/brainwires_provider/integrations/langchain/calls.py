"""What LangChain binds to a model, tools, a choice among them and a response's form, as arguments of a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from brainwires_provider.integrations.langchain.blocks import cache_of
from brainwires_provider.types import HostedTool, JSONSchema, Tool, ToolChoice

__all__ = ["bound_choice", "bound_tool", "format_of", "to_choice", "to_output", "to_tool", "tool_name"]

_FUNCTION = ("parameters", "input_schema", "function", "toolSpec", "properties", "inputSchema")
_EVERY = Tool("", "", {"type": "object", "properties": {}})
_WORDS = {"any": "required", "required": "required", "auto": "auto", "none": "none"}


# -- tools ---------------------------------------------------------------------------------------------------


def bound_tool(tool: Any, strict: bool | None = None) -> Any:
    """A tool of any form that LangChain takes, as OpenAI's dictionary, which LangChain traces.

    A dictionary that describes no function is a tool that the provider runs, and returned as it is, as are tools of
    this library. Raises ValueError for anything else.
    """
    if isinstance(tool, (Tool, HostedTool)):
        return tool
    if _is_hosted(tool):
        return tool
    if isinstance(tool, Mapping) and isinstance(tool.get("function"), Mapping):
        return tool if strict is None else {**tool, "function": {**tool["function"], "strict": strict}}
    made = convert_to_openai_tool(tool, strict=strict)
    extras = dict(getattr(tool, "extras", None) or {}) if isinstance(tool, BaseTool) else {}
    if isinstance(tool, Mapping) and "cache_control" in tool:
        extras["cache_control"] = tool["cache_control"]
    return {**extras, **made}


def _is_hosted(tool: Any) -> bool:
    if not isinstance(tool, Mapping) or tool.get("type") in (None, "function", "object"):
        return False
    return not any(name in tool for name in _FUNCTION)


def to_tool(tool: Any) -> Tool | HostedTool:
    """A bound tool as this library's."""
    made = bound_tool(tool)
    if isinstance(made, (Tool, HostedTool)):
        return made
    cache = cache_of(made)
    rest = {name: value for name, value in made.items() if name not in ("type", "function", "cache_control")}
    if not isinstance(made.get("function"), Mapping):
        return HostedTool(made["type"], rest, cache=cache)
    function = made["function"]
    return Tool(
        function["name"],
        function.get("description") or "",
        function.get("parameters") or _EVERY.parameters,
        strict=function.get("strict"),
        cache=cache,
        extra=rest or None,
    )


def tool_name(tool: Any) -> str | None:
    """The name by which a choice means a bound tool."""
    if isinstance(tool, (Tool, HostedTool)):
        return getattr(tool, "name", None)
    return cast("str | None", tool.get("function", tool).get("name"))


# -- the choice among them -----------------------------------------------------------------------------------


def bound_choice(choice: Any, tools: Sequence[Any]) -> Any:
    """A choice in any form that LangChain takes, checked against the bound tools.

    Returns "auto", "none", "required", OpenAI's dictionary for one tool, or None where nothing was chosen. Raises
    ValueError for a tool that is not bound.
    """
    if choice is None or choice is False or isinstance(choice, ToolChoice):
        return choice or None
    if choice is True:
        choice = "any"
    name = _named(choice)
    if name is None:
        return _WORDS.get(choice, choice) if isinstance(choice, str) else choice
    names = [tool_name(tool) for tool in tools]
    if name not in names:
        raise ValueError(
            f"tool_choice names {name!r}, which is none of the tools: {', '.join(map(str, names))}"
        )
    return {"type": "function", "function": {"name": name}}


def _named(choice: Any) -> str | None:
    """The tool that a choice names: by its name, or in OpenAI's or Anthropic's form."""
    if isinstance(choice, str):
        return None if choice in _WORDS else choice
    if isinstance(choice, Mapping) and choice.get("type") in ("function", "tool"):
        return cast("str | None", choice.get("function", choice).get("name"))
    return None


def to_choice(choice: Any) -> ToolChoice | None:
    """A bound choice as this library's; a dictionary of another form is sent as it is."""
    if choice is None or choice is False or isinstance(choice, ToolChoice):
        return choice or None
    if choice is True:
        return ToolChoice("required")
    if name := _named(choice):
        return ToolChoice.tool(name)
    word = _WORDS.get(choice if isinstance(choice, str) else choice.get("type", ""))
    return (
        ToolChoice(raw=cast("Mapping[str, Any]", choice)) if word is None else ToolChoice(cast("Any", word))
    )


# -- the form of the response --------------------------------------------------------------------------------


def format_of(schema: Any, strict: bool | None = None) -> dict[str, Any]:
    """A schema of any form that LangChain takes, as OpenAI's `response_format`."""
    if isinstance(schema, Mapping):
        given = schema.get("json_schema", schema)
        if "schema" in given and "name" in given:
            known = {
                name: given[name] for name in ("name", "schema", "description", "strict") if name in given
            }
            return _format(known if strict is None else {**known, "strict": strict})
    described = convert_to_json_schema(cast("Any", schema))
    name, description = described.pop("title"), described.pop("description", None)
    if isinstance(schema, type) and is_basemodel_subclass(schema):
        described = dict(_schema_of(schema))
    parts = {"name": name, "schema": described, "description": description, "strict": strict}
    return _format({key: value for key, value in parts.items() if value is not None})


def _format(json_schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": json_schema}


def _schema_of(model: Any) -> Mapping[str, Any]:
    made = model.model_json_schema() if hasattr(model, "model_json_schema") else model.schema()
    return cast("Mapping[str, Any]", made)


def to_output(form: Any) -> JSONSchema | str | None:
    """A bound `response_format` as the `output` of a call. Raises ValueError for an unknown form."""
    if form is None or isinstance(form, JSONSchema):
        return form
    if not isinstance(form, Mapping) or form.get("type") not in ("text", "json_object", "json_schema"):
        form = format_of(form)
    if form["type"] == "text":
        return None
    if form["type"] == "json_object":
        return "json"
    given = form.get("json_schema", form)
    try:
        return JSONSchema(given["name"], given["schema"], given.get("description"), given.get("strict"))
    except (KeyError, TypeError) as error:
        raise ValueError(f"response_format is no schema with a name: {error!r}") from None
