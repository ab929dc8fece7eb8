"""What pydantic-ai should know of a model, by this library's table of models."""

from __future__ import annotations

from pydantic_ai.profiles import ModelProfile

from brainwires_provider.integrations.pydantic_ai.hosted import supported_at
from brainwires_provider.integrations.pydantic_ai.names import system_of
from brainwires_provider.resources.resolved import ResolvedModel

__all__ = ["profile_of"]

_CACHE_MARKS = ("anthropic_messages", "bedrock_converse")
_JSON_MODE = ("openai_chat", "openai_responses", "gemini", "ollama", "llamacpp")
_IMAGES_OUT = ("openai_responses", "gemini", "google_interactions")
_SYSTEM_TURNS = ("openai_chat", "openai_responses", "ollama")


def profile_of(model: ResolvedModel) -> ModelProfile:
    """The profile of a model: what it accepts, and what this library sends for it."""
    facts, protocol = model.facts, model.protocol
    refused = facts.refused_media
    thinks = facts.efforts != () and not (
        facts.family == "claude" and not facts.budgets and not facts.adaptive
    )
    can_call = facts.tools is not False
    return ModelProfile(
        supports_tools=can_call,
        supports_json_schema_output=facts.schema,
        supports_json_object_output=protocol in _JSON_MODE,
        default_structured_output_mode="tool" if can_call else "native" if facts.schema else "prompted",
        supports_image_output=protocol in _IMAGES_OUT,
        supports_image_input="image" not in refused,
        supports_document_input="document" not in refused,
        supports_audio_file_input="audio" not in refused,
        supports_video_input="video" not in refused,
        supports_inline_system_prompts=facts.system and (protocol in _SYSTEM_TURNS or facts.system_turns),
        supports_thinking=thinks,
        thinking_always_enabled=facts.thinking_off is None,
        thinking_enabled_by_default=facts.thinks_unasked,
        supports_forced_tool_choice=facts.forced_tools,
        supports_forced_tool_choice_with_thinking=facts.forced_tools_thinking,
        forced_tool_choice_disables_thinking=not facts.forced_tools_thinking,
        supports_cache=protocol in _CACHE_MARKS,
        supported_cache_retentions=("5m", "1h"),
        supported_native_tools=supported_at(protocol, system_of(model.provider)),
    )
