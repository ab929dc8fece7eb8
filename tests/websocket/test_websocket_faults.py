"""Every fault that a survey saw in other clients (November 2026), and the test that ours has it not.

docs/websocket-evidence.md has the same table. Most tests lie with their subject; those without one are here.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from test_websocket_behaviour import DOCS, table

from brainwires_provider import ConnectError, RequestTimeout, Timeouts, WebSocketOptions
from brainwires_provider.testing import Answer, ResponsesService, ScriptedSocket, digest
from socket_clients import COLOURS, KEY, LANES, MODES, played, tried

HERE = Path(__file__).parent
BOTH = pytest.mark.parametrize("colour", COLOURS)
IN_BOTH_MODES = pytest.mark.parametrize("traits", MODES.values(), ids=MODES.keys())


class Fault(NamedTuple):
    what: str
    seen_in: str
    test: str
    """`file::name`, the file without `test_websocket_` and `.py`."""


FAULTS = (
    Fault(
        "A reconnection during a response: the iterator waits for ever",
        "openai-python 3.54",
        "behaviour::test_nothing_is_sent_again_once_something_came",
    ),
    Fault(
        "A close with 1000 or 1001 during a response passes for its end",
        "openai-python 3.54",
        "behaviour::test_a_close_before_the_end_is_an_error_with_the_partial",
    ),
    Fault(
        "After an early exit the next request reads the last one's events",
        "openai-python 3.54, openai-node 7.5, four others, the crate",
        "behaviour::test_an_answer_left_early_leaves_no_stale_event",
    ),
    Fault(
        "The same for a request that is cancelled before its turn, or at any moment",
        "stippi/code-assistant #200, llxprt-code #2750",
        "cancel::test_cancelled_in_any_state",
    ),
    Fault(
        "`error` events are yielded, not raised",
        "openai-python 3.54, openai-node 7.5",
        "behaviour::test_an_error_event_ends_the_answer_and_is_typed",
    ),
    Fault(
        "A refused handshake raises the WebSocket library's exception",
        "openai-python 3.54",
        "behaviour::test_a_refused_handshake_is_the_error_of_its_status",
    ),
    Fault(
        "No time limit while it waits for an event",
        "openai-python 3.54, openai-agents-js #1128, livekit/agents-js #1935, openclaw #44168, the crate",
        "behaviour_chains::test_silence_has_a_clock",
    ),
    Fault(
        "A lane stays busy for ever once its connection was lost",
        "openai-python 3.54, its lanes",
        "ends::test_a_lane_is_free_after_its_connection_was_lost",
    ),
    Fault(
        "One slow reader closes the connection for all lanes",
        "openai-python 3.54, its lanes",
        "behaviour::test_a_slow_consumer_loses_nothing_or_only_its_own_answer",
    ),
    Fault(
        "Requests of more than 1 MiB fail while it connects",
        "openai-python 3.54, openai-node 7.5",
        "faults::test_large_requests_wait_for_their_connection",
    ),
    Fault(
        "One request at a time",
        "openai-agents 0.24, the crate",
        "behaviour::test_without_lanes_each_answer_at_once_has_a_connection",
    ),
    Fault(
        "A refused request costs the connection, and so every chain on it",
        "openai-agents 0.24",
        "ends::test_a_refused_request_costs_no_other_its_chain",
    ),
    Fault(
        "What had arrived of a failed or incomplete answer is lost",
        "openai-agents 0.24, livekit 1.8.9, the crate",
        "behaviour::test_what_had_arrived_stays",
    ),
    Fault(
        "A flat `error` loses its code, one without a status is not seen",
        "openai-agents 0.24, Codex, the crate",
        "behaviour::test_an_error_event_ends_the_answer_and_is_typed",
    ),
    Fault(
        "Errors of yet other shapes",
        "openclaw #122717",
        "ends::test_an_error_of_any_shape_ends_the_answer",
    ),
    Fault(
        "Organisation, project and custom headers do not reach the handshake",
        "openai-node 7.5, pipecat 1.14, openai-python #3887, openai-java #1013, the crate",
        "behaviour::test_the_handshake_carries_the_key_and_the_callers_headers",
    ),
    Fault(
        "An answer that nobody reads any more blocks the next turn",
        "Codex, pipecat 1.14",
        "cancel::test_the_next_turn_waits_for_no_drain",
    ),
    Fault(
        "An answer that never ends keeps its connection for ever",
        "pipecat 1.14",
        "cancel::test_a_lane_that_never_ends_is_given_up_with_its_connection",
    ),
    Fault(
        "Sends `response.cancel`, which the API does not have",
        "pipecat 1.14",
        "faults::test_only_documented_events_are_sent",
    ),
    Fault(
        "Many tries at a WebSocket before HTTP is used; 1009 tried again",
        "Codex #19821 and #24045, opencode #42572",
        "recovery::test_where_no_websocket_comes_about_http_answers",
    ),
    Fault(
        "Many tries on connections that are gone",
        "livekit 1.8.9",
        "recovery::test_each_rung_is_taken_once",
    ),
    Fault(
        "The server's close between turns is not seen; pings are not answered",
        "LiteLLM 1.109, the crate",
        "behaviour::test_between_turns_pings_are_answered_and_a_close_is_seen",
    ),
    Fault(
        "Everything is sent every turn",
        "Vercel AI SDK, openai-agents 0.24",
        "behaviour_chains::test_only_what_is_new_is_sent_after_the_same_beginning",
    ),
    Fault(
        "No continuation with `store=false`, or after anything ran in parallel",
        "livekit 1.8.9",
        "faults::test_a_chain_survives_what_runs_beside_it",
    ),
    Fault(
        "Events above 1 MiB, or 4 MiB, end the connection",
        "pipecat 1.14, livekit 1.8.9, `websockets`' own default",
        "ends::test_large_events_come_whole_and_beyond_the_limit_is_told",
    ),
    Fault(
        "No rotation, or none before the limit",
        "openai-agents 0.24, livekit 1.8.9",
        "clock::test_three_hours_without_one_request_lost",
    ),
    Fault(
        "A replaced connection is dropped without a closing handshake",
        "the crate",
        "clock::test_connections_opened_together_are_not_replaced_together",
    ),
    Fault(
        "`previous_response_not_found` after a long tool call goes to the user",
        "pi #6931 and #6955",
        "clock::test_a_tool_that_takes_its_time_costs_no_chain",
    ),
    Fault(
        "The same after a computer slept",
        "pi #6955",
        "clock::test_a_laptop_that_slept_goes_on",
    ),
    Fault(
        "Its other names and places are not known",
        "oh-my-pi #4624, gajae-code #731, openclaw #122717",
        "behaviour_chains::test_a_forgotten_parent_is_recovered_from_once",
    ),
    Fault(
        "A dead link is waited on",
        "openclaw #77570, openai-agents #3080",
        "ends::test_a_dead_link_is_noticed_in_mid_answer_and_between_turns",
    ),
    Fault(
        "An error and then a close passes for a lost connection",
        "codegraff #693, opencode #47973, helm-api #774",
        "ends::test_an_error_and_then_a_close_is_the_error",
    ),
    Fault(
        "An error waits for the closing handshake",
        "Codex #14017",
        "ends::test_an_error_does_not_wait_for_a_closing_handshake",
    ),
    Fault(
        "A server that goes silent after an error is used again",
        "opencode #47973",
        "ends::test_a_server_that_falls_silent_after_an_error_is_left",
    ),
    Fault(
        "`response.failed` behind an `error` reaches the next request",
        "seen in prism-php's recordings",
        "ends::test_a_failed_response_after_an_error_reaches_nobody",
    ),
    Fault(
        "A fresh connection that is closed without a word (1000 for a decimal temperature, 1006, 1008, 1011)",
        "brainlid/langchain #483, Codex #13041 #18960 #24533 #28115 #32366",
        "recovery::test_where_no_websocket_comes_about_http_answers",
    ),
    Fault(
        "An idle connection that reaches its limit brings the process down",
        "the limit's error on Node",
        "recovery::test_the_limit_on_an_idle_connection_is_no_accident",
    ),
    Fault(
        "Idle connections that an edge drops",
        "Floway #324",
        "recovery::test_a_used_connection_that_ends_is_replaced_once",
    ),
    Fault(
        "Proxies of the environment are ignored",
        "Codex #14080 and #29958, claude-code-proxy #82, oh-my-pi #5510, Codex-Manager #387, huddle #74",
        "behaviour::test_the_environments_proxy_is_gone_through",
    ),
    Fault(
        "A base URL of the caller is ignored",
        "opencode #29636, the crate",
        "behaviour::test_the_url_follows_from_the_base_url",
    ),
    Fault(
        "The history and an id together: duplicates, or a context twice as long",
        "MacPaw/OpenAI #432, vercel/ai #16356, Codex #11383, the crate",
        "behaviour_chains::test_only_what_is_new_is_sent_after_the_same_beginning",
    ),
    Fault(
        "Calls without outputs, outputs without calls",
        "CLIProxyAPI #3664, codex-router #554",
        "content::test_a_call_without_its_output_is_not_continued",
    ),
    Fault(
        "A slow reader's connection dies of its keepalive",
        "`websockets`' own default",
        "behaviour::test_a_slow_consumer_loses_nothing_or_only_its_own_answer",
    ),
    Fault(
        "A client is bound to one event loop",
        "`websockets`' own client",
        "behaviour_chains::test_one_client_in_two_loops_and_twenty_threads",
    ),
    Fault(
        "The key is in the log",
        "`websockets`' own client",
        "content::test_no_secret_shows_anywhere",
    ),
    Fault(
        "The handshake is no handshake",
        "the crate",
        "behaviour::test_the_handshake_carries_the_key_and_the_callers_headers",
    ),
    Fault(
        "One last id for all conversations: users continue each other's",
        "the crate",
        "content::test_two_users_with_equal_beginnings_never_cross",
    ),
    Fault(
        "The last id is kept when the connection that knew it is gone",
        "the crate",
        "recovery::test_a_used_connection_that_ends_is_replaced_once",
    ),
    Fault(
        "The request's own model is not used; `stop` is sent; settings are not",
        "the crate",
        "content::test_the_requests_own_fields_are_the_ones_that_go",
    ),
    Fault(
        "`background` is sent",
        "the crate",
        "content::test_a_background_answer_goes_over_http",
    ),
    Fault(
        "Tool calls and their results are not sent",
        "the crate",
        "content::test_tool_loops_with_parallel_calls",
    ),
    Fault(
        "Images, and all system messages but one, are not sent",
        "the crate",
        "content::test_every_part_of_a_history_goes_and_stays",
    ),
    Fault(
        "The pieces of a call cannot be joined; the finish reason is always `stop`",
        "the crate",
        "content::test_the_pieces_of_a_call_are_joined_by_their_part",
    ),
    Fault(
        "An unknown item, annotation or event, or a null, makes the last event unreadable",
        "the crate",
        "ends::test_unknown_events_items_and_annotations_are_no_end",
    ),
    Fault(
        "A null in the last event",
        "the crate",
        "ends::test_null_fields_in_the_last_event_end_the_answer",
    ),
    Fault(
        "Garbage that is no ASCII brings the process down",
        "the crate",
        "ends::test_garbage_is_an_error_that_says_so_with_the_partial",
    ),
    Fault(
        "Two threads race for one connection",
        "the crate",
        "behaviour_chains::test_one_client_in_two_loops_and_twenty_threads",
    ),
    Fault(
        "A key is asked for once, for ever",
        "the crate",
        "recovery::test_a_callable_key_is_asked_at_each_connect_and_once_more_on_401",
    ),
    Fault(
        "A close waits for a request, or a request for a client that is closed",
        "in openai-agents' own list of edge cases",
        "cancel::test_a_client_that_is_closed_keeps_nobody_waiting",
    ),
    Fault(
        "Clocks of zero, headers in another case",
        "in openai-agents' own list of edge cases",
        "faults::test_odd_settings_are_taken_at_their_word",
    ),
    Fault(
        "A redirect takes the key to another origin",
        "the default of WebSocket libraries; refused by openai-python 3.54",
        "recovery::test_no_redirect_is_followed",
    ),
)


def test_the_document_has_the_same_faults_and_every_test_is_there() -> None:
    assert [tuple(row) for row in table("Faults seen elsewhere")] == [
        (fault.what, fault.seen_in, f"`{fault.test}`") for fault in FAULTS
    ]
    for fault in FAULTS:
        file, _, name = fault.test.partition("::")
        assert f"def {name}(" in (HERE / f"test_websocket_{file}.py").read_text(encoding="utf-8"), fault


def test_every_statement_of_the_guide_has_a_test() -> None:
    """Each item of a list and each row of a table has a number, and each number a test that is there."""
    guide = (DOCS.parent / "websocket.md").read_text(encoding="utf-8").split("## What it saves")[1]
    stated = [line for line in guide.splitlines() if re.match(r"- |\| (?!If |What |Statistic )[^-]", line)]
    tests = {number: test.strip("`") for number, test in table("The tests of the guide's statements")}

    assert len(stated) > 50
    assert not [line for line in stated if not re.search(r"\[\d+\]", line)]
    assert set(re.findall(r"\[(\d+)\]", guide)) == set(tests)
    for test in tests.values():
        file, _, name = test.partition("::")
        assert f"def {name}(" in (HERE / f"test_websocket_{file}.py").read_text(encoding="utf-8"), test


@BOTH
def test_large_requests_wait_for_their_connection(colour: str) -> None:
    async def scenario(client: Any) -> None:
        large = [f"{n}" + "x" * 3_000_000 for n in range(4)]
        for text, response in zip(large, await asyncio.gather(*(client.chat(t) for t in large)), strict=True):
            assert response.text == digest([{"role": "user", "content": text}])

    with ScriptedSocket(ResponsesService(), delay=0.1) as server:
        played(colour, server, scenario, LANES)
    assert server.connections == 1 and min(server.sizes) > 3_000_000


@BOTH
@IN_BOTH_MODES
def test_only_documented_events_are_sent(traits: WebSocketOptions, colour: str) -> None:
    async def scenario(client: Any) -> None:
        for n in range(3):
            async with client.stream(f"left {n}") as stream:
                await anext(stream)
            await client.chat(f"kept {n}")

    with ScriptedSocket(ResponsesService(lanes=traits.multiplexing, piece=2), pace=0.002) as server:
        played(colour, server, scenario, traits)
    frames = [frame for events in server.requests for frame in events]
    assert {frame["type"] for frame in frames} == {"response.create"}
    assert len([frame for frame in frames if frame["input"][0]["content"].startswith("kept")]) == 3


@BOTH
@IN_BOTH_MODES
def test_a_chain_survives_what_runs_beside_it(traits: WebSocketOptions, colour: str) -> None:
    async def scenario(client: Any) -> None:
        talk = client.conversation()
        await talk.chat("hi")
        for n in range(3):
            others = [asyncio.ensure_future(client.chat(f"other {n} {m}")) for m in range(4)]
            turn = await talk.chat(f"turn {n}")
            assert turn.report.continuation.sent == 1 and turn.report.continuation.of == 2 * n + 3
            await asyncio.gather(*others)

    with ScriptedSocket(ResponsesService(lanes=traits.multiplexing), pace=0.001) as server:
        played(colour, server, scenario, traits)
    assert all(frame["store"] is False for events in server.requests for frame in events)


@BOTH
def test_odd_settings_are_taken_at_their_word(colour: str) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Timeouts(idle=0)

    async def scenario(client: Any) -> None:
        for clock in ("first_event", "total"):
            error = await tried(client.chat("hi", timeouts=Timeouts(**{clock: 1e-9})))
            assert isinstance(error, RequestTimeout) and error.clock == clock
        assert (await client.chat("hi")).text.startswith("1 items")
        assert (await client.chat("hi", extra_headers={"AUTHORIZATION": "Bearer other"})).text

    with ScriptedSocket(ResponsesService()) as server:
        played(colour, server, scenario, LANES)
    assert [h.header("authorization") for h in server.handshakes][-2:] == [f"Bearer {KEY}", "Bearer other"]
    assert [sum(name.lower() == "authorization" for name, _ in h.headers) for h in server.handshakes][-1] == 1


def test_each_request_brings_its_own_clock_for_the_connection() -> None:
    """The first request's is not that of all connections of the same pool."""

    async def scenario(client: Any) -> None:
        patient = Timeouts(connect=5)
        error = await tried(client.chat("hi", timeouts=Timeouts(connect=0.2)))
        assert isinstance(error, RequestTimeout | ConnectError)
        assert (await client.chat("hi", timeouts=patient)).text.startswith("1 items")

    def plan(handshake: Any) -> Any:
        return Answer(stall_before_headers=True) if handshake.number == 1 else ResponsesService()

    with ScriptedSocket(plan, delay=0.2) as server:
        played("async", server, scenario, WebSocketOptions(http_fallback=False))
