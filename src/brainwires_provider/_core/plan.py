"""From a call's arguments to the exact request, before it is signed: encoded, reported on, shown without sending."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlencode

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from brainwires_provider import __version__
from brainwires_provider.auth.keys import REDACTED, SECRET_HEADERS, header_fault, key_headers, redact
from brainwires_provider.errors import ConfigError, UnsupportedError
from brainwires_provider.framing.sse import SSEFraming
from brainwires_provider.framing.whole import WholeFraming
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.providers import Target
from brainwires_provider.types import (
    ChatParams,
    Deviation,
    HostedTool,
    JSONSchema,
    Message,
    Options,
    PreparedRequest,
    Report,
    Request,
    TextPart,
    Timeouts,
    Tool,
    ToolChoice,
)
from brainwires_provider.types.options import NO_OPTIONS, merge_options

if TYPE_CHECKING:
    from brainwires_provider.transports.websocket.pool import Endpoint

__all__ = [
    "Input",
    "Plan",
    "build_request",
    "check_args",
    "endpoint_of",
    "messages_of",
    "plan",
    "plan_call",
    "plan_encoded",
    "prepare",
    "stored_args",
]

Input: TypeAlias = str | Message | Sequence[Message] | Request

_ARGS = frozenset(ChatParams.__annotations__)
_TUNING = frozenset(Options.__struct_fields__)
_NOTHING = Request(())
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
_MERGED = ("extra_body", "extra_headers", "extra_query")


class Plan(Struct, frozen=True):
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

    @property
    def websocket(self) -> Any:
        """For a call that goes over a WebSocket what its protocol declares, an `OverWebSocket`; else None."""
        if self.target.row.transport != "websocket":
            return None
        mode = getattr(self.target.protocol, "websocket", None)
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
    def has_headers(self) -> bool:
        """Whether its headers, or its host, depend on more than a fixed key."""
        target = self.target
        return bool(
            target.headers
            or self.call.headers
            or self.extra_headers
            or target.auth is not None
            or target.row.host_by_key
        )

    def headers(self, key: str, own: Mapping[str, str]) -> dict[str, str]:
        """The headers to send: a later layer replaces an earlier one, whatever the case of the names.

        `own` are the target's headers with their values called for. Raises ConfigError for an extra header that cannot
        be set.
        """
        usual = _STREAMED if self.stream else _WHOLE
        of_key = key_headers(self.target.row.auth, key) if key else {}
        if not (self.call.headers or own or self.extra_headers):
            return usual | of_key
        for fault in filter(None, map(header_fault, self.extra_headers or ())):
            raise ConfigError(f"extra_headers: {fault}", provider=self.target.provider)
        sent = {name.lower(): (name, value) for name, value in usual.items()}
        for layer in (self.call.headers, of_key, own, self.extra_headers or {}):
            for name, value in layer.items():
                sent[name.lower()] = name, value
        return dict(sent.values())

    @property
    def socket_url(self) -> str:
        """The URL, as a WebSocket's."""
        return "ws" + self.url.removeprefix("http")

    def handshake_headers(self, key: str, own: Mapping[str, str]) -> dict[str, str]:
        """The headers without those that speak of one request's body."""
        sent = self.headers(key, own)
        return {name: value for name, value in sent.items() if name.lower() not in _OF_A_BODY}

    def body(self) -> bytes:
        """The JSON body; none for a GET, and where there is nothing to say."""
        empty = self.call.method == "GET" or not self.call.body
        try:
            return b"" if empty else msgspec.json.encode(self.call.body)
        except UnicodeEncodeError:
            raise UnsupportedError(
                "a text holds half of a surrogate pair, which is no character and cannot be sent; was a string cut in "
                "the middle of an emoji?",
                provider=self.target.provider,
                model=self.target.model,
            ) from None


# -- a call's arguments --------------------------------------------------------------------------------------


def check_args(args: Mapping[str, Any]) -> None:
    """Raises TypeError for a keyword that does not exist, naming the nearest that does."""
    for name in args:
        if name == "stream":
            raise TypeError(
                "unexpected keyword argument 'stream': client.stream(...) streams a response, "
                "client.chat(...) returns it whole"
            )
        if name not in _ARGS:
            near = get_close_matches(name, _ARGS, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"unexpected keyword argument {name!r}{hint}")


def messages_of(input: Input) -> tuple[Message, ...]:
    """The messages of any form of input. Raises TypeError naming a wrong type."""
    if isinstance(input, str):
        return (Message("user", (TextPart(input),)),)
    if isinstance(input, Message):
        return (input,)
    if isinstance(input, Request):
        return input.messages
    if isinstance(input, (list, tuple)):
        for item in input:
            if not isinstance(item, Message):
                raise TypeError(
                    f"input takes text, messages or a Request; the list holds {type(item).__name__}"
                )
        return tuple(input)
    raise TypeError(f"input takes text, a Message, a list of them, or a Request, not {type(input).__name__}")


def build_request(
    input: Input, args: ChatParams, *, model: str, defaults: Options | None, empty: bool = False
) -> Request:
    """One Request for `model`, the provider's own name for it; `empty` lets one without a message pass.

    Keywords win over `options`, they over the input's own, that over the client's, field by field.

    Raises TypeError for a wrong keyword or type, ValueError for no message at all.
    """
    messages = messages_of(input)
    if messages and not args and not isinstance(input, Request):
        return Request(messages, model, options=defaults or NO_OPTIONS)
    check_args(args)
    base = input if isinstance(input, Request) else _NOTHING
    system = args.get("system", base.system)
    if not messages and system is None and not empty:
        raise ValueError("there is nothing to say: the input holds no message")
    own = base.options if base is input else None
    return Request(
        messages,
        model,
        system,
        _tools(args.get("tools", base.tools)),
        _tool_choice(args.get("tool_choice", base.tool_choice)),
        _output(args.get("output", base.output)),
        merge_options(defaults, own, args.get("options"), _keywords(args)),
        base.extra,
    )


def _keywords(args: Mapping[str, Any]) -> Options | None:
    """The options that were given as keywords."""
    tuning = {name: value for name, value in args.items() if name in _TUNING}
    if not tuning:
        return None
    for name in ("stop", "provider_options"):
        if isinstance(tuning.get(name), list):
            tuning[name] = tuple(tuning[name])
    return Options(**tuning)


def _tools(tools: Any) -> tuple[Tool | HostedTool, ...]:
    if isinstance(tools, (Tool, HostedTool)):
        tools = (tools,)
    if tools is None:
        return ()
    if not isinstance(tools, (list, tuple)):
        raise TypeError(f"tools takes a list of Tool and HostedTool, not {type(tools).__name__}")
    for tool in tools:
        if not isinstance(tool, (Tool, HostedTool)):
            raise TypeError(f"tools takes Tool and HostedTool, not {type(tool).__name__}")
    return tuple(tools)


def _tool_choice(choice: Any) -> ToolChoice | None:
    if choice is None or isinstance(choice, ToolChoice):
        return choice
    if choice in ("auto", "none", "required"):
        return ToolChoice(choice)
    raise TypeError(
        f'tool_choice takes "auto", "none", "required" or a ToolChoice, not {choice!r}; '
        "for one tool: ToolChoice.tool(name)"
    )


def _output(output: Any) -> Any:
    if output is None or output == "json" or isinstance(output, JSONSchema):
        return output
    raise TypeError(f'output takes "json" or a JSONSchema(name, schema), not {type(output).__name__}')


def stored_args(first: ChatParams, later: ChatParams) -> ChatParams:
    """A conversation's own arguments under those of one turn."""
    merged: ChatParams = {**first, **later}
    own, turn = first.get("options"), later.get("options")
    if own is not None and turn is not None:
        merged["options"] = merge_options(own, turn)
    return merged


# -- encoded -------------------------------------------------------------------------------------------------


def plan(request: Request, target: Target, *, stream: bool, timeouts: Timeouts) -> Plan:
    """Encode.

    Raises UnsupportedError: content that the protocol cannot express or, when strict, an option that it cannot take.
    """
    call = target.protocol.encode(request, target.origin, stream=stream)
    return plan_encoded(call, request, target, stream=stream, timeouts=timeouts)


def plan_encoded(call: Call, request: Request, target: Target, *, stream: bool, timeouts: Timeouts) -> Plan:
    """A plan for what a request was encoded to, with its report. Raises UnsupportedError as `plan` does."""
    options = request.options
    if options.extra_body:
        call = replace(call, body={**call.body, **options.extra_body})
    report = Report(_sent_fields(call, request), call.deviations)
    if options.strict and (lost := _lost_options(report)):
        lost_fields = "; ".join(f"{d.field}: {d.reason}" for d in lost)
        raise UnsupportedError(
            f"strict, and {target.provider} cannot take: {lost_fields}",
            provider=target.provider,
            model=target.model,
        )
    stream = stream or target.row.streams_only
    return Plan(
        target, call, report, options.timeouts or timeouts, stream, options.extra_headers, options.extra_query
    )


def _lost_options(report: Report) -> list[Deviation]:
    """What strictness refuses: options and marks that this request sets, not what an earlier answer holds."""
    return [d for d in report.dropped + report.emulated if _is_set_by_caller(d.field)]


def _is_set_by_caller(field: str) -> bool:
    return not field.startswith("messages[") or field.endswith((".cache", ".extra"))


def plan_call(
    call: Call, request: Request | None, target: Target, *, timeouts: Timeouts, subject: str | None = None
) -> Plan:
    """A plan for a call that is no chat: counting, listing. `subject` is what to check where the answer is 404."""
    options = request.options if request is not None else Options()
    return Plan(
        target,
        call,
        Report(),
        options.timeouts or timeouts,
        stream=False,
        extra_headers=options.extra_headers,
        extra_query=options.extra_query,
        subject=subject,
    )


def _sent_fields(call: Call, request: Request) -> tuple[str, ...]:
    """What the encoder has taken of the request, and what is merged into every request."""
    options = request.options
    if options is NO_OPTIONS:
        return call.sent
    return call.sent + tuple(name for name in _MERGED if getattr(options, name))


def prepare(plan: Plan) -> PreparedRequest:
    """The exact request, secrets redacted, nothing sent; over a WebSocket the handshake, and the frame after it."""
    target, mode = plan.target, plan.websocket
    key = REDACTED if target.key else ""
    own = dict.fromkeys(target.headers, REDACTED)
    headers = plan.headers(key, own) if mode is None else plan.handshake_headers(key, own)
    secret = {name.lower() for name in target.headers} | SECRET_HEADERS
    if target.auth is not None:
        headers["Authorization"] = REDACTED
    shown = {k: REDACTED if k.lower() in secret else v for k, v in headers.items()}
    secrets = (target.key,) if isinstance(target.key, str) else ()
    if mode is not None:
        url, frame = redact(plan.socket_url, secrets), mode.frame(plan.call)
        return PreparedRequest("GET", url, shown, frame, plan.report)
    return PreparedRequest(plan.call.method, redact(plan.url, secrets), shown, plan.body(), plan.report)


def endpoint_of(plan: Plan) -> Endpoint:
    """Where the WebSockets go that carry requests like this one."""
    from brainwires_provider.transports.websocket.pool import Endpoint

    target = plan.target
    without_body = replace(plan, call=replace(plan.call, body={}))
    return Endpoint(
        plan.socket_url,
        target.provider,
        target.key,
        target.headers,
        without_body.handshake_headers,
        target.socket,
        plan.timeouts.connect,
    )
