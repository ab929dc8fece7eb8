"""Tools of MCP servers (Model Context Protocol), by the official `mcp` package: the extra `mcp`.

A connection has an event loop on a thread of its own, so that one serves both clients, and runs on any event loop. The
protocol: https://modelcontextprotocol.io/specification.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack, suppress
from functools import partial
from importlib.util import find_spec
from threading import Thread
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack

import msgspec

from brainwires_provider.errors import ConfigError, ConnectError
from brainwires_provider.providers.resolve import is_loopback
from brainwires_provider.runs.results import EMPTY
from brainwires_provider.types import (
    FilePart,
    FunctionTool,
    ImagePart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from brainwires_provider.types.checked import check_call
from brainwires_provider.types.tools import free_name

if TYPE_CHECKING:
    from mcp import Client

__all__ = ["MCPTools"]

_TIMEOUT, _READ = 30.0, 300.0  # seconds, those of `mcp`
_CLOSING = 10.0
"""Seconds for what ends a connection: `mcp` itself needs about 4 for a command that does not end."""


class _ToolArgs(TypedDict, total=False):
    timeout: float | None
    parallel: bool
    requires_approval: bool | Callable[[ToolCallPart], bool]


class _ServerTool(FunctionTool[..., Any], frozen=True, kw_only=True, gc=True):
    """A tool whose arguments the server checks."""

    def bind(self, call: ToolCallPart, make: object) -> tuple[list[Any], dict[str, Any]]:
        """See `FunctionTool`."""
        return [call.args()], {}


class MCPTools:
    """The tools of an MCP server, for `client.run`: `with MCPTools(…) as server`, or `async with`.

        with MCPTools(["uvx", "mcp-server-time"]) as server:
            print(client.run("What time is it in Rome?", tools=server.tools).result().text)

    `server` is a command with its arguments, which is started and spoken to over its standard input and output; or a
    URL (streamable HTTP), to which `headers` are sent; or what `mcp.Client` takes. A command gets `env`, and of this
    process's environment only what `mcp` regards as safe. `only` names the tools to use, and `prefix` begins the names
    of all. `connect_timeout` are the seconds in which the server must have started, answered and listed its tools.
    `timeout` (seconds for one call), `parallel` and `requires_approval` are those of `tool`.

    Raises ConfigError without the extra `mcp` and for plain http to another machine (unless `allow_http`), ValueError
    for a `connect_timeout` that is not above 0; entering it raises ConnectError where the server cannot be used, or
    does not answer in time.
    """

    def __init__(
        self,
        server: str | Sequence[str] | Any,
        *,
        headers: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        allow_http: bool = False,
        only: Iterable[str] | None = None,
        prefix: str = "",
        connect_timeout: float = 30,
        **args: Unpack[_ToolArgs],
    ) -> None:
        if find_spec("mcp") is None:
            raise ConfigError("MCP servers need the extra: pip install 'brainwires-provider[mcp]'")
        check_call(MCPTools.__init__, locals())
        if isinstance(server, str) and "://" not in server:
            raise ConfigError(f"an MCP server is a URL, or a command as a list of its words, not {server!r}")
        if isinstance(server, str) and server.startswith("http:") and not (allow_http or is_loopback(server)):
            raise ConfigError(
                "plain http to another machine: use https, or allow_http=True in a network that you trust"
            )
        if connect_timeout <= 0:
            raise ValueError(f"connect_timeout takes seconds above 0, not {connect_timeout:g}")
        self._connect_timeout = connect_timeout
        self._server, self._headers, self._env, self._cwd = server, headers, env, cwd
        self._only = None if only is None else frozenset(only)
        self._prefix, self._args = prefix, args
        self._ready: Future[tuple[FunctionTool[..., Any], ...]] = Future()
        self._stop = asyncio.Event()
        self._thread: Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Client | None = None
        self._task: asyncio.Task[Any] | None = None
        self._is_abandoned = False
        self.renamed: dict[str, str] = {}
        """The server's names of the tools that are named otherwise here, since services refuse such names."""

    @property
    def tools(self) -> tuple[FunctionTool[..., Any], ...]:
        """The server's tools. Raises ConfigError before it is entered."""
        if not self._ready.done():
            raise ConfigError("enter MCPTools first: `with MCPTools(…) as server`, or `async with`")
        return self._ready.result()

    # -- opening and closing -------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._start()
        try:
            self._ready.result()
        except BaseException:
            self._abandon()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        self._start()
        try:
            await asyncio.shield(asyncio.wrap_future(self._ready))
        except BaseException:
            self._abandon()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """End the connection, and the server if it is a command."""
        thread, loop = self._thread, self._loop
        if thread is None or loop is None or not thread.is_alive():
            return
        loop.call_soon_threadsafe(self._stop.set)
        thread.join(_CLOSING)
        if thread.is_alive():
            self._abandon()

    def _start(self) -> None:
        if self._thread is not None:
            raise ConfigError("MCPTools is entered once; make another")
        self._thread = Thread(target=self._run, name="brainwires-mcp", daemon=True)
        self._thread.start()

    def _abandon(self) -> None:
        """End the connection without waiting for its end."""
        self._is_abandoned = True
        if self._loop is not None and self._task is not None:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._task.cancel)

    # -- on the connection's thread ------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 (the one who waits for it gets it)
            if not self._ready.done():
                text = f"the MCP server {self._name} cannot be used: {_innermost(error)}"
                self._ready.set_exception(ConnectError(text))

    async def _serve(self) -> None:
        from mcp import Client

        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        if self._is_abandoned:
            return
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self._connect_timeout):
                    transport = await self._transport(stack)
                    self._client = await stack.enter_async_context(Client(transport))
                    listed = await self._listed()
            except TimeoutError:
                raise TimeoutError(f"no answer within {self._connect_timeout:g} seconds") from None
            self._ready.set_result(listed)
            await self._stop.wait()

    async def _transport(self, stack: AsyncExitStack) -> Any:
        if isinstance(self._server, str):
            from httpx2 import AsyncClient, Timeout
            from mcp.client.streamable_http import streamable_http_client

            client = AsyncClient(headers=dict(self._headers or {}), timeout=Timeout(_TIMEOUT, read=_READ))
            await stack.enter_async_context(client)
            return streamable_http_client(self._server, http_client=client)
        if isinstance(self._server, Sequence):
            from mcp import StdioServerParameters

            command, *words = self._server
            env = None if self._env is None else dict(self._env)
            return StdioServerParameters(command=command, args=words, env=env, cwd=self._cwd)
        return self._server

    @property
    def _name(self) -> str:
        """The server, without what may be secret: a URL's query, a command's arguments."""
        if isinstance(self._server, str):
            return self._server.partition("?")[0].rpartition("@")[2]
        return self._server[0] if isinstance(self._server, Sequence) else type(self._server).__name__

    async def _listed(self) -> tuple[FunctionTool[..., Any], ...]:
        assert self._client is not None
        made: dict[str, FunctionTool[..., Any]] = {}
        cursor: str | None = None
        while True:
            page = await self._client.list_tools(cursor=cursor)
            for each in page.tools:
                if self._only is None or each.name in self._only:
                    name = free_name(self._prefix + each.name, made)
                    made[name] = self._tool(name, each)
            cursor = page.next_cursor
            if cursor is None:
                return tuple(made.values())

    def _tool(self, name: str, listed: Any) -> FunctionTool[..., Any]:
        if name != listed.name:
            self.renamed[name] = listed.name
        return _ServerTool(
            name=name,
            description=listed.description or listed.title or "",
            parameters=listed.input_schema,
            function=partial(self._call, listed.name),
            **self._args,
        )

    # -- on the caller's event loop ------------------------------------------------------------------------

    async def _call(self, name: str, arguments: dict[str, Any]) -> ToolResultPart:
        loop, client = self._loop, self._client
        if loop is None or client is None or loop.is_closed():
            raise RuntimeError(f"the connection to the MCP server {self._name} is closed")
        called = asyncio.run_coroutine_threadsafe(client.call_tool(name, arguments), loop)
        result: Any = await asyncio.wrap_future(called)
        content = [_part(each) for each in result.content]
        if not content and result.structured_content is not None:
            content = [TextPart(msgspec.json.encode(result.structured_content).decode())]
        return ToolResultPart("", content or EMPTY, is_error=bool(result.is_error))


def _part(content: Any) -> TextPart | ImagePart | FilePart:
    """A piece of a server's result."""
    match content.type:
        case "text":
            return TextPart(content.text)
        case "image":
            return ImagePart(data=base64.b64decode(content.data), media_type=content.mime_type)
        case "audio":
            return FilePart(data=base64.b64decode(content.data), media_type=content.mime_type)
        case "resource" if hasattr(content.resource, "text"):
            return TextPart(content.resource.text)
        case "resource":
            inner = content.resource
            return FilePart(
                data=base64.b64decode(inner.blob), media_type=inner.mime_type, name=str(inner.uri)
            )
    return TextPart(f"{content.name}: {content.uri}")  # a link to a resource


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
