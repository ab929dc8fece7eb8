"""Files of Parquet (extra `parquet`): rows out of them, and rows into them under types that change no value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import IO, Any

import msgspec

from brainwires_provider.errors import ConfigError

__all__ = ["Kind", "ParquetWriter", "names_of", "read_rows"]

_GROUP = 1000  # rows that are read, and written, together
_EXACT = 2**53
"""Up to here a float holds every integer."""
_NAMES = {
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "an object",
}


def _arrow(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise ConfigError("Parquet needs the extra: pip install 'brainwires-provider[parquet]'") from None


def read_rows(path: str) -> Iterator[dict[str, Any]]:
    """The rows of a file. Raises ConfigError, also for a value that Python has no type for."""
    parquet, faults = _arrow("pyarrow.parquet"), _faults()
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_GROUP):
                yield from batch.to_pylist()
    except faults as error:
        raise ConfigError(f"{path}: {error}") from None


def names_of(path: str) -> list[str]:
    """The columns of a file. Raises ConfigError."""
    parquet, faults = _arrow("pyarrow.parquet"), _faults()
    try:
        with parquet.ParquetFile(path) as file:
            names: list[str] = file.schema_arrow.names
            return names
    except faults as error:
        raise ConfigError(f"{path}: {error}") from None


def _faults() -> tuple[type[Exception], ...]:
    return (OSError, ValueError, OverflowError, _arrow("pyarrow").ArrowException)


class Kind:
    """The type that holds every value of a column so far, unchanged: integers become floats only if none is large."""

    def __init__(self) -> None:
        self._type: type | None = None
        self._least = self._greatest = 0
        self._items: Kind | None = None
        self._fields: dict[str, Kind] = {}

    def add(self, value: Any) -> None:
        """Take a JSON value. Raises ValueError where none holds it and those before."""
        if value is None:
            return
        found = type(value)
        if self._type is None:
            self._type = found
        elif found is not self._type:
            if {found, self._type} != {int, float}:
                raise ValueError(f"{_NAMES[found]}, and before it was {_NAMES[self._type]}")
            self._type = float
        if found is int:
            self._least, self._greatest = min(self._least, value), max(self._greatest, value)
        elif found is list:
            self._items = self._items or Kind()
            for each in value:
                self._items.add(each)
        elif found is dict:
            for name, each in value.items():
                self._fields.setdefault(name, Kind()).add(each)
        if not self._fits():
            among = " beside numbers that are none" if self._type is float else ""
            raise ValueError(f"no type holds integers from {self._least} to {self._greatest}{among}")

    def _fits(self) -> bool:
        if self._type is float:
            return self._least >= -_EXACT and self._greatest <= _EXACT
        return self._least >= -(2**63) and self._greatest < (2**64 if self._least >= 0 else 2**63)

    def type(self) -> Any:
        """It in Arrow; text where there is no value."""
        pyarrow = _arrow("pyarrow")
        if self._items is not None:
            return pyarrow.list_(self._items.type())
        if self._type is dict:
            return pyarrow.struct([(name, kind.type()) for name, kind in self._fields.items()])
        if self._type is int:
            return pyarrow.int64() if self._greatest < 2**63 else pyarrow.uint64()
        if self._type is list:
            return pyarrow.list_(pyarrow.string())
        if self._type is float:
            return pyarrow.float64()
        return pyarrow.bool_() if self._type is bool else pyarrow.string()


class ParquetWriter:
    """Writes rows with the columns of results, `added`.

    Rows of a file of Parquet are written as they are there, by `source`; others as the types of `columns` hold them.
    Raises ConfigError for types that Parquet has not.
    """

    def __init__(
        self,
        file: IO[bytes],
        columns: Mapping[str, Kind],
        added: Mapping[str, type],
        *,
        source: str | None,
        several: bool,
    ) -> None:
        self._pyarrow, parquet = _arrow("pyarrow"), _arrow("pyarrow.parquet")
        self._added, self._several = added, several
        self._rows: list[Mapping[str, Any]] = []
        self._source: Any = None
        self._batch: Any = None
        try:
            if source is None:
                fields = [(name, kind.type()) for name, kind in columns.items()]
            else:
                self._source = parquet.ParquetFile(source)
                fields = list(self._source.schema_arrow)
                self._batches = self._source.iter_batches(batch_size=_GROUP)
            self._given = self._pyarrow.schema(fields)
            self._schema = self._pyarrow.schema(
                [*fields, *((name, self._type(kind)) for name, kind in added.items())]
            )
            self._writer = parquet.ParquetWriter(file, self._schema)
        except _faults() as error:
            raise ConfigError(f"the rows fit no Parquet schema ({error}); write .jsonl instead") from None

    def _type(self, kind: type) -> Any:
        pyarrow = self._pyarrow
        if kind is list:
            vector = pyarrow.list_(pyarrow.float64())
            return pyarrow.list_(vector) if self._several else vector
        return {int: pyarrow.int64(), float: pyarrow.float64()}.get(kind, pyarrow.string())

    def write(self, row: Mapping[str, Any]) -> None:
        """Add one. Raises ConfigError where the rows are not those that the types were made for."""
        if self._source is not None and self._batch is None:
            self._batch = next(self._batches, None)
            if self._batch is None:
                raise ConfigError("the file of the rows has changed: it has fewer now")
        self._rows.append(row)
        if len(self._rows) == (_GROUP if self._batch is None else self._batch.num_rows):
            self._flush()

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        batch, self._batch = self._batch, None
        if batch is None:
            arrays = [self._array(field, [row.get(field.name) for row in rows]) for field in self._given]
        else:
            arrays = list(batch.slice(0, len(rows)).columns)
        for name, kind in self._added.items():
            values = [self._value(kind, row.get(name)) for row in rows]
            arrays.append(self._array(self._schema.field(len(arrays)), values))
        self._writer.write_table(self._pyarrow.Table.from_arrays(arrays, schema=self._schema))

    def _array(self, field: Any, values: list[Any]) -> Any:
        try:
            return self._pyarrow.array(values, field.type)
        except (self._pyarrow.ArrowException, ValueError, OverflowError) as error:
            raise ConfigError(f"column {field.name!r}: {error}; write .jsonl instead") from None

    def _value(self, kind: type, value: Any) -> Any:
        if value is None:
            return None
        if kind is object:
            return msgspec.json.encode(value).decode()
        return [value] if kind is list and self._several and not isinstance(value[0], list) else value

    def close(self) -> None:
        """Write what is left, and the end of the file."""
        if self._rows:
            self._flush()
        self._writer.close()
        if self._source is not None:
            self._source.close()
