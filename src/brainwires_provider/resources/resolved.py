"""What a model's name leads to, before anything is asked: for code that adapts itself to the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from brainwires_provider.protocols.base.facts import ModelFacts
from brainwires_provider.types.checked import checks_calls

if TYPE_CHECKING:
    from brainwires_provider._core.session import Session

__all__ = ["ResolvedModel", "Resolves"]


class ResolvedModel(Struct, frozen=True):
    """Where requests for a model go, and what the model accepts. It holds no key."""

    provider: str
    """The provider's name, as in `"provider:model"`."""
    model: str
    """The model's name in requests."""
    protocol: str
    """The wire protocol's name, such as "anthropic_messages"."""
    base_url: str
    """The address below which requests go, without its parameters."""
    facts: ModelFacts
    """What the model accepts, by the table of families and the user's own statements."""


@checks_calls
class Resolves:
    """The base of both clients."""

    def resolve(self, model: str | None = None) -> ResolvedModel:
        """What `"provider:model"`, or a name of the configuration, leads to; by default the client's model.

        Nothing is sent. Raises ConfigError as a request would: for an unknown provider, or without a key.
        """
        session: Session = vars(self).get("_core", self)._session
        target = session.target(session.whole_name(model))
        url = target.base_url.partition("?")[0]
        return ResolvedModel(target.provider, target.model, target.protocol.name, url, target.facts)
