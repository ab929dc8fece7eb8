"""One contestant of `bulk.py`: asks about rows, and prints how long that took as JSON.

    PYTHON _bulk_contestants.py NAME URL ROWS CONCURRENCY

Each runs in a process of its own, with the Python that has the package. What is timed begins when everything is
imported and made, and ends with the last answer in a list, in the order of the rows; each answer is compared.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # the table that it ships: nothing is fetched

Work = Callable[[Sequence[str], int], list[str]]


def aiohttp_loop(url: str) -> Work:
    """A plain loop: as many tasks as may be at once, each posts one prompt after another. Nothing is kept."""
    import aiohttp
    import msgspec

    headers = {"Content-Type": "application/json", "Authorization": "Bearer k"}

    async def ask(prompts: Sequence[str], concurrency: int) -> list[str]:
        answers = [""] * len(prompts)
        numbers = iter(range(len(prompts)))
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:

            async def work() -> None:
                for number in numbers:
                    body = {"model": "bench", "messages": [{"role": "user", "content": prompts[number]}]}
                    data = msgspec.json.encode(body)
                    async with session.post(
                        f"{url}/chat/completions", data=data, headers=headers
                    ) as response:
                        read = msgspec.json.decode(await response.read())
                        answers[number] = read["choices"][0]["message"]["content"]

            await asyncio.gather(*(work() for _ in range(concurrency)))
        return answers

    return lambda prompts, concurrency: asyncio.run(ask(prompts, concurrency))


def _ours(url: str, *, ledger: bool) -> Work:
    from brainwires_provider import AsyncClient
    from brainwires_provider.bulk import asking, engine  # noqa: F401 - loaded before the clock starts

    async def ask(prompts: Sequence[str], concurrency: int) -> list[str]:
        with tempfile.TemporaryDirectory(dir=os.environ.get("BRAINWIRES_BENCH_DIR")) as folder:
            path = os.path.join(folder, "ledger") if ledger else None
            async with AsyncClient("openai-chat:bench", api_key="k", base_url=url) as client:
                bulk = client.map(prompts, concurrency=concurrency, ledger=path)
                return [each.text async for each in bulk]

    return lambda prompts, concurrency: asyncio.run(ask(prompts, concurrency))


def ours(url: str) -> Work:
    """`client.map` with its ledger."""
    return _ours(url, ledger=True)


def ours_unkept(url: str) -> Work:
    """`client.map` without a ledger."""
    return _ours(url, ledger=False)


def chat_loop(url: str) -> Work:
    """The same plain loop over `client.chat`: what of the difference is the client, and what the bulk run."""
    from brainwires_provider import AsyncClient

    async def ask(prompts: Sequence[str], concurrency: int) -> list[str]:
        answers = [""] * len(prompts)
        numbers = iter(range(len(prompts)))
        async with AsyncClient("openai-chat:bench", api_key="k", base_url=url) as client:

            async def work() -> None:
                for number in numbers:
                    answers[number] = (await client.chat(prompts[number])).text

            await asyncio.gather(*(work() for _ in range(concurrency)))
        return answers

    return lambda prompts, concurrency: asyncio.run(ask(prompts, concurrency))


def litellm(url: str) -> Work:
    """`litellm.batch_completion`, which uses threads."""
    from litellm import batch_completion

    def ask(prompts: Sequence[str], concurrency: int) -> list[str]:
        asked = [[{"role": "user", "content": each}] for each in prompts]
        found = batch_completion(
            model="openai/bench", messages=asked, api_base=url, api_key="k", max_workers=concurrency
        )
        return [each.choices[0].message.content for each in found]

    return ask


def langchain(url: str) -> Work:
    """`ChatOpenAI.abatch` with `max_concurrency`."""
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model="bench", base_url=url, api_key="k")  # type: ignore[arg-type]

    async def ask(prompts: Sequence[str], concurrency: int) -> list[str]:
        found: list[Any] = await model.abatch(
            list(prompts), {"max_concurrency": concurrency}, return_exceptions=True
        )
        return [getattr(each, "content", repr(each)) for each in found]

    runner = asyncio.Runner()  # its connections belong to one loop
    return lambda prompts, concurrency: runner.run(ask(prompts, concurrency))


def flexllm(url: str) -> Work:
    """`flexllm.LLMClient.chat_completions_batch` with its file of results."""
    from flexllm import LLMClient

    async def ask(prompts: Sequence[str], concurrency: int) -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
            client = LLMClient(base_url=url, model="bench", api_key="k", concurrency_limit=concurrency)
            asked: list[Any] = [[{"role": "user", "content": each}] for each in prompts]
            found = await client.chat_completions_batch(
                asked, output_jsonl=os.path.join(folder, "out.jsonl"), show_progress=False
            )
            return [str(each) for each in found]

    return lambda prompts, concurrency: asyncio.run(ask(prompts, concurrency))


CONTESTANTS: dict[str, tuple[Callable[[str], Work], str]] = {
    "aiohttp": (aiohttp_loop, "aiohttp"),
    "ours": (ours, "brainwires-provider"),
    "ours_unkept": (ours_unkept, "brainwires-provider"),
    "chat_loop": (chat_loop, "brainwires-provider"),
    "litellm": (litellm, "litellm"),
    "langchain": (langchain, "langchain-openai"),
    "flexllm": (flexllm, "flexllm"),
}


def main(name: str, url: str, rows: int, concurrency: int) -> dict[str, Any]:
    """Ask, compare, and measure."""
    make, package = CONTESTANTS[name]
    work = make(url)
    prompts = [f"row {number}: why is the sky blue?" for number in range(rows)]
    work([f"warm {number}" for number in range(concurrency)], concurrency)
    began, cpu = time.monotonic(), time.process_time()
    answers = work(prompts, concurrency)
    seconds, used = time.monotonic() - began, time.process_time() - cpu
    wrong = sum(answer != prompt for answer, prompt in zip(answers, prompts, strict=True))
    try:
        found = version(package)
    except PackageNotFoundError:
        found = "?"
    return {"seconds": seconds, "cpu": used, "wrong": wrong, "version": found}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
