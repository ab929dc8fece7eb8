"""The part of a Responses service that is shared by its connections: stored responses, the author, a log.

Nothing here reads a clock or a socket. Turns are linked by their parents, so a conversation is put
together only when somebody asks for it, and many forks share one beginning.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct

from brainwires_provider.testing.responses_checks import Refusal
from brainwires_provider.testing.responses_events import (
    CALLS,
    Event,
    Failure,
    Incomplete,
    Item,
    assistant,
    digest_author,
)

Outcome = str | Sequence[Item] | Failure | Incomplete
Author = Callable[[Sequence[Item], Event], Outcome]
_PREFIXES = {"message": "msg", "function_call": "fc", "custom_tool_call": "ctc", "reasoning": "rs"}
_ENCRYPTED = "reasoning.encrypted_content"


class Turn(Struct, frozen=True):
    """One response that has ended, and the input that it answered."""

    id: str
    parent: str | None
    input: tuple[Item, ...]
    output: tuple[Item, ...]
    status: str
    stored: bool


class Accepted(Struct, frozen=True):
    """One create that passed every check: `connection` counts from 1, `hydrated` is a parent from the store."""

    response_id: str
    connection: int
    stream_id: str | None
    parent: str | None
    hydrated: bool
    input: tuple[Item, ...]
    body: Event


class Store:
    """What the connections of one service share; ResponsesService is its public face."""

    def __init__(
        self,
        author: Author = digest_author,
        *,
        lanes: bool = True,
        ignores_lanes: bool = False,
        max_active: int = 16,
        max_lanes: int = 32,
        max_frame: int = 16 * 1024 * 1024,
        seconds: float = 3600,
        hydrate: bool = True,
        piece: int = 16,
        continues: Literal["all", "stored", "none"] = "all",
        manner: Literal["openai", "xai"] = "openai",
        heartbeats: bool = False,
        changes_ids: bool = False,
        changes_item_ids: bool = False,
    ) -> None:
        self.author, self.lanes, self.hydrate, self.piece = author, lanes, hydrate, piece
        self.max_active, self.max_lanes, self.max_frame = max_active, max_lanes, max_frame
        self.seconds, self.ignores_lanes = seconds, ignores_lanes
        self.continues = "stored" if manner == "xai" else continues
        self.manner, self.heartbeats, self.changes_ids = manner, heartbeats, changes_ids
        self.changes_item_ids = changes_item_ids
        self.log: list[Accepted] = []
        self.counters: Counter[str] = Counter()
        self.turns: dict[str, Turn] = {}
        self._stored: set[str] = set()
        self._items: dict[str, Item] = {}
        self._latest: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._responses: dict[str, Event] = {}
        self._made = 0

    def conversation(self, response_id: str) -> list[Item]:
        """All that the service holds for a response: the inputs and outputs of its chain, in order.

        From the last compaction item on, if there is one. Unstored responses are known here too, because
        a test wants to see them. Raises KeyError for a response that never ended well.
        """
        links: list[Turn] = []
        following: str | None = self.named(response_id)
        while following is not None:
            links.append(self.turns[following])
            following = links[-1].parent
        items = [item for turn in reversed(links) for item in (*turn.input, *turn.output)]
        starts = [place for place, item in enumerate(items) if item.get("type") == "compaction"]
        return items[starts[-1] :] if starts else items

    def is_stored(self, response_id: str) -> bool:
        """Whether any connection may continue this response."""
        return self.hydrate and self.named(response_id) in self._stored

    def name(self, shown: str, response_id: str) -> None:
        """Let an id stand for a response from now on."""
        self._names[shown] = response_id

    def named(self, shown: str) -> str:
        """The response that an id stands for."""
        return self._names.get(shown, shown)

    def retrieve(self, response_id: str) -> Event | None:
        """A stored response, as GET returns it."""
        return self._responses.get(self.named(response_id)) if self.is_stored(response_id) else None

    def forget(self, response_id: str) -> None:
        """Drop a stored response, as an expiry or a DELETE would."""
        self._stored.discard(self.named(response_id))

    def new_id(self, prefix: str) -> str:
        """A new id with that prefix."""
        self._made += 1
        return f"{prefix}_{self._made:08}"

    def pass_over(self, items: Sequence[Item]) -> None:
        """Have new ids come after those of the items, which another service of this kind has made."""
        made = (re.search(r"_(\d{8})$", str(item.get("id"))) for item in items if isinstance(item, dict))
        self._made = max([self._made, *(int(found[1]) for found in made if found)])

    def parent_of(self, body: Mapping[str, Any]) -> str | None:
        """The id of the response that this request continues, if any."""
        key = _conversation_key(body)
        parent = body.get("previous_response_id") if key is None else self._latest.get(key)
        return None if parent is None else self.named(parent)

    def dereferenced(self, item: Item) -> Item:
        """The item that an `item_reference` names; any other item itself. Raises Refusal for an unknown id."""
        if item.get("type") != "item_reference":
            return item
        if item.get("id") not in self._items:
            message = f"Item with id '{item.get('id')}' not found."
            raise Refusal.of(message, param="input", status=404)
        return self._items[item["id"]]

    def answer(self, items: Sequence[Item], body: Event) -> tuple[list[Item], Failure | Incomplete | None]:
        """The output items for these input items, and the failure or early end that the author raised."""
        try:
            outcome = self.author(items, body)
        except (Failure, Incomplete) as error:
            outcome = error
        end = outcome if isinstance(outcome, Failure | Incomplete) else None
        made = outcome.items if isinstance(outcome, Failure | Incomplete) else outcome
        made = [assistant(made)] if isinstance(made, str) else made
        sealed = _ENCRYPTED not in body.get("include", ())
        return [self._finished(item, sealed=sealed) for item in made], end

    def _finished(self, item: Item, *, sealed: bool) -> Item:
        kind: str = item["type"]
        whole = {"id": self.new_id(_PREFIXES.get(kind, kind)), **item}
        if kind in CALLS:
            whole = {"call_id": self.new_id("call"), **whole}
        if kind == "reasoning" and sealed:
            whole.pop("encrypted_content", None)
        return whole if kind in {"reasoning", "compaction"} else {"status": "completed", **whole}

    def keep(self, turn: Turn, body: Mapping[str, Any], response: Event) -> None:
        """Keep a finished turn: its response, and its items if it is stored."""
        self.turns[turn.id] = turn
        self._responses[turn.id] = response
        if turn.stored:
            self._stored.add(turn.id)
            self._items |= {item["id"]: item for item in (*turn.input, *turn.output) if "id" in item}
        key = _conversation_key(body)
        if key is not None:
            self._latest[key] = turn.id


def _conversation_key(body: Mapping[str, Any]) -> str | None:
    named = body.get("conversation")
    return named["id"] if isinstance(named, dict) else named
