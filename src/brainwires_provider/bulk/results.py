"""What a bulk run gives for each row."""

from __future__ import annotations

from typing import Any, Generic, Protocol, cast

import msgspec

from brainwires_provider.bulk.record import Failure, Record, columns, dump_record, load_record
from brainwires_provider.types import Cost, Message, Usage
from brainwires_provider.types.responses import O_co

__all__ = ["BulkResult", "dump_result", "load_result"]


class _Reader(Protocol):
    def output(self, record: Record) -> Any: ...


class BulkResult(Generic[O_co]):
    """One row's result: an answer, vectors, or an error. `BulkResult[T]` where `output=T` asked for a type."""

    __slots__ = ("_reader", "id", "is_recorded", "number", "record", "row")

    def __init__(  # noqa: PLR0917
        self, id: str | int, number: int, row: Any, record: Record, is_recorded: bool, reader: _Reader | None
    ) -> None:
        self.id = id
        """The row's id."""
        self.number = number
        """Its place among the rows, from 0."""
        self.row = row
        """The row itself."""
        self.record = record
        """What is kept of the answer."""
        self.is_recorded = is_recorded
        """Whether an earlier run had it: nothing was paid for it now."""
        self._reader = reader

    @property
    def text(self) -> str:
        """The answer's text; what there is of it, where the row has an error."""
        return self.record.text

    @property
    def output(self) -> O_co:
        """The value of the type that `output=` asked for. None without one, and where there is an error."""
        return cast(O_co, None if self._reader is None else self._reader.output(self.record))

    @property
    def vector(self) -> list[float] | None:
        """The vector, of a row with one text to embed; None otherwise."""
        vectors = self.record.vectors
        return vectors[0] if vectors is not None and len(vectors) == 1 else None

    @property
    def message(self) -> Message:
        """The whole message."""
        return self.record.message or Message("assistant", self.record.text)

    @property
    def usage(self) -> Usage:
        """The tokens of the answer and of failed attempts."""
        return self.record.usage

    @property
    def cost(self) -> Cost | None:
        """What it has cost, with `Client(prices=True)`."""
        return self.record.cost

    @property
    def error(self) -> Failure | None:
        """Why there is no answer; None if there is one."""
        return self.record.error

    def columns(self, prefix: str = "") -> dict[str, Any]:
        """The result as columns, always the same ones: `answer`, `output`, …, `error_type`, `error`."""
        return columns(self.record, prefix=prefix)

    def __repr__(self) -> str:
        shown = self.error if self.error is not None else self.text[:60]
        return f"BulkResult({self.id!r}, {shown!r})"


def dump_result(result: BulkResult[Any]) -> bytes | None:
    """A result as bytes, for as long as it waits; None where its row is more than plain JSON values."""
    if not _is_plain(result.row):
        return None
    try:
        record = dump_record(result.record)
        return msgspec.msgpack.encode((result.id, result.number, result.row, record, result.is_recorded))
    except (TypeError, ValueError, OverflowError):
        return None


def load_result(data: bytes) -> BulkResult[Any]:
    """The result that `dump_result` wrote."""
    id, number, row, record, is_recorded = msgspec.msgpack.decode(data)
    return BulkResult(id, number, row, load_record(record), is_recorded, None)


def _is_plain(value: Any) -> bool:
    kind = type(value)
    if kind is dict:
        return all(type(name) is str and _is_plain(each) for name, each in value.items())
    return kind in _PLAIN or (kind is list and all(map(_is_plain, value)))


_PLAIN = frozenset((str, int, float, bool, type(None)))
