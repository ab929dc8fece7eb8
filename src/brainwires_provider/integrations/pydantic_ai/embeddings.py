"""An embedding model for pydantic-ai's `Embedder`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_ai.embeddings import EmbeddingModel, EmbeddingResult, EmbeddingSettings
from pydantic_ai.embeddings.result import EmbedInputType
from pydantic_ai.exceptions import UserError
from pydantic_ai.models import check_allow_model_requests

from brainwires_provider.auth.keys import Key
from brainwires_provider.client import AsyncClient
from brainwires_provider.errors import UnsupportedError
from brainwires_provider.integrations.pydantic_ai.errors import translating
from brainwires_provider.integrations.pydantic_ai.names import system_of
from brainwires_provider.integrations.pydantic_ai.responses import usage_of
from brainwires_provider.types import Embeddings

__all__ = ["BrainwiresEmbeddingModel"]


class BrainwiresEmbeddingModel(EmbeddingModel):
    """An embedding model of any provider that has one: `Embedder(BrainwiresEmbeddingModel("openai:…"))`.

    Arguments as of `BrainwiresModel`. Whether texts are queries or documents is sent where the model distinguishes
    them. Of the settings, `truncate` and `extra_headers` cannot be sent, and raise `UserError`.
    """

    def __init__(
        self,
        model: str,
        *,
        client: AsyncClient | None = None,
        api_key: Key | None = None,
        base_url: str | None = None,
        settings: EmbeddingSettings | None = None,
    ) -> None:
        if client is not None and (api_key is not None or base_url is not None):
            raise UserError("api_key and base_url belong to the client: give them when it is made")
        super().__init__(settings=settings)
        self._named = model
        self._is_own_client = client is None
        with translating(self._named):
            self._client = client or AsyncClient(self._named, api_key=api_key, base_url=base_url)
            self._resolved = self._client.resolve(self._named)

    @property
    def model_name(self) -> str:
        """The model's name in requests."""
        return self._resolved.model

    @property
    def system(self) -> str:
        """pydantic-ai's name of the provider."""
        return system_of(self._resolved.provider)

    @property
    def base_url(self) -> str:
        """The address below which requests go."""
        return self._resolved.base_url

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._named!r})"

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    async def embed(
        self,
        inputs: str | Sequence[str],
        *,
        input_type: EmbedInputType,
        settings: EmbeddingSettings | None = None,
    ) -> EmbeddingResult:
        """A vector for each text. Raises what pydantic-ai's models raise."""
        check_allow_model_requests()
        texts, given = self.prepare_embed(inputs, settings)
        for name in ("truncate", "extra_headers"):
            if given.get(name):
                raise UserError(
                    f"{name} cannot be sent with embeddings: set it on the client, or leave it out"
                )
        body = given.get("extra_body")
        if body is not None and not isinstance(body, Mapping):
            raise UserError("extra_body takes a mapping of the request's further fields")
        with translating(self.model_name):
            made = await self._embed(texts, input_type, given.get("dimensions"), body)
        return EmbeddingResult(
            made.vectors,
            inputs=texts,
            input_type=input_type,
            model_name=made.model or self.model_name,
            provider_name=self.system,
            usage=usage_of(made.usage),
            provider_details=dict(made.extra) or None,
        )

    async def _embed(
        self, texts: list[str], kind: EmbedInputType, dimensions: int | None, body: Mapping[str, Any] | None
    ) -> Embeddings:
        """With the kind of the texts, where the model takes it."""
        args: dict[str, Any] = {"model": self._named, "dimensions": dimensions, "extra_body": body}
        try:
            return await self._client.embed(texts, task=kind, **args)
        except UnsupportedError:  # nothing was sent
            return await self._client.embed(texts, **args)

    async def aclose(self) -> None:
        """Close the connections of the model's own client."""
        if self._is_own_client:
            await self._client.aclose()
