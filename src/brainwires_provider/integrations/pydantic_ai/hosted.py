"""Tools that a provider runs itself: pydantic-ai's native tools as this library's `HostedTool`s.

The forms are those of the services' own references: https://platform.openai.com/docs/guides/tools,
https://platform.claude.com/docs/en/agents-and-tools/tool-use/overview, https://ai.google.dev/gemini-api/docs/tools
(2026-11-30). A tool that a protocol lacks is not in the table: pydantic-ai refuses it before a request, or takes the
tool's local fallback.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

from pydantic_ai.native_tools import (
    AbstractNativeTool,
    CodeExecutionTool,
    FileSearchTool,
    ImageGenerationTool,
    MCPServerTool,
    WebFetchTool,
    WebSearchTool,
    XSearchTool,
)

from brainwires_provider.types import HostedTool

__all__ = ["SUPPORTED", "hosted_tools", "supported_at", "unsupported_settings"]

_Made: TypeAlias = Callable[[Any, str], HostedTool]


def _set(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, [], {})}


def _location(tool: WebSearchTool) -> dict[str, Any] | None:
    return {"type": "approximate", **tool.user_location} if tool.user_location else None


def _responses_search(tool: WebSearchTool, provider: str) -> HostedTool:
    filters = _set(allowed_domains=tool.allowed_domains, blocked_domains=tool.blocked_domains)
    fields = _set(user_location=_location(tool), filters=filters)
    if tool.external_web_access is not None:
        fields["external_web_access"] = tool.external_web_access
    return HostedTool("web_search", {"search_context_size": tool.search_context_size, **fields})


def _responses_code(tool: CodeExecutionTool, provider: str) -> HostedTool:
    files = [file.file_id for file in tool.files or () if file.provider_name == provider]
    return HostedTool("code_interpreter", {"container": {"type": "auto", **_set(file_ids=files)}})


def _responses_files(tool: FileSearchTool, provider: str) -> HostedTool:
    stores = list(tool.file_store_ids)
    return HostedTool("file_search", _set(vector_store_ids=stores, max_num_results=tool.max_num_results))


def _responses_image(tool: ImageGenerationTool, provider: str) -> HostedTool:
    own: Mapping[str, Any] = (tool.provider_settings or {}).get("openai", {})
    fields = _set(
        size=tool.size, output_format=tool.output_format, output_compression=tool.output_compression
    )
    return HostedTool("image_generation", {**fields, **own})


def _responses_mcp(tool: MCPServerTool, provider: str) -> HostedTool:
    fields = _set(
        server_url=tool.url,
        authorization=tool.authorization_token,
        allowed_tools=tool.allowed_tools,
        server_description=tool.description,
        headers=tool.headers,
    )
    return HostedTool("mcp", {"server_label": tool.id, "require_approval": "never", **fields})


def _x_search(tool: XSearchTool, provider: str) -> HostedTool:
    fields = _set(
        allowed_x_handles=tool.allowed_x_handles,
        excluded_x_handles=tool.excluded_x_handles,
        from_date=tool.from_date and tool.from_date.date().isoformat(),
        to_date=tool.to_date and tool.to_date.date().isoformat(),
        enable_image_understanding=tool.enable_image_understanding or None,
        enable_video_understanding=tool.enable_video_understanding or None,
    )
    return HostedTool("x_search", fields)


def _claude_search(tool: WebSearchTool, provider: str) -> HostedTool:
    fields = _set(
        max_uses=tool.max_uses,
        allowed_domains=tool.allowed_domains,
        blocked_domains=tool.blocked_domains,
        user_location=_location(tool),
    )
    return HostedTool("web_search_20250305", {"name": "web_search", **fields})


def _claude_fetch(tool: WebFetchTool, provider: str) -> HostedTool:
    own: Mapping[str, Any] = (tool.provider_settings or {}).get("anthropic", {})
    cited = {"citations": {"enabled": True}} if own.get("enable_citations") else {}
    fields = _set(
        max_uses=tool.max_uses,
        allowed_domains=tool.allowed_domains,
        blocked_domains=tool.blocked_domains,
        max_content_tokens=own.get("max_content_tokens"),
    )
    return HostedTool("web_fetch_20250910", {"name": "web_fetch", **fields, **cited})


def _claude_code(tool: CodeExecutionTool, provider: str) -> HostedTool:
    return HostedTool("code_execution_20250825", {"name": "code_execution"})


def _plain(name: str) -> _Made:
    def made(tool: AbstractNativeTool, provider: str) -> HostedTool:
        return HostedTool(name)

    return made


_TABLE: Mapping[str, Mapping[type[AbstractNativeTool], _Made]] = MappingProxyType(
    {
        "openai_responses": {
            WebSearchTool: _responses_search,
            CodeExecutionTool: _responses_code,
            FileSearchTool: _responses_files,
            ImageGenerationTool: _responses_image,
            MCPServerTool: _responses_mcp,
            XSearchTool: _x_search,
        },
        "anthropic_messages": {
            WebSearchTool: _claude_search,
            WebFetchTool: _claude_fetch,
            CodeExecutionTool: _claude_code,
        },
        "gemini": {
            WebSearchTool: _plain("googleSearch"),
            WebFetchTool: _plain("urlContext"),
            CodeExecutionTool: _plain("codeExecution"),
        },
    }
)
_NOT_SENT: Mapping[str, Mapping[type[AbstractNativeTool], frozenset[str]]] = MappingProxyType(
    {
        "openai_responses": {WebSearchTool: frozenset(("max_uses",))},
        "anthropic_messages": {WebSearchTool: frozenset(("external_web_access",))},
        "gemini": {
            WebSearchTool: frozenset(
                ("allowed_domains", "blocked_domains", "max_uses", "external_web_access")
            ),
            WebFetchTool: frozenset(("allowed_domains", "blocked_domains", "max_uses")),
        },
    }
)
"""The settings that narrow a tool, and that a protocol's form of it has no field for."""

SUPPORTED: frozenset[type[AbstractNativeTool]] = frozenset(
    kind for table in _TABLE.values() for kind in table
)
"""The native tools that some protocol has."""


def supported_at(protocol: str, provider: str) -> frozenset[type[AbstractNativeTool]]:
    """The native tools that a provider's protocol has."""
    found = frozenset(_TABLE.get(protocol, ()))
    return found if provider == "xai" else found - {XSearchTool}


def unsupported_settings(tool: AbstractNativeTool, protocol: str) -> frozenset[str]:
    """The settings of a tool that narrow it, are set, and cannot be sent."""
    return tool.restricting_settings & _NOT_SENT.get(protocol, {}).get(type(tool), frozenset())


def hosted_tools(tools: Sequence[AbstractNativeTool], protocol: str, provider: str) -> list[HostedTool]:
    """The tools in the protocol's form, in order. `provider` is pydantic-ai's name."""
    table = _TABLE.get(protocol, {})
    return [table[type(tool)](tool, provider) for tool in tools]
