"""From a call's arguments to the exact request, before it is signed: encoded, reported on, shown without sending."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args
from urllib.parse import urlencode

import msgspec
from msgspec import Struct
from msgspec.structs import force_setattr, replace

from brainwires_provider import __version__
from brainwires_provider.auth.keys import header_fault, key_headers
from brainwires_provider.auth.redaction import REDACTED, field_secrets, redact
from brainwires_provider.errors import ConfigError, UnsupportedError
from brainwires_provider.framing.sse import SSEFraming
from brainwires_provider.framing.whole import WholeFraming
from brainwires_provider.protocols.base.facts import check_media
from brainwires_provider.protocols.base.protocol import Call, OverHTTP
from brainwires_provider.providers import Target
from brainwires_provider.types import (
    Deviation,
    Fallback,
    Hedge,
    HostedTool,
    JSONSchema,
    Message,
    Options,
    OutputParams,
    Policies,
    PreparedRequest,
    Report,
    Request,
    TextPart,
    Timeouts,
    Tool,
    ToolChoice,
)
from brainwires_provider.types.checked import copied, encode_unusual, misfit, plain
from brainwires_provider.types.options import NO_OPTIONS, merge_options
from brainwires_provider.types.suspects import (
    Guarded,
    is_secret_name,
    looks_like_key,
    query_fields,
    secret_fields,
)
from brainwires_provider.types.tools import as_tools

if TYPE_CHECKING:
    from brainwires_provider.transports.websocket.dialing import Endpoint

__all__ = [
    "POLICIES",
    "Input",
    "Plan",
    "build_request",
    "check_args",
    "endpoint_of",
    "is_typed",
    "messages_of",
    "plan",
    "plan_call",
    "plan_encoded",
    "prepare",
    "stored_args",
]

Input: TypeAlias = str | Message | Sequence[Message] | Request

_CHOICE = Literal["auto", "none", "required"]
_ARGS = frozenset(OutputParams.__annotations__)
_OF_MOST_CALLS = frozenset(("model", "output"))
"""A call with no other keywords sets no options, tools or system prompt: its request is made without merging any."""
_TUNING = frozenset(Options.__struct_fields__)
POLICIES = frozenset(Policies.__struct_fields__)
_NOTHING = Request(())
_TEXT = TextPart("")
_SAID = Message("user", (_TEXT,))
_SET_BESIDE = re.compile(r"\.(cache|extra|detail|role)$|^messages\[\d+\]\.name$")
"""What a caller sets on messages and parts beside their content, by its place on the report."""
_OF_A_BODY = ("content-type", "accept", "accept-encoding")
_WHOLE = {
    "Content-Type": "application/json",
    "Accept": WholeFraming.media_type,
    "User-Agent": f"brainwires-provider/{__version__}",
}
_STREAMED = {
    **_WHOLE,
    "Accept": SSEFraming.media_type,
    "Accept-Encoding": "identity",  # compressed, events wait for each other
}
_HEADERS = "extra_headers"
_NAMED_OTHERWISE = {
    "max_retries": "retry=Retry(attempts=3)",
    "num_retries": "retry=Retry(attempts=3)",
    "timeout": "timeouts=Timeouts(total=60)",
    "fallbacks": "fallback=[…]",
    "response_format": "output",
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
}
"""Keywords of other libraries, and what they are here."""
_OVER_WEBSOCKET = "a request over a WebSocket"
_UNSENT = f"{_OVER_WEBSOCKET} has no such field"
_NO_REPORT = Report()
_MERGED = ("extra_body", "extra_headers", "extra_query")


class Plan(Guarded, Struct, frozen=True, gc=False):
    """One request, encoded but not signed."""

    target: Target
    call: Call
    report: Report
    timeouts: Timeouts
    stream: bool
    extra_headers: Mapping[str, str] | None
    extra_query: Mapping[str, str] | None
    subject: str | None = None  # what a 404 means, where it is not the model
    fork: bool = False
    """What this continues is continued by others too."""
    policies: Policies | None = None
    """None: the client's."""
    others: tuple[Fallback, ...] = ()
    """The models that are asked when this has failed."""
    other: Callable[[str], Plan] | None = None
    """Encodes the same call for another model, once it is needed."""
    expected: Any = None
    """The type that the answer must have, if one was asked for: an `Expected`."""
    hedge: Hedge | None = None
    """What is sent beside this when it is slow."""
    operation: str = ""
    """What it does, for telemetry: "chat", "embeddings", or "" for what has no span, and without telemetry."""
    request: Request | None = None
    """What it was encoded from, for telemetry."""
    uses: Literal["output", "input", "nothing"] = "output"
    """What it uses tokens for: an answer; only what it is given, as embeddings; or nothing, as what lists or looks."""

    @property
    def is_stored(self) -> bool:
        """Whether the provider makes and keeps the answer, even when the connection is lost."""
        return bool(self.call.body) and bool(self.call.body.get("background"))

    def __repr__(self) -> str:
        return f"Plan({self.call.method} {self.call.path} to {self.target!r})"

    @property
    def websocket(self) -> Any:
        """For a call that goes over a WebSocket what its protocol declares, an `OverWebSocket`; else None."""
        if self.target.row.transport != "websocket":
            return None
        mode = getattr(self.target.protocol, "websocket", None)
        return mode if mode is not None and mode.carries(self.call) else None

    @property
    def stored(self) -> OverHTTP | None:
        """For a call that may continue a stored answer over HTTP what its protocol declares; else None."""
        mode: OverHTTP | None = getattr(self.target.protocol, "stored", None)
        return mode if mode is not None and mode.carries(self.call) else None

    @property
    def url(self) -> str:
        """Base URL, path and query."""
        if not self.call.query and not self.extra_query and "?" not in self.target.base_url:
            return self.target.base_url + self.call.path
        base, _, query = self.target.base_url.partition("?")
        pairs = {**self.call.query, **(self.extra_query or {})}
        query = "&".join(part for part in (query, urlencode(pairs, doseq=True)) if part)
        return f"{base}{self.call.path}{'?' + query if query else ''}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secrets in the call's own headers and query, and in the query of the base URL."""
        query = self.target.base_url.partition("?")[2]
        if not (query or self.extra_headers or self.extra_query):
            return ()
        return field_secrets(self.extra_headers, self.extra_query, query_fields(self.target.base_url))

    @property
    def has_headers(self) -> bool:
        """Whether it has headers beside those of its key."""
        return bool(self.target.headers or self.call.headers or self.extra_headers)

    def headers(self, key: str, own: Mapping[str, str]) -> dict[str, str]:
        """The headers to send: a later layer replaces an earlier one, whatever the case of the names.

        `own` are the target's headers with their values called for. Raises ConfigError for an extra header that cannot
        be set, as `handshake_headers` does.
        """
        usual = _STREAMED if self.stream else _WHOLE
        of_key = key_headers(self.target.row.auth, key) if key else {}
        if not (self.call.headers or own or self.extra_headers):
            return usual | of_key
        self._check_headers()
        sent = {name.lower(): (name, value) for name, value in usual.items()}
        for layer in (self.call.headers, of_key, own, self.extra_headers or {}):
            for name, value in layer.items():
                sent[name.lower()] = name, value
        return dict(sent.values())

    def _check_headers(self) -> None:
        for fault in filter(None, map(header_fault, self.extra_headers or ())):
            raise ConfigError(f"extra_headers: {fault}", provider=self.target.provider)

    @property
    def _connection_headers(self) -> dict[str, str]:
        """Of the extra headers, those in which requests that share a connection have to be equal."""
        own = {name.lower() for name in self.target.headers}
        names = own | {name.lower() for name in self.target.socket.connection_headers}
        return {
            name: value
            for name, value in (self.extra_headers or {}).items()
            if name.lower() in names or is_secret_name(name) or looks_like_key(value)
        }

    def websocket_report(self, extra_body: Mapping[str, Any]) -> Report:
        """The report of a request over a WebSocket, which cannot carry all headers and fields."""
        report, mode = self.report, self.websocket
        if mode is None:
            return report
        unsent = [name for name in mode.unsent if name in self.call.body]
        places = ["extra_body" if name in extra_body else "provider_options" for name in unsent]
        fields = [f"{place}.{name}" for place, name in zip(places, unsent, strict=True)]
        deviations = [Deviation(field, "dropped", _UNSENT) for field in fields]
        lost = [name for name in self.extra_headers or () if name not in self._connection_headers]
        sent = report.sent
        if lost:
            reason = (
                f"{_OVER_WEBSOCKET} has no headers of its own ({', '.join(lost)}); name those that belong to "
                "the connection in WebSocketOptions.connection_headers"
            )
            sent = tuple(field for field in sent if field != _HEADERS)
            deviations.append(Deviation(_HEADERS, "dropped", reason))
        return (
            replace(report, sent=sent, deviations=(*report.deviations, *deviations)) if deviations else report
        )

    @property
    def http_report(self) -> Report:
        """The report of a request that goes over HTTP, where a WebSocket was meant."""
        report = self.report
        kept = tuple(d for d in report.deviations if not d.reason.startswith(_OVER_WEBSOCKET))
        if len(kept) == len(report.deviations):
            return report
        headers = (_HEADERS,) if any(d.field == _HEADERS for d in report.deviations if d not in kept) else ()
        return replace(report, sent=(*report.sent, *headers), deviations=kept)

    @property
    def socket_url(self) -> str:
        """The URL, as a WebSocket's."""
        return "ws" + self.url.removeprefix("http")

    def handshake_headers(self, key: str, own: Mapping[str, str]) -> dict[str, str]:
        """The headers without those that speak of one request: of its body, and those that are its own."""
        self._check_headers()
        sent = replace(self, extra_headers=self._connection_headers).headers(key, own)
        return {name: value for name, value in sent.items() if name.lower() not in _OF_A_BODY}

    def body(self) -> bytes:
        """The JSON body; none for a GET, and where there is nothing to say."""
        if self.call.content is not None:
            return self.call.content
        empty = self.call.method == "GET" or not self.call.body
        try:
            return b"" if empty else msgspec.json.encode(self.call.body)
        except (UnicodeEncodeError, TypeError, RecursionError):
            pass
        try:
            return encode_unusual(self.call.body, "the request")
        except (TypeError, ValueError) as error:
            provider, model = self.target.provider, self.target.model
            raise UnsupportedError(str(error), provider=provider, model=model) from None


# -- a call's arguments --------------------------------------------------------------------------------------


def check_args(args: Mapping[str, Any], known: frozenset[str] = _ARGS) -> None:
    """Raises TypeError for a keyword that does not exist, naming the nearest that does."""
    for name in args:
        if name == "stream":
            raise TypeError(
                "unexpected keyword argument 'stream': client.stream(...) streams a response, "
                "client.chat(...) returns it whole"
            )
        if name not in known:
            from difflib import get_close_matches

            here = _NAMED_OTHERWISE.get(name, "")
            near = [here] if here.partition("=")[0] in known else get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"unexpected keyword argument {name!r}{hint}")


def is_typed(args: Mapping[str, Any]) -> bool:
    """Whether the answer must have a Python type, rather than match a schema."""
    output = args.get("output") if args else None
    return output is not None and not isinstance(output, JSONSchema) and output != "json"


def messages_of(input: Input) -> tuple[Message, ...]:
    """The messages of any form of input. Raises TypeError naming a wrong type."""
    if isinstance(input, str):
        return (_said(input),)
    if isinstance(input, Message):
        return (input,)
    if isinstance(input, Request):
        return input.messages
    if isinstance(input, (list, tuple)):
        for index, item in enumerate(input):
            if not isinstance(item, Message):
                raise misfit(f"input[{index}]", (Message,), item)
        return tuple(input)
    raise misfit("input", (str, Message, list[Message], Request), input)


def _said(text: str) -> Message:
    """A user's message. Copied, since what is made anew is checked field by field."""
    part: TextPart = copied(_TEXT)
    message: Message = copied(_SAID)
    force_setattr(part, "text", text if type(text) is str else plain(text))
    force_setattr(message, "content", (part,))
    return message


def build_request(
    input: Input, args: OutputParams, *, model: str, defaults: Options | None, empty: bool = False
) -> Request:
    """One Request for `model`, the provider's own name for it; `empty` lets one without a message pass.

    Keywords win over `options`, they over the input's own, that over the client's, field by field.

    Raises TypeError for a wrong keyword or type, ValueError for no message at all.
    """
    messages = messages_of(input)
    if messages and _OF_MOST_CALLS.issuperset(args) and not isinstance(input, Request):
        request: Request = copied(_NOTHING)
        force_setattr(request, "messages", messages)
        force_setattr(request, "model", model)
        if "output" in args:
            force_setattr(request, "output", args["output"])
        if defaults is not None:
            force_setattr(request, "options", defaults)
        return request
    check_args(args)
    if not POLICIES.isdisjoint(args):
        Policies(**{name: args[name] for name in args.keys() & POLICIES})  # type: ignore[literal-required]
    base = input if isinstance(input, Request) else _NOTHING
    system = args.get("system", base.system)
    if not messages and system is None and not empty:
        raise ValueError("there is nothing to say: the input holds no message")
    own = base.options if base is input else None
    made: Request = replace(base, system=system) if "system" in args else copied(base)
    for name, value in (
        ("messages", messages),
        ("model", model),
        ("tools", _tools(args.get("tools", base.tools))),
        ("tool_choice", _tool_choice(args.get("tool_choice", base.tool_choice))),
        ("output", args.get("output", base.output)),
        ("options", merge_options(defaults, own, args.get("options"), _keywords(args))),
    ):
        force_setattr(made, name, value)
    return made


def _keywords(args: Mapping[str, Any]) -> Options | None:
    """The options that were given as keywords."""
    if _TUNING.isdisjoint(args):
        return None
    return Options(**{name: value for name, value in args.items() if name in _TUNING})


def _tools(tools: Any) -> tuple[Tool | HostedTool, ...]:
    if isinstance(tools, (Tool, HostedTool)):
        tools = (tools,)
    if tools is None:
        return ()
    if not isinstance(tools, (list, tuple)):
        raise misfit("tools", (list[Tool | HostedTool],), tools)
    return as_tools(tools)


def _tool_choice(choice: Any) -> ToolChoice | None:
    if choice is None or isinstance(choice, ToolChoice):
        return choice
    if choice in get_args(_CHOICE):
        return ToolChoice(choice)
    raise misfit("tool_choice", (_CHOICE, ToolChoice), choice)


def stored_args(first: OutputParams, later: OutputParams) -> OutputParams:
    """A conversation's own arguments under those of one turn."""
    merged: OutputParams = {**first, **later}
    own, turn = first.get("options"), later.get("options")
    if own is not None and turn is not None:
        merged["options"] = merge_options(own, turn)
    return merged


# -- encoded -------------------------------------------------------------------------------------------------


def plan(request: Request, target: Target, *, stream: bool, timeouts: Timeouts) -> Plan:
    """Encode.

    Raises UnsupportedError: content that the protocol cannot express or, when strict, an option that it cannot take.
    """
    facts = target.facts if target.row.transport != "local" else target.facts_for(request)
    if facts.refused_media:
        check_media(request, facts.refused_media, target.origin)
    call = target.protocol.encode(request, target.origin, stream=stream, facts=facts)
    return plan_encoded(call, request, target, stream=stream, timeouts=timeouts)


def plan_encoded(call: Call, request: Request, target: Target, *, stream: bool, timeouts: Timeouts) -> Plan:
    """A plan for what a request was encoded to, with its report. Raises UnsupportedError as `plan` does."""
    options, stream = request.options, stream or target.row.streams_only
    if options is NO_OPTIONS and not (call.sent or call.deviations):
        return Plan(target, call, _NO_REPORT, timeouts, stream, None, None)
    if options.extra_body:
        call = replace(call, body={**call.body, **options.extra_body})
    headers, query = options.extra_headers, options.extra_query
    sent = call.sent if options is NO_OPTIONS else call.sent + _merged_fields(options)
    report = Report(sent, call.deviations) if sent or call.deviations else _NO_REPORT
    if target.row.transport == "websocket" and options is not NO_OPTIONS:
        meant = Plan(target, call, report, timeouts, stream, headers, query)
        report = meant.websocket_report(options.extra_body or {})
    _check_strict(options, report, call, target)
    return Plan(target, call, report, options.timeouts or timeouts, stream, headers, query)


def _check_strict(options: Options, report: Report, call: Call, target: Target) -> None:
    if options.strict and (lost := _lost_options(report, call.weakened)):
        lost_fields = "; ".join(f"{d.field}: {d.reason}" for d in lost)
        words = f"strict, and {target.provider} cannot take: {lost_fields}"
        raise UnsupportedError(words, provider=target.provider, model=target.model)


def _lost_options(report: Report, weakened: tuple[str, ...]) -> list[Deviation]:
    """What strictness refuses: what is dropped, emulated, or adapted so that it may give less than was asked for.

    Of the messages only what is set beside their content: the history has to go on, whichever models made it.
    """
    lost = report.dropped + report.emulated
    if weakened:
        lost += tuple(d for d in report.adapted if d.field in weakened)
    return [d for d in lost if _is_set_by_caller(d.field)]


def _is_set_by_caller(field: str) -> bool:
    return not field.startswith("messages[") or _SET_BESIDE.search(field) is not None


def plan_call(
    call: Call, request: Request | None, target: Target, *, timeouts: Timeouts, subject: str | None = None
) -> Plan:
    """A plan for a call that is no chat: counting, listing. `subject` is what to check where the answer is 404.

    Raises UnsupportedError as `plan` does, where it is about a strict request.
    """
    options = request.options if request is not None else NO_OPTIONS
    _check_strict(options, Report(call.sent, call.deviations), call, target)
    return Plan(
        target,
        call,
        Report(),
        options.timeouts or timeouts,
        stream=False,
        extra_headers=options.extra_headers,
        extra_query=options.extra_query,
        subject=subject,
        uses="nothing",
    )


def _merged_fields(options: Options) -> tuple[str, ...]:
    """What is merged into every request, whatever its encoder has taken."""
    return tuple(name for name in _MERGED if getattr(options, name))


def prepare(plan: Plan) -> PreparedRequest:
    """The exact request, secrets redacted, nothing sent; over a WebSocket the handshake, and the frame after it."""
    target, mode = plan.target, plan.websocket
    key = REDACTED if target.key else ""
    own = dict.fromkeys(target.headers, REDACTED)
    headers = plan.headers(key, own) if mode is None else plan.handshake_headers(key, own)
    secret = {name.lower() for name in target.headers} | {name.lower() for name, _ in secret_fields(headers)}
    if target.auth is not None:
        headers["Authorization"] = REDACTED
    shown = {k: REDACTED if k.lower() in secret else v for k, v in headers.items()}
    secrets = plan.secrets + ((target.key,) if isinstance(target.key, str) else ())
    if mode is not None:
        url, frame = redact(plan.socket_url, secrets), mode.frame(plan.call)
        return PreparedRequest("GET", url, shown, frame, plan.report, target.origin)
    url = redact(plan.url, secrets)
    return PreparedRequest(plan.call.method, url, shown, plan.body(), plan.report, target.origin)


def endpoint_of(plan: Plan) -> Endpoint:
    """Where the WebSockets go that carry requests like this one."""
    from brainwires_provider.transports.websocket.dialing import Endpoint

    target, url = plan.target, plan.socket_url
    headers = replace(plan, call=replace(plan.call, body={})).handshake_headers
    shared = tuple(sorted(headers("", {}).items()))
    own = tuple(sorted(target.headers.items(), key=itemgetter(0)))
    return Endpoint(
        url,
        target.provider,
        target.key,
        target.headers,
        headers,
        target.socket,
        plan.timeouts.connect,
        identity=(url, target.key, shared, own, target.socket),
    )
