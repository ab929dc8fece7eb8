"""Messages as `/api/chat` wants them: one text, a list of images, a thought and calls, each in a field of its own.

Each turn is encoded by itself, so that a longer history begins with the very messages of a shorter one. A result
names the tool, and the call's id only where the server gave one. What a model thought goes back to that model, in
`thinking`. The text and the images of a message lose their order, which the wire has no room for: it is reported
where an image came after text.
Reference: the API reference, "Generate a chat message", and the guides "Tool calling", "Thinking" and "Vision".
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Literal

from brainwires_provider.errors import UnsupportedError
from brainwires_provider.protocols.base.json import decode_json
from brainwires_provider.types import (
    Deviation,
    ImagePart,
    Message,
    OpaquePart,
    Origin,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

__all__ = ["HistoryEncoder"]

_ONE_TEXT = "\n\n"  # between the texts of one message, which the wire has as one
_BROKEN = "INVALID_JSON"
Wire = dict[str, Any]


class HistoryEncoder:
    """Encodes the messages of one request; `deviations` gathers what did not go out as given."""

    def __init__(self, origin: Origin, deviations: list[Deviation]) -> None:
        self._origin = origin
        self._deviations = deviations
        self._where = ""
        self._calls: dict[str, ToolCallPart] = {}

    def encode(self, messages: Sequence[Message]) -> list[Wire]:
        """The wire's messages, in order. Raises UnsupportedError for what the API cannot say."""
        encoded: list[Wire] = []
        for index, message in enumerate(messages):
            self._where = f"messages[{index}]"
            if message.name is not None:
                self._report("dropped", "this protocol has no names for speakers", ".name")
            if message.role == "assistant":
                encoded.append(self._assistant(message))
            elif any(isinstance(part, ToolResultPart) for part in message.content):
                encoded += self._results(message)
            else:
                encoded.append(self._plain(message))
        return encoded

    def content(self, parts: Sequence[Part], where: str) -> tuple[str, list[str]]:
        """The text and the images of a message that only says and shows. Raises UnsupportedError."""
        self._where = where
        return self._content(parts)

    def _report(
        self, outcome: Literal["adapted", "emulated", "dropped"], reason: str, part: str = ""
    ) -> None:
        self._deviations.append(Deviation(self._where + part, outcome, reason))

    def _unsupported(self, message: str) -> UnsupportedError:
        where = f"{self._where}: {message}"
        return UnsupportedError(where, provider=self._origin.provider, model=self._origin.model)

    # -- system, developer, user -----------------------------------------------------------------------------

    def _plain(self, message: Message) -> Wire:
        role: str = message.role
        if role == "tool":
            raise self._unsupported("a tool message takes ToolResultParts; use Message.tool_result(call, …)")
        if role == "developer":
            role = "system"
            self._report("adapted", "this protocol has no developer role: sent as system", ".role")
        return {**self._said(role, message.content), **(message.extra or {})}

    def _said(self, role: str, parts: Sequence[Part]) -> Wire:
        text, images = self._content(parts)
        wire: Wire = {"role": role, "content": text}
        if images:
            wire["images"] = images
        return wire

    def _content(self, parts: Sequence[Part]) -> tuple[str, list[str]]:
        texts: list[str] = []
        images: list[str] = []
        for index, part in enumerate(parts):
            match part:
                case TextPart():
                    texts.append(part.text)
                case ImagePart():
                    images.append(self._image(part))
                    if any(texts):
                        reason = "the images of a message stand ahead of its text"
                        self._report("adapted", reason, f".content[{index}]")
                case _:
                    raise self._unsupported(f"Ollama takes text and images, not {_name(part)}")
            self._check_mark(part, index)
        return _ONE_TEXT.join(texts), images

    def _check_mark(self, part: Part, index: int) -> None:
        if getattr(part, "cache", None) is not None:
            reason = "this service caches by itself and takes no marks"
            self._report("dropped", reason, f".content[{index}].cache")

    def _image(self, part: ImagePart) -> str:
        if part.data is None:
            raise self._unsupported(
                "Ollama takes images as data; a URL or a file_id is never fetched here: read the image, and pass its "
                "bytes"
            )
        return base64.b64encode(part.data).decode()

    # -- tool results ----------------------------------------------------------------------------------------

    def _results(self, message: Message) -> list[Wire]:
        """One wire message a result; what else a user's turn holds comes after, as a message of its own."""
        encoded: list[Wire] = []
        others: list[Part] = []
        for index, part in enumerate(message.content):
            if isinstance(part, ToolResultPart):
                encoded.append(self._result(part, index))
            else:
                others.append(part)
        if others:
            if message.role == "tool":
                raise self._unsupported("a tool message takes ToolResultParts only")
            encoded.append({**self._said(message.role, others), **(message.extra or {})})
        return encoded

    def _result(self, part: ToolResultPart, index: int) -> Wire:
        call = self._calls.get(part.call_id)
        wire = self._said("tool", part.content)
        name = part.name or (call.name if call is not None else None)
        if name is not None:
            wire["tool_name"] = name
        if call is not None and call.id is not None and self._is_ours(call):
            wire["tool_call_id"] = call.id
        if part.is_error:
            reason = "this protocol has no error flag: the text goes as it is"
            self._report("dropped", reason, f".content[{index}].is_error")
        self._check_mark(part, index)
        return {**wire, **(part.extra or {})}

    # -- the assistant's turn --------------------------------------------------------------------------------

    def _assistant(self, message: Message) -> Wire:
        wire: Wire = {"role": "assistant", "content": ""}
        for index, part in enumerate(message.content):
            self._add(part, wire, index)
            self._check_mark(part, index)
        for call in message.tool_calls:
            self._calls[call.call_id] = call
        if message.extra and all(self._is_ours(part) for part in message.content):
            wire.update(message.extra)
        return wire

    def _add(self, part: Part, wire: Wire, index: int) -> None:
        at = f".content[{index}]"
        match part:
            case TextPart():
                wire["content"] += part.text
                if part.citations:
                    self._report("dropped", "citations cannot be sent back", f"{at}.citations")
            case RefusalPart():
                wire["content"] += part.text
                self._report("adapted", "this protocol has no refusals: sent as text", at)
            case ReasoningPart():
                self._think(part, wire, at)
            case ToolCallPart():
                wire.setdefault("tool_calls", []).append(self._call(part, at))
            case ImagePart(data=bytes()):
                wire.setdefault("images", []).append(self._image(part))
            case ToolResultPart():
                raise self._unsupported("a tool result belongs in a message of role tool")
            case _ if part.origin is None:
                raise self._unsupported(f"{_name(part)} cannot be sent in an assistant's message")
            case _:
                self._report("dropped", f"{_name(part)} is bound to who made it", at)

    def _is_ours(self, part: Part) -> bool:
        return part.origin is None or part.origin.protocol == self._origin.protocol

    def _think(self, part: ReasoningPart, wire: Wire, at: str) -> None:
        """A thought without an origin is the caller's own, and goes to any model."""
        if not self._is_ours(part):
            self._report("dropped", "reasoning goes back only by the protocol that it came by", at)
        elif part.origin and self._origin.model not in (part.origin.model, part.origin.reported):
            self._report("dropped", "reasoning goes back only to the model that made it", at)
        elif part.text:
            wire["thinking"] = _joined(wire.get("thinking"), part.text)

    def _call(self, part: ToolCallPart, at: str) -> Wire:
        if part.kind != "function":
            self._report("emulated", f"a call of kind {part.kind!r} goes as a function call", at)
        extra = dict(part.extra or {}) if self._is_ours(part) else {}
        function: Wire = {"name": part.name, "arguments": self._arguments(part, at)}
        wire: Wire = {"function": {**function, **extra.pop("function", {})}}
        if part.id is not None and self._is_ours(part):
            wire = {"id": part.id, **wire}
        return {**wire, **extra}

    def _arguments(self, part: ToolCallPart, at: str) -> Wire:
        """The object that the wire has. Arguments that are none are shown to the model as they were."""
        if part.kind == "custom":
            return {"input": part.arguments}
        try:
            value = decode_json(part.arguments.encode()) if part.arguments.strip() else {}
        except ValueError:
            value = None
        if isinstance(value, dict):
            return value
        reason = f"the arguments are no JSON object: sent as the text under {_BROKEN!r}"
        self._report("adapted", reason, f"{at}.arguments")
        return {_BROKEN: part.arguments}


def _joined(known: str | None, text: str) -> str:
    return text if known is None else f"{known}{_ONE_TEXT}{text}"


def _name(part: Part) -> str:
    return f"{type(part).__name__}({part.kind!r})" if isinstance(part, OpaquePart) else type(part).__name__
