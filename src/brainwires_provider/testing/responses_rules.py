"""A Responses API service in memory, with the rules of its WebSocket mode: no socket, no clock, no thread.

ResponsesService is what outlives a connection; RulesSession is one connection: client events are received as
frames, each accepted create becomes a Job, and step() returns one event of one job. The caller chooses the next
job, so a test can play any order of events at any time of day, without waiting. The rules are
OpenAI's (https://platform.openai.com/docs/guides/websocket-mode); where the guide leaves room, the service
takes the least that it allows: an unstored parent lives only as the latest response of its lane, and a fork
is safe from its response.in_progress on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from brainwires_provider.testing import responses_checks as checks
from brainwires_provider.testing.responses_checks import Refusal
from brainwires_provider.testing.responses_events import (
    TERMINALS,
    Event,
    Failure,
    Incomplete,
    Item,
    item_events,
    open_calls,
    required_input,
    response_object,
    usage_object,
    with_new_item_ids,
)
from brainwires_provider.testing.responses_store import Accepted, Store, Turn

MAX_STEERS = 8  # the API has such a limit and does not say it


class ResponsesService(Store):
    """A Responses service in memory: stored responses, the author, counters, a log.

    `author(conversation, body)` answers a conversation (chain and input): a text, output items, Failure or
    Incomplete (returned or raised). Without `lanes` a stream_id is an unknown parameter and creates wait
    for each other; with `ignores_lanes` a stream_id is ignored: one response runs at a time, in the order of
    the requests, and its events name no lane. `max_active` and `max_lanes` are per connection, `max_frame` in
    bytes, `seconds` the age from which a connection takes no create. Without `hydrate` a stored response does
    not outlive its lane. `piece` is the size of a delta in characters. `continues`: which responses may be a
    parent. `heartbeats`: a `response.metadata` without a name before each response, a `keepalive` after each of its
    events. `changes_ids`: the id of a response differs in each event; `changes_item_ids`: those of its items do.
    `manner`: with `"xai"`, errors have no type, all responses of a connection have one id, and instructions cannot be
    sent with a parent.
    """

    def connect(self, now: float = 0.0, *, over_http: bool = False) -> RulesSession:
        """A new connection, opened at `now`; `over_http`: one request without a connection's memory."""
        self.counters["requests over HTTP" if over_http else "connections"] += 1
        return RulesSession(self, now, self.counters["connections"], over_http=over_http)


class Job:
    """One create on its way through a session; `stream_id` is None on the default lane."""

    def __init__(self, body: Event, stream_id: str | None) -> None:
        self.body, self.stream_id = body, stream_id
        self.state: Literal["queued", "active", "done"] = "queued"
        self.response_id: str | None = None
        self.parent: str | None = None
        self.chain: Sequence[Item] = ()
        self.input: Sequence[Item] = ()
        self.output: list[Item] = []
        self.end: Failure | Incomplete | None = None
        self.steers: list[tuple[Event, list[Item]]] = []
        self.sequence = 0
        self.events: Iterator[Event] = iter(())
        self.tail: deque[Event] = deque()
        self.is_in_progress = self.is_over = False
        self.successor: Job | None = None

    @property
    def store(self) -> bool:
        """True when omitted."""
        return bool(self.body.get("store", True))

    def __repr__(self) -> str:
        return f"Job({self.response_id}, stream_id={self.stream_id!r}, {self.state})"


class RulesSession:
    """One connection of a service. `close_code` is set once the service has closed it (1009)."""

    def __init__(self, service: ResponsesService, now: float, number: int, *, over_http: bool) -> None:
        self.service, self.number, self.over_http = service, number, over_http
        self.close_code: int | None = None
        self._opened = self._now = now
        self._names: set[str] = set()
        self._heads: dict[str | None, str] = {}
        self._active: list[Job] = []
        self._waiting: list[Job] = []
        self._jobs: dict[str, Job] = {}
        self._pending: dict[str, tuple[str | None, list[Item]]] = {}
        self._id = service.new_id("resp") if service.manner == "xai" else None

    def receive(self, frame: bytes | str, now: float = 0.0) -> list[Event]:
        """Take one client event; returns what is answered at once: errors, and replies to a steer."""
        self._now = now
        data = frame.encode() if isinstance(frame, str) else frame
        if self.close_code is None and len(data) > self.service.max_frame:
            self.close_code = 1009
            self.close()
        if self.close_code is not None:
            return []
        try:
            return self._dispatch(data)
        except Refusal as refusal:
            self.service.counters["refused"] += 1
            return [self._worded(refusal.event)]

    def runnable(self) -> tuple[Job, ...]:
        """The jobs that have an event to say now, oldest first."""
        return tuple(self._active)

    def step(self, job: Job, now: float = 0.0) -> Event | None:
        """The job's next event; None if the job is waiting or done."""
        if job.state != "active":
            return None
        self._now = now
        if job.is_over:
            event = self._stamped(job, job.tail.popleft())
        else:
            try:
                event = next(job.events)
            except Refusal as refusal:
                event = self._refused(job, refusal)
            event = self._stamped(job, event)
            if event["type"] in TERMINALS:
                self._over(job, event)
        if job.is_over and not job.tail:
            self._retire(job)
        return self._worded(event)

    def _worded(self, event: Event) -> Event:
        if self.service.manner == "xai" and event["type"] == "error":
            return {"error": {"message": event["error"]["message"], "type": "api_error"}}
        return event

    def drain(self, now: float = 0.0) -> list[Event]:
        """Step all jobs in turn until nothing is left to say."""
        said: list[Event] = []
        while jobs := self.runnable():
            for job in jobs:
                event = self.step(job, now)
                if event is not None:
                    said.append(event)
        return said

    def run(self, event: Mapping[str, Any], now: float = 0.0) -> list[Event]:
        """Send one client event and play everything to the end."""
        return [*self.receive(msgspec.json.encode(event), now), *self.drain(now)]

    def close(self) -> None:
        """The connection ends: its memory is gone, and its jobs are abandoned."""
        for job in (*self._active, *self._waiting):
            job.state = "done"
        self._active, self._waiting = [], []
        self._heads, self._pending = {}, {}

    # -- client events -----------------------------------------------------------------------------------

    def _dispatch(self, data: bytes) -> list[Event]:
        try:
            event = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Refusal.of(
                "We could not parse the JSON body of your request.", code="invalid_json"
            ) from None
        if not isinstance(event, dict):
            raise Refusal.of("A client event is a JSON object.", code="invalid_json")
        match event.pop("type", None):
            case "response.create":
                return self._create(event)
            case "response.steer" if not self.over_http:
                return [self._steer(event)]
            case other:
                raise Refusal.of(
                    f"Invalid value: {other!r}. Supported values are: 'response.create' and 'response.steer'.",
                    code="invalid_value",
                    param="type",
                )

    def _create(self, body: Event) -> list[Event]:
        job = Job(body, self._lane_of(body))
        if not self.over_http and self._now - self._opened >= self.service.seconds:
            raise checks.connection_limit(self.service.seconds)
        self._waiting.append(job)
        self._fill()
        if job.state == "active" and job.response_id is None:  # refused while the lane was free
            event = self.step(job, self._now)
            return [] if event is None else [event]
        return []

    def _lane_of(self, body: Event) -> str | None:
        if "stream_id" not in body or self.over_http or self.service.ignores_lanes:
            return None
        if not self.service.lanes:
            raise checks.unknown_parameter("stream_id")
        name = body["stream_id"]
        checks.check_stream_id(name)
        if name not in self._names and len(self._names) >= self.service.max_lanes:
            refusal = checks.stream_limit(self.service.max_lanes)
            raise Refusal({**refusal.event, "stream_id": name})
        self._names.add(name)
        return str(name)

    def _fill(self) -> None:
        """Start waiting jobs: in order of arrival, one a lane, as many as may be active."""
        for job in list(self._waiting):
            if len(self._active) >= self.service.max_active:
                return
            if all(other.stream_id != job.stream_id for other in self._active):
                self._waiting.remove(job)
                self._active.append(job)
                job.state = "active"
                try:
                    self._admit(job)
                except Refusal as refusal:
                    job.events = _raising(refusal)
                else:
                    job.events = self._played(job)

    # -- one create --------------------------------------------------------------------------------------

    def _admit(self, job: Job) -> None:
        """Check a create whose turn has come, and have it answered; Refusal if it cannot be."""
        body, service = job.body, self.service
        checks.check_fields(body, over_http=self.over_http)
        checks.check_parent(body, manner=service.manner, continues=service.continues)
        job.parent = service.parent_of(body)
        hydrated = self._find(job)
        given = [service.dereferenced(item) for item in checks.input_items(body)]
        lane, steered = self._pending.get(job.parent or "", (None, []))
        if steered and lane == job.stream_id:
            given = [*steered, *given]
        job.chain = service.conversation(job.parent) if job.parent else ()
        checks.check_items(job.chain, given)
        job.input = given
        if body.get("generate") is False:
            service.counters["warm-ups"] += 1
        else:
            job.output, job.end = service.answer([*job.chain, *given], body)
            if isinstance(job.end, Failure) and job.end.when == "before":
                raise Refusal.by(job.end)
        job.response_id = service.new_id("resp")
        self._jobs[job.response_id] = job
        if steered and lane == job.stream_id:
            del self._pending[job.parent or ""]
        service.counters["accepted"] += 1
        service.counters["hydrated"] += hydrated
        service.log.append(
            Accepted(
                job.response_id, self.number, job.stream_id, job.parent, hydrated, tuple(given), job.body
            )
        )

    def _find(self, job: Job) -> bool:
        """Refuse a parent that this connection cannot see; True if it comes from the store."""
        if job.parent is None:
            return False
        is_stored = self.service.is_stored(job.parent)
        if job.parent in self._heads.values() and (is_stored or self.service.continues == "all"):
            return False
        if not is_stored:
            raise checks.not_found(job.parent, manner=self.service.manner)
        return True

    def _played(self, job: Job) -> Iterator[Event]:
        return _with_heartbeats(self._play(job)) if self.service.heartbeats else self._play(job)

    def _play(self, job: Job) -> Iterator[Event]:
        assert job.response_id is not None
        shown = response_object(job.response_id, job.body, int(self._now), store=job.store)
        shown["previous_response_id"] = job.parent
        yield {"type": "response.created", "response": shown}
        self._find(job)  # another lane may have moved on from the parent meanwhile
        job.is_in_progress = True
        yield {"type": "response.in_progress", "response": shown}
        if isinstance(job.end, Failure) and job.end.when == "after_created":
            if job.end.late_failed:
                job.tail.append({"type": "response.failed", "response": _failed(shown, job.end)})
            raise Refusal.by(job.end)
        said: list[Item] = []
        is_whole = yield from self._say_output(job, said)
        yield self._terminal(job, shown, said, is_whole=is_whole)

    def _say_output(self, job: Job, said: list[Item]) -> Generator[Event, None, bool]:
        def is_cut() -> bool:
            return bool(job.steers) and not open_calls(job.output)

        for index, item in enumerate(job.output):
            if is_cut():
                return False
            told = yield from item_events(item, index, self.service.piece, is_cut)
            said.append(told)
            if told.get("status") != item.get("status"):
                return False
        return True

    def _terminal(self, job: Job, shown: Event, said: list[Item], *, is_whole: bool) -> Event:
        """The last event of a response; what ended well is kept, and is the lane's latest from here on."""
        assert job.response_id is not None
        if isinstance(job.end, Failure):
            return {"type": "response.failed", "response": _failed({**shown, "output": said}, job.end)}
        reason = job.end.reason if isinstance(job.end, Incomplete) else None if is_whole else "steered"
        status = "completed" if reason is None else "incomplete"
        cached = () if job.parent is None else job.chain
        ended = {
            **shown,
            "status": status,
            "output": said,
            "incomplete_details": None if reason is None else {"reason": reason},
            "usage": usage_object([*job.chain, *job.input], said, cached),
        }
        if status == "completed":
            ended["completed_at"] = int(self._now)
        turn = Turn(job.response_id, job.parent, tuple(job.input), tuple(said), status, job.store)
        self.service.keep(turn, job.body, ended)
        self.service.counters[status] += 1
        if not self.over_http:
            self._heads[job.stream_id] = job.response_id
        return {"type": f"response.{status}", "response": ended}

    def _refused(self, job: Job, refusal: Refusal) -> Event:
        self.service.counters["refused" if job.response_id is None else "failed"] += 1
        return refusal.event

    def _over(self, job: Job, terminal: Event) -> None:
        """After the terminal event: what a failure evicts, and what becomes of steering input."""
        job.is_over = True
        is_good = terminal["type"] in {"response.completed", "response.incomplete"}
        if not is_good:
            self._evict(job)
        steers, job.steers = job.steers, []
        if not steers:
            return
        assert job.response_id is not None
        waiting = open_calls(job.output)
        if is_good and waiting:
            stubs = [required_input(call) for call in waiting]
            self._pending[job.response_id] = (job.stream_id, [m for _, given in steers for m in given])
            job.tail.extend(_steer_pending(steer, stubs) for steer, _ in steers)
        elif not is_good or not self._succeed(job, [m for _, given in steers for m in given]):
            why = ("successor_creation_failed", "The successor response could not be created.")
            job.tail.extend(_steer_failed({**steer, "input": given}, *why) for steer, given in steers)

    def _evict(self, job: Job) -> None:
        parent = job.body.get("previous_response_id")
        if parent is not None and self._heads.get(job.stream_id) == parent:
            del self._heads[job.stream_id]
            self.service.counters["evicted"] += 1

    def _succeed(self, job: Job, messages: list[Item]) -> bool:
        body = {**job.body, "previous_response_id": job.response_id, "input": messages}
        successor = Job(body, job.stream_id)
        try:
            self._admit(successor)
        except Refusal:
            return False
        successor.events = self._played(successor)
        job.successor = successor
        return True

    def _retire(self, job: Job) -> None:
        job.state = "done"
        place = self._active.index(job)
        self._active.remove(job)
        if job.successor is not None:
            job.successor.state = "active"
            self._active.insert(place, job.successor)
        self._fill()

    def _shown(self, job: Job, event: Event) -> Event:
        """The event, with the id that this service shows."""
        if self._id is None and not self.service.changes_ids:
            return event
        shown = self._id or self.service.new_id("resp")
        assert job.response_id is not None
        if self._id is None or event["type"] in TERMINALS:
            self.service.name(shown, job.response_id)
        return {**event, "response": {**event["response"], "id": shown}}

    def _stamped(self, job: Job, event: Event) -> Event:
        if event["type"] == "response.metadata":
            return event
        event = self._shown(job, event) if "response" in event else event
        if self.service.changes_item_ids:
            event = with_new_item_ids(event, self.service.new_id)
        named = {} if job.stream_id is None else {"stream_id": job.stream_id}
        if event["type"] == "error" and job.sequence == 0:
            return {**event, **named}  # refused: no response, so no place in one
        stamped = {**event, "sequence_number": job.sequence, **named}
        job.sequence += 1
        return stamped

    # -- steering ----------------------------------------------------------------------------------------

    def _steer(self, event: Event) -> Event:
        target, given = event.get("previous_response_id"), event.get("input")
        job = self._jobs.get(target) if isinstance(target, str) else None
        messages = checks.steer_messages(given)
        why = self._steer_fault(job, event, messages)
        if why is not None or job is None or messages is None:
            failed = _steer_failed({"previous_response_id": target, "input": given}, *(why or ("", "")))
            return {**failed, "sequence_number": 0} if job is None else self._stamped(job, failed)
        steer = {"id": self.service.new_id("steer"), "previous_response_id": job.response_id}
        job.steers.append((steer, messages))
        self.service.counters["steers"] += 1
        return self._stamped(job, {"type": "response.steer.accepted", "steer": steer})

    def _steer_fault(
        self, job: Job | None, event: Event, messages: list[Item] | None
    ) -> tuple[str, str] | None:
        if event.keys() != {"previous_response_id", "input"} or messages is None:
            return "invalid_input", "A steer has a previous_response_id and input: a text or user messages."
        if job is None:
            return "response_not_found", "The response is not available on this connection."
        if not str(job.body.get("model")).startswith("gpt-6") or job.body.keys() & {
            "conversation",
            "context_management",
        }:
            return "steering_not_supported", "This model or this kind of response cannot be steered."
        if job.is_over:
            return "response_already_completed", "The response has completed."
        if not job.is_in_progress:
            return "response_not_active", "The response takes no steering input now."
        if len(job.steers) >= MAX_STEERS:
            return "too_many_pending_steers", "Too much steering input is pending for this response."
        return None


def _with_heartbeats(events: Iterator[Event]) -> Iterator[Event]:
    yield {"type": "response.metadata", "metadata": {}}
    for event in events:
        yield event
        if event["type"] not in TERMINALS:
            yield {"type": "keepalive"}


def _raising(refusal: Refusal) -> Iterator[Event]:
    raise refusal
    yield {}


def _failed(shown: Event, failure: Failure) -> Event:
    return {**shown, "status": "failed", "error": {"code": failure.code, "message": failure.message}}


def _steer_failed(steer: Event, code: str, message: str) -> Event:
    error = {"type": "invalid_request_error", "code": code, "message": message}
    return {"type": "response.steer.failed", "error": error, "steer": steer}


def _steer_pending(steer: Event, stubs: list[Item]) -> Event:
    reason = "waiting_for_required_input"
    return {"type": "response.steer.pending", "reason": reason, "required_input": stubs, "steer": steer}
