"""Write docs/reference/options.md: what each provider does with each option, as the reports of requests say.

    uv run python tools/write_options.py            writes the page
    uv run python tools/write_options.py --check    exits with 1 if it would change

Every provider is asked for one request an option, which is encoded and not sent. Some options depend on the model too
(`providers/models.py`); the page shows what holds for a model that the library knows nothing of.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from brainwires_provider import (
    PROVIDERS,
    AsyncClient,
    CacheStrategy,
    FilePart,
    ImagePart,
    JSONSchema,
    Message,
    ProviderConfig,
    Reasoning,
    Tool,
    ToolChoice,
    UnsupportedError,
)

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "options.md"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = Tool("weather", "The weather.", SCHEMA)
PDF, PNG = b"%PDF-1.4\n%%EOF", b"\x89PNG\r\n\x1a\n"
OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "max_tokens": ("max_tokens", {"max_tokens": 1234}),
    "temperature": ("temperature", {"temperature": 0.25}),
    "top_p": ("top_p", {"top_p": 0.75}),
    "top_k": ("top_k", {"top_k": 17}),
    "seed": ("seed", {"seed": 7}),
    "stop": ("stop", {"stop": "END"}),
    "presence_penalty": ("presence_penalty", {"presence_penalty": 0.5}),
    "frequency_penalty": ("frequency_penalty", {"frequency_penalty": 0.5}),
    "reasoning": ("reasoning", {"reasoning": "high"}),
    "reasoning summary": ("reasoning", {"reasoning": Reasoning(summary="auto")}),
    "system": ("system", {"system": "Be brief."}),
    "tools": ("tools", {"tools": [TOOL]}),
    "tool_choice": ("tool_choice", {"tools": [TOOL], "tool_choice": ToolChoice.tool("weather")}),
    "parallel_tool_calls": ("parallel_tool_calls", {"tools": [TOOL], "parallel_tool_calls": False}),
    "output (schema)": ("output", {"output": JSONSchema("place", SCHEMA)}),
    'output "json"': ("output", {"output": "json"}),
    "cache": ("cache", {"tools": [TOOL], "system": "Be brief.", "cache": CacheStrategy.system_and_tools()}),
    "image": ("messages", {"input": Message.user("What?", ImagePart(data=PNG))}),
    "PDF file": ("messages", {"input": Message.user("What?", FilePart(data=PDF))}),
}
HEAD = """# Options by provider

Written by `tools/write_options.py` from the reports of requests; a test holds it to the code.

**yes**: sent as it is. **adapted**: sent in another form, or as the nearest value. **emulated**: reached by other
means. **dropped**: not sent, and reported. **refused**: before anything is sent. Some answers depend on the model:
what the library knows of a model goes before this table, which shows what holds for an unknown one.
"""


def client(name: str) -> AsyncClient:
    """A client of one provider, with settings that let it encode."""
    provider = PROVIDERS[name]
    config = ProviderConfig(
        name,
        api_key=None if provider.transport == "local" or provider.keyless else "test-key",
        base_url=None if provider.base_url else "https://mine.example.com/v1",
        region={"aws": "us-east-1", "google": "global", None: None}[provider.cloud],
        project="p" if provider.cloud == "google" else None,
    )
    return AsyncClient(providers=[config])


def outcome(name: str, field: str, args: dict[str, Any]) -> str:
    """What becomes of one option."""
    input = args.get("input", "Hi")
    others = {key: value for key, value in args.items() if key != "input"}
    try:
        report = client(name).prepare(input, model=f"{name}:m", **others).report
    except UnsupportedError:
        return "refused"
    found = {
        d.outcome
        for d in report.deviations
        if d.field == field or d.field.startswith((f"{field}.", f"{field}["))
    }
    return next((word for word in ("dropped", "emulated", "adapted") if word in found), "yes")


def page() -> str:
    """The text of the page: one table for each group of providers that do the same."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in PROVIDERS:
        column = tuple(outcome(name, field, args) for field, args in OPTIONS.values())
        groups.setdefault(column, []).append(name)
    lines = [HEAD, "| providers | " + " | ".join(OPTIONS) + " |", "|---" * (len(OPTIONS) + 1) + "|"]
    for column, names in groups.items():
        lines.append(f"| {' '.join(f'`{name}`' for name in names)} | {' | '.join(column)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page, or compare it."""
    text = page()
    if "--check" in sys.argv:
        return 0 if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text else 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
