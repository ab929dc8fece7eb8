"""What all decoders share: the parts under construction, both names of the model, the partial response."""

from __future__ import annotations

from typing import Any, NoReturn

import msgspec

from brainwires_provider.errors import ProtocolError, StreamInterrupted
from brainwires_provider.events import ResponseStart
from brainwires_provider.protocols.base.assembler import Assembler, well_formed
from brainwires_provider.protocols.base.json import decode_json, fast_decode, looks_like, merged
from brainwires_provider.types import Message, Origin, Response, Usage

__all__ = ["DecoderBase"]


class DecoderBase:
    """What decoders share: the assembler, both names, the partial, and how JSON is read."""

    def __init__(self, origin: Origin) -> None:
        self.started = False
        self.ended = False
        self.parts = Assembler()
        self.origin = origin
        self.id: str | None = None
        self.model: str | None = None
        self.extra: dict[str, Any] = {}
        self.message_extra: dict[str, Any] = {}

    def usage(self) -> Usage:
        """The counts so far."""
        return Usage()

    def partial(self) -> Response:
        """What has arrived so far."""
        response = Response(
            id=self.id,
            provider=self.origin.provider,
            model=self.model,
            message=Message("assistant", self.parts.parts(), extra=dict(self.message_extra) or None),
            finish_reason="pending",
            raw_finish_reason=None,
            usage=msgspec.structs.replace(self.usage(), complete=False),
            extra=dict(self.extra),
        )
        mended: Response = well_formed(response) if self.parts.ragged else response
        return mended

    def read_json(self, data: bytes) -> dict[str, Any]:
        """One JSON object. Raises ProtocolError, with the partial, for anything else."""
        try:
            value = fast_decode(data)
        except (ValueError, RecursionError):
            value = self._read_ragged(data)
        if type(value) is not dict:
            self.not_an_object(value, data)
        return value

    def not_an_object(self, value: Any, data: bytes) -> NoReturn:
        """Raise ProtocolError for JSON that is no object."""
        self.broken(
            f"the provider sent {type(value).__name__} where a JSON object is due: {looks_like(data)}"
        )

    def _read_ragged(self, data: bytes) -> Any:
        try:
            value = decode_json(data)
        except ValueError as error:
            self.broken(f"the provider sent what is not JSON ({error}): {looks_like(data)}")
        self.parts.ragged = True
        return value

    def keep(self, name: str, value: Any) -> None:
        """A field of the message that no part has a place for."""
        self.message_extra[name] = merged(self.message_extra.get(name), value)

    def start(self) -> None:
        """Announce the answer, once, by what is known of it."""
        if not self.started:
            self.started = True
            self.parts.events.append(ResponseStart(self.id, self.model))

    def answered_by(self, model: Any) -> None:
        """The parts from here on are of the model that the service names, if it names one."""
        if model and model != self.model:
            self.model = str(model)
            self.origin = Origin(self.origin.protocol, self.origin.provider, self.origin.model, self.model)

    def cut(self, message: str) -> StreamInterrupted:
        """The error of a stream that is over before its answer, with what had arrived."""
        return StreamInterrupted(
            message,
            how="eof",
            partial=self.partial(),
            provider=self.origin.provider,
            model=self.origin.model,
        )

    def broken(self, message: str) -> NoReturn:
        """Raise ProtocolError with what had arrived."""
        raise ProtocolError(
            message, partial=self.partial(), provider=self.origin.provider, model=self.origin.model
        )
