"""The exact request, before it is signed: encoded, reported on, and shown without being sent."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from brainwires_provider import __version__
from brainwires_provider.auth.keys import REDACTED, SECRET_HEADERS, header_fault, key_headers, redact
from brainwires_provider.errors import ConfigError, UnsupportedError
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.providers import Target
from brainwires_provider.types import Deviation, Options, PreparedRequest, Report, Request, Timeouts
from brainwires_provider.types.options import NO_OPTIONS

__all__ = ["Plan", "plan", "plan_call", "plan_encoded", "prepare"]

_OF_A_BODY = ("content-type", "accept", "accept-encoding")
_WHOLE = {
    "Content-Type": "application/json",
    "Accept": "application/json",
    "User-Agent": f"brainwires-provider/{__version__}",
}
_STREAMED = {
    **_WHOLE,
    "Accept": "text/event-stream",
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
    def by_socket(self) -> bool:
        """Whether it goes over a WebSocket: an answer of a row that has one, and not made in the background."""
        call = self.call
        return (
            self.target.row.wire == "websocket"
            and call.path == "/responses"
            and call.method == "POST"
            and not call.body.get("background")
        )

    @property
    def url(self) -> str:
        """Base URL, path and query."""
        if not self.call.query and not self.extra_query and "?" not in self.target.base_url:
            return self.target.base_url + self.call.path
        base, _, query = self.target.base_url.partition("?")
        pairs = {**self.call.query, **(self.extra_query or {})}
        query = "&".join(part for part in (query, urlencode(pairs, doseq=True)) if part)
        return f"{base}{self.call.path}{'?' + query if query else ''}"

    def headers(self, key: str, own: Mapping[str, str]) -> dict[str, str]:
        """What goes out, the later layer over the earlier, whatever the case of the names.

        `own` are the target's headers with their values called for. Raises ConfigError for an extra header that cannot
        be set.
        """
        usual = _STREAMED if self.stream else _WHOLE
        of_key = key_headers(self.target.row.auth, key)
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


def plan(request: Request, target: Target, *, stream: bool, timeouts: Timeouts) -> Plan:
    """Encode. Raises UnsupportedError: content that the protocol cannot say or, when strict, a knob it cannot take."""
    call = target.protocol.encode(request, target.origin, stream=stream)
    return plan_encoded(call, request, target, stream=stream, timeouts=timeouts)


def plan_encoded(call: Call, request: Request, target: Target, *, stream: bool, timeouts: Timeouts) -> Plan:
    """A plan for what a request was encoded to, with its report. Raises UnsupportedError as `plan` does."""
    options = request.options
    if options.extra_body:
        call = replace(call, body={**call.body, **options.extra_body})
    report = Report(_sent_fields(call, request), call.deviations)
    if options.strict and (lost := _lost_options(report)):
        told = "; ".join(f"{d.field}: {d.reason}" for d in lost)
        raise UnsupportedError(
            f"strict, and {target.provider} cannot take: {told}", provider=target.provider, model=target.model
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


def plan_call(call: Call, request: Request | None, target: Target, *, timeouts: Timeouts) -> Plan:
    """A plan for a call that is no chat: counting, listing."""
    options = request.options if request is not None else Options()
    return Plan(
        target,
        call,
        Report(),
        options.timeouts or timeouts,
        stream=False,
        extra_headers=options.extra_headers,
        extra_query=options.extra_query,
    )


def _sent_fields(call: Call, request: Request) -> tuple[str, ...]:
    """What the encoder has taken of the request, and what is merged into every request."""
    options = request.options
    if options is NO_OPTIONS:
        return call.sent
    return call.sent + tuple(name for name in _MERGED if getattr(options, name))


def prepare(plan: Plan) -> PreparedRequest:
    """The exact request, secrets redacted, nothing sent; over a WebSocket the handshake, and the frame after it."""
    target = plan.target
    key = REDACTED if target.key else ""
    own = dict.fromkeys(target.headers, REDACTED)
    headers = plan.handshake_headers(key, own) if plan.by_socket else plan.headers(key, own)
    secret = {name.lower() for name in target.headers} | SECRET_HEADERS
    if target.auth is not None:
        headers["Authorization"] = REDACTED
    shown = {k: REDACTED if k.lower() in secret else v for k, v in headers.items()}
    secrets = (target.key,) if isinstance(target.key, str) else ()
    if plan.by_socket:
        from brainwires_provider.protocols.openai_responses.ws import create_frame

        url, frame = redact(plan.socket_url, secrets), create_frame(plan.call.body)
        return PreparedRequest("GET", url, shown, frame, plan.report)
    return PreparedRequest(plan.call.method, redact(plan.url, secrets), shown, plan.body(), plan.report)
