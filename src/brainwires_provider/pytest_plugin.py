"""Fixtures for tests of code that uses a client. pytest finds them by itself once the package is installed.

Nothing of the library is imported before a test asks for one of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

if TYPE_CHECKING:
    from brainwires_provider.testing import FakeProvider
    from brainwires_provider.testing.recording import Recorder, Replay

__all__ = ["fake_provider", "pytest_addoption", "recorded_provider"]

_FAKE_KEY = "test-key"
_CLOUD = {"AWS_REGION": "us-east-1", "GOOGLE_CLOUD_PROJECT": "fake", "GOOGLE_CLOUD_LOCATION": "global"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the plugin."""
    group = parser.getgroup("brainwires")
    group.addoption(
        "--brainwires-record",
        action="store_true",
        help="make real requests in tests that use recorded_provider, and record their answers anew",
    )


def _give_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys, and what clouds and servers of the user need, where they are not set."""
    from brainwires_provider.providers import PROVIDERS

    settings = dict(_CLOUD)
    for provider in PROVIDERS.values():
        if provider.key_env is not None:
            settings[provider.key_env] = _FAKE_KEY
        if not provider.base_url and provider.base_url_env is not None:
            settings[provider.base_url_env] = "https://fake.invalid/v1"
    for name, value in settings.items():
        if not os.environ.get(name):
            monkeypatch.setenv(name, value)


@pytest.fixture
def fake_provider(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], FakeProvider]:
    """Scripted answers for every client in this test.

    Called as `fake = fake_provider(["Hello", "Bye"])`, with the script of a `FakeProvider`. No request reaches a
    network, whatever model it is for; providers that need a key, a region or an address have one. Vertex AI needs
    `api_key=` in addition, and requests over a WebSocket a `ScriptedSocket`.
    """

    def install(script: Any) -> FakeProvider:
        from brainwires_provider.testing import FakeProvider
        from brainwires_provider.transports import base

        _give_settings(monkeypatch)
        fake = FakeProvider(script)
        monkeypatch.setattr(base, "replacement", fake)
        return fake

    return install


@pytest.fixture
def recorded_provider(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Recorder | Replay]:
    """Answers every request of this test from `recordings/MODULE/TEST.jsonl` beside the test's file.

    With `--brainwires-record` the requests are made, and the file is written anew. It holds no key.
    """
    from brainwires_provider.testing.recording import Recorder, Replay
    from brainwires_provider.transports import base

    test = request.node.nodeid.partition("::")[2]
    name = quote(test, safe=" ,-_.=[]")  # two tests have two names, in a file's name too
    path = request.node.path.parent / "recordings" / request.node.path.stem / f"{name}.jsonl"
    provider: Recorder | Replay
    if request.config.getoption("--brainwires-record"):
        path.unlink(missing_ok=True)
        provider = Recorder(path)
    elif path.exists():
        provider = Replay(path)
        _give_settings(monkeypatch)
    else:
        pytest.fail(f"{path.name} is not recorded yet: run this test once with --brainwires-record")
    monkeypatch.setattr(base, "replacement", provider)
    yield provider
    if isinstance(provider, Recorder):
        provider.abandon()
