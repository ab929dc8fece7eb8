"""What a client owns and every call needs, and the one way by which every request is sent.

`Session.send` makes a `Sending` of a plan (`sending.py`): attempts, one after another, until one gives events, then
that one's events to their end. Chat, streams, counting, listing, embedding and all other operations go this way, so a
policy that is applied there holds for all of them.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from brainwires_provider._core.continuing import Held
from brainwires_provider._core.deadlines import running_loop
from brainwires_provider._core.defaults import Defaults, call_elsewhere
from brainwires_provider._core.fallback import fallbacks_of, may_be_hedged
from brainwires_provider._core.hooks import Hooks
from brainwires_provider._core.lifecycle import abandon
from brainwires_provider._core.plan import (
    POLICIES,
    Input,
    Plan,
    build_request,
    endpoint_of,
    is_typed,
    plan,
    plan_call,
)
from brainwires_provider._core.sending import Sending
from brainwires_provider._core.waits import Waits, closed
from brainwires_provider.errors import ConfigError
from brainwires_provider.events import ResponseEnd
from brainwires_provider.protocols.base.protocol import Call, Decoder
from brainwires_provider.providers import (
    Config,
    NamedModel,
    ProviderConfig,
    Target,
    resolve,
    resolve_listing,
    split_model,
)
from brainwires_provider.transports import base
from brainwires_provider.transports.base import ByteExchange, Transport
from brainwires_provider.types import (
    ClientStats,
    Fallback,
    Options,
    OutputParams,
    Policies,
    Request,
    Response,
    Telemetry,
    Timeouts,
)
from brainwires_provider.types.checked import misfit

if TYPE_CHECKING:
    from brainwires_provider._core.admission import Ledger, Terms
    from brainwires_provider._core.hedge import Hedged, Share
    from brainwires_provider._core.telemetry import Instruments
    from brainwires_provider._core.watch import Watch
    from brainwires_provider.providers.prices import Prices
    from brainwires_provider.transports.websocket.pool import Pool, Pools

__all__ = ["Session"]

T = TypeVar("T")

_MODELS_KNOWN = 100


class Session:
    """A client's providers, options, transports and connections.

    `coded` are the providers that code has set up, whose options go before those of a configuration file (`filed`).
    `transport` are the settings of connections.
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
        given: Transport | None = None,
        max_event_bytes: int,
        max_parts: int,
        policies: Policies,
        hooks: Hooks | None = None,
        prices: bool = False,
        telemetry: Telemetry | None = None,
        made_at: str,
    ) -> None:
        self.made_at = made_at
        self.given = given
        """What carries the requests in place of the network."""
        self.model = model
        self.named = named
        self.configs = configs
        self.timeouts = timeouts
        self.max_event_bytes = max_event_bytes
        self.max_parts = max_parts
        self.policies = policies
        self._fallbacks: tuple[Policies | None, tuple[Fallback, ...]] = None, ()
        self.hooks = hooks
        self.has_prices = prices
        """Whether responses have a cost."""
        if prices or (policies.budget is not None and policies.budget.usd is not None):
            from brainwires_provider.providers.prices import check_installed

            check_installed()
        self.instruments: Instruments | None = None
        """What telemetry records with."""
        if telemetry is not None:
            from brainwires_provider._core.watch import instruments_of

            self.instruments = instruments_of(telemetry)
        self._once: dict[str, Any] = {}
        """What is made at first use, kept by `setdefault`: of several threads that make it, all use the first one."""
        self._terms: Terms | None = None  # of the last call
        self._shares: dict[float, Share] = {}
        self.known_prices: dict[str, Prices] = {}
        if level := os.environ.get("BRAINWIRES_LOG"):
            from brainwires_provider._core.watch import log_to_stderr

            log_to_stderr(level)
        self.closed = False
        self.waits = Waits()
        """Of calls between two attempts."""
        self.observe: Callable[[ByteExchange], ByteExchange] | None = None
        """Wraps every exchange over HTTP; see `observed`."""
        self.held = Held()  # what servers hold of conversations over HTTP
        self.fixed_headers: dict[tuple[Any, str, bool], tuple[dict[str, str], tuple[str, ...]]] = {}
        """By key, scheme and form: the headers of requests that have no others, and their secrets."""
        self.forced_outputs: set[tuple[str, str, bytes]] = set()
        """Provider, model and schema of typed answers that were refused as a format: a forced tool asks for them."""
        self._defaults = Defaults.of(filed, options, coded)
        is_one = policies.fallback is None and policies.hedge is None
        self._is_plain = is_one and telemetry is None and self._defaults.are_plain
        """Whether nothing is added to the plan of a call without arguments."""
        self._transport = dict(transport)
        self._targets: dict[str, Target] = {}
        self._transports: dict[str, Transport] = {}
        self._owner: Session | None = None  # of connections that are another's

    # -- which provider ----------------------------------------------------------------------------------

    def spelt_out(self, model: str) -> str:
        """`"provider:model"` of a name that the configuration gives a meaning to."""
        named = self.named.get(model)
        return model if named is None else named.model

    def whole_name(self, model: str | None) -> str:
        """The `"provider:model"` that a call without a request is for."""
        if model is not None and not isinstance(model, str):
            raise misfit("model", (str,), model)
        model = model or self.model
        if model is None:
            raise ConfigError('name a model: model="provider:model", here or when the client is made')
        return self.spelt_out(model)

    def own_provider(self, why: str) -> str:
        """The provider of the client's model; `why` one is needed."""
        if self.model is None:
            raise ConfigError(f"name the provider {why}")
        return split_model(self.spelt_out(self.model))[0]

    def bind(
        self, setup: Config, coded: Mapping[str, ProviderConfig], model: str | None, given: dict[str, Any]
    ) -> None:
        """Bind the settings `given` to the provider of `model`, never to one that only the configuration names."""
        if self.model is not None:
            self.own_provider("of api_key, base_url and headers")
        if not given:
            return
        if model is None:
            raise ConfigError(
                f"{', '.join(given)}: these belong to the provider of `model`: name a model, or use "
                "providers=[ProviderConfig(…)]"
            )
        provider = split_model(self.spelt_out(model))[0]
        known = self.configs.get(provider) or ProviderConfig(provider)
        if provider not in coded and "base_url" not in given:
            setup.check_key(provider)
        if provider not in coded and given.get("base_url") not in (None, known.base_url):
            known = replace(known, api_key=None, headers={})  # the configuration's stay with its own base URL
        self.configs[provider] = replace(
            known, **given | {"headers": {**known.headers, **given.get("headers", {})}}
        )

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
            raise closed()

    def request(
        self, input: Input, args: OutputParams, *, empty: bool = False, home: str | None = None
    ) -> tuple[Target, Request]:
        """The request that arguments make, with the options that hold where they set none.

        `home` is the provider that the call was for at first.
        """
        model = args.get("model")
        if model is not None and not isinstance(model, str):
            raise misfit("model", (str,), model)
        model = model or (input.model if isinstance(input, Request) else None) or self.model
        if model is None:
            raise ConfigError('name a model: model="provider:model", here or when the client is made')
        if args and is_typed(args):
            from brainwires_provider._core.output import untyped

            args = untyped(args)  # type: ignore[assignment]
        named = self.named.get(model)
        target = self.target(model if named is None else named.model)
        own, by_name = target.options, None if named is None else named.options
        defaults = self._defaults.given
        if own is not None or by_name is not None or not self._defaults.are_plain:
            home = home if self.model is None else self.own_provider("of the client's options")
            defaults = self._defaults.at(target, by_name, home)
        return target, build_request(input, args, model=target.model, defaults=defaults, empty=empty)

    def plan(self, input: Input, args: OutputParams, *, stream: bool, fork: bool = False) -> Plan:
        """Encode a chat. Raises ConfigError, UnsupportedError, TypeError, ValueError."""
        self.check_open()
        if args and is_typed(args):
            from brainwires_provider._core.output import plan_typed

            return plan_typed(self, input, args, stream=stream, fork=fork)
        target, request = self.request(input, args)
        if self._is_plain and not args and not fork:
            return plan(request, target, stream=stream, timeouts=self.timeouts)
        return self.plan_request(target, request, input, args, stream=stream, fork=fork)

    def plan_request(
        self, target: Target, request: Request, input: Input, args: OutputParams, *, stream: bool, fork: bool
    ) -> Plan:
        """The same for the request that `request` made of the input and the arguments."""
        planned = plan(request, target, stream=stream, timeouts=self.timeouts)
        if not self._defaults.are_plain:
            planned = self._defaults.reported(planned, request)
        if fork or self.instruments is not None:
            planned = self._traced(replace(planned, fork=fork), request)
        if args:
            planned = self.with_policies(planned, args)
        policies = planned.policies or self.policies
        if policies.fallback is None and policies.hedge is None:
            return planned
        known = self._fallbacks  # which another thread may replace meanwhile
        if known[0] is not policies:
            known = self._fallbacks = policies, fallbacks_of(self, policies)
        is_hedged = policies.hedge is not None and may_be_hedged(planned)
        other = partial(self._other, input, args, planned)
        return replace(planned, others=known[1], other=other, hedge=policies.hedge if is_hedged else None)

    def _other(self, input: Input, args: OutputParams, first: Plan, model: str) -> Plan:
        """The same call for another model."""
        target, home = self.target(self.spelt_out(model)), first.target.provider
        given = (args, args.get("options"), getattr(input, "options", None))
        if target.provider != home:
            input, args = call_elsewhere(input, args)
        request = self.request(input, {**args, "model": model}, home=home)[1]
        planned = plan(request, target, stream=first.stream, timeouts=self.timeouts)
        planned = self._defaults.reported(planned, request, *given)
        return replace(self._traced(planned, request), policies=first.policies)

    def _traced(self, plan: Plan, request: Request) -> Plan:
        return plan if self.instruments is None else replace(plan, operation="chat", request=request)

    def with_policies(self, plan: Plan, args: Mapping[str, Any]) -> Plan:
        """The plan with what a call sets of the policies, over the client's."""
        if POLICIES.isdisjoint(args):
            return plan
        own = {name: args[name] for name in POLICIES & args.keys() if args.get(name) is not None}
        return replace(plan, policies=replace(self.policies, **own)) if own else plan

    def plan_call(
        self,
        call: Call,
        target: Target,
        *,
        request: Request | None = None,
        subject: str | None = None,
        operation: str = "",
    ) -> Plan:
        """A plan for a call that is no chat. `subject` is what to check where it is answered with 404."""
        planned = plan_call(call, request, target, timeouts=self.timeouts, subject=subject)
        if not operation:
            return planned
        return replace(planned, uses="input", operation=operation if self.instruments is not None else "")

    # -- sending -----------------------------------------------------------------------------------------

    def send(
        self, plan: Plan, decoder: Decoder | None = None, end_event: ResponseEnd | None = None
    ) -> Sending | Hedged:
        """A request, of which nothing is sent before its first events are asked for.

        A `decoder` that has begun an answer goes on with it; `end_event` is what it may have given as the last.
        """
        if plan.hedge is None or decoder is not None:
            return Sending(plan, self, decoder, end_event)
        share = self._shares.get(plan.hedge.share)
        if share is None:  # an import costs as much as the rest
            from brainwires_provider._core.hedge import Share

            share = self._shares.setdefault(plan.hedge.share, Share(plan.hedge.share))
        return share.begin(plan, self)

    def chat(self, plan: Plan) -> Coroutine[Any, Any, Response]:
        """One whole answer, of the type that was asked for. Raises every ProviderError."""
        answered: Coroutine[Any, Any, Response]
        answered = self.chat_untyped(plan) if plan.expected is None else plan.expected.answered(plan)
        return answered

    async def chat_untyped(self, plan: Plan) -> Response:
        """The same as it was answered."""
        sending = self.send(plan)
        try:
            while not sending.ended:
                await sending.pull()
                sending = sending.taken or sending
            return sending.whole()
        finally:
            if not sending.ended:
                sending.abort()

    async def fetch(self, plan: Plan, read: Callable[[bytes], T]) -> T:
        """What `read` makes of the body of a call that is no chat. Raises every ProviderError."""
        return await Sending(plan, self, None).fetch(read)

    @property
    def _ledger(self) -> Ledger | None:
        ledger: Ledger | None = self._once.get("ledger")
        return ledger

    def terms(self, plan: Plan) -> Terms:
        """What the limits, the budget and the breaker of a call are kept by."""
        known, policies = self._terms, plan.policies or self.policies
        if known is not None and known.target is plan.target and known.policies is policies:
            return known
        ledger = self._ledger
        if ledger is None:
            from brainwires_provider._core.admission import Ledger

            ledger = self._once.setdefault("ledger", Ledger())
        made = ledger.terms(plan.target, policies)
        self._terms = made if made.is_lasting else None
        return made

    def stats(self) -> ClientStats:
        """The state of the policies, and of the connections."""
        known, budget = ClientStats(), self.policies.budget
        if self._ledger is not None or budget is not None:
            from brainwires_provider._core.admission import Ledger

            known = (self._ledger or Ledger()).stats(budget)
        websockets = None if self._pools is None else self._pools.counters.snapshot()
        return replace(known, websockets=websockets)

    async def prices(self, target: Target, until: float | None = None) -> Prices:
        """What a target's tokens cost. Raises RequestTimeout at a time of the event loop."""
        from brainwires_provider.providers.prices import prices_at

        return await prices_at(target.base_url, self.known_prices, until)

    def watch(self, plan: Plan) -> Watch:
        """What reports on a call, where somebody looks on."""
        from brainwires_provider._core.watch import Watch

        return Watch(plan, self.hooks, None if self.instruments is None else self.instruments.begin(plan))

    def fresh(self) -> Session:
        """A session with the same settings, and nothing of this one's connections."""
        other = Session.__new__(Session)
        vars(other).update(vars(self))
        other.closed = False
        other._targets, other._transports, other.fixed_headers, other.held = {}, {}, {}, Held()
        other.known_prices, other.forced_outputs = {}, set()
        other._forget_calls()
        if self.hooks is not None:
            other.hooks = Hooks(self.hooks.on_request, self.hooks.on_response, self.hooks.on_error)
        return other

    def __deepcopy__(self, memo: object) -> Session:
        return self  # a conversation's copy goes on over the same connections

    def __reduce__(self) -> tuple[Any, ...]:
        return Session.__new__, (Session,), vars(self.fresh())

    def observed(self, observe: Callable[[ByteExchange], ByteExchange], max_event_bytes: int) -> Session:
        """The same session for one that sees each exchange over HTTP, with a limit of its own."""
        other = Session.__new__(Session)
        vars(other).update(vars(self))
        other._owner, other.observe, other.max_event_bytes = self, observe, max_event_bytes
        return other

    # -- connections -------------------------------------------------------------------------------------

    def known_transport(self, target: Target) -> Transport | None:
        """What reaches a target by HTTP, if it is made already."""
        self.check_open()
        if (given := self.given or base.replacement) is not None:
            return given
        return self._transports.get("http" if target.row.transport != "local" else _engine(target))

    async def transport(self, target: Target) -> Transport:
        """What reaches a target by HTTP, made at the first request."""
        transport = self.known_transport(target)
        if transport is None:
            running_loop()  # the HTTP engine takes a tenth of a second to import: not on the loop

            is_local = target.row.transport == "local"
            place = "local.transport" if is_local else "transports.http"
            module = await asyncio.to_thread(importlib.import_module, f"brainwires_provider.{place}")
            made = module.make_transport(target.model, target.local, **self._transport)
            transport = self._transports.setdefault(_engine(target) if is_local else "http", made)
        return transport

    @property
    def _pools(self) -> Pools | None:
        pools: Pools | None = self._once.get("pools")
        return pools

    @property
    def pools(self) -> Pools:
        """This client's WebSockets, made when first asked for."""
        pools = self._pools
        if pools is None:
            from brainwires_provider.transports.websocket.pool import Pools

            settings = {name: value for name, value in self._transport.items() if name != "max_connections"}
            made = Pools(**settings, max_event_bytes=self.max_event_bytes)
            pools = self._once.setdefault("pools", made)
        return pools

    @pools.setter
    def pools(self, pools: Pools) -> None:
        self._once["pools"] = pools

    def pool(self, plan: Plan, mode: Any) -> Pool:
        """The WebSockets that a plan's request goes over, as its protocol declares by `mode`."""
        self.check_open()
        if self.given is not None or base.replacement is not None:
            raise ConfigError(
                f"{plan.target.provider} uses a WebSocket, which the given transport does not carry; "
                "use the provider of the same service over HTTP, or a ScriptedSocket"
            )
        return self.pools.pool(endpoint_of(plan), mode)

    async def aclose(self) -> None:
        """Close the connections. Requests in progress end with a typed error; later calls raise ConfigError."""
        self.closed = True
        self.waits.close()
        if self._pools is not None:
            await self._pools.aclose()
        for transport in (*self._transports.values(), *([self.given] if self.given is not None else [])):
            await transport.aclose()
        if self._ledger is not None:
            await self._ledger.aclose()
        if self.hooks is not None:
            await self.hooks.aclose()

    def __del__(self) -> None:
        if not vars(self).get("closed", True) and self._owner is None:
            abandon((*self._transports.values(), self._pools), self)

    def start_afresh(self) -> tuple[object, ...]:
        """In a forked child: forget the parent's calls and connections; these are kept, and never closed."""
        inherited = self._transports, self._pools, self._ledger
        self._transports = {}
        self._forget_calls()
        return inherited

    def _forget_calls(self) -> None:
        """The WebSockets, and what the policies know of calls: places, money, shares, failures, waits.

        Locks of theirs may be held.
        """
        self._once, self._terms, self._shares, self.waits = {}, None, {}, Waits()


def _engine(target: Target) -> str:
    """The name of the transport to a model on this machine."""
    return f"local:{target.provider}:{target.model}:{target.local!r}"
