"""MCP servers as tools: listed, called, their images and errors, over standard input and output and over HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import Any

import pytest

from brainwires_provider import (
    AsyncClient,
    Client,
    ConfigError,
    ConnectError,
    FilePart,
    ImagePart,
    MCPTools,
    TextPart,
)
from brainwires_provider.testing import ScriptedServer, refuse
from tool_services import SERVICES, chat_results, scripted

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 8
CHAT = SERVICES["chat"]


def made_server() -> Any:
    """A server with every kind of content, and a name that services refuse."""
    from mcp.server.mcpserver import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
    from mcp.types import (
        AudioContent,
        BlobResourceContents,
        EmbeddedResource,
        ImageContent,
        ResourceLink,
        TextContent,
        TextResourceContents,
    )

    server = MCPServer("test")
    data = base64.b64encode(PNG).decode()

    @server.tool()
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @server.tool(name="files.read")
    def read(path: str) -> str:
        return f"content of {path}"

    @server.tool()
    def broken() -> str:
        raise ToolError("it broke")

    @server.tool(structured_output=False)
    def everything() -> list[Any]:
        return [
            TextContent(type="text", text="words"),
            ImageContent(type="image", data=data, mime_type="image/png"),
            AudioContent(type="audio", data=data, mime_type="audio/wav"),
            EmbeddedResource(type="resource", resource=TextResourceContents(uri="a:b", text="inner")),
            EmbeddedResource(
                type="resource",
                resource=BlobResourceContents(uri="a:c", blob=data, mime_type="application/pdf"),
            ),
            ResourceLink(type="resource_link", name="more", uri="a:d"),
        ]

    return server


def call(server: MCPTools, name: str, **arguments: Any) -> Any:
    made = next(each for each in server.tools if each.name == name)
    return asyncio.run(made.function(arguments))


def test_the_tools_of_a_server_are_listed_and_called() -> None:
    with MCPTools(made_server(), timeout=20, requires_approval=True) as server:
        assert [each.name for each in server.tools] == ["add", "files_read", "broken", "everything"]
        assert server.renamed == {"files_read": "files.read"}
        first = server.tools[0]
        assert (first.description, first.timeout, first.requires_approval) == ("Add two numbers.", 20, True)
        assert sorted(first.parameters["properties"]) == ["a", "b"]
        assert call(server, "add", a=1, b=2).text == "3"
        assert call(server, "files_read", path="/x").text == "content of /x"
        failed = call(server, "broken")
        assert failed.is_error and "it broke" in failed.text
        assert call(server, "add", a="x").is_error
        assert [type(part) for part in call(server, "everything").content] == [
            *(TextPart, ImagePart, FilePart, TextPart, FilePart, TextPart)
        ]
        assert call(server, "everything").content[1].data == PNG
        assert call(server, "everything").text == "wordsinnermore: a:d"
    with pytest.raises(RuntimeError, match="the connection to the MCP server MCPServer is closed"):
        call(server, "add", a=1, b=2)


@pytest.mark.parametrize("form", [AsyncClient, Client])
def test_a_run_calls_them_in_both_forms_of_the_client(form: type[Any]) -> None:
    turn = [("x", "t_add", {"a": 1, "b": 2}), ("y", "t_broken", {})]

    async def main(client: AsyncClient) -> None:
        async with client, MCPTools(made_server(), only=["add", "broken"], prefix="t_") as server:
            assert len(server.tools) == 2
            await client.run("hi", tools=server.tools).result()

    with ScriptedServer(scripted(CHAT, turn, "end")) as scripts:
        client = form("openai-chat:m", api_key="k", base_url=scripts.url)
        if form is AsyncClient:
            asyncio.run(main(client))
        else:
            with client, MCPTools(made_server(), only=["add", "broken"], prefix="t_") as server:
                client.run("hi", tools=server.tools).result()
        sent = [(id, json.loads(text)) for id, text in chat_results(scripts.requests[-1].json())]
    assert sent[0] == ("x", "3") and "it broke" in sent[1][1]


@contextmanager
def over_http() -> Iterator[str]:
    """The same server, over streamable HTTP, at its URL; a request without its key is refused."""
    import uvicorn

    app = made_server().streamable_http_app(json_response=True)

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and dict(scope["headers"]).get(b"authorization") != b"Bearer k":
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        await app(scope, receive, send)

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()  # before the server's thread starts: a request that is early waits for it
        server = uvicorn.Server(uvicorn.Config(guarded, log_config=None, lifespan="on"))
        thread = Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
        finally:
            server.should_exit = True
            thread.join()


@pytest.mark.long
def test_over_http_with_headers() -> None:
    with over_http() as url:
        with MCPTools(url, headers={"Authorization": "Bearer k"}) as server:
            assert call(server, "add", a=1, b=2).text == "3"
        with pytest.raises(ConnectError, match="cannot be used"), MCPTools(url + "?token=secret") as server:
            pass


@pytest.mark.long
def test_a_reference_server_over_standard_input_and_output(capfd: pytest.CaptureFixture[str]) -> None:
    turn = [
        (
            "x",
            "convert_time",
            {"source_timezone": "Etc/UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"},
        ),
        ("y", "get_current_time", {"timezone": "Nowhere"}),
    ]
    with (
        ScriptedServer(scripted(CHAT, turn, "end")) as scripts,
        Client("openai-chat:m", api_key="k", base_url=scripts.url) as client,
        MCPTools([sys.executable, "-m", "mcp_server_time"], env=dict(os.environ)) as server,
    ):
        assert sorted(each.name for each in server.tools) == ["convert_time", "get_current_time"]
        assert client.run("What time is it in Tokyo?", tools=server.tools).result().text == "end"
        sent = [json.loads(text) for _, text in chat_results(scripts.requests[-1].json())]
    assert json.loads(sent[0])["time_difference"] == "+9.0h" and "Nowhere" in sent[1]


def test_a_server_that_cannot_be_used_is_a_connect_error_without_secrets(tmp_path: Path) -> None:
    with pytest.raises(ConnectError, match=r"the MCP server .*nothing cannot be used"):
        MCPTools([str(tmp_path / "nothing"), "--key", "hunter2"]).__enter__()
    with refuse() as port, pytest.raises(ConnectError) as refused:
        MCPTools(f"http://user:hunter2@127.0.0.1:{port}/mcp?key=hunter2").__enter__()
    assert "hunter2" not in str(refused.value)


SILENT = [sys.executable, "-c", "import time; time.sleep(1000)"]


@pytest.mark.parametrize(
    "form", [pytest.param("command", marks=pytest.mark.long), "http", pytest.param("listed", id="no list")]
)
@pytest.mark.parametrize("way", ["with", "async with"])
def test_a_server_that_does_not_answer_is_a_connect_error_in_time(form: str, way: str) -> None:
    async def entered(server: MCPTools) -> None:
        async with server:
            pass

    silent = made_server()

    async def never(*_: Any, **__: Any) -> None:
        await asyncio.sleep(1000)

    silent.list_tools = never
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()  # takes connections, and answers none
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
        where: Any = {"command": SILENT, "http": url, "listed": silent}[form]
        server = MCPTools(where, connect_timeout=0.1)
        begun = monotonic()
        with pytest.raises(ConnectError, match=r"cannot be used: no answer within 0\.1 seconds"):
            if way == "with":
                server.__enter__()
            else:
                asyncio.run(entered(server))
        assert monotonic() - begun < 15


@pytest.mark.parametrize("when", ["0.5", "0"])
def test_an_entry_that_is_cancelled_holds_up_no_exit(when: str) -> None:
    code = f"""
import asyncio, sys
from brainwires_provider import MCPTools
async def main():
    try:
        await asyncio.wait_for(MCPTools({SILENT!r}).__aenter__(), {when})
    except TimeoutError:
        print("cancelled")
asyncio.run(main())
"""
    begun = monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("cancelled\n", 0), done.stderr
    assert monotonic() - begun < 15


def test_wrong_uses_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="a command as a list of its words"):
        MCPTools("uvx mcp-server-time")
    with pytest.raises(ConfigError, match="plain http to another machine"):
        MCPTools("http://example.com/mcp")
    with pytest.raises(ValueError, match="connect_timeout takes seconds above 0, not 0"):
        MCPTools([sys.executable], connect_timeout=0)
    assert MCPTools("http://example.com/mcp", allow_http=True).close() is None
    with pytest.raises(ConfigError, match="enter MCPTools first"):
        _ = MCPTools([sys.executable]).tools
    with MCPTools(made_server()) as server, pytest.raises(ConfigError, match="entered once"):
        server.__enter__()
    monkeypatch.setattr("brainwires_provider.runs.mcp.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"brainwires-provider\[mcp\]"):
        MCPTools([sys.executable])
