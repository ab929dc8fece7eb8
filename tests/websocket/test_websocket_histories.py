"""What the server holds as a conversation is the history that the caller passed, whatever happened on the way.

A case is a few conversations over one client, in an order drawn from its number: turns, edits, forks, tools, changed
settings, cache marks, headers of each request, answers left early, errors, connections that are cut while several
answer, hours that pass; servers that ignore lanes, send heartbeats, or change a response's id. After each answer the
service is asked for its whole conversation, chain and tail, which must be the caller's, item for item. The service's
rules are OpenAI's: an id with items that it already has, a call without its output, an unknown parent are refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any

import msgspec
import pytest

from brainwires_provider import (
    AsyncClient,
    AsyncConversation,
    Cache,
    InvalidRequestError,
    Message,
    OpenAIResponsesOptions,
    ProviderConfig,
    Response,
    ServerError,
    StreamInterrupted,
    TextPart,
    Tool,
    WebSocketOptions,
)
from brainwires_provider.testing import (
    Failure,
    Incomplete,
    ResponsesService,
    ScriptedSocket,
    assistant,
    digest,
    function_call,
    reasoning,
)
from brainwires_provider.transports.websocket.pool import Pools
from socket_memory import MemoryNet, VirtualLoop

MEMORY_CASES = 10_000
SOCKET_CASES = 500
MANNERS = (("ignores_lanes",), ("heartbeats",), ("changes_ids",), (), ())
BLOCK = 500
WEATHER = Tool("weather", "The weather of a place.", {"type": "object", "properties": {}})


class Author:
    """Answers with a digest of the conversation, sometimes with a call or a thought, sometimes not at all."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.fails = 0.0

    def __call__(self, items: Sequence[dict[str, Any]], body: dict[str, Any]) -> Any:
        draw = self.random.random()
        if draw < self.fails:
            return self.random.choice(
                (
                    Failure("server_error", "it broke", 500, "before"),
                    Failure("server_error", "it broke", 500, "after_created", late_failed=True),
                    Failure("server_error", "it broke", 500, "in_response"),
                    Incomplete("max_output_tokens", [assistant("cut")]),
                )
            )
        said = digest(items)
        if draw > 0.85:
            return [reasoning("why", "SEALED"), function_call("weather", '{"of": "Paris"}')]
        return [reasoning("why", "SEALED"), assistant(said)] if draw > 0.7 else said


class Case:
    """One case under way: its conversations and what is done to them."""

    def __init__(self, number: int, service: ResponsesService, client: AsyncClient, random: Random) -> None:
        self.number = number
        self.service = service
        self.client = client
        self.random = random
        self.turns = 0
        self.continued = 0
        self.talks = [self._talk(f"You are {number}.") for _ in range(random.choice((1, 1, 2, 3)))]

    def _talk(self, system: str) -> AsyncConversation:
        stored = self.random.random() < 0.2
        options = OpenAIResponsesOptions(store=True) if stored else OpenAIResponsesOptions()
        return self.client.conversation(
            messages=[Message.system(system)], tools=[WEATHER], provider_options=options
        )

    async def turn(self, talk: AsyncConversation) -> None:
        said = self._say(talk)
        args: dict[str, Any] = {"max_tokens": 9} if self.random.random() < 0.05 else {}
        args["extra_headers"] = {"traceparent": f"00-{self.turns}"}
        before = list(talk.messages)
        try:
            if self.random.random() < 0.5:
                response = await talk.chat(said, **args)
            else:
                async with talk.stream(said, **args) as stream:
                    response = await stream.collect()
        except InvalidRequestError:
            raise  # the rules refuse what is malformed: ids with items that they had, orphans
        except (ServerError, StreamInterrupted):
            assert talk.messages == before
            return
        self.turns += 1
        self.continued += response.report.continuation.parent is not None
        if response.finish_reason == "length":
            return  # an answer that is cut is kept by the caller, and by no server
        self.check(response, talk.messages)

    def _say(self, talk: AsyncConversation) -> list[Message]:
        last = talk.messages[-1]
        if last.role == "assistant" and last.tool_calls:
            return [Message.tool_result(call, "sunny") for call in last.tool_calls]
        text = self.random.choice(("hi", "and now?", "why?", "\N{GRINNING FACE}"))
        mark = Cache() if self.random.random() < 0.2 else None
        return [Message.user(TextPart(text, cache=mark))]

    def check(self, response: Response, history: Sequence[Message]) -> None:
        """The server's conversation is the caller's."""
        assert response.id is not None
        *asked, answer = history
        body = msgspec.json.decode(self.client.prepare(list(asked), tools=[WEATHER]).body)
        held = self.service.conversation(response.id)
        output = self.service.turns[self.service.named(response.id)].output
        assert [plain(item) for item in held] == [plain(item) for item in body["input"]] + [
            plain(item) for item in output
        ]
        assert answer == response.message
        if response.text:
            assert response.text == digest(held[: -len(output)])

    async def leave_early(self, talk: AsyncConversation) -> None:
        """The next request works at once, and sees nothing of this one."""
        events = self.random.randrange(0, 4)
        before = list(talk.messages)
        try:
            async with talk.stream(self._say(talk)) as stream:
                async for _ in stream:
                    if events == 0:
                        break
                    events -= 1
        except (ServerError, StreamInterrupted):
            pass
        if events == 0:
            talk.messages = before

    def edit(self, talk: AsyncConversation) -> None:
        """Change what was said, or go back to before it; a call never stays without its output."""
        places = [i for i, m in enumerate(talk.messages) if m.role == "user"]
        if not places:
            return
        place = self.random.choice(places)
        if self.random.random() < 0.5:
            talk.messages = talk.messages[:place] or [Message.system("again")]
        else:
            talk.messages = [*talk.messages]
            talk.messages[place] = Message.user("something else")

    async def step(self, net: MemoryNet | None, author: Author) -> None:
        talk = self.random.choice(self.talks)
        draw = self.random.random()
        if draw < 0.5:
            await self.turn(talk)
        elif draw < 0.65:
            await asyncio.gather(*(self.turn(each) for each in self.talks))
        elif draw < 0.75:
            await self.leave_early(talk)
        elif draw < 0.82:
            self.edit(talk)
        elif draw < 0.9:
            self.talks.append(talk.fork())
        elif draw < 0.94:
            author.fails = self.random.choice((0.0, 0.3))
        elif net is not None and draw < 0.97:
            net.cut()
            net.breaks = self.random.choice((0.0, 0.02))
        elif isinstance(loop := asyncio.get_running_loop(), VirtualLoop):
            loop.now += self.random.choice((60.0, 400.0, 3400.0))
            await asyncio.sleep(0)


def plain(item: dict[str, Any]) -> dict[str, Any]:
    """An item as the two sides may say it: the type of a message, and a text alone or in a list, mean the same."""
    item = {k: v for k, v in item.items() if k not in ("id", "status") and v is not None}
    item.setdefault("type", "message")
    content = item.get("content")
    if isinstance(content, list) and item.get("role") == "user" and len(content) == 1:
        item["content"] = content[0]["text"]
    return item


def traits(random: Random, **more: Any) -> WebSocketOptions:
    return WebSocketOptions(
        shared_store=True,
        multiplexing=random.random() < 0.6,
        reuse_after_error=random.random() < 0.5,
        age_jitter=0,
        **more,
    )


async def memory_case(number: int) -> tuple[int, int]:
    random = Random(number)
    author = Author(random)
    own = traits(random, http_fallback=False, max_lanes=random.choice((2, 4, 32)), max_connections=4)
    manner = random.choice(MANNERS if own.multiplexing else MANNERS[1:])
    service = ResponsesService(
        author, lanes=own.multiplexing, max_lanes=own.max_lanes, piece=64, **dict.fromkeys(manner, True)
    )
    net = MemoryNet(service, random)
    config = ProviderConfig("openai-responses-ws", base_url="http://localhost/v1", api_key="k", socket=own)
    async with AsyncClient("openai-responses-ws:gpt-6", providers=[config]) as client:
        client._session.pools = Pools(connect=net.connect, max_event_bytes=1 << 20, random=random)
        case = Case(number, service, client, random)
        for _ in range(random.randrange(2, 9)):
            await case.step(net, author)
    await asyncio.sleep(0)
    assert not net.links
    return case.turns, case.continued


def run_cases(numbers: range) -> tuple[int, int]:
    turns = continued = 0
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        for number in numbers:
            try:
                a, b = runner.run(memory_case(number))
            except Exception as error:
                error.add_note(f"case {number}")
                raise
            turns, continued = turns + a, continued + b
    return turns, continued


@pytest.mark.long
@pytest.mark.many
@pytest.mark.parametrize("block", range(MEMORY_CASES // BLOCK))
def test_the_server_holds_what_the_caller_passed(block: int) -> None:
    turns, continued = run_cases(range(block * BLOCK, (block + 1) * BLOCK))

    assert turns > BLOCK * 2
    assert continued > turns / 4


async def socket_case(number: int, server: ScriptedSocket, service: ResponsesService, author: Author) -> int:
    random = Random(number)
    author.random, author.fails = random, 0.0
    config = ProviderConfig(
        "openai-responses-ws", base_url=server.base_url, api_key="k", socket=traits_of(service, random)
    )
    async with AsyncClient("openai-responses-ws:gpt-6", providers=[config]) as client:
        case = Case(number, service, client, random)
        for _ in range(random.randrange(2, 9)):
            await case.step(None, author)
    return case.turns


def traits_of(service: ResponsesService, random: Random) -> WebSocketOptions:
    return WebSocketOptions(
        multiplexing=service.lanes, shared_store=True, reuse_after_error=random.random() < 0.5
    )


@pytest.mark.long
@pytest.mark.many
@pytest.mark.parametrize("lanes", [True, False])
def test_the_same_over_sockets(lanes: bool) -> None:
    author = Author(Random(0))
    service = ResponsesService(author, lanes=lanes, piece=64)

    async def cases() -> int:
        return sum([await socket_case(n, server, service, author) for n in range(SOCKET_CASES // 2)])

    with ScriptedSocket(service) as server:
        turns = asyncio.run(asyncio.wait_for(cases(), 300))

    assert turns > SOCKET_CASES // 2
