"""Examines a server with the Chat Completions API at a base URL, within a number of requests and a time limit."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

from msgspec.structs import replace

from brainwires_provider.auth.keys import Key, resolve_key
from brainwires_provider.client import AsyncClient
from brainwires_provider.doctor import abilities, answers, beside
from brainwires_provider.doctor.asking import Asker, Reply, Spent, is_unreachable
from brainwires_provider.doctor.case import CHAT, Case, first_to_talk_to
from brainwires_provider.doctor.findings import Examination, Finding
from brainwires_provider.doctor.paste import config_table, python_provider, shown_url
from brainwires_provider.errors import (
    AuthenticationError,
    ConfigError,
    PermissionDeniedError,
    ProtocolError,
    ProviderError,
)
from brainwires_provider.providers import ProviderConfig, Target, resolve
from brainwires_provider.types import Model, Retry

__all__ = ["candidates", "examine_url"]

_NAME = "examined"
_ENDS = ("/chat/completions", "/completions", "/models", "/responses", "/messages")
_UNNAMED = "default"
_VERSION = re.compile(r"/v\d+[a-z0-9]*$")

Probe = Callable[[Case], Awaitable[list[Finding]]]


class _Question(NamedTuple):
    ask: Probe
    finds: tuple[str, ...]
    of_a_chat: bool = True


_QUESTIONS = (
    _Question(answers.chat, ("chat", "usage", "max_tokens", "max_completion_tokens", "temperature"), False),
    _Question(
        answers.streaming,
        (
            "streaming",
            "stream_arrival",
            "stream_type",
            "stream_done",
            "stream_finish",
            "stream_chunks",
        ),
        False,
    ),
    _Question(answers.stream_usage, ("stream_usage",)),
    _Question(abilities.tools, ("tools",)),
    _Question(abilities.tool_choice_required, ("tool_choice_required",)),
    _Question(abilities.tool_choice_named, ("tool_choice_named",)),
    _Question(abilities.parallel_tools, ("parallel_tools",)),
    _Question(abilities.streamed_arguments, ("streamed_arguments",)),
    _Question(abilities.json_schema, ("json_schema",)),
    _Question(abilities.json_object, ("json_object",)),
    _Question(abilities.choices, ("n",)),
    _Question(abilities.seed, ("seed",)),
    _Question(abilities.stop, ("stop", "stop_text")),
    _Question(abilities.developer_role, ("developer_role",)),
    _Question(abilities.images, ("images",)),
    _Question(answers.reasoning, ("reasoning_field",)),
    _Question(beside.responses_api, ("responses_api",), False),
    _Question(beside.messages_api, ("messages_api",), False),
    _Question(beside.unknown_model, ("unknown_model", "error_shape")),
    _Question(beside.key_needed, ("key_needed",), False),
)


async def examine_url(
    url: str,
    *,
    model: str | None,
    api_key: Key | None,
    allow_http: bool,
    seconds: float,
    total: float,
    most: int,
    max_tokens: int,
) -> Examination:
    """See `doctor.examine`."""
    key = api_key or None
    config = ProviderConfig(_NAME, based_on="custom", api_key=key or "", allow_http=allow_http)
    secret = await resolve_key(key, "the URL") if key is not None else ""
    targets = [_target(config, each) for each in candidates(url)]
    async with AsyncClient(retry=Retry(1), max_event_bytes=4_194_304) as client:
        asker = Asker(
            client,
            targets[0],
            secrets=(secret,) if secret else (),
            seconds=seconds,
            total=total,
            most=most,
        )
        await client._session.transport(targets[0])  # importing the engine is not part of the server's time
        try:
            place = await _find(asker, targets)
        except Spent as spent:
            place = _Place(targets[0], [], Finding("models", "unclear", f"not complete: {spent}"))
        if place.unreachable is not None:
            words = place.unreachable.words
            nobody = Finding("reachable", "no", words, "is the server running, and the URL correct?")
            return Examination(
                shown_url(url), "url", False, (nobody,), None, asker.requests, round(asker.elapsed, 2)
            )
        asker.target = place.target
        case = Case(asker, model or first_to_talk_to(place.models) or _UNNAMED, max_tokens)
        case.has_key = bool(secret)
        case.findings["models"] = place.finding
        await _ask_all(case)
        return _examination(case, key, allow_http=allow_http)


def candidates(url: str) -> list[str]:
    """The base URLs that may be meant by a URL, the most likely first. Raises ConfigError if it is not a URL."""
    try:
        parts = urlsplit(url.strip())
        path = parts.path.rstrip("/")
    except ValueError:
        raise ConfigError("that is not a URL; a base URL looks like https://host/v1") from None
    for end in _ENDS:
        path = path.removesuffix(end)
    paths = [path, f"{path}/v1"] if path else ["/v1", "", "/api/v1", "/openai/v1"]
    if _VERSION.search(path):
        paths = [path]
    return [urlunsplit((parts.scheme, parts.netloc, each, parts.query, "")) for each in paths]


def _target(config: ProviderConfig, url: str) -> Target:
    given = replace(config, base_url=url)
    return resolve(f"{_NAME}:*", {_NAME: given})


# -- where it is ---------------------------------------------------------------------------------------------


class _Place(NamedTuple):
    target: Target
    models: list[Model]
    finding: Finding
    unreachable: Reply | None = None


async def _find(asker: Asker, targets: list[Target]) -> _Place:
    """The base URL that lists models; else the first where a chat is not answered by "not found"."""
    replies: list[tuple[Target, Reply]] = []
    for target in targets:
        asker.target = target
        reply = await asker.ask("/models")
        if is_unreachable(reply):
            return _Place(target, [], Finding("models", "no", reply.words), reply)
        replies.append((target, reply))
        if (models := _models(target, reply)) is not None:
            return _Place(target, models, _listed(models, reply, asker))
        if isinstance(reply.error, (AuthenticationError, PermissionDeniedError)):
            return _Place(target, [], Finding("models", "unclear", reply.words, "give a key"))
    for target, reply in replies:
        asker.target = target
        if len(replies) == 1 or await _chats(asker):
            return _Place(target, [], _unlisted(reply))
    return _Place(targets[0], [], _unlisted(replies[0][1]))


def _models(target: Target, reply: Reply) -> list[Model] | None:
    if reply.error is not None:
        return None
    try:
        return target.protocol.decode_models(reply.body, _NAME)[0]
    except ProviderError:
        return None


def _listed(models: list[Model], reply: Reply, asker: Asker) -> Finding:
    if not models:
        return Finding("models", "yes", "an empty list", "name a model: --model NAME")
    named = asker.clean(", ".join(repr(model.id) for model in models[:3]))
    more = ", …" if len(models) > 3 else ""
    return Finding("models", "yes", f"{len(models)} in {reply.seconds:.2f} s: {named}{more}")


def _unlisted(reply: Reply) -> Finding:
    """A timeout or a failure may pass; only a response that states it proves that there is no list."""
    if reply.error is None:
        what = "an HTML page" if reply.kind == "text/html" else f"{reply.kind or 'a body'}, but no list"
        return Finding("models", "no", what)
    gone = reply.status in (404, 405, 501) or isinstance(reply.error, ProtocolError)
    return Finding("models", "no" if gone else "unclear", reply.words)


async def _chats(asker: Asker) -> bool:
    """Whether chats are accepted here: an invalid one is refused by every server, but not as "not found"."""
    reply = await asker.ask(CHAT, {"model": _UNNAMED, "messages": []})
    missing = reply.status in (404, 405) or reply.kind == "text/html"
    return reply.status is not None and not missing


# -- asking all ----------------------------------------------------------------------------------------------


async def _ask_all(case: Case) -> None:
    for question in _QUESTIONS:
        if question.of_a_chat and not case.works:
            found = [Finding(name, "unclear", "not asked: no chat was answered") for name in question.finds]
        else:
            try:
                found = await question.ask(case)
            except Spent as spent:
                found = [Finding(name, "unclear", f"not asked: {spent}") for name in question.finds]
        for finding in found:
            evidence = case.asker.clean(finding.evidence)  # much of it is the server's own words
            case.findings[finding.name] = replace(finding, evidence=evidence)


def _examination(case: Case, key: Key | None, *, allow_http: bool) -> Examination:
    asker, url = case.asker, case.asker.target.base_url
    return Examination(
        shown_url(url),
        "url",
        case.works,
        tuple(case.findings.values()),
        asker.clean(case.model),
        asker.requests,
        round(asker.elapsed, 2),
        python_provider(case, url, key) if case.works else None,
        config_table(case, url, key, allow_http=allow_http) if case.works else None,
    )
