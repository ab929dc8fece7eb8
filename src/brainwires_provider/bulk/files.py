"""Files of rows: JSON Lines, CSV, and Parquet (extra `parquet`); read row by row, and written so."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import IO, Any, Protocol

import msgspec

from brainwires_provider.errors import ConfigError

__all__ = ["JSONLines", "Scan", "Writer", "format_of", "open_rows", "open_writer", "scan"]

_FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_FIELD = 2**31 - 1  # characters of one field of CSV
_GROUP = 1000  # rows of Parquet that are written together
_DIALECTS = {"csv": "excel", "tsv": "excel-tab"}


def format_of(path: str) -> str:
    """The name of the format, by the file's ending. Raises ConfigError for another."""
    found = _FORMATS.get(os.path.splitext(path)[1].lower())
    if found is None:
        raise ConfigError(f"{path}: the ending says no format; there are {', '.join(_FORMATS)}")
    return found


# -- reading -------------------------------------------------------------------------------------------------


def open_rows(path: str) -> Iterator[Any]:
    """The rows of a file. Raises ConfigError for one that cannot be read, and while it is read for a faulty row."""
    kind = format_of(path)
    if not os.path.isfile(path):
        raise ConfigError(f"{path}: there is no such file")
    if kind == "parquet":
        return _parquet(path, _arrow("pyarrow.parquet"))
    return _guarded(path, _json_lines(path) if kind == "jsonl" else _separated(path, _DIALECTS[kind]))


def _guarded(path: str, rows: Iterator[Any]) -> Iterator[Any]:
    try:
        yield from rows
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from None


def _json_lines(path: str) -> Iterator[Any]:
    decode = msgspec.json.Decoder().decode
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.isspace() or not line:
                continue
            try:
                yield decode(line)
            except (msgspec.DecodeError, RecursionError) as error:
                raise ConfigError(f"{path}, line {number}: {error}") from None


def _separated(path: str, dialect: str) -> Iterator[dict[str, str]]:
    csv.field_size_limit(max(csv.field_size_limit(), _FIELD))
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, dialect=dialect, strict=True)
        names = reader.fieldnames
        if names is None:
            return
        if len(set(names)) < len(names):
            raise ConfigError(f"{path}: a column occurs twice: {', '.join(names)}")
        try:
            for row in reader:
                if None in row or None in row.values():
                    raise ConfigError(f"{path}, line {reader.line_num}: it has not {len(names)} fields")
                yield row
        except csv.Error as error:
            raise ConfigError(f"{path}, line {reader.line_num}: {error}") from None


def _parquet(path: str, parquet: Any) -> Iterator[Any]:
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_GROUP):
                yield from batch.to_pylist()
    except (OSError, _arrow("pyarrow").ArrowException) as error:
        raise ConfigError(f"{path}: {error}") from None


def _arrow(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise ConfigError("Parquet needs the extra: pip install 'brainwires-provider[parquet]'") from None


class Scan:
    """What one pass over a file finds before anything is sent: the number of rows, and the columns of all of them."""

    def __init__(self) -> None:
        self.rows = 0
        self.columns: dict[str, None] = {}
        self.first: Any = None


def scan(path: str, check: Callable[[Any, int], object], limit: int | None = None) -> Scan:
    """Read a file, and call `check` with each row and its number. Raises ConfigError, and what `check` raises."""
    found = Scan()
    for row in open_rows(path):
        if limit is not None and found.rows >= limit:
            break
        if not found.rows:
            found.first = row
        check(row, found.rows)
        if isinstance(row, Mapping) and not row.keys() <= found.columns.keys():
            found.columns |= dict.fromkeys(row)
        found.rows += 1
    return found


# -- writing -------------------------------------------------------------------------------------------------


class Writer(Protocol):
    """Writes rows to a file."""

    def write(self, row: Mapping[str, Any]) -> None:
        """Add one. Raises ConfigError where it cannot be written."""

    def close(self) -> None:
        """Complete the file."""


def open_writer(path: str, kind: str, columns: Sequence[str], types: Mapping[str, type]) -> Writer:
    """A writer of rows with these columns; `types` are those of the columns that are results.

    Raises ConfigError for a file that cannot be written.
    """
    try:
        if kind == "jsonl":
            return JSONLines(open(path, "wb"))
        if kind in _DIALECTS:
            return _Separated(open(path, "w", encoding="utf-8", newline=""), columns, _DIALECTS[kind])
        return _Parquet(path, columns, types)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def _text(value: Any) -> Any:
    """Values that a cell can hold; what is nested as JSON."""
    return msgspec.json.encode(value).decode() if isinstance(value, (Mapping, list, tuple)) else value


class JSONLines:
    """One JSON object a line."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, row: Mapping[str, Any]) -> None:
        """Add one."""
        self._file.write(msgspec.json.encode(row) + b"\n")

    def close(self) -> None:
        """Complete the file."""
        self._file.close()


class _Separated:
    def __init__(self, file: IO[str], columns: Sequence[str], dialect: str) -> None:
        self._file = file
        self._writer = csv.DictWriter(file, columns, dialect=dialect)
        self._writer.writeheader()

    def write(self, row: Mapping[str, Any]) -> None:
        self._writer.writerow({name: _text(value) for name, value in row.items()})

    def close(self) -> None:
        self._file.close()


class _Parquet:
    """Its schema is that of the first group of rows; a column without any value there holds texts."""

    def __init__(self, path: str, columns: Sequence[str], types: Mapping[str, type]) -> None:
        self._arrow, self._parquet = _arrow("pyarrow"), _arrow("pyarrow.parquet")
        self._path, self._columns = path, columns
        simple = {str: self._arrow.string(), int: self._arrow.int64(), float: self._arrow.float64()}
        self._known = {name: simple.get(kind) for name, kind in types.items()}
        self._nested = {name for name, kind in types.items() if kind is object}
        self._rows: list[dict[str, Any]] = []
        self._writer: Any = None

    def write(self, row: Mapping[str, Any]) -> None:
        kept = {name: row.get(name) for name in self._columns}
        for name in self._nested & kept.keys():
            if kept[name] is not None:
                kept[name] = msgspec.json.encode(kept[name]).decode()
        self._rows.append(kept)
        if len(self._rows) >= _GROUP:
            self._flush()

    def _flush(self) -> None:
        try:
            if self._writer is None:
                self._writer = self._parquet.ParquetWriter(self._path, self._schema())
            self._writer.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._writer.schema))
        except (self._arrow.ArrowException, OSError) as error:
            raise ConfigError(
                f"{self._path}: the rows fit no Parquet schema ({error}); write .jsonl instead"
            ) from None
        self._rows.clear()

    def _schema(self) -> Any:
        found = (
            self._arrow.Table.from_pylist(self._rows, schema=None).schema
            if self._rows
            else self._arrow.schema([])
        )
        fields = []
        for name in self._columns:
            kind = self._known.get(name) or (found.field(name).type if name in found.names else None)
            if kind is None or self._arrow.types.is_null(kind):
                kind = self._arrow.string()
            fields.append((name, kind))
        return self._arrow.schema(fields)

    def close(self) -> None:
        if self._rows or self._writer is None:
            self._flush()
        if self._writer is not None:
            self._writer.close()
