"""Many tasks, thousands of requests, and connections that break, stall, lie and rotate: every request ends, rightly.

The servers are of every manner: with lanes and without, ignoring their names, with heartbeats, with changing ids, and
in xAI's manner; each request has headers of its own. See tests/support/websocket_storm.py, also for more by hand.
"""

from __future__ import annotations

from collections import Counter

import pytest

from websocket_storm import BAD, SERVERS, Storm


@pytest.mark.long
@pytest.mark.many
@pytest.mark.parametrize("server", SERVERS)
def test_every_request_ends_in_the_right_answer_or_a_typed_error(server: str) -> None:
    run = Storm(1, server).in_memory(2_000)

    ended = Counter(run.ended)
    assert sum(ended.values()) == 2_000
    assert not any(run.problems[kind] for kind in BAD), run.problems
    # Heartbeats are events too, each of which a fault may replace, so that more faults meet each response.
    assert ended["delta"] + ended["whole"] > (800 if server == "heartbeats" else 1_000)
    assert all(ended[kind] for kind in ("delta", "whole", "left", "StreamInterrupted", "ServerError"))
    assert all(run.faults.done[fault] for fault in run.faults.kinds)


@pytest.mark.long
@pytest.mark.parametrize("server", SERVERS)
def test_the_same_over_sockets(server: str) -> None:
    run = Storm(2, server, tasks=10).over_sockets(100)

    assert len(run.ended) == 100 and not any(run.problems[kind] for kind in BAD), run.problems
    assert {"delta", "whole"} & set(run.ended)


def test_the_same_seed_gives_the_same_run() -> None:
    first, second = (Storm(7, "lanes").in_memory(500) for _ in range(2))

    assert first.ended == second.ended
    assert first.net.sent == second.net.sent
