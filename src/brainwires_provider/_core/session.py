"""What a client owns and every call needs, and the one way by which every request is sent.

`Session.send` makes a `Sending` of a plan: attempts, one after another, until one gives events, and then that one's
events to their end. Chat, streams, counting, listing, embedding and all other operations go this way, so a policy that
is applied here holds for all of them.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from brainwires_provider._core.attempt import Attempt, refusal
from brainwires_provider._core.deadlines import Deadlines
from brainwires_provider._core.plan import Input, Plan, build_request, endpoint_of, plan, plan_call
from brainwires_provider.auth.keys import header_secrets, resolve_headers, resolve_key
from brainwires_provider.errors import (
    Clock,
    ConfigError,
    ProviderError,
    RequestTimeout,
    StreamInterrupted,
    StreamTimeout,
)
from brainwires_provider.events import Collector, Event
from brainwires_provider.protocols.base.bodies import request_id
from brainwires_provider.protocols.base.protocol import Call, Decoder
from brainwires_provider.providers import (
    NamedModel,
    ProviderConfig,
    Target,
    resolve,
    resolve_listing,
    split_model,
)
from brainwires_provider.transports.base import ByteExchange, Outgoing, Transport
from brainwires_provider.types import ChatParams, Options, Request, Response, Timeouts
from brainwires_provider.types.options import merge_options

if TYPE_CHECKING:
    import asyncio  # a seventh of what a client weighs: loaded with the first request

    from brainwires_provider.transports.websocket.lanes import LaneExchange
    from brainwires_provider.transports.websocket.pool import Pool, Pools
    from brainwires_provider.transports.websocket.recovery import Recovery

__all__ = ["Sending", "Session"]

T = TypeVar("T")

_MODELS_KNOWN = 100


class Session:
    """A client's providers, options, transports and connections.

    `coded` are the providers that code has set up, whose options go before those of a configuration file (`filed`).
    `transport` are the settings of connections: `proxy`, `ssl_context`, `max_connections`.
    """

    def __init__(
        self,
        *,
        model: str | None,
        named: Mapping[str, NamedModel],
        configs: dict[str, ProviderConfig],
        coded: frozenset[str],
        filed: Options | None,
        options: Options | None,
        timeouts: Timeouts,
        transport: Mapping[str, Any],
        max_event_bytes: int,
    ) -> None:
        self.model = model
        self.named = named
        self.configs = configs
        self.timeouts = timeouts
        self.max_event_bytes = max_event_bytes
        self.closed = False
        self.observe: Callable[[ByteExchange], ByteExchange] | None = None
        """Wraps every exchange over HTTP; see `observed`."""
        self.fixed_headers: dict[tuple[Any, str, bool], tuple[dict[str, str], tuple[str, ...]]] = {}
        """By key, scheme and form: the headers of requests that have no others, and their secrets."""
        self._coded = coded
        self._filed = filed
        self._options = options
        self._transport = dict(transport)
        self._targets: dict[str, Target] = {}
        self._transports: dict[str, Transport] = {}
        self._pools: Pools | None = None

    # -- which provider ----------------------------------------------------------------------------------

    def spelt_out(self, model: str) -> str:
        """`"provider:model"` of a name that the configuration gives a meaning to."""
        named = self.named.get(model)
        return model if named is None else named.model

    def whole_name(self, model: str | None) -> str:
        """The `"provider:model"` that a call without a request is for."""
        model = model or self.model
        if model is None:
            raise ConfigError('name a model: model="provider:model", here or when the client is made')
        return self.spelt_out(model)

    def own_provider(self, why: str) -> str:
        """The provider of the client's model; `why` one is needed."""
        if self.model is None:
            raise ConfigError(f"name the provider {why}")
        return split_model(self.spelt_out(self.model))[0]

    def target(self, model: str) -> Target:
        """`resolve`, again only if the environment has changed."""
        target = self._targets.get(model)
        if target is None or (target.asked != () and not target.is_current()):
            target = resolve(model, self.configs)
            if len(self._targets) < _MODELS_KNOWN:
                self._targets[model] = target
        return target

    def place(self, provider: str | None) -> Target:
        """A provider without a request: as for the client's own model, where it is that model's provider."""
        provider = provider or self.own_provider("to ask")
        own = self.model and self.spelt_out(self.model)
        if own and split_model(own)[0] == provider:
            return resolve(own, self.configs)
        return resolve_listing(provider, self.configs)

    # -- which request -----------------------------------------------------------------------------------

    def check_open(self) -> None:
        """Raises ConfigError once the client is closed."""
        if self.closed:
            raise ConfigError("this client is closed; make a new one")

    def request(self, input: Input, args: ChatParams, *, empty: bool = False) -> tuple[Target, Request]:
        """The request that arguments make, with the options that hold where they set none."""
        model = args.get("model") or getattr(input, "model", None) or self.model
        if model is None:
            raise ConfigError('name a model: model="provider:model", here or when the client is made')
        named = self.named.get(model)
        target = self.target(model if named is None else named.model)
        own, by_name = target.options, None if named is None else named.options
        defaults = self._options
        if own is not None or by_name is not None or self._filed is not None:
            defaults = self._defaults(target, own, by_name)
        return target, build_request(input, args, model=target.model, defaults=defaults, empty=empty)

    def _defaults(self, target: Target, own: Options | None, by_name: Options | None) -> Options | None:
        """Those of code go before the file's, and in each those of a provider or name before the general ones."""
        if target.provider in self._coded:
            return merge_options(self._filed, by_name, self._options, own)
        return merge_options(self._filed, own, by_name, self._options)

    def plan(self, input: Input, args: ChatParams, *, stream: bool, fork: bool = False) -> Plan:
        """Encode a chat. Raises ConfigError, UnsupportedError, TypeError, ValueError."""
        self.check_open()
        target, request = self.request(input, args)
        planned = plan(request, target, stream=stream, timeouts=self.timeouts)
        return replace(planned, fork=True) if fork else planned

    def plan_call(
        self, call: Call, target: Target, *, request: Request | None = None, subject: str | None = None
    ) -> Plan:
        """A plan for a call that is no chat. `subject` is what to check where it is answered with 404."""
        return plan_call(call, request, target, timeouts=self.timeouts, subject=subject)

    # -- sending -----------------------------------------------------------------------------------------

    def send(self, plan: Plan, decoder: Decoder | None = None) -> Sending:
        """A request, of which nothing is sent before its first events are asked for.

        A `decoder` that has begun an answer goes on with it.
        """
        return Sending(plan, self, decoder)

    async def chat(self, plan: Plan) -> Response:
        """One whole answer. Raises every ProviderError."""
        sending = self.send(plan)
        collector = Collector()
        try:
            while not sending.ended:
                collector.feed_all(await sending.pull())
            return sending.finished(collector)
        finally:
            sending.abort()

    async def fetch(self, plan: Plan, read: Callable[[bytes], T]) -> T:
        """What `read` makes of the body of a call that is no chat. Raises every ProviderError."""
        return await self.send(plan).fetch(read)

    def observed(self, observe: Callable[[ByteExchange], ByteExchange], max_event_bytes: int) -> Session:
        """The same session for one that sees each exchange over HTTP, with a limit of its own."""
        other = copy.copy(self)
        other.observe, other.max_event_bytes = observe, max_event_bytes
        return other

    # -- connections -------------------------------------------------------------------------------------

    async def transport(self, target: Target) -> Transport:
        """What reaches a target by HTTP, made at the first request."""
        if self.closed:
            self.check_open()
        is_local = target.row.transport == "local"
        name = f"local:{target.provider}:{target.model}:{target.local!r}" if is_local else "http"
        transport = self._transports.get(name)
        if transport is None:
            # The HTTP engine takes a tenth of a second to import: not on the loop.
            import asyncio

            place = "local.transport" if is_local else "transports.http"
            module = await asyncio.to_thread(importlib.import_module, f"brainwires_provider.{place}")
            made = module.make_transport(target.model, target.local, **self._transport)
            transport = self._transports.setdefault(name, made)
        return transport

    @property
    def pools(self) -> Pools:
        """This client's WebSockets, made when first asked for."""
        if self._pools is None:
            from brainwires_provider.transports.websocket.pool import Pools

            settings = {name: value for name, value in self._transport.items() if name != "max_connections"}
            self._pools = Pools(**settings, max_event_bytes=self.max_event_bytes)
        return self._pools

    @pools.setter
    def pools(self, pools: Pools) -> None:
        self._pools = pools

    def pool(self, plan: Plan) -> Pool:
        """The WebSockets that a plan's request goes over."""
        self.check_open()
        return self.pools.pool(endpoint_of(plan), plan.websocket)

    async def aclose(self) -> None:
        """Close the connections. Requests in progress end with a typed error; later calls raise ConfigError."""
        self.closed = True
        if self._pools is not None:
            await self._pools.aclose()
        for transport in list(self._transports.values()):
            await transport.aclose()

    def start_afresh(self) -> tuple[object, ...]:
        """In a forked child: forget the parent's connections, and return them, to be kept and never closed."""
        inherited = self._transports, self._pools
        self._transports, self._pools = {}, None
        return inherited


class Sending:
    """One request: its attempts, its timeouts, and the events of the attempt that succeeds."""

    __slots__ = (
        "_deadlines",
        "_decoder",
        "_expired",
        "_loop",
        "_plan",
        "_session",
        "_task",
        "attempt",
        "ended",
    )

    def __init__(self, plan: Plan, session: Session, decoder: Decoder | None) -> None:
        self._plan = plan
        self._session = session
        self._decoder = decoder
        self._expired: Clock | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None  # until there are events: what a timeout cancels
        self._deadlines: Deadlines | None = None
        self.attempt = Attempt(plan, session.max_event_bytes, decoder)
        """The current one."""
        self.ended = decoder is not None and decoder.ended
        """Nothing more comes."""

    # -- what the caller sees ----------------------------------------------------------------------------

    async def pull(self) -> list[Event]:
        """The next events, at least one; none once the answer has ended. A failure ends it."""
        if self.ended:
            return []
        try:
            deadlines = self._deadlines
            if deadlines is None:
                events = await self._within(self._first_events)
            else:
                assert self._loop is not None
                if self._expired is not None:
                    raise self._timed_out(self._expired)
                deadlines.waiting_since = self._loop.time()
                events = await self.attempt.next()
                deadlines.waiting_since = None
        except ProviderError as error:
            self.abort()
            raise self._explained(error) from None
        except BaseException:
            self.abort()
            raise
        if self.attempt.ended:
            self._end()
        return events

    async def fetch(self, read: Callable[[bytes], T]) -> T:
        """What `read` makes of the whole body, for calls that are no chat."""
        try:
            body = await self._within(self._body)
            self.attempt.release()
            return read(body)
        except ProviderError as error:
            raise self._explained(error) from None
        finally:
            self.abort()

    def partial(self) -> Response:
        """What has arrived so far."""
        return self.attempt.partial()

    def finished(self, collector: Collector) -> Response:
        """The whole answer."""
        return self.attempt.complete(collector.response(provider=self._plan.target.provider))

    @property
    def decoder(self) -> Decoder:
        """That of the current attempt."""
        return self.attempt.decoder

    def abort(self) -> None:
        """Leave now. What was read to its end keeps its connection, everything else drops it."""
        if not self.ended:
            self._end()
            self.attempt.abort()

    async def leave(self) -> None:
        """Leave in good order: after the answer's end the connection is kept, before it dropped."""
        attempt = self.attempt
        if not self.ended and attempt.exchange is not None and attempt.is_whole:
            await attempt.finish()
        self.abort()

    def _end(self) -> None:
        self.ended = True
        if self._deadlines is not None:
            self._deadlines.drop()

    # -- attempts ----------------------------------------------------------------------------------------

    async def _first_events(self) -> list[Event]:
        return await self._attempts(Attempt.first)

    async def _body(self) -> bytes:
        return await self._attempts(Attempt.body)

    async def _attempts(self, read: Callable[[Attempt, Deadlines], Awaitable[T]]) -> T:
        """Open and read, again for as long as a policy has a reason to: what the caller saw nothing of."""
        recovery, deadlines = self._recovery(), self._deadlines
        assert deadlines is not None
        while True:
            try:
                await self._open(recovery)
                return await read(self.attempt, deadlines)
            except ProviderError as error:
                if recovery is None or not recovery.take(error):
                    raise
            self._next_attempt(recovery)
            deadlines.restart()

    def _next_attempt(self, recovery: Recovery) -> None:
        self.attempt.abort()
        self.attempt = Attempt(self._plan, self._session.max_event_bytes, self._decoder)
        self.attempt.replaced = tuple(recovery.attempts)

    async def _open(self, recovery: Recovery | None) -> None:
        if recovery is None or recovery.over_http:
            await self._open_http()
        else:
            self.attempt.exchange = await self._open_lane(recovery)

    async def _open_http(self) -> None:
        """Sign and send."""
        plan, session, attempt = self._plan, self._session, self.attempt
        known = session.fixed_headers.get((plan.target.key, plan.target.row.auth, plan.stream))
        if known is None or plan.has_headers:
            outgoing = await self._signed(attempt)
        else:
            headers, attempt.secrets = known
            outgoing = Outgoing(plan.call.method, plan.url, headers, plan.body(), plan.timeouts.connect)
        transport = await session.transport(plan.target)
        exchange = await transport.open(outgoing)
        attempt.exchange = exchange if session.observe is None else session.observe(exchange)

    async def _signed(self, attempt: Attempt) -> Outgoing:
        """The request with its key, and a signature where that is needed."""
        plan, target = self._plan, self._plan.target
        key = "" if target.key is None else await resolve_key(target.key, target.provider)
        attempt.secrets = (key,) if key else ()
        own: Mapping[str, str] = {}
        if target.headers:
            own = await resolve_headers(target.headers, target.provider)
            attempt.secrets += header_secrets(target.headers, own)
        if target.row.host_by_key:
            plan = replace(plan, target=target.at_home_of(key))
        url, headers, body = plan.url, plan.headers(key, own), plan.body()
        if target.auth is not None:
            headers |= await target.auth.headers(plan.call.method, url, headers, body)
            attempt.secrets += target.auth.secrets
        elif type(target.key) is str and not plan.has_headers:
            self._session.fixed_headers[target.key, target.row.auth, plan.stream] = headers, attempt.secrets
        return Outgoing(plan.call.method, url, headers, body, plan.timeouts.connect)

    # -- over a WebSocket --------------------------------------------------------------------------------

    def _recovery(self) -> Recovery | None:
        """The way over a WebSocket, for a call that goes over one."""
        plan = self._plan
        mode = plan.websocket if plan.target.row.transport == "websocket" and self._decoder is None else None
        if mode is None:
            return None
        from brainwires_provider.transports.websocket.recovery import Recovery

        key = plan.target.key
        recovery = Recovery(
            self._session.pool(plan),
            mode.request(plan.call, plan.target.origin),
            mode.fault,
            fresh_key=key is not None and not isinstance(key, str),
            fork=plan.fork,
        )
        recovery.wait_for_websocket()
        self.attempt.replaced = tuple(recovery.attempts)
        return recovery

    async def _open_lane(self, recovery: Recovery) -> LaneExchange:
        from brainwires_provider.transports.websocket.connection import HandshakeRefused

        attempt = self.attempt
        try:
            exchange = await recovery.open()
        except HandshakeRefused as refused:
            error = refusal(self._plan.target.protocol, refused.status, refused.headers, refused.body)
            error.request_id = error.request_id or request_id(refused.headers)
            raise error from None
        finally:
            attempt.exchange = recovery.exchange
            attempt.secrets = recovery.pool.secrets
        attempt.decoder = recovery.request.decoder()
        return exchange

    # -- timeouts ----------------------------------------------------------------------------------------

    async def _within(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do what comes before the first events, within the timeouts."""
        import asyncio

        loop = self._loop = asyncio.get_running_loop()
        task = self._task = asyncio.current_task()
        assert task is not None
        others = task.cancelling()
        self._deadlines = Deadlines(self._plan.timeouts, loop.time())
        self._deadlines.watch(loop, self._on_expiry)
        try:
            return await work()
        except asyncio.CancelledError:
            # Ours, unless somebody else has cancelled too: theirs goes first.
            if self._expired is not None and task.uncancel() <= others:
                raise self._timed_out(self._expired) from None
            raise
        finally:
            self._task = None
            self._deadlines.waiting_since = None

    def _on_expiry(self, clock: Clock) -> None:
        self._expired = clock
        if self._task is not None:
            self._task.cancel()
        elif self.attempt.exchange is not None:
            self.attempt.exchange.abort()

    def _timed_out(self, clock: Clock) -> ProviderError:
        limit = getattr(self._plan.timeouts, clock)
        if self._deadlines is None or not self._deadlines.begun:
            return RequestTimeout(f"no answer began within {limit} s (Timeouts.{clock})", clock=clock)
        return StreamTimeout(
            f"the answer stalled: the {clock} clock of {limit} s ran out", clock=clock, partial=self.partial()
        )

    def _explained(self, error: ProviderError) -> ProviderError:
        is_ours = isinstance(error, StreamInterrupted) and not isinstance(error, StreamTimeout)
        if self._expired is not None and is_ours:
            error = self._timed_out(self._expired)
        return self.attempt.explain(error)
