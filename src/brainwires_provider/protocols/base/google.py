"""What Google's APIs have in common: error bodies, lists of models, counts of tokens, and bytes in base64.

An error has a status name, and `details` with the time to wait, the quota, the field. Its class is chosen by the
reason in the details first (a wrong key is a plain 400 otherwise), then by the status name, then by the number.
References: google.rpc.Status and google.rpc error details, as the API design guide has them; `models.list` and
`models.get` of the Gemini API; `publishers.models.list` of Vertex AI's v1beta1.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Struct

from brainwires_provider.errors import APIError, ProtocolError, UnsupportedError
from brainwires_provider.protocols.base.decoder import well_formed
from brainwires_provider.protocols.base.errors import api_error, error_in_body, error_in_reply, sensible
from brainwires_provider.protocols.base.json import decode_json, looks_like, objects_in
from brainwires_provider.protocols.base.models import able, count_of, object_of, read_json, stage_of, text_of
from brainwires_provider.protocols.base.protocol import Call, ProtocolBase, Quirks, Reply
from brainwires_provider.types import Model, Origin, Response, Usage

__all__ = [
    "TOOL_NAME",
    "Counts",
    "GoogleBase",
    "bytes_in",
    "compact",
    "decode_model",
    "decode_page",
    "google_error",
    "google_refusal",
    "model_path",
    "page_call",
    "split_counts",
]

TOOL_NAME = "[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}"
"""2026-11: https://ai.google.dev/api/caching#FunctionDeclaration"""
_PAGE = "1000"
_FOLDER = re.compile(r"^(publishers/(?P<publisher>[^/]+)/)?models/")

# -- errors --------------------------------------------------------------------------------------------------

# Codes of base.errors for Google's, where those would be classified as something else.
_REASONS = {
    "API_KEY_INVALID": "invalid_api_key",
    "API_KEY_EXPIRED": "invalid_api_key",
    "ACCESS_TOKEN_EXPIRED": "invalid_api_key",
    "CREDENTIALS_MISSING": "invalid_api_key",
    "SERVICE_DISABLED": "permission_denied",
}
_STATUSES = {
    "UNAUTHENTICATED": "unauthorized",
    "PERMISSION_DENIED": "permission_denied",
    "NOT_FOUND": "not_found",
    "RESOURCE_EXHAUSTED": "rate_limit_exceeded",
    "UNAVAILABLE": "service_unavailable",
    "INTERNAL": "server_error",
    "UNKNOWN": "server_error",
    "DEADLINE_EXCEEDED": "server_error",
}
_SECONDS = re.compile(r"(\d+(?:\.\d+)?)s")


def google_refusal(reply: Reply) -> APIError:
    """The error of a refused request; an array of one error, as streams without `alt=sse` have it, is one too."""
    try:
        value = decode_json(reply.body)
    except ValueError:
        value = None
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value = value[0]
    if not isinstance(value, dict) or not isinstance(value.get("error"), dict):
        return error_in_reply(reply)
    return google_error(value, status=reply.status, headers=reply.headers, now=reply.now)


def google_error(
    body: Mapping[str, Any],
    *,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    now: float | None = None,
    partial: Response | None = None,
    origin: Origin | None = None,
) -> APIError:
    """The error of `{"error": {…}}`, or of such an object alone, under any status or inside a stream."""
    made = _error(well_formed(dict(body)), status=status, headers=headers, now=now, partial=partial)
    if origin is not None:
        made.provider, made.model = origin.provider, origin.model
    return made


def _error(body: dict[str, Any], *, headers: Mapping[str, str] | None, **known: Any) -> APIError:
    error = body.get("error") or body
    if not isinstance(error, dict) or not isinstance(error.get("status"), str):
        return error_in_body(body, headers=headers, **known)
    message, status_name = str(error.get("message") or error["status"]), error["status"]
    details = objects_in(error.get("details"))
    reason = next((str(d["reason"]) for d in details if d.get("reason")), None)
    number = error.get("code")
    made = api_error(
        message=message + _particulars(details),
        code=_REASONS.get(reason or ""),
        type=_STATUSES.get(status_name),
        claimed_status=number if type(number) is int and 400 <= number < 600 else None,
        headers=headers,
        body=body,
        **known,
    )
    made.code, made.type = reason or status_name, status_name
    delay = _delay(details)
    made.retry_after = made.retry_after if delay is None else delay
    if any("PerDay" in str(each.get("quotaId")) for each in _violations(details)):
        made.retryable = False  # the day's quota, whatever delay is stated
    return made


def _violations(details: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The quotas that were exceeded."""
    return [each for detail in details for each in objects_in(detail.get("violations"))]


def _delay(details: list[dict[str, Any]]) -> float | None:
    """`RetryInfo.retryDelay`, in seconds; None for an absurd one."""
    for detail in details:
        found = _SECONDS.fullmatch(str(detail.get("retryDelay")))
        if found:
            return sensible(float(found[1]))
    return None


def _particulars(details: list[dict[str, Any]]) -> str:
    """The broken quotas and the wrong fields, for the message."""
    said = []
    for detail in details:
        for violation in objects_in(detail.get("fieldViolations")) + objects_in(detail.get("violations")):
            what = violation.get("field") or violation.get("quotaId") or violation.get("subject")
            why = violation.get("description") or violation.get("quotaValue")
            said.append(": ".join(str(v) for v in (what, why) if v))
    return f" ({'; '.join(dict.fromkeys(filter(None, said)))})" if any(said) else ""


# -- models ---------------------------------------------------------------------------------------------------


def page_call(after: str | None) -> Call:
    """`GET /models`, the page after a token."""
    query = {"pageSize": _PAGE} if after is None else {"pageSize": _PAGE, "pageToken": after}
    return Call("/models", {}, method="GET", query=query)


def decode_page(body: bytes, provider: str) -> tuple[list[Model], str | None]:
    """The models of one page, and the next page's token. Raises ProtocolError."""
    value = read_json(body, provider)
    page = object_of(value)
    entries = page.get("models", page.get("publisherModels"))
    if not isinstance(entries, list):
        if entries is not None or value != page or not {"nextPageToken"} >= page.keys():
            raise ProtocolError(f"the body has no list of models: {looks_like(body)}", provider=provider)
        entries = []  # an empty page has no members
    models = [_model(e, provider) for e in entries if isinstance(e, dict) and text_of(e.get("name"))]
    return models, text_of(page.get("nextPageToken"))


def model_path(name: str) -> str:
    """`/models/NAME`; a name may begin with its folder."""
    folder = "" if name.startswith(("models/", "tunedModels/")) else "models/"
    return f"/{folder}{quote(name, safe='/@:')}"


def decode_model(body: bytes, provider: str) -> Model:
    """One model. Raises ProtocolError."""
    value = object_of(read_json(body, provider))
    if text_of(value.get("name")) is None:
        raise ProtocolError(f"the body is no model: {looks_like(body)}", provider=provider)
    return _model(value, provider)


def _model(entry: Mapping[str, Any], provider: str) -> Model:
    name = str(entry["name"])
    folder = _FOLDER.match(name)
    methods = entry.get("supportedGenerationMethods")
    words = [word for word in methods if isinstance(word, str)] if isinstance(methods, list) else []
    if entry.get("thinking") is True:
        words.append("thinking")
    return Model(
        id=name[folder.end() :] if folder else name,
        provider=provider,
        display_name=text_of(entry.get("displayName")),
        owner=folder["publisher"] if folder else None,
        context_window=count_of(entry.get("inputTokenLimit")),
        max_output_tokens=count_of(entry.get("outputTokenLimit")),
        capabilities=able(words) if isinstance(methods, list) else None,
        raw=entry,
        lifecycle=stage_of(entry.get("launchStage")),
    )


class GoogleBase(ProtocolBase[Quirks]):
    """The lists of models of Google's protocols. `listing` in their quirks: the base URL has one."""

    def models_call(self, after: str | None) -> Call:
        """`GET /models`, the page after a token. Raises UnsupportedError where the base URL has no list."""
        if not self.quirks.listing:  # type: ignore[attr-defined]
            raise UnsupportedError("this service does not list its models below its base URL")
        return page_call(after)

    def decode_models(self, body: bytes, provider: str) -> tuple[list[Model], str | None]:
        """One page of models, and the next page's token. Raises ProtocolError."""
        return decode_page(body, provider)

    def model_call(self, name: str) -> Call | None:
        """`GET /models/MODEL`; None where the base URL has no list."""
        return Call(model_path(name), {}, method="GET") if self.quirks.listing else None  # type: ignore[attr-defined]

    def decode_model(self, body: bytes, provider: str) -> Model:
        """One model. Raises ProtocolError."""
        return decode_model(body, provider)


# -- counts and bytes ----------------------------------------------------------------------------------------


class Counts(Struct, frozen=True):
    """The names under which an API counts. `audio` and `cached_audio` are details by modality."""

    prompt: str
    cached: str
    output: tuple[str, ...]
    thoughts: str
    tools: str
    total: str
    audio: str
    cached_audio: str
    modality: str
    """The name of a detail's count."""

    @property
    def parts(self) -> tuple[str, ...]:
        """What the total is the sum of."""
        return (self.prompt, *self.output, self.thoughts, self.tools)


def split_counts(names: Counts, counts: Mapping[str, Any], last: Mapping[str, Any] | None = None) -> Usage:
    """Google's counts as disjoint buckets. Metadata without any count (a traffic type alone) is incomplete usage.

    The counts of prompt, candidates, thoughts and server tools stand beside each other; only the cached tokens are
    part of the prompt's, and audio is a modality of the prompt. `raw` has all details by modality.

    `counts` are the last reported of each name, and `last` those of the last chunk. Its total may cover only its own
    counts: those of an earlier chunk that it does not repeat are then added to it.
    """
    if not any(name in counts for name in (*names.parts, names.total)):
        return Usage(raw=dict(counts) or None)
    anomalies: list[str] = []

    def count(name: str) -> int:
        value = counts.get(name)
        if type(value) is int and value < 0:
            anomalies.append(f"{name} is negative: {value}")
        return _positive(counts, name)

    prompt = left = count(names.prompt)
    audio = max(0, _audio(names, counts, names.audio) - _audio(names, counts, names.cached_audio))
    inside = {"cache_read": count(names.cached), "audio_input": audio}
    for name, reported in inside.items():
        if reported > left:
            anomalies.append(f"{name} {reported} exceeds the {left} input tokens left")
            inside[name] = left
        left -= inside[name]
    output = next((found for found in map(count, names.output) if found), 0)
    reasoning, tools = count(names.thoughts), count(names.tools)
    used = prompt + output + reasoning + tools
    total = count(names.total) if names.total in counts else used
    if total < used and total != sum(_positive(last or {}, name) for name in names.parts):
        anomalies.append(f"total {total} is less than its parts, {used}")
    return Usage(
        uncached_input=left,
        output_text=output,
        reasoning=reasoning,
        tool_input=tools,
        unattributed=max(0, total - used),
        anomalies=tuple(anomalies),
        complete=True,
        raw=dict(counts),
        cache_read=inside["cache_read"],
        audio_input=inside["audio_input"],
    )


def _positive(counts: Mapping[str, Any], name: str) -> int:
    value = counts.get(name)
    return value if type(value) is int and value > 0 else 0


def _audio(names: Counts, counts: Mapping[str, Any], name: str) -> int:
    details = counts.get(name)
    reported = [d for d in details if isinstance(d, dict)] if isinstance(details, list) else []
    numbers = [d.get(names.modality) for d in reported if str(d.get("modality")).upper() == "AUDIO"]
    return sum(n for n in numbers if type(n) is int)


def compact(value: Any) -> str:
    """JSON without blanks."""
    return msgspec.json.encode(well_formed(value)).decode()


def bytes_in(text: Any) -> bytes | None:
    """The bytes of base64 in either alphabet; None for what is none."""
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (AttributeError, TypeError, ValueError):
        return None
