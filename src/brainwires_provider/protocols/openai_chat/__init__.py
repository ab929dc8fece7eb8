"""OpenAI's Chat Completions, and the many services that speak it with quirks of their own."""

from __future__ import annotations

from brainwires_provider.errors import APIError, UnsupportedError
from brainwires_provider.framing.base import Framing
from brainwires_provider.framing.sse import SSEFraming
from brainwires_provider.protocols.base.protocol import Call, Decoder, Reply
from brainwires_provider.protocols.openai_chat.errors import decode_error
from brainwires_provider.protocols.openai_chat.models import decode_page, page_query
from brainwires_provider.protocols.openai_chat.options import ChatQuirks, OpenAIChatOptions
from brainwires_provider.protocols.openai_chat.request import encode_request
from brainwires_provider.protocols.openai_chat.response import ChatDecoder
from brainwires_provider.types import Model, Origin, Request, TokenCount

__all__ = ["ChatQuirks", "OpenAIChat", "OpenAIChatOptions"]


class OpenAIChat:
    """See `base.protocol.ChatProtocol`. The quirks are one service's dialect."""

    name = "openai_chat"

    def __init__(self, quirks: ChatQuirks | None = None) -> None:
        self.quirks = quirks or ChatQuirks()

    def framing(self, max_message: int) -> Framing:
        """Server-sent events."""
        return SSEFraming(max_message)

    def encode(self, request: Request, origin: Origin, *, stream: bool) -> Call:
        """Raises UnsupportedError for what Chat Completions cannot say."""
        return encode_request(request, origin, self.quirks, stream=stream)

    def decoder(self, origin: Origin) -> Decoder:
        """A decoder for one answer."""
        return ChatDecoder(origin)

    def decode_error(self, reply: Reply) -> APIError:
        """The error of a refused request."""
        return decode_error(reply)

    def count_call(self, request: Request, origin: Origin) -> Call:
        """Always raises UnsupportedError: Chat Completions has no counting call."""
        raise UnsupportedError(
            "Chat Completions has no call that counts tokens; an answer's usage has the count",
            provider=origin.provider,
            model=origin.model,
        )

    def decode_count(self, body: bytes) -> TokenCount:
        """Never reached: there is no such call."""
        raise NotImplementedError

    def models_call(self, after: str | None) -> Call:
        """`GET /models`; few services have pages. Raises UnsupportedError where the service lists none."""
        if self.quirks.models_path is None:
            raise UnsupportedError("this service does not list its models here; its documentation does")
        query = {**self.quirks.models_query, **page_query(after)}
        return Call(self.quirks.models_path, {}, method="GET", query=query)

    def decode_models(self, body: bytes, provider: str) -> tuple[list[Model], str | None]:
        """One page, and the cursor of the next. Raises ProtocolError."""
        return decode_page(body, provider)
