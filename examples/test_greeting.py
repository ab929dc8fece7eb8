"""A test of your own code with scripted replies: `pytest examples/test_greeting.py`."""

import pytest

from brainwires_provider import Client, RateLimitError, Retry, ToolCallPart
from brainwires_provider.testing import Failure


def greet(name, **args):
    """The code under test."""
    with Client("anthropic:claude-sonnet-5", **args) as client:
        response = client.chat(f"Greet {name}.")
        return response.tool_calls[0].args() if response.tool_calls else response.text


def test_it_greets(fake_provider):
    fake = fake_provider("Hello Ada!")
    assert greet("Ada") == "Hello Ada!"
    assert fake.requests[0].json()["messages"][0]["content"] == "Greet Ada."


def test_it_takes_a_call(fake_provider):
    fake_provider(ToolCallPart("call_1", "greet", '{"name":"Ada"}'))
    assert greet("Ada") == {"name": "Ada"}


def test_it_is_refused(fake_provider):
    fake_provider(Failure("rate_limit", "Slow down.", 429))
    with pytest.raises(RateLimitError):
        greet("Ada", retry=Retry(attempts=1))
