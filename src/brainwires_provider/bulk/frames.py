"""Batches of rows in the forms that data engines pass: tables, data frames, columns, and lists of rows.

The columns that are added have types of their own, whatever is in them: a batch in which no row has failed has the
same schema as one in which all have, so the files of a dataset can be read as one.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import msgspec

from brainwires_provider.bulk.source import present
from brainwires_provider.errors import ConfigError

__all__ = ["joined", "rows_of"]

_TEXT, _COUNT, _NUMBER, _FLAG = (
    ("string", "string"),
    ("int64", "Int64"),
    ("float64", "Float64"),
    ("bool_", "boolean"),
)
"""Types by their names in pyarrow and in pandas."""
_TYPES = {
    "answer": _TEXT,
    "output": _TEXT,
    "tool_calls": _TEXT,
    "finish_reason": _TEXT,
    "model": _TEXT,
    "input_tokens": _COUNT,
    "output_tokens": _COUNT,
    "cost_usd": _NUMBER,
    "request_id": _TEXT,
    "error_type": _TEXT,
    "error": _TEXT,
    "from_store": _FLAG,
}
"""The columns that are added."""
_JSON = ("output", "tool_calls")
"""Those whose values may be of any shape, so that their JSON is kept."""


def rows_of(batch: Any) -> list[dict[str, Any]]:
    """The rows of a batch, each as a dict. Raises ConfigError for what is no batch."""
    if hasattr(batch, "to_pylist"):
        return list(batch.to_pylist())
    if hasattr(batch, "to_dict"):
        return [{name: present(value) for name, value in row.items()} for row in batch.to_dict("records")]
    if isinstance(batch, Mapping):
        listed = [each.tolist() if hasattr(each, "tolist") else list(each) for each in batch.values()]
        return [dict(zip(batch, values, strict=True)) for values in zip(*listed, strict=True)]
    if isinstance(batch, Sequence) and all(isinstance(row, Mapping) for row in batch):
        return [dict(row) for row in batch]
    raise ConfigError(
        "a batch is a pyarrow.Table, a pandas.DataFrame, a dict of columns, or a list of rows that are dicts, "
        f"not {type(batch).__name__}"
    )


def joined(batch: Any, added: Sequence[Mapping[str, Any]], prefix: str = "", *, vectors: bool = False) -> Any:
    """The batch in its own form, with the columns of the answers.

    Args:
        batch: as `rows_of` takes it.
        added: for each of its rows, the values by the names of `bulk.record.columns`, and `from_store`.
        prefix: begins the name of each column that is added.
        vectors: add `vector` too; where a row of the batch has several texts, it is a list of vectors in every row.

    Returns:
        A new batch; the columns are the same whatever is in them, and for no rows too.

    Raises:
        ConfigError: the batch has a column of that name already.
    """
    kinds = ("vector", *_TYPES) if vectors else tuple(_TYPES)
    columns = {kind: [_value(kind, row[kind]) for row in added] for kind in kinds}
    _check_new(_names(batch), [f"{prefix}{kind}" for kind in columns])
    if hasattr(batch, "append_column"):
        for kind, values in columns.items():
            batch = batch.append_column(f"{prefix}{kind}", _arrow(kind, values))
        return batch
    if hasattr(batch, "assign"):
        return batch.assign(**{f"{prefix}{kind}": _pandas(kind, values) for kind, values in columns.items()})
    if isinstance(batch, Mapping):
        # Without a type of its own, a column of an engine has that of what happens to be in it.
        typed = _arrow if "pyarrow" in sys.modules else _plain
        return {**batch, **{f"{prefix}{kind}": typed(kind, values) for kind, values in columns.items()}}
    return [
        {**row, **{f"{prefix}{kind}": values[at] for kind, values in columns.items()}}
        for at, row in enumerate(batch)
    ]


def _value(kind: str, value: Any) -> Any:
    return msgspec.json.encode(value).decode() if kind in _JSON and value is not None else value


def _names(batch: Any) -> set[str]:
    """Of the batch's columns."""
    if isinstance(batch, Sequence):
        return {name for row in batch for name in row}
    return set(batch if isinstance(batch, Mapping) else getattr(batch, "column_names", None) or batch.columns)


def _check_new(names: set[str], added: Sequence[str]) -> None:
    """Raises ConfigError for a column that is there already."""
    for name in added:
        if name in names:
            raise ConfigError(
                f"the rows have a column {name!r} already: give a prefix for the columns that are added, such as "
                'prefix="answer_"'
            )


def _arrow(kind: str, values: list[Any]) -> Any:
    pyarrow = import_module("pyarrow")
    if kind != "vector":
        return pyarrow.array(values, getattr(pyarrow, _TYPES[kind][0])())
    vector = pyarrow.list_(pyarrow.float64())
    if not any(map(_is_nested, values)):
        return pyarrow.array(values, vector)
    nested = [each if each is None or _is_nested(each) else [each] for each in values]
    return pyarrow.array(nested, pyarrow.list_(vector))


def _is_nested(value: Any) -> bool:
    return bool(value) and isinstance(value[0], list)


def _pandas(kind: str, values: list[Any]) -> Any:
    return values if kind == "vector" else import_module("pandas").array(values, dtype=_TYPES[kind][1])


def _plain(kind: str, values: list[Any]) -> list[Any]:
    return values
