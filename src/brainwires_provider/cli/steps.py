"""Shows the progress of a long operation, step by step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Generic, Self, TypeVar

__all__ = ["StepView"]

S = TypeVar("S")


class StepView(ABC, Generic[S]):
    """Shows one operation while its `with` lasts."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    @abstractmethod
    def show(self, step: S) -> None:
        """One step."""
