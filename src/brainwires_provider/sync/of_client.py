"""The other operations of providers, as properties of the synchronous client, and its batches and bulk runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload

from brainwires_provider.resources.resolved import Resolves
from brainwires_provider.sync.stream import made
from brainwires_provider.types import JSONSchema, OutputParams

if TYPE_CHECKING:
    from typing_extensions import TypeForm

    from brainwires_provider.bulk.prompts import Prompt
    from brainwires_provider.client import AsyncClient
    from brainwires_provider.resources.batch_calls import ByteStore
    from brainwires_provider.resources.batch_making import BatchItems
    from brainwires_provider.sync.batch import Batch
    from brainwires_provider.sync.bulk import Bulk
    from brainwires_provider.sync.interactions import Interactions
    from brainwires_provider.sync.local import Local
    from brainwires_provider.sync.ollama import Ollama
    from brainwires_provider.sync.portal import Share
    from brainwires_provider.sync.responses import Responses
    from brainwires_provider.types.bulk import MapParams

__all__ = ["Resources"]

T = TypeVar("T")


class Resources(Resolves):
    """The base of `Client`."""

    _core: AsyncClient

    @property
    def _share(self) -> Share:
        raise NotImplementedError  # the client's

    # -- written by tools/write_sync.py from Resources --

    @property
    def interactions(self) -> Interactions:
        """What the Interactions API does besides answering: stored and background interactions, agents."""
        from brainwires_provider.sync.interactions import Interactions

        return Interactions(self, self._core.interactions)

    @property
    def responses(self) -> Responses:
        """What the Responses API does besides answering: stored and background answers, compaction."""
        from brainwires_provider.sync.responses import Responses

        return Responses(self, self._core.responses)

    @property
    def ollama(self) -> Ollama:
        """What an Ollama server does besides chatting: its models listed, pulled, loaded, …, and embeddings."""
        from brainwires_provider.sync.ollama import Ollama

        return Ollama(self, self._core.ollama)

    @property
    def local(self) -> Local:
        """What a model on this machine does besides chatting: loaded and unloaded, plain completion, routing."""
        from brainwires_provider.sync.local import Local

        return Local(self, self._core.local)

    def batch(
        self,
        items: BatchItems,
        *,
        job: Mapping[str, Any] | None = None,
        ledger: str | os.PathLike[str] | None = None,
        store: ByteStore | None = None,
        submit: bool = True,
        **args: Unpack[OutputParams],
    ) -> Batch:
        """Send many requests to a provider's batch API: answered within hours, usually at half the price.

        Args:
            items: pairs of your id, a text that occurs once, and an input as `chat` takes it; or a mapping.
            job: fields that the service's jobs are created with, merged last, such as `{"metadata": {…}}`.
            ledger: a folder for what has to survive this process: handles, requests, results. Default: `batches` in
                the user's data folder.
            store: for Bedrock and Vertex, the folder of a bucket that the service reads and writes.
            submit: False records the batch and sends nothing: its `submit` does. Default: True.
            **args: those of `chat`, for all requests; policies are not taken. A `Request` may have its own model.

        Returns:
            The handle. Requests are in as many jobs as the models, and the limits of the service, make necessary.

        Raises:
            ConfigError: Ids that occur twice, and what encoding a request raises; nothing is sent then.
            ProviderError: A job could not be created. The batch is in the ledger: a note on the error names it.
        """
        from brainwires_provider.sync.batch import Batch

        return Batch(
            self._share.call(
                lambda: self._core.batch(items, job=job, ledger=ledger, store=store, submit=submit, **args)
            ),
            self,
        )

    def load_batch(
        self,
        source: bytes | str,
        *,
        ledger: str | os.PathLike[str] | None = None,
        store: ByteStore | None = None,
    ) -> Batch:
        """A batch that was made before, in this or another process: of its id in the ledger, or of its JSON.

        Nothing is sent. Of JSON alone, without the ledger, results can be read, but nothing be sent again. Raises
        ConfigError for an id that the ledger does not have, and for what is no batch's JSON.
        """
        from brainwires_provider.sync.batch import Batch

        return Batch(
            self._share.call(lambda: self._core.load_batch(source, ledger=ledger, store=store)), self
        )

    # -- end of what is written --

    # -- written by tools/write_sync.py from BulkCalls --

    @overload
    def map(
        self, rows: Any, prompt: Prompt = None, *, output: type[T], **args: Unpack[MapParams]
    ) -> Bulk[T]: ...
    @overload
    def map(
        self,
        rows: Any,
        prompt: Prompt = None,
        *,
        output: JSONSchema | Literal["json"],
        **args: Unpack[MapParams],
    ) -> Bulk[Any]: ...
    @overload
    def map(
        self, rows: Any, prompt: Prompt = None, *, output: TypeForm[T], **args: Unpack[MapParams]
    ) -> Bulk[T]: ...
    @overload
    def map(self, rows: Any, prompt: Prompt = None, **args: Unpack[MapParams]) -> Bulk[None]: ...
    def map(
        self, rows: Any, prompt: Prompt = None, *, output: Any = None, **args: Unpack[MapParams]
    ) -> Bulk[Any]:
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
        from brainwires_provider.sync.bulk import Bulk

        return Bulk(made(lambda: self._core.map(rows, prompt, output=output, **args)), self)

    # -- end of what is written --
