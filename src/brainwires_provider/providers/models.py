"""What models accept: a table of families, the same for every route to a model; `facts.py` looks a model up in it.

A family's changes are listed by the version that brought them, and hold for every later one. A name that is newer
than the table, or has no version, gets the facts of the newest of its family; a name of no family those of
`UNKNOWN`. What one service alone demands of a family is a family of its own, with the providers in `at`; every family
that a name belongs to adds to its facts. A user overrides them by `ProviderConfig(models=…)`.

The table is loaded when a first model is resolved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from msgspec import Struct

__all__ = ["FAMILIES", "Change", "Family", "Version"]

Version: TypeAlias = tuple[int, int]


class Change(Struct, frozen=True):
    """What is different from a version on, and before another one, for the names in which `only` is found."""

    since: Version
    facts: Mapping[str, Any]
    only: str = ""
    before: Version = (100, 0)
    link: str = ""
    """Where it is stated, if not on the family's page."""
    checked: str = ""
    """The day of that, if not the family's."""


class Family(Struct, frozen=True):
    """The models whose names hold `pattern`. `version` finds major and minor version in a name."""

    name: str
    pattern: str
    version: str
    changes: tuple[Change, ...]
    link: str
    checked: str = "2026-11-29"
    at: tuple[str, ...] = ()
    """The providers to which it is limited. Empty: every provider."""


# -- the table -----------------------------------------------------------------------------------------------

_ALL_MEDIA = ("image", "audio", "video", "document")
_CLAUDE = Family(
    "claude",
    r"claude",
    r"claude-(?:[a-z]+-)?(\d{1,2})(?!\d)(?:[-.](\d)(?!\d))?",
    (
        Change(
            (0, 0),
            {
                "family": "claude",
                "samples_thinking": False,
                "budgets": False,
                "adaptive": False,
                "schema": False,
                "forced_tools_thinking": False,
                "signed_thinking": True,
                "result_status": True,
                "cache_points": True,
                "tool_cache_points": True,
                "refused_media": _ALL_MEDIA[1:3],
                "max_output": 4_096,
            },
        ),
        Change((3, 5), {"max_output": 8_192}),
        Change((3, 7), {"budgets": True, "max_output": 64_000}),
        Change((3, 7), {"max_output": 32_000}, "opus", (4, 5)),
        Change(
            (4, 1),
            {"both_samplers": False, "schema": True},
            link="https://platform.claude.com/docs/en/build-with-claude/structured-outputs",
        ),
        Change((4, 6), {"adaptive": True, "max_output": 128_000}),
        Change(
            (4, 6),
            {"prefill": False},
            link="https://platform.claude.com/docs/en/about-claude/models/whats-new-claude-4-6",
            checked="2026-11-29",
        ),
        Change(
            (4, 7),
            {"sampling": False, "budgets": False, "bedrock_schema": False},
            link="https://github.com/anthropics/anthropic-sdk-python/issues/1759",
        ),
        Change((4, 7), {"bedrock_strict": False}, link="https://github.com/BerriAI/litellm/pull/31923"),
        Change(
            (5, 0),
            {"bedrock_strict": True},
            "opus|fable",
            (5, 1),
            "https://github.com/lobehub/lobehub/issues/19876",
        ),
        Change((4, 8), {"system_turns": True}),
        Change(
            (5, 5),
            {"thinking_off": None, "forced_tools": False},
            "opus",
            link="https://github.com/vercel/ai/issues/21364",
        ),
        Change((5, 5), {"thinking_off": "between_tools"}, "sonnet"),
        Change((0, 0), {"thinking_off": None}, "fable"),
        Change((5, 1), {"forced_tools": False}, "fable", link="https://github.com/vercel/ai/issues/21364"),
        Change((0, 0), {"thinking_off": None, "forced_tools": False}, "mythos"),
    ),
    "https://platform.claude.com/docs/en/about-claude/models/overview",
    "2026-11-23",
)
_LEVELS = ("minimal", "low", "medium", "high")
_GEMINI = Family(
    "gemini",
    r"gemini-",
    r"gemini-(\d+)(?:\.(\d+))?",
    (
        Change((0, 0), {"family": "gemini", "json_schema": False, "budgets": False, "adaptive": False}),
        Change((2, 0), {"json_schema": True}),
        Change((2, 5), {"budgets": True}),
        Change((2, 5), {"least_budget": 128}, r"-pro(-|$)"),
        Change((3, 0), {"efforts": _LEVELS, "signed_calls": True, "media_results": True}),
        Change(
            (3, 0),
            {"efforts": ("low", "high")},
            r"-pro(-|$)",
            (3, 1),
            "https://ai.google.dev/gemini-api/docs/gemini-3",
        ),
        Change((3, 1), {"efforts": _LEVELS[1:]}, r"-pro(-|$)"),
        Change(
            (3, 7),
            {"efforts": _LEVELS[1:]},
            r"flash(?!-lite)",
            link="https://docs.cloud.google.com/vertex-ai/generative-ai/docs/thinking",
        ),
    ),
    "https://ai.google.dev/gemini-api/docs/thinking",
)
_GEMMA = Family(
    "gemma",
    r"(^|/)gemma-",
    "",
    (Change((0, 0), {"family": "gemma", "system": False}),),
    "https://ai.google.dev/gemma/docs/core/prompt-structure",
    "2026-11-23",
)
_TO_XHIGH = ("none", "low", "medium", "high", "xhigh")
_REASONING = "https://platform.openai.com/docs/guides/reasoning"
_CHAT_TOOLS = "https://github.com/danny-avila/LibreChat/issues/14231"
_UNSAMPLED = {"sampling": False, "penalties": False, "stop": False}
_GPT = Family(
    "gpt",
    r"(\b|chat)gpt-\d",
    r"gpt-(1\d|\d)(?:\.(\d+))?",
    (
        Change((0, 0), {"family": "gpt", "efforts": (), "encrypted_reasoning": False}),
        Change(
            (5, 0),
            {
                **_UNSAMPLED,
                "efforts": ("minimal", "low", "medium", "high"),
                "samples_thinking": False,
                "thinks_unasked": True,
                "encrypted_reasoning": True,
            },
        ),
        Change(
            (5, 1),
            {"efforts": _TO_XHIGH[:4], "sampling": True, "thinks_unasked": False},
            link="https://github.com/vercel/ai/issues/10932",
        ),
        Change((5, 2), {"efforts": _TO_XHIGH}),
        Change(
            (5, 4), {"chat_tools": "unreasoned"}, link="https://github.com/openai/openai-openapi/issues/541"
        ),
        Change(
            (5, 5), {"thinks_unasked": True}, link="https://developers.openai.com/api/docs/models/gpt-5.5"
        ),
        Change((5, 6), {"efforts": (*_TO_XHIGH, "max")}, link=_CHAT_TOOLS),
        Change((6, 0), {"sampling": False}, link="https://github.com/bolna-ai/bolna/pull/1019"),
        Change(
            (6, 0),
            {
                "efforts": ("low", "medium", "high", "xhigh", "max"),
                "chat_tools": "none",
                "thinking_off": None,
            },
            "astra",
            link="https://github.com/UKGovernmentBEIS/inspect_ai/pull/5254",
        ),
        Change(
            (5, 0),
            {"sampling": False},
            "codex|-pro(-|$)",
            link="https://github.com/epam/ai-dial-chat/issues/8538",
        ),
        Change((5, 0), {"efforts": _TO_XHIGH[1:4]}, "codex", (5, 2)),
        Change((5, 1), {"efforts": _TO_XHIGH[1:]}, "codex-max", (5, 2)),
        Change((5, 2), {"efforts": _TO_XHIGH[1:]}, "codex"),
        Change((5, 0), {"efforts": ("high",)}, r"-pro(-|$)", (5, 2)),
        Change((5, 2), {"efforts": ("medium", "high", "xhigh")}, r"-pro(-|$)"),
        Change(
            (5, 0),
            {"efforts": (), "encrypted_reasoning": False, "chat_tools": "any", "thinks_unasked": False},
            r"-chat(-|$)",
        ),
        Change((5, 0), {"sampling": True, "penalties": True, "stop": True}, r"-chat(-|$)", (5, 1)),
        Change(
            (4, 0),
            {
                "sampling": False,
                "penalties": False,
                "efforts": (),
                "parallel_tool_calls": False,
                "runs_tools": True,
            },
            r"-search(-|$)",
            link="https://platform.openai.com/docs/models/gpt-4o-search-preview",
        ),
    ),
    _REASONING,
)
_O_SERIES = Family(
    "o-series",
    r"(^|[/.:])o\d(-|$)",
    r"(?:^|[/.:])o(\d)",
    (
        Change(
            (0, 0),
            {
                "family": "o-series",
                "sampling": False,
                "penalties": False,
                "efforts": ("low", "medium", "high"),
                "thinks_unasked": True,
                "encrypted_reasoning": True,
                "parallel_tool_calls": False,
            },
        ),
        Change(
            (0, 0),
            {"refused_media": _ALL_MEDIA[:3]},
            r"o[13]-mini",
            link="https://github.com/BerriAI/litellm/pull/8175",
        ),
        Change(
            (3, 0),
            {"stop": False},
            r"o3(?!-mini)|o[4-9]",
            link="https://github.com/griptape-ai/griptape/issues/1915",
        ),
    ),
    _REASONING,
)
_GPT_OSS = Family(
    "gpt-oss",
    r"gpt-oss",
    "",
    (
        Change(
            (0, 0),
            {
                "family": "gpt-oss",
                "efforts": ("low", "medium", "high"),
                "encrypted_reasoning": False,
                "thinking_off": None,
            },
        ),
        Change(
            (0, 0),
            {"refused_media": _ALL_MEDIA[:3]},
            link="https://developers.openai.com/api/docs/models/gpt-oss-120b.md",
        ),
    ),
    "https://docs.ollama.com/capabilities/thinking",
)
_GROK = Family(
    "grok",
    r"grok",
    r"grok-(\d+)(?:[.-](\d{1,2})(?!\d))?",
    (
        Change((0, 0), {"family": "grok", "efforts": ()}),
        Change((4, 0), {"encrypted_reasoning": True, "stop": False}, r"^(?!.*non-reasoning)"),
        Change((4, 0), {"penalties": False}, link="https://github.com/mnfst/modelparams.dev/pull/20"),
        Change(
            (3, 0),
            {"efforts": ("low", "high"), "penalties": False, "stop": False},
            "grok-3-mini",
            link="https://docs.x.ai/docs/guides/reasoning",
        ),
        Change((4, 3), {"efforts": _TO_XHIGH[:4]}, link="https://github.com/chatboxai/chatbox/issues/3714"),
        Change(
            (4, 5), {"efforts": _TO_XHIGH[1:4]}, link="https://github.com/anomalyco/opencode/issues/39448"
        ),
        Change((4, 6), {"efforts": _TO_XHIGH[1:]}, link="https://github.com/mnfst/modelparams.dev/pull/330"),
        Change((0, 0), {"efforts": ()}, r"grok-4\.20|grok-code"),
        Change((0, 0), {"efforts": _TO_XHIGH[1:]}, "multi-agent"),
    ),
    "https://docs.x.ai/developers/model-capabilities/text/reasoning",
)
_NOVA = Family(
    "nova",
    r"\bnova-",
    r"nova-(\d+)-|nova-[a-z]+-v(1)",
    (
        Change(
            (0, 0),
            {"family": "nova", "efforts": (), "result_status": True, "cache_points": True},
            link="https://github.com/UKGovernmentBEIS/inspect_ai/issues/5301",
        ),
        Change(
            (2, 0),
            {"efforts": ("low", "medium", "high"), "limits_high_effort": False},
            link="https://github.com/UKGovernmentBEIS/inspect_ai/issues/3767",
        ),
        Change(
            (0, 0),
            {"refused_media": _ALL_MEDIA[:3]},
            "micro",
            link="https://docs.aws.amazon.com/nova/latest/userguide/complete-request-schema.html",
        ),
    ),
    "https://docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html",
)
_OF_CONVERSE = "https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html"
_DEEPSEEK = Family(
    "deepseek",
    r"deepseek",
    "",
    (Change((0, 0), {"family": "deepseek", "own_reasoning": False}),),
    _OF_CONVERSE,
    "2026-11-23",
)
_QWEN = Family("qwen", r"qwen|qwq", "", (Change((0, 0), {"family": "qwen"}),), _OF_CONVERSE, "2026-11-23")
_MISTRAL = Family(
    "mistral", r"mistral", "", (Change((0, 0), {"family": "mistral"}),), _OF_CONVERSE, "2026-11-23"
)
_ARN = Family(
    "arn",
    r"^arn:",
    "",
    (Change((0, 0), {"result_status": True, "cache_points": True, "tool_cache_points": True}),),
    "https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html",
    "2026-11-23",
)
"""An ARN names no model, so what a model behind it may take is sent."""

# -- what one service demands

_DEEPSEEK_AT_HOME = Family(
    "deepseek at DeepSeek",
    r"deepseek",
    "",
    (
        Change((0, 0), {"forced_tools_thinking": False, "thinks_unasked": True}),
        Change((0, 0), {"thinks_unasked": False}, "deepseek-chat"),
        Change(
            (0, 0),
            {"refused_media": _ALL_MEDIA[1:]},
            link="https://api-docs.deepseek.com/guides/vision",
        ),
        Change(
            (0, 0),
            {"refused_media": _ALL_MEDIA},
            "-v4-pro",
            link="https://github.com/cloudflare/cloudflare-docs/issues/32853",
        ),
    ),
    "https://github.com/deepseek-ai/DeepSeek-V3/issues/1376",
    at=("deepseek", "deepseek-responses"),  # of the second nothing else is known (2026-11)
)
_QWEN_AT_HOME = Family(
    "qwen at Alibaba",
    r"qwen|qwq",
    r"qwen(\d+)(?:\.(\d+))?",
    (
        Change((0, 0), {"forced_tools_thinking": False}),
        Change((0, 0), {"thinks_unasked": True}, r"thinking|qwq|qwen3-\d+(\.\d+)?b(-a\d+b)?$"),
        Change((3, 5), {"thinks_unasked": True}, r"qwen\d"),
    ),
    "https://github.com/cloudwego/eino/issues/994",
    at=("alibaba", "alibaba-cn"),
)
_KIMI = Family(
    "kimi at Moonshot",
    r"kimi-k\d",
    r"kimi-k(\d)(?:\.(\d))?",
    (
        Change(
            (2, 5),
            {"forced_tools_thinking": False, "thinks_unasked": True},
            before=(3, 0),
            link="https://github.com/can1357/oh-my-pi/issues/1077",
        ),
        Change((2, 5), {"sampling": False}, before=(3, 0), link="https://github.com/HKUDS/nanobot/pull/4967"),
        Change(
            (2, 0),
            {"forced_tools_thinking": False, "thinks_unasked": True, "thinking_off": None},
            "k2-thinking",
        ),
    ),
    "https://platform.kimi.ai/docs/guide/migrating-from-openai-to-kimi",
    at=("moonshot",),
)
_TEMPLATED = Family(
    "models by their own chat templates",
    r"(^|/)(qwen-?\d(?!\d*b)|gemma-\dn?-)",
    r"(?:qwen-?|gemma-)(\d)(?:[.p](\d))?",
    (
        Change(
            (3, 5), {"one_system": True}, "qwen", link="https://github.com/vllm-project/vllm/issues/41114"
        ),
        Change(
            (3, 0), {"one_system": True}, "gemma", (4, 0), "https://github.com/vllm-project/vllm/pull/17149"
        ),
    ),
    # Hosts that pass on what a template refuses; beside the first: https://github.com/anomalyco/opencode/issues/16560,
    # https://github.com/BerriAI/litellm/pull/39852. Of other hosts of open weights it is not known.
    "https://github.com/UKGovernmentBEIS/inspect_ai/pull/3842",
    at=("openrouter", "nvidia", "fireworks"),
)
_GLM = Family(
    "models at Z.ai",
    r"",
    "",
    (Change((0, 0), {"forced_tools": False}),),
    "https://docs.z.ai/api-reference/llm/chat-completion",
    at=("zai",),
)
_AT_GROQ = Family(
    "models at Groq",
    r"",
    "",
    (
        Change(
            (0, 0),
            {"strict_schema": False},
            r"^(?!.*gpt-oss)",
            link="https://console.groq.com/docs/structured-outputs",
        ),
        Change((0, 0), {"efforts": ("none", "default")}, "qwen3"),
        Change((0, 0), {"efforts": ()}, r"llama|kimi|gemma|allam|compound"),
    ),
    "https://console.groq.com/docs/reasoning",
    at=("groq",),
)

_RUNS_TOOLS = Family(
    "models that run tools unasked",
    r"sonar|compound|deep-research",
    "",
    (
        Change(
            (0, 0),
            {"runs_tools": True},
            r"(^|/)sonar",
            link="https://docs.perplexity.ai/guides/search-control-guide",
        ),
        Change((0, 0), {"runs_tools": True}, r"(^|/)compound"),
        Change(
            (0, 0),
            {"runs_tools": True},
            "deep-research",
            link="https://developers.openai.com/api/docs/guides/deep-research",
        ),
    ),
    "https://console.groq.com/docs/compound/built-in-tools",
    checked="2026-11-30",
)

FAMILIES: tuple[Family, ...] = (
    *(_CLAUDE, _GEMINI, _GEMMA, _GPT, _O_SERIES, _GPT_OSS, _GROK, _NOVA, _DEEPSEEK, _QWEN, _MISTRAL, _ARN),
    *(_DEEPSEEK_AT_HOME, _QWEN_AT_HOME, _KIMI, _TEMPLATED, _GLM, _AT_GROQ, _RUNS_TOOLS),
)
"""All families. Of two that a name belongs to, the later one wins."""
