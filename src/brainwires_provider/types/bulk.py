"""What `map` takes, and what it reports while it runs."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from os import PathLike
from typing import Any, Literal, TypeAlias, TypedDict

from msgspec import Struct

from brainwires_provider.types.checked import Checked, check
from brainwires_provider.types.embeddings import EmbeddingTask
from brainwires_provider.types.runs import RunParams

__all__ = ["BulkForecast", "BulkOperation", "BulkProgress", "BulkSettings", "MapParams"]

BulkOperation: TypeAlias = Literal["chat", "run", "embed"]


class BulkProgress(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """How far a bulk run is."""

    total: int | None = None
    """The number of rows. None: not known."""
    done: int = 0
    """Rows with a result, failed ones included."""
    failed: int = 0
    """Of these, rows with an error."""
    recorded: int = 0
    """Of these, rows that the ledger already had: nothing was paid for them."""
    equal: int = 0
    """Of these, rows that got the result of an equal one of this run."""
    running: int = 0
    """Rows that are being asked."""
    input_tokens: int = 0
    """Of this run, failed attempts included."""
    output_tokens: int = 0
    usd: Decimal | None = None
    """What this run has cost, with `Client(prices=True)`. None where nothing is known."""
    seconds: float = 0.0
    """Since the beginning of this run."""
    rate: float = 0.0
    """Rows a second that were asked, over about the last 30 seconds."""

    @property
    def eta(self) -> float | None:
        """Seconds that are left at this rate. None where the total, or a rate, is not known."""
        if self.total is None or not self.rate:
            return None
        return max(0, self.total - self.done) / self.rate


class _Own(TypedDict, total=False):
    id: str | Callable[[Any], str | int] | None
    ledger: str | PathLike[str] | None
    concurrency: int
    operation: BulkOperation
    retry_errors: bool
    limit: int | None
    total: int | None
    version: str
    progress: Callable[[BulkProgress], object] | None
    dimensions: int | None
    task: EmbeddingTask | None


class MapParams(RunParams, _Own, total=False):
    """Every keyword of `map`: those of `run`, which hold for each row, and these.

    - `id`: the column, or a function of the row, that gives its id, a text or an integer that no other row has.
      Default: the column `id` where the first row has one, else the row's number, from 0.
    - `ledger`: the file that keeps what was asked and got. Whoever runs the same rows with it again pays for no row
      that it has a result of. Default: none, and nothing is kept.
    - `concurrency`: the most rows that are asked at once. Default: 100.
    - `operation`: "chat"; "run", the loop of tools; or "embed". Default: "run" where `tools` has functions, else
      "chat".
    - `retry_errors`: whether rows are asked again of which the ledger has an error. Default: false.
    - `limit`: only so many rows, the first ones. Default: all.
    - `total`: the number of rows, for the progress of rows that have no length. Default: that of the rows.
    - `version`: of your code: with another one, nothing recorded is taken. Default: "".
    - `progress`: a function of a `BulkProgress`, called about once a second and at the end. Default: none.
    - `dimensions`, `task`: as for `embed`.
    """


class BulkSettings(Checked, frozen=True, gc=True):
    """The keywords that are those of `map` alone. Raises TypeError or ValueError for a wrong value."""

    id: object = None
    ledger: object = None
    concurrency: int = 100
    operation: BulkOperation | None = None
    retry_errors: bool = False
    limit: int | None = None
    total: int | None = None
    version: str = ""
    progress: Callable[[BulkProgress], Any] | None = None
    dimensions: int | None = None
    task: EmbeddingTask | None = None

    def __post_init__(self) -> None:
        check(self)
        if self.concurrency < 1:
            raise ValueError(f"concurrency takes 1 or more, not {self.concurrency}")
        if self.limit is not None and self.limit < 0:
            raise ValueError(f"limit takes 0 or more, not {self.limit}")
        if self.ledger is not None and not isinstance(self.ledger, (str, PathLike)):
            raise TypeError(f"ledger takes a path, not {type(self.ledger).__name__}")
        if self.id is not None and not isinstance(self.id, str) and not callable(self.id):
            raise TypeError(f"id takes the name of a column or a function, not {type(self.id).__name__}")


class BulkForecast(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """What a bulk run would take, before anything is sent."""

    rows: int = 0
    """All rows."""
    asked: int = 0
    """Rows that would be asked."""
    recorded: int = 0
    """Rows that the ledger has a result of."""
    equal: int = 0
    """Rows that would get the result of an equal one."""
    faulty: int = 0
    """Rows that no request can be made of; each would be a row with an error."""
    first_fault: str = ""
    """What is wrong with the first of them."""
    input_tokens: int = 0
    """An estimate: a fourth of the characters."""
    most_output_tokens: int | None = None
    """The most output tokens. None where no `max_tokens` limits them."""
    usd_input: Decimal | None = None
    """The price of that input, with the extra `prices`. None where it is not known."""
    usd_at_most: Decimal | None = None
    """The price of that input and of the most output tokens."""
