"""Every sentence of SECURITY.md names tests that exist, and what is promised of the code as a whole."""

from __future__ import annotations

import ast
import asyncio
import re
import subprocess
import sys

import pytest

from brainwires_provider import AsyncClient, FilePart, ImagePart, Message, TextPart
from brainwires_provider.testing import Answer, RecordedRequest, ScriptedServer
from chat_answers import WHOLE
from paths import PROJECT, SOURCE, TESTS

SENTENCES = re.findall(
    r"^- ((?:.+\n)(?:  .+\n)*)", (PROJECT / "SECURITY.md").read_text(encoding="utf-8"), re.MULTILINE
)
DEFINED = {
    name
    for path in TESTS.rglob("*.py")
    for name in re.findall(r"^ *(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
}


def test_the_document_has_its_sentences() -> None:
    assert len(SENTENCES) > 25


@pytest.mark.parametrize("sentence", SENTENCES, ids=lambda sentence: " ".join(sentence.split()[:6]))
def test_every_sentence_names_its_tests(sentence: str) -> None:
    named = re.findall(r"test_\w+", sentence)

    assert named, sentence
    assert set(named) <= DEFINED, set(named) - DEFINED


def test_nothing_is_evaluated_or_unpickled() -> None:
    """Neither by name nor by import; `__reduce__` writes pickles and reads none.

    Ray sends everything between its processes as pickles: what is sent over it may be some, too.
    """
    found = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("eval", "exec", "compile"):
                found.append((path.name, node.lineno, ast.unparse(node.func)))
            names = (
                [alias.name for alias in getattr(node, "names", ())] if isinstance(node, ast.Import) else []
            )
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            unsafe = UNSAFE if path.name not in ("ray.py", "run_ray.py") else UNSAFE[1:]
            found += [(path.name, node.lineno, name) for name in names if name in unsafe]
    assert not found


UNSAFE = ("pickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle")


def test_media_urls_are_sent_and_not_fetched() -> None:
    asked: list[RecordedRequest] = []

    def media(request: RecordedRequest) -> Answer:
        asked.append(request)
        return Answer(body=b"GIF8")

    async def main() -> None:
        message = Message.user(
            TextPart("What is this?"),
            ImagePart(url=f"{host.url}/a.png"),
            FilePart(url=f"{host.url}/a.pdf", media_type="application/pdf"),
        )
        async with AsyncClient("openrouter:m", base_url=server.url, api_key="k") as client:
            assert (await client.chat(message)).text == "Hello"

    with ScriptedServer(media) as host, ScriptedServer([Answer(body=WHOLE)]) as server:
        asyncio.run(main())
        assert f"{host.url}/a.png" in str(server.requests[0].json())
    assert asked == []


def test_importing_opens_no_file_of_the_users() -> None:
    """Beside code, nothing is opened, connected or started by an import or by a client that is made."""
    code = """
import sys
seen = []
def watch(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system", "_thread.start_new_thread"):
        seen.append((event, args))
    if event == "open" and not str(args[0]).endswith((".py", ".pyc", ".so", ".pth")):
        seen.append((event, args[0]))
sys.addaudithook(watch)
import brainwires_provider
brainwires_provider.Client("openai:m", api_key="k")
brainwires_provider.AsyncClient("ollama:m")
assert not seen, seen
"""
    ran = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True, timeout=60)

    assert ran.returncode == 0, ran.stderr
