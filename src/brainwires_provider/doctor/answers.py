"""The first requests: whether a chat is answered, whole and streamed, and the shape of the response."""

from __future__ import annotations

from typing import Any

from brainwires_provider.doctor.asking import Reply
from brainwires_provider.doctor.case import COUNT, SMALL, Case, failed
from brainwires_provider.doctor.findings import Finding
from brainwires_provider.errors import AuthenticationError, NotFoundError, RequestTimeout, StreamInterrupted
from brainwires_provider.framing.sse import SSEFraming
from brainwires_provider.types import Usage

__all__ = ["chat", "reasoning", "stream_usage", "streaming"]

_TIGHT = 5  # tokens: no answer to COUNT is as short
_STORY = "Write a long story about a ship."  # for those who do not count
_REACHED = "output limit was reached"
_LIMITS = ("max_tokens", "max_completion_tokens")
_WAITED, _SPREAD = 0.2, 0.02  # seconds: what a wait and what an interval must exceed to prove something
_SHORT = 12  # characters that may well be one chunk
_TAGS = ("<think>", "<thinking>", "<thought>", "<reasoning>")
_FIELDS = ("reasoning_content", "reasoning", "reasoning_details")


# -- whole ---------------------------------------------------------------------------------------------------


async def chat(case: Case) -> list[Finding]:
    """A whole answer, by either name of the token limit, and at temperature 0."""
    found, replies = [], []
    for field in _LIMITS:
        reply = await _ask_whole(case, {field: _TIGHT})
        replies.append(reply)
        finding = _limit(field, reply)
        if finding.verdict == "unclear" and reply.response is not None:
            finding = _limit(field, await _ask_whole(case, {field: _TIGHT}, _STORY))
        found.append(finding)
        case.needs_room = case.needs_room or _REACHED in reply.words
        case.base = case.base or (reply if reply.response is not None else None)
    if case.base is None and all(reply.refuses(field) for reply, field in zip(replies, _LIMITS, strict=True)):
        reply = await _ask_whole(case, {})
        case.base = reply if reply.response is not None else None
    taken = [f.name for f, r in zip(found, replies, strict=True) if r.response is not None]
    heeded = [f.name for f in found if f.verdict == "yes"]
    best = [field for field in heeded if field in taken]
    case.limit_field = next(iter((*best, *heeded, *taken)), "max_tokens" if case.base is None else None)
    if case.base is None:
        case.first_error = replies[0].error
        found = [
            f if f.verdict == "refused" else Finding(f.name, "unclear", "no chat was answered") for f in found
        ]
    return [_whole(case, replies[0]), _usage(case), *found, await _temperature(case)]


async def _temperature(case: Case) -> Finding:
    if case.base is None:
        return Finding("temperature", "unclear", "no chat was answered")
    reply = await case.chat("Say hello.", {"temperature": 0}, limit=SMALL)
    if reply.response is None:
        return failed("temperature", reply, "temperature")
    case.fixed = {"temperature": 0}
    return Finding("temperature", "yes", "0 is accepted; the requests after this one have it")


async def _ask_whole(case: Case, fields: dict[str, Any], question: str = COUNT) -> Reply:
    reply = await case.chat(question, fields)
    if reply.response is None and reply.error is not None and reply.status == 200 and reply.chunks():
        case.streams_only = case.asker.reads_streams = True
        reply = await case.chat(question, fields)
    return reply


def _whole(case: Case, first: Reply) -> Finding:
    reply = case.base
    if reply is None or reply.response is None:
        return Finding("chat", "no", first.words, _advice(first, case))
    form = ", as a stream, which was not asked for" if case.streams_only else ""
    model = reply.response.model or ""
    named = "" if model in ("", case.model) else f", by {model!r}"
    return Finding("chat", "yes", f"answered in {reply.seconds:.2f} s{named}{form}")


def _advice(reply: Reply, case: Case) -> str:
    match reply.error:
        case AuthenticationError() if case.has_key:
            return "check the key"
        case AuthenticationError():
            return "give a key: --api-key-env NAME, or api_key="
        case NotFoundError():
            return "check the URL and the model: --model NAME"
        case RequestTimeout():
            return "give it more time: --timeout SECONDS"
    return "name another model: --model NAME" if reply.refuses("model") else ""


def _usage(case: Case) -> Finding:
    if case.base is None or case.base.response is None:
        return Finding("usage", "unclear", "no chat was answered")
    usage = case.base.response.usage
    if not usage.total_tokens:
        return Finding("usage", "no", "no counts in the answer")
    return Finding("usage", "yes", _counts(usage))


def _counts(usage: Usage) -> str:
    if not usage.input_tokens and not usage.output_tokens:
        return f"{usage.total_tokens} tokens in all"
    return f"{usage.input_tokens} tokens in, {usage.output_tokens} out"


def _limit(field: str, reply: Reply) -> Finding:
    """Whether an answer of a few tokens at most was cut there."""
    response = reply.response
    if response is None:
        if _REACHED in reply.words:  # of models that must think first
            return Finding(field, "yes", reply.words)
        return failed(field, reply, field)
    count = response.usage.output_tokens
    words = len((response.text + response.reasoning).split())
    if count > 2 * _TIGHT or (not count and words > 3 * _TIGHT):
        amount = f"{count} tokens" if count else f"{words} words"
        return Finding(field, "ignored", f"{amount} came, {_TIGHT} were asked for at most")
    if response.finish_reason == "length":
        return Finding(field, "yes", f"cut after {count or _TIGHT} tokens")
    return Finding(field, "unclear", f"the answer was short, and ended by {response.raw_finish_reason!r}")


# -- streamed ------------------------------------------------------------------------------------------------

_OF_STREAMS = ("stream_arrival", "stream_type", "stream_done", "stream_finish", "stream_chunks")


async def streaming(case: Case) -> list[Finding]:
    """What comes when a stream is asked for, and how it arrives."""
    reply = await case.chat(COUNT, limit=2 * SMALL, stream=True)
    chunks = reply.chunks()
    if reply.response is not None:
        case.streamed = reply
    if not chunks:
        return [_no_stream(reply), *(Finding(n, "unclear", "there was no stream") for n in _OF_STREAMS)]
    texts = [(at, text) for at, chunk in chunks if (text := _text(chunk))]
    done = any(data.strip() == b"[DONE]" for _, data in reply.frames())
    reasons = [r for _, chunk in chunks for c in chunk["choices"] if (r := c.get("finish_reason"))]
    is_cut = isinstance(reply.error, StreamInterrupted)
    return [
        _pieces(reply, [text for _, text in texts]),
        _arrival([at for at, _ in texts]),
        Finding(
            "stream_type",
            "yes" if reply.kind == SSEFraming.media_type else "no",
            reply.kind or "no content type",
        ),
        Finding("stream_done", "yes", "[DONE] ends it")
        if done
        else Finding("stream_done", "unclear" if is_cut else "no", reply.words or "it ends without [DONE]"),
        Finding("stream_finish", "yes", repr(reasons[-1]))
        if reasons
        else Finding("stream_finish", "unclear" if is_cut else "no", reply.words or "no finish_reason came"),
        _shape([chunk for _, chunk in chunks]),
    ]


def _no_stream(reply: Reply) -> Finding:
    if reply.response is not None:
        return Finding("streaming", "ignored", f"one whole body came, as {reply.kind}")
    if isinstance(reply.error, StreamInterrupted) and not isinstance(reply.error, RequestTimeout):
        return Finding("streaming", "no", reply.words)
    return failed("streaming", reply, "stream")


def _text(chunk: dict[str, Any]) -> str:
    """What the first choice of a chunk says or thinks."""
    for choice in chunk["choices"][:1]:
        delta = choice.get("delta")
        if isinstance(delta, dict):
            said = (delta.get(name) for name in ("content", *_FIELDS[:2]))
            return "".join(text for text in said if isinstance(text, str))
    return ""


def _pieces(reply: Reply, texts: list[str]) -> Finding:
    count, size = len(texts), sum(map(len, texts))
    words = f"{size} characters in {count} chunk{'' if count == 1 else 's'}"
    if reply.response is None:
        broken = isinstance(reply.error, StreamInterrupted) and not isinstance(reply.error, RequestTimeout)
        return Finding("streaming", "no" if broken else "unclear", f"{words}, and then: {reply.words}")
    if count > 1:
        return Finding("streaming", "yes", words)
    return Finding("streaming", "no" if size > _SHORT else "unclear", words)


def _arrival(times: list[float]) -> Finding:
    """Whether the chunks came over time, or were held back until the last one was there."""
    if len(times) < 2:
        return Finding("stream_arrival", "unclear", "there are no two chunks with text")
    first, spread, moments = times[0], times[-1] - times[0], len(set(times))
    if spread >= _SPREAD and (moments > 2 or moments == len(times)):
        return Finding(
            "stream_arrival", "yes", f"the first after {first:.2f} s, the last {spread:.2f} s later"
        )
    if first >= _WAITED and moments <= 2:
        return Finding("stream_arrival", "no", f"{len(times)} chunks at once, after {first:.2f} s")
    return Finding(
        "stream_arrival", "unclear", f"{len(times)} chunks within {spread:.3f} s: too fast to decide"
    )


def _shape(chunks: list[dict[str, Any]]) -> Finding:
    """Whether every chunk looks as the API reference has it."""
    faults = set()
    for chunk in chunks:
        if chunk.get("object") != "chat.completion.chunk":
            faults.add(f"object is {chunk.get('object')!r}")
        faults |= {f"no {name}" for name in ("id", "model") if not chunk.get(name)}
        faults |= {"no delta" for c in chunk["choices"] if not isinstance(c.get("delta"), dict)}
    if len({repr(chunk.get("id")) for chunk in chunks}) > 1:
        faults.add("the id changes")
    if faults:
        return Finding("stream_chunks", "no", ", ".join(sorted(faults)))
    return Finding("stream_chunks", "yes", "chat.completion.chunk, each with an id, a model and a delta")


async def stream_usage(case: Case) -> list[Finding]:
    """`stream_options.include_usage`."""
    name = "stream_usage"
    if case.streamed is None or case.streamed.response is None or not case.streamed.chunks():
        return [Finding(name, "unclear", "no stream was answered")]
    unasked = bool(case.streamed.response.usage.total_tokens)
    reply = await case.chat(
        "Say hello.", {"stream_options": {"include_usage": True}}, limit=SMALL, stream=True
    )
    if reply.response is None:
        finding = failed(name, reply, "stream_options", "include_usage")
        words = f"{finding.evidence}{'; counts come unasked' if unasked else ''}"
        return [Finding(name, finding.verdict, words)]
    usage = reply.response.usage
    if not usage.total_tokens:
        return [Finding(name, "ignored", "stream_options is taken, and no counts come")]
    return [Finding(name, "yes", f"{_counts(usage)}{'; they come unasked too' if unasked else ''}")]


# -- thoughts ------------------------------------------------------------------------------------------------


async def reasoning(case: Case) -> list[Finding]:
    """Where thoughts are, in all that was answered. Asks nothing."""
    name = "reasoning_field"
    fields = {field for reply in case.answers for field in _thought_in(reply)}
    if fields:
        return [Finding(name, "yes", " and ".join(sorted(fields)))]
    responses = [reply.response for reply in case.answers if reply.response is not None]
    tags = {tag for response in responses for tag in _TAGS if tag in response.text}
    if tags:
        return [Finding(name, "no", f"thoughts are in the text, in {' and '.join(sorted(tags))}")]
    if counted := max((response.usage.reasoning for response in responses), default=0):
        return [Finding(name, "no", f"{counted} tokens of thoughts are counted, and none is shown")]
    return [Finding(name, "unclear", "no thoughts were seen: this model may have none")]


def _thought_in(reply: Reply) -> set[str]:
    bodies = [chunk for _, chunk in reply.chunks()] or [reply.json]
    found = set()
    for body in bodies:
        choices = body.get("choices") if isinstance(body, dict) else None
        for choice in choices if isinstance(choices, list) else ():
            message = choice.get("delta") or choice.get("message") if isinstance(choice, dict) else None
            if isinstance(message, dict):
                found |= {field for field in _FIELDS if message.get(field)}
    return found
