"""The servers' scripts on a real server, with the time passed in: limits, the queue, the loss of memory, budgets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brainwires_provider._core.shared_scripts import LIMITS
from redis_servers import SERVERS, RedisServer

START = 1_790_000_000_000
WINDOW, WIDTH = 60_000, 500


class Script:
    """The limits of one name, at a time that the test sets."""

    def __init__(self, server: RedisServer, **limits: Any) -> None:
        import redis

        self.redis = redis.Redis(port=server.port, decode_responses=True)
        self.redis.flushall()
        by_argument = LIMITS.replace("redis.call('TIME')", "cjson.decode(ARGV[2])")
        assert by_argument != LIMITS
        self.run = self.redis.register_script(by_argument)
        self.limits = {"learns": True, "limits": limits}
        self.now = START
        self.numbers = count(1)
        self.epochs: dict[str, str] = {}

    def say(self, owner: str = "a", now: float | None = None, **said: Any) -> dict[str, Any]:
        """One message; `now` is in seconds since the start."""
        if now is not None:
            self.now = START + round(now * 1000)
        full = said.get("full", False)
        message = {
            "owner": owner,
            "number": next(self.numbers),
            "epoch": self.epochs.get(owner, ""),
            "full": full,
            "window": WINDOW,
            "width": WIDTH,
            "patience": 100_000_000,
            "grace": 2_500,
            **dict.fromkeys(("enter", "ends", "left"), ""),
            "stated": {},
            **(dict.fromkeys(("own", "holding"), "") | {"used": "0,0,0", "used_age": 0} if full else {}),
            **self.limits,
            **said,
        }
        keys = [f"{{t}}:{part}" for part in ("use", "queue", "owners", "held", "news")]
        clock = [str(self.now // 1000), str(self.now % 1000 * 1000)]
        found: dict[str, Any] = json.loads(self.run(keys=keys, args=[json.dumps(message), json.dumps(clock)]))
        self.epochs[owner] = found.get("epoch", self.epochs.get(owner, ""))
        return found

    def forget(self) -> None:
        """As a server that was started again."""
        self.redis.flushall()


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(request.param, tmp_path_factory.mktemp("server")) as server:
        yield server


def test_who_comes_first_is_served_first_whoever_asks(server: RedisServer) -> None:
    script = Script(server, requests=2)

    assert script.say("a", 0, enter="1,0,0 2,0,0 3,0,0")["granted"] == "1,2"
    assert script.say("b", 1, enter="1,0,0")["wait"] == 59_500  # a slice ends with its last moment
    assert script.say("b", 60.5)["granted"] == "1"
    assert script.say("a", 60.5)["granted"] == "3"


def test_a_large_waiter_is_not_passed(server: RedisServer) -> None:
    script = Script(server, tokens=100)
    script.say("a", 0, enter="1,15,0 2,15,0 3,15,0 4,15,0 5,15,0")
    script.say("b", 1, enter="1,60,20")
    for n in range(59):
        assert script.say("a", 2 + n, enter=f"{10 + n},1,0")["granted"] == ""
    assert script.say("b", 60.5)["granted"] == "1"


def test_what_is_larger_than_the_limit_waits_for_an_empty_window(server: RedisServer) -> None:
    script = Script(server, tokens=100)
    script.say("a", 0, enter="1,10,0")
    assert script.say("b", 1, enter="1,500,0 2,1,0")["wait"] == 59_500
    assert script.say("b", 60.5) | {"used": "1,500,0,500"} == script.say("b") | {"granted": "1"}


# name: what is said of place 1, which has reserved 90: what is used then
SETTLED: dict[str, tuple[list[dict[str, Any]], str]] = {
    "nothing": ([{}], "1,60,30,90"),
    "as reserved": ([{"ends": "1"}], "1,60,30,90"),
    "less": ([{"ends": "1,1,20,10"}], "1,20,10,30"),
    "more": ([{"ends": "1,1,100,10"}], "1,100,10,110"),
    "twice": ([{"ends": "1,1,20,10"}, {"ends": "1,1,1,1"}], "1,20,10,30"),
    "given back": ([{"left": "1,60,30"}], "0,0,0,0"),
    "unknown": ([{"ends": "7,1,1,1"}], "1,60,30,90"),
}


@pytest.mark.parametrize("name", SETTLED)
def test_what_counts_of_a_place(server: RedisServer, name: str) -> None:
    script = Script(server, tokens=100)
    script.say("a", 0, enter="1,60,30")
    for said in SETTLED[name][0]:
        script.say("a", 1, **said)

    assert script.say("b", 2)["used"] == SETTLED[name][1]
    assert script.say("b", 60.5)["used"] == "0,0,0,0"
    script.say("a", 61, ends="1,1,5,5")
    assert script.say("b", 61)["used"] == "0,0,0,0"  # it has left the window: nothing is counted twice


def test_one_who_leaves_lets_the_next_pass(server: RedisServer) -> None:
    script = Script(server, tokens=100)
    script.say("a", 0, enter="1,90,0 2,80,0")
    script.say("b", 1, enter="1,10,0")
    script.say("a", 2, left="2,80,0")

    assert script.say("b", 2) | {} == script.say("b") | {"granted": "1"}


def test_places_at_once_and_the_death_of_a_holder(server: RedisServer) -> None:
    script = Script(server)
    script.limits |= {"most": 2, "patience": 15_000}
    assert script.say("a", 0, enter="1,0,0 2,0,0 3,0,0")["granted"] == "1,2"
    assert script.say("b", 1, enter="1,0,0")["wait"] == 0
    for now in (5, 10, 15):  # who is heard of keeps its places, however long
        script.say("a", now)
        assert script.say("b", now)["granted"] == ""
    assert script.say("b", 29)["granted"] == ""
    found = script.say(
        "b", 31
    )  # a is dead: its two places are free, and its waiter does not stand before others
    assert (found["granted"], found["running"], found["waiting"], found["owners"]) == ("1", 1, 0, 1)
    assert script.say("a", 32)["lost"]  # it was only slow: it holds its places again
    again = script.say("a", 32, full=True, holding="1,32000,0,0 2,32000,0,0", enter="3,0,0")
    assert (again["running"], again["waiting"], again["granted"]) == (3, 1, "")


def test_an_owner_that_leaves_gives_all_back(server: RedisServer) -> None:
    script = Script(server)
    script.limits["most"] = 1
    script.say("a", 0, enter="1,0,0 2,0,0")
    script.say("a", 1, bye=True)

    assert script.say("b", 1, enter="1,0,0")["granted"] == "1"


def test_an_answer_that_was_lost_changes_nothing_twice(server: RedisServer) -> None:
    script = Script(server, requests=2)
    script.say("a", 0, enter="1,0,0 2,0,0 3,0,0")  # the answer does not arrive: all is said again
    again = script.say("a", 1, full=True, enter="1,0,0 2,0,0 3,0,0", own="", holding="")

    assert (again["granted"], again["waiting"], again["used"]) == ("1,2", 1, "2,0,0,0")


def test_a_message_that_was_overtaken_changes_nothing(server: RedisServer) -> None:
    script = Script(server, requests=2)
    script.say("a", 0, enter="1,0,0")
    script.say("a", 0, ends="1")

    assert script.say("a", 1, enter="1,0,0", number=1)["lost"]
    assert script.say("a", 1)["used"] == "1,0,0,0"


def test_a_memory_that_was_lost_is_restored(server: RedisServer) -> None:
    """Two processes have used 7 of 10; one of them restores, with what it knows of both."""
    script = Script(server, requests=10)
    script.say("a", 0, enter=" ".join(f"{n},0,0" for n in range(1, 5)))
    assert script.say("b", 1, enter="1,0,0 2,0,0 3,0,0")["used"] == "7,0,0,0"
    script.say("a", 1)
    script.forget()

    assert script.say("a", 2, enter="5,0,0")["lost"]
    own = " ".join(["2000,1,0,0,1"] * 4)
    found = script.say(
        "a",
        2,
        full=True,
        own=own,
        used="7,0,0",
        used_age=1000,
        enter=" ".join(f"{n},0,0" for n in range(5, 15)),
    )
    assert (found["used"], found["granted"], found["wait"]) == ("7,0,0,0", "", 2_500)  # time for b
    script.say(
        "b",
        3,
        full=True,
        own="2000,1,0,0,1 2000,1,0,0,1 2000,1,0,0,1 500,1,0,0,0",
        used="7,0,0",
        used_age=2000,
    )
    found = script.say("a", 4.5)
    assert (found["used"], found["granted"]) == (
        "10,0,0,0",
        "5,6",
    )  # b's fourth was granted while there was no server
    assert script.say("a", 60.5)["granted"] == "7,8,9,10"
    assert script.say("a", 61.5)["granted"] == "11,12,13"


def test_what_a_dead_process_has_used_counts_after_a_loss(server: RedisServer) -> None:
    script = Script(server, requests=10)
    script.say("b", 0, enter="1,0,0 2,0,0 3,0,0")
    script.say("a", 1)
    script.forget()
    script.say(
        "a", 5, full=True, used="3,0,0", used_age=4000, enter=" ".join(f"{n},0,0" for n in range(1, 11))
    )

    assert script.say("a", 8)["granted"] == "1,2,3,4,5,6,7"
    assert script.say("a", 60.9)["granted"] == ""
    assert script.say("a", 61.1)["granted"] == "8,9,10"


def test_a_server_that_forgot_because_nobody_asked_grants_at_once(server: RedisServer) -> None:
    script = Script(server, requests=10)
    script.say("a", 0, enter="1,0,0")
    script.forget()

    assert script.say("a", 500, full=True, used="1,0,0", used_age=120_000, enter="2,0,0")["granted"] == "2"


@pytest.mark.parametrize("is_alive", [True, False])
def test_when_nobody_was_heard_of_the_server_was_away_and_nobody_has_died(
    server: RedisServer, is_alive: bool
) -> None:
    script = Script(server)
    script.limits |= {"most": 4, "patience": 15_000}
    for owner in "ab":
        assert script.say(owner, 0, enter="1,0,0 2,0,0")["granted"] == "1,2"

    assert script.say("a", 30, enter="3,0,0")["granted"] == ""
    if is_alive:
        script.say("b", 32)
    assert script.say("a", 33)["granted"] == ("" if is_alive else "3")


# when another process was heard of last, and since when, in ms, this one was granted four places without the server:
# whether it has to wait for the other, which may have been granted as many
APART = {
    "both were apart": (1, 2_000, True),
    "for a moment": (1, 0, True),
    "this one alone": (4, 2_000, False),
}


@pytest.mark.parametrize("name", APART)
def test_a_server_that_comes_back_with_its_memory_waits_for_all_that_were_apart(
    server: RedisServer, name: str
) -> None:
    heard, age, waits = APART[name]
    script = Script(server, requests=10)
    script.say("a", 0, enter="1,0,0 2,0,0")
    script.say("b", heard)
    own, more = " ".join([f"{age},1,0,0,0"] * 4), " ".join(f"{n},0,0" for n in range(10, 16))
    found = script.say("a", 5, full=True, own=own, enter=more)
    assert (found["used"], found["wait"]) == (("6,0,0,0", 2_500) if waits else ("10,0,0,0", 55_500))
    if waits:
        script.say("b", 6, full=True, own=own)
        assert script.say("b", 7)["wait"] == 500
        assert script.say("a", 7.5) | {"used": "10,0,0,0", "granted": ""} == script.say("a") | {
            "wait": 53_000
        }


def test_a_clock_that_was_set_back_keeps_nobody_waiting_for_longer(server: RedisServer) -> None:
    script = Script(server, requests=2)
    script.say("a", 3_600, enter="1,0,0 2,0,0 3,0,0")

    assert script.say("a", 0)["wait"] == 60_500
    assert script.say("a", 30) == script.say("a") and script.say("a")["wait"] == 30_500
    assert script.say("a", 60.5)["granted"] == "3"


def test_all_that_is_kept_expires(server: RedisServer) -> None:
    script = Script(server, requests=1)
    script.limits["patience"] = 15_000
    script.say("a", 0, enter="1,0,0 2,0,0")

    names = script.redis.keys()
    assert len(names) == 4 and all(0 < script.redis.pttl(name) <= 135_000 for name in names)


# name: the set limits; what is stated, at which second: what is used and learned then
LEARNED: dict[str, tuple[dict[str, Any], list[tuple[float, dict[str, Any]]], str, str]] = {
    "a limit": ({}, [(1, {"requests": {"limit": 9}})], "1,0,0,0", "requests=9"),
    "a set one stays": ({"requests": 5}, [(1, {"requests": {"limit": 9}})], "1,0,0,0", ""),
    "what others use": (
        {},
        [(1, {"requests": {"limit": 10, "remaining": 3, "reset": 30_000}})],
        "7,0,0,0",
        "requests=10",
    ),
    "until its reset": (
        {},
        [(1, {"requests": {"limit": 10, "remaining": 3, "reset": 30_000}}), (31, {})],
        "1,0,0,0",
        "requests=10",
    ),
    "a late response raises nothing": (
        {},
        [
            (n, {"requests": {"limit": 10, "remaining": remaining, "reset": 40_000}})
            for n, remaining in enumerate((2, 9, 5))
        ],
        "8,0,0,0",
        "requests=10",
    ),
    "for a window where no reset is stated": (
        {},
        [(1, {"requests": {"limit": 10, "remaining": 3}}), (59, {})],
        "7,0,0,0",
        "requests=10",
    ),
    "and no longer": (
        {},
        [(1, {"requests": {"limit": 10, "remaining": 3}}), (61, {})],
        "0,0,0,0",
        "requests=10",
    ),
    "no remaining": ({}, [(1, {"tokens": {"limit": 10, "reset": 30_000}})], "1,0,0,0", "tokens=10"),
}


@pytest.mark.parametrize("name", LEARNED)
def test_what_a_provider_states(server: RedisServer, name: str) -> None:
    limits, stated, used, learned = LEARNED[name]
    script = Script(server, **limits)
    script.say("b", 0, enter="1,0,0")
    found: dict[str, Any] = {}
    for now, each in stated:
        found = script.say("a", now, stated=each)

    assert (found["used"], found["limits"]) == (used, learned)


def test_learning_can_be_off(server: RedisServer) -> None:
    script = Script(server)
    script.limits["learns"] = False

    assert script.say("a", 0, stated={"requests": {"limit": 1}}, enter="1,0,0 2,0,0")["granted"] == "1,2"


ASKED = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 1, 400, 5_000, 15_000]),
        st.sampled_from("abc"),
        st.integers(0, 60),
        st.integers(0, 40),
        st.sampled_from(["keep", "end", "leave", "less"]),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ASKED, st.integers(1, 6), st.integers(20, 100), st.integers(1, 4))
def test_no_window_is_over_its_limit_and_nobody_starves(
    server: RedisServer, asked: list[tuple[int, str, int, int, str]], requests: int, tokens: int, most: int
) -> None:
    """Whatever three processes ask, of requests that take a second: all are served in turn, within every limit."""
    script = Script(server, requests=requests, tokens=tokens)
    script.limits["most"] = most
    granted: dict[int, int] = {}
    ends: dict[int, int] = {}
    left: set[int] = set()
    counted = {n: each[2] + each[3] for n, each in enumerate(asked)}

    def say(owner: str, **said: str) -> int:
        """Returns when this owner has to ask again."""
        done = [n for n, at in ends.items() if at <= script.now and asked[n][1] == owner]
        texts = []
        for n in done:
            del ends[n]
            if asked[n][4] == "less":
                counted[n] //= 2
            texts.append(f"{n},1,{counted[n]},0")
        found = script.say(owner, ends=" ".join(texts), **said)
        for n in map(int, found["granted"].split(",")) if found["granted"] else ():
            granted[n], ends[n] = script.now, script.now + 1000
        return script.now + found["wait"] if found["wait"] > 0 else 0

    def everybody() -> int:
        for owner in "abc":
            say(owner)
        dues = [due for due in map(say, "abc") if due]
        return min([*dues, *ends.values()], default=0)

    def pass_time(until: float) -> None:
        while (due := everybody()) and due <= until:
            script.now = due

    for n, (pause, owner, input, output, end) in enumerate(asked):
        until = script.now + pause
        pass_time(until)
        script.now = until
        say(owner, enter=f"{n},{input},{output}")
        everybody()
        if end == "leave" and n not in granted:
            say(owner, left=f"{n},{input},{output}")
            left.add(n)
    pass_time(float("inf"))

    assert set(granted) | left == set(range(len(asked)))
    assert sorted(granted, key=lambda n: (granted[n], n)) == sorted(granted)
    for start in granted.values():
        within = [n for n, at in granted.items() if start <= at < start + WINDOW]
        assert len(within) <= requests
        total = [counted[n] for n in within]
        assert sum(total) <= tokens or len([each for each in total if each]) == 1
        assert sum(1 for at in granted.values() if start - 1000 < at <= start) <= most
