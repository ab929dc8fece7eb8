"""The two modes of a scripted server's WebSocket: the steps of a script, or the rules of a service."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from brainwires_provider.testing.answers import Answer, Drop, Gate, Paced, RecordedRequest, Stall, Step, Wait
from brainwires_provider.testing.answers import Close as End
from brainwires_provider.testing.responses_events import TERMINALS, Event, error_event, flat_error
from brainwires_provider.testing.responses_rules import Job, ResponsesService, RulesSession
from brainwires_provider.testing.websocket_peer import IDLE, Link, SocketHost, WebSocketPeer
from brainwires_provider.testing.websocket_steps import CloseFrame, Fault, SocketScript, SocketStep, as_steps


class ScriptPeer(WebSocketPeer):
    """Plays a script: each request's steps once a message has come."""

    def __init__(self, host: SocketHost, link: Link, number: int, script: SocketScript) -> None:
        super().__init__(host, link, number, script.headers)
        self._script = script

    async def _serve(self) -> None:
        await self.play(self._script.first)
        for steps in self._script.requests:
            await self.next_message()
            await self.play(steps)
        while True:
            await self.next_message()
            told = f"ScriptedSocket: no request is left for WebSocket {self._number}"
            await self.play([error_event(told, status=500, type="server_error")])


class ServicePeer(WebSocketPeer):
    """Speaks a service's rules: every job has a task of its own, one after the other on each lane."""

    def __init__(self, host: SocketHost, link: Link, number: int, service: ResponsesService) -> None:
        super().__init__(host, link, number, {})
        self._session: RulesSession = service.connect(host.clock())
        self._running: dict[Job, asyncio.Task[None]] = {}
        self._lanes: dict[str | None, asyncio.Task[None]] = {}

    async def run(self, request: RecordedRequest) -> Answer | None:
        """Serve the connection, then close its session."""
        try:
            return await super().run(request)
        finally:
            self._session.close()

    async def _serve(self) -> None:
        while True:
            message = await self._arrived.get() if self._running else await self.next_message()
            await self.play(self._session.receive(message, self._host.clock()))
            if self._session.close_code is not None:
                await self.play([CloseFrame(self._session.close_code, "message too big")])
            self._start_jobs()

    def _start_jobs(self) -> None:
        for job in self._session.runnable():
            if job not in self._running:
                before = self._lanes.get(job.stream_id)
                self._running[job] = self._lanes[job.stream_id] = self.start(self._say(job, before))

    async def _say(self, job: Job, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait({before})  # its last event may be held up on its way
        due = self._loop.time()
        while (event := self._session.step(job, self._host.clock())) is not None:
            # What the step set free may start: its events come after this one's on the lane, as they must.
            self._start_jobs()
            await self.play(faulted(self._host.fault, self._number, job, event))
            due += self._host.pace
            await (self._link.wheel.at(due) if self._host.pace else asyncio.sleep(0))
        del self._running[job]
        if not self._running:
            self._link.touch(IDLE)


def faulted(fault: Fault | None, number: int, job: Job, event: Event) -> Sequence[SocketStep]:
    """What is played for an event: the fault's steps in its place, or the event itself."""
    steps = None if fault is None else fault(number, job, event)
    return [event] if steps is None else as_steps(steps)


def answer_over_http(
    service: ResponsesService, request: RecordedRequest, *, now: float, pace: float, fault: Fault | None
) -> Answer:
    """One POST answered by the same rules, as an event stream if the body asks for one, else as JSON.

    Faults see connection 0. The steps of a WebSocket alone (close frames, fragments) end the connection.
    """
    session = service.connect(now, over_http=True)
    body = _body(request)
    refused = session.receive(request.body if body is None else msgspec.json.encode(body), now)
    if refused:
        return _error_answer(refused[0])
    [job] = session.runnable()
    if body is None or not body.get("stream"):
        return _whole(session.drain(now))
    steps: list[Step] = []
    while (event := session.step(job, now)) is not None:
        played = faulted(fault, 0, job, event)
        steps += [_http_step(step) for step in played]
        if pace:
            steps.append(Wait(pace))
    is_plain = fault is None and not pace
    return Answer(body=[Paced([s for s in steps if isinstance(s, bytes)])] if is_plain else steps)


def _body(request: RecordedRequest) -> Event | None:
    try:
        body = msgspec.json.decode(request.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return {**body, "type": "response.create"} if isinstance(body, dict) else None


def _error_answer(event: Event) -> Answer:
    error = dict(event["error"])
    headers = error.pop("headers", {})
    return Answer(event["status"], headers, msgspec.json.encode({"error": {"param": None, **error}}))


def _whole(events: Sequence[Event]) -> Answer:
    last = next(event for event in events if event["type"] in TERMINALS)
    if last["type"] == "error":
        return _error_answer(last)
    return Answer(body=msgspec.json.encode(last["response"]))


def _http_step(step: SocketStep) -> Step:
    match step:
        case dict():
            event = flat_error(step) if "error" in step and step.get("type") == "error" else step
            return b"event: %b\ndata: %b\n\n" % (str(event.get("type")).encode(), msgspec.json.encode(event))
        case str():
            return f"data: {step}\n\n".encode()
        case bytes():
            return step
        case Wait() | Gate() | Stall() | Drop() | Paced():
            return step
        case _:
            return End()
