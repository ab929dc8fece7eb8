"""Fixture folders: `fixtures/<protocol>/<case>/`, read into values that a test can run.

- `request.json`: the row whose quirks apply (default: the protocol's plain one), what is asked, and the status and
  headers of the answer where they are not a plain 200.
- `call.json`: what the encoder makes of it, or the error that it raises.
- `wire.sse`, `.ndjson`, `.bin` or `.json` (a whole body): the answer's bytes. A case may have none.
- `events.json`: what the decoder makes of them; a failure is the last element, `{"error": {…}}`.
- `source.toml`: what says so besides the code. `sdk` names the vendor's package that reads the same out of the bytes,
  which test_fixture_sources.py checks; `page` is the provider's page, `read` the day on which it was read, and `says`
  what it says in our words. `refuses`, beside `sdk`, is a body that says what we refuse, and that the SDK's types
  refuse too. `own` says why nothing outside speaks of it: the rule is this library's.
"""

from __future__ import annotations

import datetime
import functools
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from brainwires_provider.errors import ProviderError
from brainwires_provider.events import Event
from brainwires_provider.framing.base import DEFAULT_MAX_MESSAGE
from brainwires_provider.protocols.anthropic import AnthropicOptions
from brainwires_provider.protocols.base.protocol import ChatProtocol, Reply
from brainwires_provider.protocols.bedrock import BedrockOptions
from brainwires_provider.protocols.gemini import GeminiOptions
from brainwires_provider.protocols.google_interactions import GoogleInteractionsOptions
from brainwires_provider.protocols.ollama import OllamaOptions
from brainwires_provider.protocols.openai_chat import OpenAIChatOptions
from brainwires_provider.protocols.openai_responses import OpenAIResponsesOptions
from brainwires_provider.protocols.relay import BrainwiresOptions
from brainwires_provider.providers import PROVIDERS, Provider
from brainwires_provider.types import (
    HostedTool,
    JSONSchema,
    Message,
    Options,
    Origin,
    ProviderOptions,
    Request,
    Tool,
    ToolChoice,
)
from known import encode_known
from paths import FIXTURES
from reading import read_stream

ROOT = FIXTURES
MODEL = "m"
PROTOCOLS: dict[str, tuple[str, type[ProviderOptions]]] = {
    "anthropic_messages": ("anthropic", AnthropicOptions),
    "bedrock_converse": ("bedrock", BedrockOptions),
    "gemini": ("google", GeminiOptions),
    "google_interactions": ("google-interactions", GoogleInteractionsOptions),
    "ollama": ("ollama", OllamaOptions),
    "openai_chat": ("openai-chat", OpenAIChatOptions),
    "openai_responses": ("openai-responses", OpenAIResponsesOptions),
    "relay": ("brainwires", BrainwiresOptions),
}
"""By folder: the plain row, and the protocol's own options."""


class Answer(Struct, frozen=True):
    status: int = 200
    headers: dict[str, str] = {}


class Spec(Struct, frozen=True, forbid_unknown_fields=True):
    messages: tuple[Message, ...]
    stream: bool
    row: str | None = None
    system: str | None = None
    tools: tuple[dict[str, Any], ...] = ()
    tool_choice: ToolChoice | None = None
    output: JSONSchema | Literal["json"] | None = None
    options: Options = Options()
    provider_options: dict[str, Any] | None = None
    answer: Answer = Answer()


class Source(Struct, frozen=True, forbid_unknown_fields=True):
    """What a case is held against."""

    sdk: str | None = None
    page: str | None = None
    read: datetime.date | None = None
    says: str | None = None
    own: str | None = None
    refuses: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.sdk or self.own:
            return
        if not (self.page and self.page.startswith("https://") and self.read and self.says):
            raise ValueError(
                "a source is an sdk, or a page (https), the day on which it was read, and what it says, or `own`: why "
                "there is none"
            )


class Case(Struct, frozen=True):
    """One folder."""

    folder: Path
    spec: Spec

    @property
    def row(self) -> Provider:
        return PROVIDERS[self.spec.row or PROTOCOLS[self.folder.parent.name][0]]

    @property
    def protocol(self) -> ChatProtocol:
        return self.row.protocol()

    @property
    def origin(self) -> Origin:
        return Origin(self.folder.parent.name, self.row.name, MODEL)

    @property
    def request(self) -> Request:
        """What is asked, for the encoder or, without its model, for a client."""
        spec, options = self.spec, self.spec.options
        if spec.provider_options is not None:
            kind = PROTOCOLS[self.folder.parent.name][1]
            options = replace(options, provider_options=msgspec.convert(spec.provider_options, kind))
        tools = tuple(msgspec.convert(t, HostedTool if "type" in t else Tool) for t in spec.tools)
        return Request(
            spec.messages, None, spec.system, tools, spec.tool_choice, spec.output, options, extra=None
        )

    @property
    def wire(self) -> tuple[str, bytes] | None:
        """The kind of the answer, and its bytes."""
        return _wire(self.folder)

    @property
    def source(self) -> Source | None:
        path = self.folder / "source.toml"
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), Source) if path.exists() else None

    def expected(self, name: str) -> Any:
        return msgspec.json.decode((self.folder / name).read_bytes())


@functools.cache
def _wire(folder: Path) -> tuple[str, bytes] | None:
    found = sorted(folder.glob("wire.*"))
    return (found[0].suffix[1:], found[0].read_bytes()) if found else None


def cases() -> Iterator[Case]:
    """Every folder of every protocol."""
    for path in sorted(ROOT.glob("*/*/request.json")):
        if path.parent.parent.name in PROTOCOLS:
            yield Case(path.parent, msgspec.json.decode(path.read_bytes(), type=Spec))


def plain(value: Any) -> Any:
    """Values as JSON has them."""
    return msgspec.json.decode(msgspec.json.encode(value))


def called(case: Case) -> Any:
    """What call.json should say."""
    try:
        request = replace(case.request, model=MODEL)
        call = plain(encode_known(case.protocol, request, case.origin, stream=case.spec.stream))
        call.pop("wrap")
        call.pop("weakened")
        assert call.pop("content") is None  # the body of a chat is JSON
        call.pop("sent")  # held to the body for every provider and option in test_sent_means_sent
        return call
    except ProviderError as error:
        return {"error": {"type": type(error).__name__, "message": str(error)}}


def failed(error: ProviderError) -> dict[str, Any]:
    """An error, as events.json says it; the words are the decoder's own."""
    named = ("status", "provider_status", "code", "retry_after", "how")
    told = {name: getattr(error, name) for name in named if getattr(error, name, None) is not None}
    partial = getattr(error, "partial", None)
    if partial is not None:
        told["partial"] = plain(partial.message)
    return {"error": {"type": type(error).__name__, "message": str(error), **told}}


def read(case: Case, cut: Callable[[bytes], list[bytes]]) -> tuple[list[Event], ProviderError | None]:
    """The events of the answer, which comes in these pieces, and the failure that ended them."""
    wire = case.wire
    assert wire is not None
    kind, data = wire
    protocol, answer = case.protocol, case.spec.answer
    decoder = protocol.decoder(case.origin)
    events: list[Event] = []
    try:
        if answer.status >= 400:
            raise protocol.decode_error(Reply(answer.status, answer.headers, data, 0))
        if kind == "json":
            events += decoder.feed_whole(b"".join(cut(data)))
        else:
            read_stream(protocol.framing(DEFAULT_MAX_MESSAGE), decoder, cut(data), events)
    except ProviderError as error:
        return events, error
    return events, None


def decoded(case: Case, cut: Callable[[bytes], list[bytes]]) -> Any:
    """What events.json should say, the answer coming in these pieces."""
    events, error = read(case, cut)
    return plain(events) if error is None else [*plain(events), failed(error)]
