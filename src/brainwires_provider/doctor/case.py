"""One server under examination: how requests are sent, what was found, and what the next requests build on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from brainwires_provider.doctor.asking import Asker, Reply
from brainwires_provider.doctor.findings import Finding, Verdict
from brainwires_provider.errors import ProviderError
from brainwires_provider.types import Model, Response

__all__ = ["CHAT", "COUNT", "SMALL", "Case", "failed", "first_to_talk_to", "without_thoughts"]

CHAT = "/chat/completions"
COUNT = "Count from one to one hundred in words, separated by commas."
"""A prompt whose response is long, whatever the model."""
SMALL = 16
"""The limit, in tokens, of short responses; some servers refuse less."""

# Names of models that are not for chat; few lists state what a model is for.
_OTHER_KINDS = re.compile(r"embed|whisper|tts|rerank|moderation|dall-e|image|audio|realtime", re.IGNORECASE)
_THOUGHT_ENDS = ("</think>", "</thinking>", "</thought>", "</reasoning>")


class Case:
    """What is known so far. Requests are sent in the form that was answered before."""

    def __init__(self, asker: Asker, model: str, limit: int) -> None:
        self.asker = asker
        self.model = model
        self.limit = limit
        self.limit_field: str | None = "max_tokens"
        self.needs_room = False
        """A short limit is an error, because the model reasons first."""
        self.has_key = True
        self.base: Reply | None = None
        """The first whole response."""
        self.streamed: Reply | None = None
        """The first streamed one."""
        self.first_error: ProviderError | None = None
        """Why the first chat was not answered."""
        self.answers: list[Reply] = []
        """Every chat that was answered."""
        self.fixed: dict[str, Any] = {}
        """Options that make responses deterministic, as far as they are accepted."""
        self.findings: dict[str, Finding] = {}
        self.required_word = "required"
        self.streams_only = False

    @property
    def works(self) -> bool:
        """Whether a chat is answered, whole or streamed."""
        return self.base is not None or self.streamed is not None

    def verdict(self, name: str) -> Verdict | None:
        """What was found under that name, if anything."""
        finding = self.findings.get(name)
        return None if finding is None else finding.verdict

    async def chat(
        self,
        said: str | list[dict[str, Any]],
        fields: Mapping[str, Any] | None = None,
        *,
        limit: int | None = None,
        stream: bool = False,
        with_key: bool = True,
        model: str | None = None,
    ) -> Reply:
        """One chat with these fields; `limit` is sent under the name that is accepted. Raises Spent."""
        messages = [{"role": "user", "content": said}] if isinstance(said, str) else said
        body: dict[str, Any] = {
            "model": model or self.model,
            "messages": messages,
            **self.fixed,
            **(fields or {}),
        }
        stream = stream or (self.base is None and self.streamed is not None)
        if stream:
            body["stream"] = True
        if limit is not None and self.limit_field is not None:
            body[self.limit_field] = max(limit, self.limit) if self.needs_room else limit
        reply = await self.asker.ask(CHAT, body, stream=stream, with_key=with_key)
        if reply.response is not None:
            self.answers.append(reply)
        return reply


def failed(name: str, reply: Reply, *fields: str, control: bool = True) -> Finding:
    """The finding of a request that failed: refused, if the error is about its fields."""
    if not reply.refuses(*fields):
        return Finding(name, "unclear", reply.words)
    if not control and not reply.names(*fields):
        return Finding(name, "unclear", f"refused, but so is a request without it: {reply.words}")
    return Finding(name, "refused", reply.words)


def first_to_talk_to(models: Iterable[Model]) -> str | None:
    """The first that looks like a chat model, else the first."""
    names = [model.id for model in models]
    return next((name for name in names if not _OTHER_KINDS.search(name)), next(iter(names), None))


def without_thoughts(response: Response) -> str:
    """The text, without reasoning in tags before it."""
    text = response.text
    for end in _THOUGHT_ENDS:
        text = text.rpartition(end)[2]
    return text.strip()
