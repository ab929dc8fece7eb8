"""Agents whose models are given as text."""

from __future__ import annotations

from typing import Any

from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.models import Model, ModelResolutionContext

from brainwires_provider.client import AsyncClient
from brainwires_provider.integrations.pydantic_ai.model import BrainwiresModel
from brainwires_provider.integrations.pydantic_ai.names import PREFIX

__all__ = ["BrainwiresModels"]


class BrainwiresModels(AbstractCapability[Any]):
    """Models by name: `Agent("brainwires/openai:gpt-6", capabilities=[BrainwiresModels(client)])`.

    The names are those of this library behind `brainwires/`, those of the client's configuration included; other names
    are left to pydantic-ai. One model is made for each name. Without a client, each model makes its own.
    """

    def __init__(self, client: AsyncClient | None = None) -> None:
        self._client = client
        self._known: dict[str, Model] = {}

    async def resolve_model_id(self, ctx: ModelResolutionContext[Any], *, model_id: str) -> Model | None:
        """The model of a name that begins with `brainwires/`; None for any other."""
        if not model_id.startswith(PREFIX):
            return None
        known = self._known.get(model_id)
        if known is None:
            known = self._known[model_id] = BrainwiresModel(model_id[len(PREFIX) :], client=self._client)
        return known
