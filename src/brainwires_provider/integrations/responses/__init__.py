"""Events of any protocol as a Responses stream, and Responses items as messages: for adapters, and for servers.

`ResponsesEncoder` makes the stream's events and the response object, `messages_of` reads input items. An item holds in
`provider_data` what a Responses item has no field for: the part's origin, signature, citations and further fields, as
one text of JSON, with a digest of the content that it belongs to. Where the content was edited since, the content
counts, and what was kept for the old one is left out. Nothing here imports `openai`, reads a clock or does I/O.
"""

from brainwires_provider.integrations.responses.ended import usage_of
from brainwires_provider.integrations.responses.events import ResponsesEncoder
from brainwires_provider.integrations.responses.input import messages_of
from brainwires_provider.integrations.responses.items import item_of

__all__ = ["ResponsesEncoder", "item_of", "messages_of", "usage_of"]
