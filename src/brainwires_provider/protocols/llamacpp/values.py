"""What a routing comes to."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from brainwires_provider.types import Usage

__all__ = ["Route"]


class Route(Struct, frozen=True):
    """The label that was chosen, always one of those given.

    `probabilities` has one for each label, in the order given, and sums to 1; it is empty where the engine gives none.
    They are the model's own, corrected by how it leans without a text: good for comparing labels, not calibrated
    chances. `usage` sums every request that it took.
    """

    label: str
    probabilities: Mapping[str, float]
    usage: Usage
    provider: str
    model: str | None = None
