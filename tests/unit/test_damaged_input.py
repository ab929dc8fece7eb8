"""Damaged and deeply nested input from outside is a typed error, wherever it is read."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from brainwires_provider import (
    APIError,
    AsyncClient,
    ConfigError,
    ToolArgumentsError,
    load_config,
    load_messages,
)
from brainwires_provider.testing import Answer, ScriptedServer
from brainwires_provider.types import ToolCallPart

DEEP = "[" * 100_000

EXTRA = '{"version":1,"messages":[{"role":"user","content":[{"type":"text","text":"a","extra":{"x":%s}}]}]}'


@pytest.mark.parametrize("text", [DEEP, '{"a":' * 100_000, '{"a": "\udcff"}', '{"a"'])
def test_arguments(text: str) -> None:
    with pytest.raises(ToolArgumentsError, match="Call it again with a JSON object"):
        ToolCallPart("c", "f", text).args()


@pytest.mark.parametrize("value", [DEEP + "]" * 100_000, DEEP, "[" * 5000 + "]" * 5000])
def test_stored_messages(value: str) -> None:
    with pytest.raises(ValueError, match="not a dump_messages document"):
        load_messages(EXTRA % value)


@pytest.mark.parametrize(
    "text", ["a." * 5000 + "a = 1", "[providers.groq]\n" + "a." * 5000 + "a = 1", "[" + "a." * 5000 + "a]"]
)
def test_a_configuration(text: str, tmp_path: Path) -> None:
    path = tmp_path / "brainwires.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="nested too deeply"):
        load_config(path)


@pytest.mark.parametrize("location", ["http://[", "http://[::1", "//[x", "https://a\ud800.example"])
def test_a_redirect(location: str) -> None:
    async def main() -> None:
        async with AsyncClient("openai-chat:m", base_url=server.url, api_key="k") as client:
            await client.chat("hi")

    raw = b"HTTP/1.1 307 Moved\r\nContent-Length: 0\r\nLocation: %b\r\n\r\n" % location.encode(
        "utf-8", "surrogatepass"
    )
    with (
        ScriptedServer([Answer(raw=[raw])]) as server,
        pytest.raises(APIError, match="not followed") as caught,
    ):
        asyncio.run(main())
    assert caught.value.status == 307
