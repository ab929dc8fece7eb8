"""LiteLLM's Router against the server of the benchmarks; `policies.py` runs it with a Python that has `litellm`.

    PYTHON _litellm_router.py URL REQUESTS ROUNDS

Prints JSON: the version, and for a Router without policies and one with retries, limits of requests and tokens, and a
fallback, the CPU microseconds of each round's requests.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from importlib.metadata import version
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # the table that it ships: nothing is fetched

_MESSAGES = [{"role": "user", "content": "Why is the sky blue?"}]


def _router(url: str, **settings: Any) -> Any:
    from litellm import Router

    limits = {"rpm": 10**9, "tpm": 10**12} if settings else {}
    params = {"model": "openai/gpt-4o", "api_base": url, "api_key": "k", **limits}
    names = ("main", "other") if settings else ("main",)
    return Router([{"model_name": name, "litellm_params": dict(params)} for name in names], **settings)


async def _main(url: str, requests: int, rounds: int) -> dict[str, Any]:
    routers = {
        "none set": _router(url),
        "all": _router(
            url,
            num_retries=4,
            fallbacks=[{"main": ["other"]}],
            enable_pre_call_checks=True,
            routing_strategy="simple-shuffle",
        ),
    }
    taken: dict[str, list[float]] = {name: [] for name in routers}
    for turn in range(rounds + 1):
        for name, router in routers.items():
            began = time.process_time()
            for _ in range(requests):
                response = await router.acompletion(model="main", messages=_MESSAGES)
                assert response.choices[0].message.content
            if turn:  # the first warms up
                taken[name].append((time.process_time() - began) / requests * 1e6)
    return {"version": version("litellm"), "taken": taken}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))
