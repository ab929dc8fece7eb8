"""A model of Chat Completions that does as it is asked: it calls tools, follows schemas and stops at stop words.

It has no mind. Values for arguments and fields are taken from the last message: its first number, what is quoted in
it, else its words.
"""

from __future__ import annotations

import json
import re
from typing import Any

from brainwires_provider.testing import Answer, RecordedRequest, Reply, reply_answer
from brainwires_provider.types import TextPart, ToolCallPart


def text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content or ())


def value_for(schema: dict[str, Any], said: str, root: dict[str, Any]) -> Any:
    """A value that matches the schema."""
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            return value_for(schema[choice][0], said, root)
    if "enum" in schema or "const" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    match schema.get("type"):
        case "object":
            return {name: value_for(each, said, root) for name, each in schema.get("properties", {}).items()}
        case "array":
            return [value_for(schema.get("items", {}), said, root)]
        case "integer" | "number":
            found = re.search(r"-?\d+", said)
            return int(found[0]) if found else 3
        case "boolean":
            return True
        case "null":
            return None
    found = re.search(r"'([^']+)'", said)
    return found[1] if found else said[:40] or "nothing"


def calls_for(body: dict[str, Any], said: str) -> list[ToolCallPart]:
    """One call, of the tool that is forced, else of the first."""
    tools = [tool["function"] for tool in body.get("tools", ()) if tool["type"] == "function"]
    choice = body.get("tool_choice", "auto")
    if not tools or choice == "none" or (choice == "auto" and body["messages"][-1]["role"] != "user"):
        return []
    if isinstance(choice, dict):
        tools = [tool for tool in tools if tool["name"] == choice["function"]["name"]]
    parameters = tools[0].get("parameters", {})
    arguments = json.dumps(value_for({"type": "object", **parameters}, said, parameters), ensure_ascii=False)
    return [ToolCallPart(f"call_{len(body['messages'])}", tools[0]["name"], arguments)]


def says(body: dict[str, Any], said: str) -> str:
    form = body.get("response_format") or {"type": "text"}
    if form["type"] == "json_object":
        return json.dumps(dict.fromkeys(re.findall(r"'(\w+)'", said), said))
    if form["type"] == "json_schema":
        schema = form["json_schema"]["schema"]
        return json.dumps(value_for(schema, said, schema))
    text = f"You said: {said}"
    stops = body.get("stop") or []
    for stop in [stops] if isinstance(stops, str) else stops:
        text = text.partition(stop)[0] or "…"
    return text


def obey(request: RecordedRequest) -> Answer:
    """The answer, whole or as a stream. Anything but a chat gets what `reply_answer` makes of it."""
    if not request.path.endswith("/chat/completions"):
        return reply_answer(request, "")
    body = request.json()
    said = text_of(body["messages"][-1].get("content"))
    calls = calls_for(body, said)
    return reply_answer(request, Reply(tuple(calls) or (TextPart(says(body, said)),)))
