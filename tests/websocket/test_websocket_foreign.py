"""Frames of another response, at every place of an answer: no caller ever gets another's answer, or a piece of it.

A scripted server answers three requests, one after another, and says one frame that it should not: one of a response
of another connection, or a late one of the last response. The client may send the next request before the server goes
on, which is what makes an answer's end that was none dangerous.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from brainwires_provider import ProviderError, WebSocketOptions
from brainwires_provider.testing import Failure, ResponsesService
from brainwires_provider.transports.websocket.pool import Pools
from socket_clients import LANES, client_of, config, refusal, tried
from socket_memory import HeldNet, VirtualLoop, settle

Event = Mapping[str, Any]
KEEPS = WebSocketOptions(reuse_after_error=True)
XAI = WebSocketOptions(repeats_instructions=False)
SERVERS: Mapping[str, tuple[dict[str, Any], WebSocketOptions]] = {
    "lanes": ({}, LANES),
    "lanes, changing ids": ({"changes_ids": True}, LANES),
    "lanes, changing item ids": ({"changes_item_ids": True}, LANES),
    "single": ({"lanes": False}, WebSocketOptions()),
    "single, changing ids": ({"lanes": False, "changes_ids": True}, KEEPS),
    "xai": ({"lanes": False, "manner": "xai"}, XAI),
}


FAILS: Mapping[str, Failure] = {
    "fail": Failure("server_error", "it broke", 500, "in_response"),
    "half": Failure("server_error", "it broke", 500, "after_created", late_failed=True),
}


def author(items: Sequence[Any], body: Any) -> Any:
    said = items[-1]["content"]
    return FAILS.get(said, f"answer to {said}")


def foreign(service: ResponsesService) -> dict[str, Event]:
    """One frame of each kind, of responses of other connections."""
    said: dict[str, Event] = {}
    for text in ("fail", "another"):
        create = {"type": "response.create", "model": "m", "input": text, "store": False}
        for event in service.connect().run(create):
            said[event["type"]] = event
    said["error"] = refusal("server_error", "another's", 500)
    said["numbered error"] = {**said["error"], "sequence_number": 3}
    return said


class Play:
    """One client and server, and one frame of a `source` that is said in place `at` of the answer to "b".

    -1: after its end. What ended the answer to "a" is said late where the source is "late failure".
    """

    def __init__(self, server: str, source: str) -> None:
        self.service = ResponsesService(author, **SERVERS[server][0])
        self.net = HeldNet(self.service, Random(1))
        self.source = source
        self.is_named = server != "xai"

    async def asked(self, client: Any, text: str) -> asyncio.Task[Any]:
        task = asyncio.ensure_future(tried(client.chat(text)))
        await settle()
        return task

    async def answered(self) -> None:
        """Every connection says what is left."""
        said = True
        while said:
            await settle()
            said = [(link, event) for link in list(self.net.links) for event in link.events()]
            for link, event in said:
                link.say(event)

    async def run(self, client: Any, kind: str, at: int) -> list[str] | None:
        """What became of the four requests; None if there is no such frame or place."""
        client._session.pools = Pools(connect=self.net.connect, max_event_bytes=1 << 20, random=Random(1))
        is_failure = self.source == "late failure"
        asked = {"half" if is_failure else "a": await self.asked(client, "half" if is_failure else "a")}
        [first] = self.net.links
        before = first.events()
        for event in before[:-1] if is_failure else before:
            first.say(event)
        await settle()
        asked["b"] = await self.asked(client, "b")
        link = list(self.net.links)[-1]
        told = link.events()
        others = foreign(self.service) if self.source == "another" else {e["type"]: e for e in before}
        if kind not in others or at > len(told):
            return None
        named = {name: told[0][name] for name in ("stream_id",) if name in told[0]}
        frame = others[kind] if is_failure else {**others[kind], **named}
        at = len(told) if at < 0 else at
        for event in told[:at]:
            link.say(event)
        first.say(frame)
        await settle()
        asked["c"] = await self.asked(client, "c")  # before the rest of "b", where "b" has ended
        for event in told[at:]:
            link.say(event)
        await self.answered()
        asked["d"] = await self.asked(client, "d")
        await self.answered()
        found = [self.judged(name, await task) for name, task in asked.items()]
        await client._session.pools.aclose()
        return found

    def judged(self, name: str, found: Any) -> str:
        right = f"answer to {name}"
        if isinstance(found, ProviderError):
            partial = "" if found.partial is None else found.partial.text
            return "error" if right.startswith(partial) else f"wrong piece: {partial}"
        if found.text != right:
            return f"wrong answer: {found.text}"
        if self.is_named and self.service.conversation(found.id)[-2]["content"] != name:
            return f"wrong id: {found.id}"
        return "right"


KINDS = (
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
    "response.failed",
    "error",
    "numbered error",
)


CASES = [(server, source) for server in SERVERS for source in ("another", "late", "late failure")]
CASES.remove(("xai", "late failure"))  # it closes the connection after an error


def played(server: str, source: str, places: Sequence[int]) -> dict[tuple[str, int], list[str]]:
    """What became of the requests, for each kind of frame and each place."""

    async def main() -> dict[tuple[str, int], list[str]]:
        found = {}
        options = replace(SERVERS[server][1], max_idle_connections=1)  # so that "b" goes where "a" went
        async with client_of("async", config("http://localhost/v1", options)) as client:
            for kind in KINDS:
                for at in places:
                    play = Play(server, source)
                    ended = await play.run(client, kind, at)
                    if ended is not None:
                        found[kind, at] = ended
        return found

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


@pytest.mark.parametrize(
    "places", [(0, 3, -1), pytest.param((1, 2, 4, 5, 6, 7, 8), marks=[pytest.mark.long])], ids=["few", "all"]
)
@pytest.mark.parametrize(("server", "source"), CASES)
def test_no_frame_of_another_response_reaches_a_caller(
    server: str, source: str, places: Sequence[int]
) -> None:
    found = played(server, source, places)

    wrong = {place: ended for place, ended in found.items() if "wrong" in str(ended)}
    if server == "lanes, changing item ids":
        # A fragment with the very number of the next is known for another's by that next one.
        assert set(wrong) <= {("response.output_text.delta", at) for at in (4, 5)}
        wrong = {place: ended for place, ended in wrong.items() if "wrong piece" not in ended[1]}
    assert not wrong
    assert len(found) >= len(places) * (1 if source == "late failure" else 9)
    assert {ended[0] for ended in found.values()} == {"error" if source == "late failure" else "right"}
    assert all(ended[-1] == "right" for ended in found.values())
