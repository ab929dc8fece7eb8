"""Services and self-hosted servers that offer a variant of OpenAI's Chat Completions.

Each starts from `COMPATIBLE`, the quirks that all of them share. Every difference from it is backed by a fact with a
link in tests/fixtures/rows.
"""

from __future__ import annotations

from typing import Any

from brainwires_provider.providers.dialects import (
    COMPATIBLE,
    TEMPLATED,
    chat,
    openai_vectors,
)
from brainwires_provider.providers.lists import up_from
from brainwires_provider.providers.registry import Provider

__all__ = ["COMPATIBLE_ROWS"]

_CHECKED = "2026-11-23"

_NEWER: dict[str, Any] = COMPATIBLE | {"max_tokens_field": "max_completion_tokens"}
_NAMES = "[a-zA-Z0-9_-]{1,64}"  # of tools, as OpenAI's own
_THREE_EFFORTS = {"minimal": "low", "max": "high"}
_SWITCH: dict[str, Any] = {
    "thinking_on": {"thinking": {"type": "enabled"}},
    "thinking_off": {"thinking": {"type": "disabled"}},
}
_TEMPLATE_OFF = {"chat_template_kwargs": {"enable_thinking": False}}
# vLLM's and SGLang's own API servers take the same fields; Ray Serve runs either.
_ENGINE: dict[str, Any] = TEMPLATED | {
    "max_tokens_field": "max_completion_tokens",
    "top_k": True,
    "video": True,
}
_LLAMA_CPP: dict[str, Any] = TEMPLATED | {
    "top_k": True,
    "named_choice": False,
    "constrains": True,
    "thinking_off": _TEMPLATE_OFF,
}

_SERVICES = (
    Provider(
        "groq",
        chat(
            # 2026-11: https://github.com/groq/groq-python/blob/main/src/groq/types/shared_params/function_definition.py
            **_NEWER | {"schemas": "groq", "json_word": True, "tool_names": _NAMES},
            replay_reasoning=False,
            efforts={"off": "none", **_THREE_EFFORTS},
        ),
        "https://api.groq.com/openai/v1",
        key_env="GROQ_API_KEY",
        docs="https://console.groq.com/docs/api-reference",
        checked=_CHECKED,
    ),
    Provider(
        "mistral",
        chat(
            # 2025-04: https://github.com/Kochava-Studios/witsy/pull/164
            **COMPATIBLE | {"schemas": "mistral", "json_word": True, "tool_names": _NAMES},
            stream_usage=False,
            top_k=True,
            seed_field="random_seed",
            required_word="any",
            documents="document_url",
            audio="text",
            short_ids=True,  # 2026-11: https://github.com/langchain-ai/langchain/pull/24668
            prefix=True,  # 2026-11: https://docs.mistral.ai/capabilities/completion/usage#prefix
        ),
        "https://api.mistral.ai/v1",
        key_env="MISTRAL_API_KEY",
        embeddings=openai_vectors(texts=128, dimensions="output_dimension"),
        docs="https://docs.mistral.ai/api",
        checked=_CHECKED,
    ),
    Provider(
        "deepseek",
        chat(
            # 2026-07: https://github.com/rikkahub/rikkahub/issues/1511, which names no longest one
            **COMPATIBLE | {"json_word": True, "tool_names": "[a-zA-Z0-9_-]+"},
            **_SWITCH,
            json_schema=False,
            efforts={"minimal": "low"},
            parallel_tool_calls=False,
            seed_field=None,
            # 2026-11: https://api-docs.deepseek.com/guides/thinking_mode#tool-calls
            missing_reasoning="",
        ),
        "https://api.deepseek.com",
        key_env="DEEPSEEK_API_KEY",
        docs="https://api-docs.deepseek.com",
        checked=_CHECKED,
    ),
    Provider(
        "openrouter",
        chat(
            **_NEWER | {"developer_role": True},
            models_query={"output_modalities": "all"},
            top_k=True,
            cache_marks=True,
            reasoning="object",
            file_urls=True,
            video=True,
        ),
        "https://openrouter.ai/api/v1",
        key_env="OPENROUTER_API_KEY",
        embeddings=openai_vectors(texts=512),
        docs="https://openrouter.ai/docs/api-reference",
        checked=_CHECKED,
    ),
    Provider(
        "cerebras",
        chat(**_NEWER, penalties=False, efforts={"off": "none", **_THREE_EFFORTS}),
        "https://api.cerebras.ai/v1",
        key_env="CEREBRAS_API_KEY",
        docs="https://inference-docs.cerebras.ai/api-reference/chat-completions",
        checked=_CHECKED,
    ),
    Provider(
        "perplexity",
        chat(
            **COMPATIBLE,
            models_path="/v1/models",
            stream_usage=False,
            top_k=True,
            seed_field=None,
            json_object=False,
            named_choice=False,
            efforts={"off": None, "max": "high"},
            documents="file_url",
            video=True,
        ),
        "https://api.perplexity.ai",
        key_env="PERPLEXITY_API_KEY",
        docs="https://docs.perplexity.ai/api-reference/chat-completions-post",
        checked=_CHECKED,
    ),
    Provider(
        "zai",
        chat(
            **COMPATIBLE,
            **_SWITCH,
            json_schema=False,
            none_choice=False,
            named_choice=False,
            penalties=False,
            parallel_tool_calls=False,
            stop_list=True,
            video=True,
        ),
        "https://api.z.ai/api/paas/v4",
        key_env="ZAI_API_KEY",
        docs="https://docs.z.ai/api-reference/llm/chat-completion",
        checked=_CHECKED,
    ),
    Provider(
        "huggingface",
        chat(**COMPATIBLE, parallel_tool_calls=False, stop_list=True),
        "https://router.huggingface.co/v1",
        key_env="HF_TOKEN",
        docs="https://huggingface.co/docs/inference-providers/tasks/chat-completion",
        checked=_CHECKED,
    ),
    Provider(
        "together",
        chat(
            **COMPATIBLE,
            top_k=True,
            parallel_tool_calls=False,
            stop_list=True,
            efforts=_THREE_EFFORTS,
            thinking_off={"reasoning": {"enabled": False}},
            video=True,
        ),
        "https://api.together.ai/v1",
        key_env="TOGETHER_API_KEY",
        embeddings=openai_vectors(texts=128, dimensions=None),
        docs="https://docs.together.ai/reference/chat-completions",
        checked=_CHECKED,
    ),
    Provider(
        "fireworks",
        chat(**COMPATIBLE, top_k=True, efforts={"off": "none", "minimal": "low"}, video=True),
        "https://api.fireworks.ai/inference/v1",
        key_env="FIREWORKS_API_KEY",
        embeddings=openai_vectors(texts=256),
        docs="https://docs.fireworks.ai/api-reference/post-chatcompletions",
        checked=_CHECKED,
    ),
    Provider(
        "minimax",
        chat(
            **_NEWER,
            always={"reasoning_split": True},
            penalties=False,
            seed_field=None,
            parallel_tool_calls=False,
            json_schema=False,
            reasoning="thinking",
            thinking_on={"thinking": {"type": "adaptive"}},
            video=True,
            one_system=True,  # 2026-11: https://github.com/MiniMax-AI/MiniMax-M2/issues/51
        ),
        "https://api.minimax.io/v1",
        key_env="MINIMAX_API_KEY",
        docs="https://platform.minimax.io/docs/api-reference/text-chat-openai",
        checked=_CHECKED,
    ),
    Provider(
        "cohere",
        chat(
            **COMPATIBLE | {"developer_role": True},
            models_path="/v1/models",
            models_query={"page_size": "1000"},
            parallel_tool_calls=False,
            efforts={"off": "none", "minimal": "high", "low": "high", "medium": "high", "max": "high"},
        ),
        "https://api.cohere.ai/compatibility/v1",
        key_env="CO_API_KEY",
        other_key_env="COHERE_API_KEY",
        embeddings=openai_vectors(texts=96),
        listing_url=up_from("/compatibility/v1"),
        docs="https://docs.cohere.com/docs/compatibility-api",
        checked=_CHECKED,
    ),
    Provider(
        "moonshot",
        chat(
            # 2026-04: https://github.com/MoonshotAI/kimi-cli/issues/1773, a letter first; the length, 2026-11:
            # https://platform.kimi.ai/docs/api/tool-use
            **_NEWER | {"tool_names": "[a-zA-Z][a-zA-Z0-9_-]{0,63}"},
            seed_field=None,
            parallel_tool_calls=False,
            thinking_off={"thinking": {"type": "disabled"}},
            video=True,
            # 2026-11: https://platform.kimi.ai/docs/guide/use-kimi-k2-thinking-model; an empty text counts as missing,
            # and a turn without content is refused: https://github.com/anomalyco/opencode/issues/37887
            missing_reasoning=" ",
            empty_turns=False,
        ),
        "https://api.moonshot.ai/v1",
        key_env="MOONSHOT_API_KEY",
        docs="https://platform.kimi.ai/docs/api/chat",
        checked=_CHECKED,
    ),
    *(
        Provider(
            name,
            chat(
                **TEMPLATED | {"json_word": True},
                top_k=True,
                frequency_penalty=False,
                cache_marks=True,
                reasoning="thinking",
                thinking_on={"enable_thinking": True},
                thinking_off={"enable_thinking": False},
                budget_field="thinking_budget",
                video=True,
            ),
            f"https://{host}/compatible-mode/v1",
            key_env="DASHSCOPE_API_KEY",
            docs="https://www.alibabacloud.com/help/en/model-studio/compatibility-of-openai-with-dashscope",
            checked=_CHECKED,
        )
        for name, host in (
            ("alibaba", "dashscope-intl.aliyuncs.com"),
            ("alibaba-cn", "dashscope.aliyuncs.com"),
        )
    ),
    Provider(
        "nvidia",
        chat(**COMPATIBLE, parallel_tool_calls=False, reasoning="none"),
        "https://integrate.api.nvidia.com/v1",
        key_env="NVIDIA_API_KEY",
        embeddings=openai_vectors(texts=64, tasks={"query": "query", "document": "passage"}),
        docs="https://docs.api.nvidia.com/nim/reference/llm-apis",
        checked=_CHECKED,
    ),
    Provider(
        "github",
        chat(**COMPATIBLE, models_path="/catalog/models", parallel_tool_calls=False, reasoning="none"),
        "https://models.github.ai/inference",
        key_env="GITHUB_TOKEN",
        note="GitHub Models was retired on 2026-07-30",
        embeddings=openai_vectors(texts=2048),
        listing_url=up_from("/inference"),
        docs="https://docs.github.com/en/github-models",
        checked=_CHECKED,
    ),
    Provider(
        "sambanova",
        chat(
            **COMPATIBLE,
            top_k=True,
            penalties=False,
            efforts=_THREE_EFFORTS,
            thinking_off=_TEMPLATE_OFF,
            video=True,
        ),
        "https://api.sambanova.ai/v1",
        key_env="SAMBANOVA_API_KEY",
        embeddings=openai_vectors(texts=32, dimensions=None),
        docs="https://docs.sambanova.ai/docs/en/api-reference/endpoints/chat-api",
        checked=_CHECKED,
    ),
    Provider(
        "nebius",
        chat(
            **COMPATIBLE,
            models_query={"verbose": "true"},
            top_k=True,
            seed_field=None,
            parallel_tool_calls=False,
            reasoning="none",
        ),
        "https://api.tokenfactory.nebius.com/v1",
        key_env="NEBIUS_API_KEY",
        embeddings=openai_vectors(texts=256),
        docs="https://docs.tokenfactory.nebius.com/api-reference/examples/text-generation",
        checked=_CHECKED,
    ),
)

_ONES_OWN = (
    Provider(
        "anyscale",
        chat(**_ENGINE),
        "",  # every endpoint has its own host
        key_env="ANYSCALE_API_KEY",
        base_url_env="ANYSCALE_BASE_URL",
        note="for one's own endpoint: the public one ended on 2024-08-01",
        docs="https://docs.ray.io/en/latest/serve/llm/index.html",
        checked=_CHECKED,
    ),
    Provider(
        "lmstudio",
        chat(
            **TEMPLATED,
            models_path="/v1/models",
            top_k=True,
            parallel_tool_calls=False,
            json_object=False,
            named_choice=False,
            reasoning="none",
        ),
        "http://127.0.0.1:1234/v1",
        keyless=True,
        embeddings=openai_vectors(texts=256, dimensions=None),
        listing_url=up_from("/v1"),
        listing_more=("/api/v1/models",),
        docs="https://lmstudio.ai/docs/developer/openai-compat/chat-completions",
        checked=_CHECKED,
    ),
    Provider(
        "vllm",
        chat(**_ENGINE),
        "http://127.0.0.1:8000/v1",
        keyless=True,
        embeddings=openai_vectors(texts=256),
        docs="https://docs.vllm.ai/en/latest/serving/openai_compatible_server",
        checked=_CHECKED,
    ),
    Provider(
        "llama-server",
        chat(**_LLAMA_CPP),
        "http://127.0.0.1:8080/v1",
        keyless=True,
        embeddings=openai_vectors(texts=256, dimensions=None),
        docs="https://github.com/ggml-org/llama.cpp/tree/master/tools/server",
        checked=_CHECKED,
    ),
    Provider(
        "sglang",
        chat(**_ENGINE),
        "http://127.0.0.1:30000/v1",
        keyless=True,
        default_model="default",
        embeddings=openai_vectors(texts=256),
        docs="https://docs.sglang.ai/basic_usage/openai_api_completions.html",
        checked=_CHECKED,
    ),
    Provider(
        "litellm",
        chat(top_k=True, allowed_tools=False, cache_marks=True, video=True),
        "http://127.0.0.1:4000/v1",
        base_url_env="LITELLM_PROXY_API_BASE",
        keyless=True,
        embeddings=openai_vectors(texts=2048),
        listing_more=("/model/info",),
        docs="https://docs.litellm.ai/docs/proxy/user_keys",
        checked=_CHECKED,
    ),
    Provider(
        "local",
        chat(**_LLAMA_CPP),
        "http://localhost/v1",
        transport="local",
        default_model="",
        embeddings=openai_vectors(texts=256, dimensions=None),
        docs="https://github.com/ggml-org/llama.cpp/tree/master/tools/server",
        checked=_CHECKED,
    ),
    Provider(
        "custom",
        chat(**COMPATIBLE, video=True),
        "",
        key_env="CUSTOM_API_KEY",
        base_url_env="CUSTOM_BASE_URL",
        note="for any server that speaks Chat Completions",
        embeddings=openai_vectors(texts=256),
        docs="https://platform.openai.com/docs/api-reference/chat",
        checked=_CHECKED,
    ),
)

COMPATIBLE_ROWS = (*_SERVICES, *_ONES_OWN)
