"""The same actor on Dask."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

from brainwires_provider.testing import Answer, RecordedRequest, ScriptedServer

pytestmark = pytest.mark.long


def answer(request: RecordedRequest) -> Answer:
    message = {"role": "assistant", "content": f"A: {request.json()['messages'][-1]['content']}"}
    return Answer(body=json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode())


def test_dask_actors_answer_frames_and_share_a_store(tmp_path: Path) -> None:
    try:
        version("distributed")
    except PackageNotFoundError:
        pytest.skip("dask is in the group of ray: uv sync --group ray")
    texts = ["a", "é", None, "b", "a"]
    with ScriptedServer(answer) as server:

        def run() -> list[dict[str, Any]]:
            given = json.dumps([server.url, str(tmp_path / "store"), texts])
            command = [sys.executable, str(Path(__file__).with_name("dask_job.py")), given]
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
            assert done.returncode == 0, done.stderr[-4000:]
            rows: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
            return rows

        rows = run()
        assert [row["answer"] for row in rows] == [
            None if text is None else f"A: Row {text}" for text in texts
        ]
        assert [row["error_type"] for row in rows] == [None, None, "ValueError", None, None]
        before = len(server.requests)
        assert before in (3, 4)  # two workers may ask equal rows at the same moment
        assert [row["from_store"] for row in run()] == [True, True, False, True, True]
        assert len(server.requests) == before
