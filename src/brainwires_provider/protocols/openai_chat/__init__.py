"""OpenAI's Chat Completions, and the many services that speak it with quirks of their own."""

from __future__ import annotations

from brainwires_provider.errors import APIError, UnsupportedError
from brainwires_provider.protocols.base.facts import UNKNOWN, ModelFacts
from brainwires_provider.protocols.base.protocol import Call, ProtocolBase, Reply
from brainwires_provider.protocols.openai_chat.errors import decode_error
from brainwires_provider.protocols.openai_chat.models import decode_page, page_query
from brainwires_provider.protocols.openai_chat.options import ChatQuirks, OpenAIChatOptions
from brainwires_provider.protocols.openai_chat.request import encode_request
from brainwires_provider.protocols.openai_chat.response import ChatDecoder
from brainwires_provider.types import Model, Origin, Request

__all__ = ["ChatQuirks", "OpenAIChat", "OpenAIChatOptions"]


class OpenAIChat(ProtocolBase[ChatQuirks]):
    """See `base.protocol.ChatProtocol`. The quirks are one service's dialect."""

    name = "openai_chat"
    quirks_type = ChatQuirks
    decoder = ChatDecoder

    def encode(self, request: Request, origin: Origin, *, stream: bool, facts: ModelFacts = UNKNOWN) -> Call:
        """Raises UnsupportedError for what Chat Completions cannot say."""
        return encode_request(request, origin, self.quirks, facts, stream=stream)

    def decode_error(self, reply: Reply) -> APIError:
        """The error of a refused request."""
        return decode_error(reply)

    def models_call(self, after: str | None) -> Call:
        """`GET /models`; few services have pages. Raises UnsupportedError where the service lists none."""
        if self.quirks.models_path is None:
            raise UnsupportedError("this service does not list its models here; its documentation does")
        query = {**self.quirks.models_query, **page_query(after)}
        return Call(self.quirks.models_path, {}, method="GET", query=query)

    def decode_models(self, body: bytes, provider: str) -> tuple[list[Model], str | None]:
        """One page, and the cursor of the next. Raises ProtocolError."""
        return decode_page(body, provider)
