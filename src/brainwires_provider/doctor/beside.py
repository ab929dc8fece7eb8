"""Other APIs at the same base URL, and refusals: an unknown model, a request without a key."""

from __future__ import annotations

from typing import Any

from brainwires_provider.doctor.asking import Reply
from brainwires_provider.doctor.case import CHAT, COUNT, SMALL, Case
from brainwires_provider.doctor.findings import Finding
from brainwires_provider.errors import AuthenticationError, PermissionDeniedError

__all__ = ["key_needed", "messages_api", "responses_api", "unknown_model"]

_ABSENT = (404, 405, 501)
_NO_SUCH_MODEL = "brainwires-doctor-no-such-model"


async def responses_api(case: Case) -> list[Finding]:
    """`POST /responses`, OpenAI's Responses."""
    body = {"model": case.model, "input": "Say hello.", "max_output_tokens": SMALL}
    reply = await case.asker.ask("/responses", body)
    return [_there("responses_api", reply, "output")]


async def messages_api(case: Case) -> list[Finding]:
    """`POST /messages`, Anthropic's Messages."""
    said = [{"role": "user", "content": "Say hello."}]
    body = {"model": case.model, "max_tokens": SMALL, "messages": said}
    reply = await case.asker.ask("/messages", body, headers={"anthropic-version": "2023-06-01"})
    return [_there("messages_api", reply, "content")]


def _there(name: str, reply: Reply, member: str) -> Finding:
    """Whether that API answered, by the list in its response."""
    if reply.error is None:
        value = reply.json
        if isinstance(value, dict) and isinstance(value.get(member), list):
            return Finding(name, "yes", f"answered in {reply.seconds:.2f} s")
        if reply.kind == "text/html":
            return Finding(name, "no", "an HTML page")
        return Finding(name, "unclear", f"HTTP {reply.status}, and a body without {member}")
    if reply.status in _ABSENT:
        return Finding(name, "no", reply.words)
    return Finding(name, "unclear", reply.words)


async def unknown_model(case: Case) -> list[Finding]:
    """A model that does not exist: whether it is refused, and the shape of the error."""
    reply = await case.chat("Say hello.", limit=SMALL, model=_NO_SUCH_MODEL)
    if reply.response is not None:
        noticed = Finding("unknown_model", "ignored", "a model that does not exist is answered for")
        wrong = {"model": case.model, "messages": "no list"}
        reply = await case.asker.ask(CHAT, wrong)
    elif reply.status == 404 or reply.refuses(_NO_SUCH_MODEL):
        noticed = Finding("unknown_model", "refused", reply.words)
    else:
        noticed = Finding("unknown_model", "unclear", reply.words)
    return [noticed, _error_shape(reply)]


def _error_shape(reply: Reply) -> Finding:
    """Whether an error is `{"error": {"message", "type", "code"}}`."""
    name, value = "error_shape", reply.json
    if reply.status is None or reply.status < 400:
        return Finding(name, "unclear", reply.words or "a broken request was answered")
    if not isinstance(value, dict):
        return Finding(name, "no", f"not a JSON object, but {reply.kind or 'a body without a type'}")
    error: Any = value.get("error")
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        missing = [member for member in ("type", "code") if member not in error]
        words = f"error.message, HTTP {reply.status}{f'; without {chr(32).join(missing)}' if missing else ''}"
        return Finding(name, "yes", words)
    members = ", ".join(map(str, value))[:60]
    return Finding(name, "no", f"HTTP {reply.status} with an object of: {members or 'nothing'}")


async def key_needed(case: Case) -> list[Finding]:
    """A chat without the key."""
    name = "key_needed"
    if not case.has_key:
        if case.works:
            return [Finding(name, "no", "all requests were sent without a key")]
        if isinstance(case.first_error, (AuthenticationError, PermissionDeniedError)):
            return [Finding(name, "yes", case.findings["chat"].evidence)]
        return [Finding(name, "unclear", "sent without a key, and no chat was answered")]
    reply = await case.chat(COUNT, limit=SMALL, with_key=False)
    if reply.response is not None:
        return [Finding(name, "no", "a chat without the key is answered")]
    if isinstance(reply.error, (AuthenticationError, PermissionDeniedError)):
        return [Finding(name, "yes", reply.words)]
    return [Finding(name, "unclear", reply.words)]
