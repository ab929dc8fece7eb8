"""Stored interactions: fetched, waited for, cancelled, deleted, read on; and google-genai on the same service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from brainwires_provider import (
    AsyncClient,
    AsyncInteractions,
    Client,
    ConfigError,
    GoogleInteractionsOptions,
    InvalidRequestError,
    Message,
    NotFoundError,
    RequestTimeout,
    StreamInterrupted,
    UnsupportedError,
)
from brainwires_provider.errors import ServerError
from brainwires_provider.events import ResponseEnd, TextDelta
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.protocols.google_interactions.operations import (
    cancel_call,
    check_deleted,
    delete_call,
    resume_call,
    retrieve_call,
)
from brainwires_provider.testing import (
    Answer,
    Drop,
    InteractionsService,
    RecordedRequest,
    ScriptedServer,
    called,
    model_output,
    thought,
)
from brainwires_provider.types import Retry, Tool

STORED = GoogleInteractionsOptions(store=True)
BACKGROUND = GoogleInteractionsOptions(background=True)
WEATHER = Tool("weather", "Tells the weather.", {"type": "object"})


def model(steps: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Asks for the weather once, and then says it."""
    last = steps[-1]
    if last["type"] == "function_result":
        return [thought("sig-2"), model_output(f"It is {last['result']}.")]
    if last["content"][0]["text"] == "Weather?":
        return [thought("sig-1", "Ask."), called("c1", "weather", {"city": "Rome"})]
    return [thought("sig-0"), model_output("Hello there.")]


@pytest.fixture
def service() -> InteractionsService:
    return InteractionsService(model)


@pytest.fixture
def server(service: InteractionsService) -> Iterator[ScriptedServer]:
    with ScriptedServer(service) as running:
        yield running


def client(server: ScriptedServer, name: str = "gemini-3-flash-preview") -> Client:
    return Client(
        f"google-interactions:{name}",
        api_key="k",
        base_url=f"{server.url}/v1beta",
        proxy=None,
        retry=Retry(attempts=1),
    )


class Clock:
    """A clock that only its own pauses move."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def __call__(self) -> float:
        return self.now


# -- chats on the service's rules ----------------------------------------------------------------------------


@pytest.mark.parametrize("streams", [False, True])
def test_a_call_its_result_and_its_thought_go_back_under_the_rules(
    server: ScriptedServer, streams: bool
) -> None:
    with client(server) as ours:

        def ask(messages: Any) -> Any:
            if not streams:
                return ours.chat(messages, tools=[WEATHER])
            with ours.stream(messages, tools=[WEATHER]) as stream:
                return stream.collect()

        first = ask([Message.user("Weather?")])
        assert first.finish_reason == "tool_calls"
        assert first.reasoning == "Ask."
        [call] = first.tool_calls
        history = [Message.user("Weather?"), first.message, Message.tool_result(call, "sunny")]
        assert ask(history).text == "It is sunny."
        with pytest.raises(InvalidRequestError, match="thought signature is missing"):
            ask([history[0], Message("assistant", (call,)), history[2]])
        with pytest.raises(InvalidRequestError, match="no function call c1 is before its result"):
            ask([history[0], history[2]])


def test_what_the_service_refuses(server: ScriptedServer) -> None:
    with client(server) as ours:
        for options, message in (
            (GoogleInteractionsOptions(store=False, background=True), "must be stored"),
            (GoogleInteractionsOptions(agent="a", background=False), "works in the background"),
        ):
            with pytest.raises(InvalidRequestError, match=message):
                ours.chat("Hi", provider_options=options)
        with pytest.raises(InvalidRequestError, match="unknown fields: mood"):
            ours.chat("Hi", extra_body={"mood": 1})
        with pytest.raises(NotFoundError, match="not stored, or is deleted"):
            ours.chat("Hi", provider_options=GoogleInteractionsOptions(previous_interaction_id="v1_9"))


# -- stored interactions -------------------------------------------------------------------------------------


def test_a_stored_interaction_is_fetched_continued_and_deleted(
    server: ScriptedServer, service: InteractionsService
) -> None:
    with client(server) as ours:
        first = ours.chat("Weather?", provider_options=STORED)
        assert first.id is not None
        assert ours.interactions.retrieve(first.id).message == first.message
        with_input = ours.interactions.retrieve(first.id, include_input=True)
        assert with_input.extra["input"][0]["content"][0]["text"] == "Weather?"
        follow = GoogleInteractionsOptions(previous_interaction_id=first.id, store=True)
        second = ours.chat([Message.tool_result("c1", "wet")], provider_options=follow)
        assert second.text == "It is wet."
        assert [step["type"] for step in service.stored[str(second.id)]["input"]] == ["function_result"]
        ours.interactions.delete(first.id)
        with pytest.raises(NotFoundError, match="was it stored"):
            ours.interactions.retrieve(first.id)
        assert all(request.header("api-revision") == "2026-05-20" for request in server.requests)


@pytest.mark.parametrize(
    ("call", "method", "target", "query"),
    [
        (retrieve_call("v/1"), "GET", "/interactions/v%2F1", {}),
        (retrieve_call("v", include_input=True), "GET", "/interactions/v", {"include_input": "true"}),
        (resume_call("v", None), "GET", "/interactions/v", {"stream": "true", "alt": "sse"}),
        (
            resume_call("v", "e"),
            "GET",
            "/interactions/v",
            {"stream": "true", "alt": "sse", "last_event_id": "e"},
        ),
        (cancel_call("v"), "POST", "/interactions/v/cancel", {}),
        (delete_call("v"), "DELETE", "/interactions/v", {}),
    ],
)
def test_each_call_about_a_stored_interaction(
    call: Call, method: str, target: str, query: dict[str, str]
) -> None:
    assert (call.method, call.path, call.query, call.body) == (method, target, query, {})


def test_a_deletion_that_is_an_error_is_that_error() -> None:
    check_deleted(b"")
    check_deleted(b"{}")
    with pytest.raises(ServerError, match="burnt"):
        check_deleted(b'{"error": {"code": 500, "message": "burnt", "status": "INTERNAL"}}')


def test_an_agent_is_waited_for_with_longer_and_longer_pauses() -> None:
    service = InteractionsService(model, looks=5)

    async def run(server: ScriptedServer) -> None:
        settings: dict[str, Any] = {"api_key": "k", "base_url": f"{server.url}/v1beta", "proxy": None}
        async with AsyncClient("google-interactions:deep-research-preview-04-2026", **settings) as ours:
            pending = await ours.chat("Look into it.")
            assert (pending.finish_reason, pending.raw_finish_reason) == ("pending", "in_progress")
            clock = Clock()
            interactions = AsyncInteractions(ours._session, sleep=clock.sleep, clock=clock)
            done = await interactions.wait(pending, every=2, slowest=6)
            assert done.text == "Hello there."
            assert done.extra["agent"] == done.model == "deep-research-preview-04-2026"
            assert clock.pauses == [2, 3, 4.5, 6, 6]
            slow = await ours.chat("Look into it.")
            with pytest.raises(RequestTimeout, match=f"{slow.id} was still pending after 4 s"):
                await interactions.wait(str(slow.id), timeout=4)
            with pytest.raises(ConfigError, match="number of seconds"):
                await interactions.wait(slow, every=0)

    with ScriptedServer(service) as server:
        asyncio.run(run(server))


def test_a_background_interaction_is_cancelled(server: ScriptedServer, service: InteractionsService) -> None:
    with client(server) as ours:
        pending = ours.chat("Hi", provider_options=BACKGROUND)
        service._waits[str(pending.id)] = 3
        cancelled = ours.interactions.cancel(str(pending.id))
        assert (cancelled.finish_reason, cancelled.raw_finish_reason) == ("other", "cancelled")
        with pytest.raises(InvalidRequestError, match="that runs can be cancelled"):
            ours.interactions.cancel(str(pending.id))


def test_another_provider_has_no_interactions(server: ScriptedServer) -> None:
    with (
        Client("google:m", api_key="k") as ours,
        pytest.raises(UnsupportedError, match='"google-interactions"'),
    ):
        ours.interactions.retrieve("v1_1")
    with client(server) as ours, pytest.raises(ConfigError, match="named by the id"):
        ours.interactions.retrieve(" ")


# -- streams that were cut -----------------------------------------------------------------------------------


class Cutting:
    """The service, whose first stream ends after this many events, with or without ids."""

    def __init__(self, events: int, *, ids: bool = True) -> None:
        self.service = InteractionsService(model)
        self._left: int | None = events
        self._ids = ids

    def __call__(self, request: RecordedRequest) -> Answer:
        answer = self.service(request)
        if self._left is None or answer.status != 200:
            return answer
        events: Any = list(answer.body)[: self._left]
        if not self._ids:
            events = [event.replace(b'"event_id"', b'"no_id"') for event in events]
        self._left = None
        return Answer(headers=answer.headers, body=[*events, Drop()])


WHOLE = 9  # events of the answer


@pytest.mark.parametrize("cut", range(2, WHOLE))
def test_a_cut_stream_goes_on_with_the_very_next_event(cut: int) -> None:
    with ScriptedServer(Cutting(cut)) as server, client(server) as ours:
        with ours.stream("Hi", provider_options=STORED) as stream, pytest.raises(StreamInterrupted):
            for _ in stream:
                pass
        with ours.interactions.resume(stream) as rest:
            events = list(rest)
        assert isinstance(events[-1], ResponseEnd)
        assert rest.response.text == "Hello there."
        assert rest.response.message.content[0].signature == "sig-0"  # type: ignore[union-attr]
        [sent] = [r.target for r in server.requests if r.method == "GET"]
        assert sent == f"/v1beta/interactions/v1_1?stream=true&alt=sse&last_event_id=e{cut - 1}"
        with pytest.raises(ConfigError, match="knows by itself"):
            ours.interactions.resume(stream, last_event_id="e1")


def test_a_stream_by_its_id_and_one_whose_events_have_none(server: ScriptedServer) -> None:
    with client(server) as ours:
        stored = ours.chat("Hi", provider_options=STORED)
        with ours.interactions.resume(str(stored.id)) as again:
            assert again.collect().text == "Hello there."
        with ours.interactions.resume(str(stored.id), last_event_id="e5") as rest:
            assert [e.text for e in rest if isinstance(e, TextDelta)] == ["there."]
    with ScriptedServer(Cutting(3, ids=False)) as other, client(other) as ours:
        with ours.stream("Hi", provider_options=STORED) as stream, pytest.raises(StreamInterrupted):
            list(stream)
        with pytest.raises(ConfigError, match="no event of the stream had an id"):
            ours.interactions.resume(stream)


# -- google-genai on the same service ------------------------------------------------------------------------


@pytest.fixture
def genai(server: ScriptedServer) -> Iterator[Any]:
    google = pytest.importorskip("google.genai")
    options = {"base_url": f"{server.url}/", "retry_options": {"attempts": 1}}
    theirs = google.Client(api_key="k", http_options=options)
    yield theirs.interactions
    theirs.close()


def test_google_genai_reads_what_the_service_says(genai: Any, service: InteractionsService) -> None:
    asked = genai.create(model="gemini-3-flash-preview", input="Weather?")
    assert asked.status == "requires_action"
    assert [step.type for step in asked.steps] == ["thought", "function_call"]
    result = {"type": "function_result", "call_id": "c1", "name": "weather", "result": "wet"}
    told = genai.create(model="gemini-3-flash-preview", previous_interaction_id=asked.id, input=[result])
    assert told.output_text == "It is wet."
    assert genai.get(told.id).steps == told.steps
    events = list(genai.create(model="gemini-3-flash-preview", input="Hi", stream=True))
    assert "".join(e.delta.text for e in events if getattr(e, "delta", None) and e.delta.type == "text") == (
        "Hello there."
    )
    assert events[-1].event_type == "interaction.completed"
    genai.delete(asked.id)
    errors = pytest.importorskip("google.genai._gaos.lib.compat_errors")
    with pytest.raises(errors.APIStatusError) as caught:
        genai.create(model="gemini-3-flash-preview", previous_interaction_id=asked.id, input="And?")
    assert caught.value.status_code == 404
    with pytest.raises(errors.APIStatusError) as caught:
        genai.create(model="gemini-3-flash-preview", input=[result])
    assert caught.value.status_code == 400
    assert json.dumps(sorted(service.stored)) == '["v1_2", "v1_3"]'
