"""Writes a Messages request: only what was set, under the names that the service takes.

Two things go out unasked: the API's version, and `max_tokens`, which the API demands. What a model takes is told
from its name (`abilities`); tuning that it does not take is left out and reported, never sent to be refused.
Reference: the API reference of "Create a Message" and "Count tokens in a Message"; Amazon Bedrock's InvokeModel and
CountTokens; Claude on Vertex AI.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from brainwires_provider.errors import ConfigError, UnsupportedError
from brainwires_provider.protocols.anthropic.abilities import Abilities, abilities
from brainwires_provider.protocols.anthropic.caching import mark_body
from brainwires_provider.protocols.anthropic.content import collapsed
from brainwires_provider.protocols.anthropic.messages import HistoryEncoder
from brainwires_provider.protocols.anthropic.options import AnthropicOptions, AnthropicQuirks
from brainwires_provider.protocols.anthropic.tools import put_tools
from brainwires_provider.protocols.anthropic.tuning import Tuner
from brainwires_provider.protocols.base.options import own_options
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.types import Deviation, JSONSchema, Origin, Request

__all__ = ["encode_count", "encode_request"]

_HEADERS = {"user_profile_id": "anthropic-user-profile-id", "workspace_id": "anthropic-workspace-id"}
_COUNTED = frozenset(
    (
        "billing_policy",
        "cache_control",
        "compaction",
        "context_management",
        "mcp_servers",
        "messages",
        "model",
        "output_config",
        "speed",
        "system",
        "thinking",
        "tool_choice",
        "tools",
        "user_profile_id",
    )
)
_UNCOUNTED = frozenset(
    ("max_tokens", "temperature", "top_p", "top_k", "stop", "seed", "presence_penalty", "frequency_penalty")
)
Body = dict[str, Any]


def encode_request(request: Request, origin: Origin, quirks: AnthropicQuirks, *, stream: bool) -> Call:
    """Raises UnsupportedError for content or tools that the Messages API cannot say."""
    deviations: list[Deviation] = []
    body, _, headers = _encoded(request, origin, quirks, deviations)
    model = str(body.pop("model"))
    if quirks.cloud == "bedrock":
        headers = {"Accept": "application/vnd.amazon.eventstream"} if stream else {}
        verb = "invoke-with-response-stream" if stream else "invoke"
        return _call(f"/model/{_named(model)}/{verb}", body, headers, deviations)
    if stream:
        body["stream"] = True
    if quirks.cloud == "vertex":
        verb = "streamRawPredict" if stream else "rawPredict"
        return _call(f"/models/{_named(model)}:{verb}", body, headers, deviations)
    return _call(f"{quirks.prefix}/messages", {"model": model, **body}, headers, deviations)


def encode_count(request: Request, origin: Origin, quirks: AnthropicQuirks) -> Call:
    """The call that counts. Raises UnsupportedError where the service has none."""
    if not quirks.counting:
        raise UnsupportedError(
            "this service has no call that counts tokens; an answer's usage has the count",
            provider=origin.provider,
            model=origin.model,
        )
    deviations: list[Deviation] = []
    body, version, headers = _encoded(request, origin, quirks, deviations)
    told = [d for d in deviations if d.field not in _UNCOUNTED]
    if quirks.cloud == "bedrock":
        path = f"/model/{_named(str(body.pop('model')))}/count-tokens"
        invoked = base64.b64encode(msgspec.json.encode(body)).decode()
        return _call(path, {"input": {"invokeModel": {"body": invoked}}}, {}, told)
    counted = {name: value for name, value in body.items() if name in _COUNTED}
    if quirks.cloud == "vertex":
        counted["anthropic_version"] = version
        return _call("/models/count-tokens:rawPredict", counted, headers, told)
    return _call(f"{quirks.prefix}/messages/count_tokens", counted, headers, told)


def _call(path: str, body: Body, headers: Mapping[str, str], deviations: list[Deviation]) -> Call:
    return Call(path, body, headers=headers, deviations=tuple(deviations))


def _named(model: str) -> str:
    """A model's name in a path: an ARN has slashes, and one that the path would swallow is refused."""
    if model in ("", ".", ".."):
        raise ConfigError(f"{model!r} is no model's name")
    return quote(model, safe="@")


# -- the body ------------------------------------------------------------------------------------------------


def _encoded(
    request: Request, origin: Origin, quirks: AnthropicQuirks, deviations: list[Deviation]
) -> tuple[Body, str, dict[str, str]]:
    """The body with its model, the version that it goes under, and the headers."""
    takes = abilities(str(request.model))
    options = request.options
    own = own_options(options, AnthropicOptions, deviations) if options.provider_options else {}
    history = HistoryEncoder(origin, quirks, takes, deviations)
    history.encode(request.system, request.messages)
    tuner = Tuner(options, own, takes, quirks, deviations)
    body: Body = {"model": request.model, "max_tokens": 0}
    if history.system:
        body["system"] = history.system
    body["messages"] = history.turns
    _output(request, takes, quirks, body, deviations)
    tuner.reason(body)
    body["max_tokens"] = tuner.limit(body)
    _handles(request, origin, body, deviations)
    headers = _own(own, quirks, body)
    put_tools(request, own, body, deviations)
    version = tuner.sample(body)
    deviations += mark_body(body, options.cache, history.places)
    _collapse(body)
    if quirks.cloud == "messages":
        headers["anthropic-version"] = version
    else:
        body = {"anthropic_version": version, **body}
    return body, version, headers


def _own(own: Body, quirks: AnthropicQuirks, body: Body) -> dict[str, str]:
    """The protocol's own fields win, and `output_config` is merged; what is a header is given back."""
    headers: dict[str, str] = {}
    betas = list(dict.fromkeys((*quirks.betas, *own.pop("betas", ()))))
    if betas and quirks.cloud == "bedrock":
        body["anthropic_beta"] = betas
    elif betas:
        headers["anthropic-beta"] = ",".join(betas)
    for name, value in own.items():
        known = body.get(name)
        if name in _HEADERS and not (name == "user_profile_id" and quirks.profile_in_body):
            headers[_HEADERS[name]] = value
        elif name == "output_config" and isinstance(known, dict):
            body[name] = {**known, **value}
        elif name == "system":
            body[name] = (
                [{"type": "text", "text": value}] if isinstance(value, str) else [dict(b) for b in value]
            )
        elif name not in ("tools", "tool_choice"):
            body[name] = value
    return headers


def _collapse(body: Body) -> None:
    """Lone plain texts as the strings that they are short for."""
    if "system" in body:
        body["system"] = collapsed(body["system"])
    for turn in body["messages"]:
        turn["content"] = collapsed(turn["content"])


def _handles(request: Request, origin: Origin, body: Body, deviations: list[Deviation]) -> None:
    """A container that the service keeps: `Request.extra` has it as an answer told it, and in `origin` whose it is."""
    extra = request.extra or {}
    container = extra.get("container")
    if container is None:
        return
    owner = extra.get("origin")
    if isinstance(owner, Mapping):
        owner = Origin(str(owner.get("protocol")), str(owner.get("provider")))
    if owner is not None and (owner.protocol, owner.provider) != (origin.protocol, origin.provider):
        reason = f"it belongs to {owner.protocol} at {owner.provider}"
        deviations.append(Deviation("extra.container", "dropped", reason))
    elif isinstance(container, Mapping) and "expires_at" in container:
        body["container"] = container.get("id")  # the answer's form; a request takes the id
    else:
        body["container"] = container


# -- output --------------------------------------------------------------------------------------------------


def _output(
    request: Request, takes: Abilities, quirks: AnthropicQuirks, body: Body, deviations: list[Deviation]
) -> None:
    output = request.output
    if output is None:
        return
    if not isinstance(output, JSONSchema):
        words, reason = (
            "Answer with one JSON object and nothing else.",
            "this protocol has no plain JSON mode",
        )
    elif takes.schema and quirks.schema:
        body["output_config"] = {"format": {"type": "json_schema", "schema": _described(output)}}
        if output.strict is False:
            deviations.append(Deviation("output", "adapted", "this protocol always holds to the schema"))
        return
    else:
        words, reason = _schema_in_words(output), "this model takes no schema"
    body["system"] = [*body.get("system", ()), {"type": "text", "text": words}]
    deviations.append(Deviation("output", "emulated", f"{reason}: it is put into words"))


def _described(output: JSONSchema) -> Mapping[str, Any]:
    """The schema, which is also the one place for a description."""
    if output.description is None or "description" in output.schema:
        return output.schema
    return {**output.schema, "description": output.description}


def _schema_in_words(output: JSONSchema) -> str:
    schema = msgspec.json.encode(output.schema).decode()
    described = f" ({output.description})" if output.description else ""
    return f"Answer with one JSON object, {output.name}{described}, that follows this JSON Schema:\n{schema}"
