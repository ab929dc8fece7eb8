"""The other operations of providers, as properties of a client. Each module is loaded on first use."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Unpack

from brainwires_provider.resources.resolved import Resolves
from brainwires_provider.types import OutputParams
from brainwires_provider.types.checked import checks_calls

if TYPE_CHECKING:
    from brainwires_provider._core.session import Session
    from brainwires_provider.resources.batch import AsyncBatch
    from brainwires_provider.resources.batch_calls import ByteStore
    from brainwires_provider.resources.batch_making import BatchItems
    from brainwires_provider.resources.interactions import AsyncInteractions
    from brainwires_provider.resources.local import AsyncLocal
    from brainwires_provider.resources.ollama import AsyncOllama
    from brainwires_provider.resources.responses import AsyncResponses

__all__ = ["Resources"]


@checks_calls
class Resources(Resolves):
    """The base of `AsyncClient`."""

    _session: Session

    @property
    def interactions(self) -> AsyncInteractions:
        """What the Interactions API does besides answering: stored and background interactions, agents."""
        from brainwires_provider.resources.interactions import AsyncInteractions

        return AsyncInteractions(self._session)

    @property
    def responses(self) -> AsyncResponses:
        """What the Responses API does besides answering: stored and background answers, compaction."""
        from brainwires_provider.resources.responses import AsyncResponses

        return AsyncResponses(self._session)

    @property
    def ollama(self) -> AsyncOllama:
        """What an Ollama server does besides chatting: its models listed, pulled, loaded, …, and embeddings."""
        from brainwires_provider.resources.ollama import AsyncOllama

        return AsyncOllama(self._session)

    @property
    def local(self) -> AsyncLocal:
        """What a model on this machine does besides chatting: loaded and unloaded, plain completion, routing."""
        from brainwires_provider.resources.local import AsyncLocal

        return AsyncLocal(self._session)

    async def batch(
        self,
        items: BatchItems,
        *,
        job: Mapping[str, Any] | None = None,
        ledger: str | os.PathLike[str] | None = None,
        store: ByteStore | None = None,
        submit: bool = True,
        **args: Unpack[OutputParams],
    ) -> AsyncBatch:
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
        from brainwires_provider.resources.batch import start_batch

        return await start_batch(
            self._session, items, args, job=job, ledger=ledger, store=store, submit=submit
        )

    async def load_batch(
        self,
        source: bytes | str,
        *,
        ledger: str | os.PathLike[str] | None = None,
        store: ByteStore | None = None,
    ) -> AsyncBatch:
        """A batch that was made before, in this or another process: of its id in the ledger, or of its JSON.

        Nothing is sent. Of JSON alone, without the ledger, results can be read, but nothing be sent again. Raises
        ConfigError for an id that the ledger does not have, and for what is no batch's JSON.
        """
        from brainwires_provider.resources.batch import load_batch

        return await load_batch(self._session, source, ledger=ledger, store=store)
