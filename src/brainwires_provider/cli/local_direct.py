"""The engine driven directly, to compare ourselves with: plain HTTP/1.1 on its own socket, one connection a request.

It shares no code with the road that our own requests take, so that nothing slow in that one can hide in both. It
reads what llama.cpp's server sends, and nothing else.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from brainwires_provider.cli.local_shots import Shot
from brainwires_provider.errors import ProtocolError, RequestTimeout, TransportError
from brainwires_provider.local.engine.engine import Endpoint

__all__ = ["DirectEngine"]

_SHOWN = 300  # bytes of an unexpected answer


class DirectEngine:
    """The engine at `endpoint`; a request has `clock` seconds.

    Raises TransportError, RequestTimeout, and ProtocolError for an answer that is none of llama.cpp's.
    """

    def __init__(self, endpoint: Endpoint, clock: float = 600.0) -> None:
        self._endpoint = endpoint
        self._clock = clock

    async def count(self, text: str) -> int:
        """How many tokens a prompt has: `POST /tokenize`."""
        body = {"content": text, "add_special": True, "parse_special": True}
        async with self._asked("/tokenize", body) as lines:
            answer = json.loads(b"".join([line async for line in lines]))
        return len(answer["tokens"])

    async def complete(self, prompt: str, tokens: int) -> Shot:
        """One answer of so many tokens, never from a cache: `POST /completion`, as a stream."""
        body = {
            "prompt": prompt,
            "stream": True,
            "n_predict": tokens,
            "temperature": 0,
            "cache_prompt": False,
            "ignore_eos": True,
        }
        began, times, texts, last = time.perf_counter(), [], [], {}
        async with self._asked("/completion", body) as lines:
            async for line in lines:
                if line.startswith(b"data: {"):
                    last = json.loads(line[6:])
                    if last.get("content"):
                        times.append(time.perf_counter())
                        texts.append(last["content"])
            if "timings" not in last:
                raise ProtocolError(f"a direct answer of the engine has no timings: {str(last)[:_SHOWN]}")
            return Shot.taken(began, times, "".join(texts), last["timings"])

    @asynccontextmanager
    async def _asked(self, path: str, body: Mapping[str, Any]) -> AsyncIterator[AsyncIterator[bytes]]:
        """The lines of the answer."""
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(self._clock):
                reader, writer = await self._connect()
                writer.write(self._request(path, json.dumps(body).encode()))
                yield _lines(await _body(reader))
        except TimeoutError:
            raise RequestTimeout(
                f"the engine did not answer a direct request within {self._clock:g} s", clock="total"
            ) from None
        except (OSError, EOFError) as error:
            raise TransportError(f"the engine ended a direct request: {error or 'no answer'}") from None
        except (ValueError, LookupError, TypeError, asyncio.LimitOverrunError) as error:
            raise ProtocolError(f"the engine's answer to a direct request is none: {error!r}") from None
        finally:
            if writer is not None:
                writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._endpoint.socket_path is not None:
            return await asyncio.open_unix_connection(self._endpoint.socket_path)
        place = urlsplit(self._endpoint.base_url)
        return await asyncio.open_connection(place.hostname, place.port)

    def _request(self, path: str, body: bytes) -> bytes:
        host = urlsplit(self._endpoint.base_url).netloc
        key = f"Authorization: Bearer {self._endpoint.api_key}\r\n" if self._endpoint.api_key else ""
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}\r\n{key}Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + body


async def _body(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The bytes of a good answer, as they come."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status = int(head.split(" ", 2)[1])
    body = (_chunks if "\r\ntransfer-encoding: chunked\r\n" in head else _rest)(reader)
    if status == 200:
        return body
    words = b"".join([piece async for piece in body])
    raise ProtocolError(f"the engine refused a direct request with status {status}: {words[:_SHOWN]!r}")


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int(await reader.readuntil(b"\n"), 16):
        yield (await reader.readexactly(size + 2))[:-2]


async def _rest(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while piece := await reader.read(1 << 16):
        yield piece


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    rest = b""
    async for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line
    if rest:
        yield rest
