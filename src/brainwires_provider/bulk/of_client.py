"""What the client has of bulk runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload

from brainwires_provider._core.session import Session
from brainwires_provider.types import JSONSchema
from brainwires_provider.types.checked import checks_calls

if TYPE_CHECKING:
    from typing_extensions import TypeForm

    from brainwires_provider.bulk.engine import AsyncBulk
    from brainwires_provider.bulk.prompts import Prompt
    from brainwires_provider.types.bulk import MapParams

__all__ = ["BulkCalls"]

T = TypeVar("T")


@checks_calls
class BulkCalls:
    """The calls of a client about many rows."""

    _session: Session

    @overload
    def map(
        self, rows: Any, prompt: Prompt = None, *, output: type[T], **args: Unpack[MapParams]
    ) -> AsyncBulk[T]: ...
    @overload
    def map(
        self,
        rows: Any,
        prompt: Prompt = None,
        *,
        output: JSONSchema | Literal["json"],
        **args: Unpack[MapParams],
    ) -> AsyncBulk[Any]: ...
    @overload
    def map(
        self, rows: Any, prompt: Prompt = None, *, output: TypeForm[T], **args: Unpack[MapParams]
    ) -> AsyncBulk[T]: ...
    @overload
    def map(self, rows: Any, prompt: Prompt = None, **args: Unpack[MapParams]) -> AsyncBulk[None]: ...
    def map(
        self, rows: Any, prompt: Prompt = None, *, output: Any = None, **args: Unpack[MapParams]
    ) -> AsyncBulk[Any]:
        """Ask about many rows, `concurrency` at once, and give a result for each in the order of the rows.

        With a `ledger`, what was answered is never paid for again: after a crash, Ctrl-C or the end of a budget, the
        same call goes on. At most `concurrency` rows are then asked a second time. Equal rows are asked once. A row
        that fails is a result with an `error`. Nothing is sent before it is iterated.

        Args:
            rows: a path (.jsonl, .csv, .tsv, or .parquet with the extra `parquet`), an iterable, also an async one, or
                a DataFrame of pandas, Polars or Arrow.
            prompt: a template with columns in braces, `"Translate: {text}"`, or a function of the row that returns
                what `chat` takes. Default: the row itself, or its column `prompt` or `messages`.
            output: the type of each `result.output`, as for `chat`. Default: free text.
            **args: the keywords of `run`, which hold for each row, and those that `MapParams` describes: `id`,
                `ledger`, `concurrency`, `operation`, `retry_errors`, `limit`, `total`, `version`, `progress`,
                `dimensions`, `task`. Where no `retry` is set, 8 attempts are made.

        Raises:
            TypeError: for a keyword that does not exist, and for rows that are none.
            ConfigError: for a file that cannot be read, a template that is none; while it is iterated, for a column
                that the first row has not, an id that occurs twice, and a ledger that another process uses.
        """
        from brainwires_provider.bulk.engine import AsyncBulk

        given: Any = args if output is None else {**args, "output": output}
        return AsyncBulk(self._session, rows, prompt, given)
