"""Fifty documents to typed rows, eight at once, with a progress bar."""

import asyncio
import sys

import msgspec
from rich.progress import track

from brainwires_provider import AsyncClient, OutputError


class Row(msgspec.Struct):
    """What is wanted of each document."""

    city: str
    is_capital: bool


CITIES = ["Paris", "Rome", "Milan", "Lyon", "Bonn"] * 10
DOCUMENTS = [f"Document {number}: {city}." for number, city in enumerate(CITIES)]


async def main(count: int) -> None:
    async with AsyncClient("local:") as client:
        gate = asyncio.Semaphore(8)

        async def row(document: str) -> Row | str:
            async with gate:
                try:
                    response = await client.chat(document, system="Which city?", output=Row, max_tokens=100)
                except OutputError as error:
                    return f"{document} {type(error).__name__}"
                return response.output

        tasks = [asyncio.create_task(row(document)) for document in DOCUMENTS[:count]]
        for task in track(tasks, "Reading", disable=not sys.stdout.isatty()):
            await task
        for task in tasks:
            print(task.result())


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 50))
