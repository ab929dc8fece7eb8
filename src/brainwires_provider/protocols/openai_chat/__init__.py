"""OpenAI's Chat Completions, and the many services that speak it with quirks of their own."""

from __future__ import annotations

from brainwires_provider.errors import UnsupportedError
from brainwires_provider.protocols.base.protocol import Call, ProtocolBase, Uncounted
from brainwires_provider.protocols.openai_chat.errors import decode_error
from brainwires_provider.protocols.openai_chat.models import decode_page, page_query
from brainwires_provider.protocols.openai_chat.options import ChatQuirks, OpenAIChatOptions
from brainwires_provider.protocols.openai_chat.request import encode_request
from brainwires_provider.protocols.openai_chat.response import ChatDecoder

__all__ = ["ChatQuirks", "OpenAIChat", "OpenAIChatOptions"]


class OpenAIChat(Uncounted, ProtocolBase[ChatQuirks]):
    """See `base.protocol.ChatProtocol`. The quirks are one service's dialect."""

    name = "openai_chat"
    quirks_type = ChatQuirks
    encode = encode_request
    decode_error = staticmethod(decode_error)
    decode_models = staticmethod(decode_page)
    decoder = ChatDecoder

    def models_call(self, after: str | None) -> Call:
        """`GET /models`; few services have pages. Raises UnsupportedError where the service lists none."""
        if self.quirks.models_path is None:
            raise UnsupportedError("this service does not list its models here; its documentation does")
        query = {**self.quirks.models_query, **page_query(after)}
        return Call(self.quirks.models_path, {}, method="GET", query=query)
