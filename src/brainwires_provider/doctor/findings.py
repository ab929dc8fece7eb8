"""The findings of an examination: plain values, in the order in which they were made."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

__all__ = ["Examination", "Finding", "Verdict"]

Verdict: TypeAlias = Literal["yes", "no", "ignored", "refused", "unclear"]
"""`ignored`: accepted without an error and without an effect. `unclear`: the response does not prove either."""


class Finding(Struct, frozen=True):
    """One fact: its verdict, the evidence, and what to do about it."""

    name: str
    verdict: Verdict
    evidence: str
    advice: str = ""


class Examination(Struct, frozen=True):
    """What was found about `subject`: a base URL, a provider's name, or this machine.

    `well` is whether it can be used. `seconds` is the duration, `requests` the number of requests. For a base URL,
    `provider` is a `Provider(…)` in Python and `config` a table of `brainwires.toml` with what was found; None if no
    chat was answered.
    """

    subject: str
    kind: Literal["url", "provider", "setup"]
    well: bool
    findings: tuple[Finding, ...]
    model: str | None = None
    requests: int = 0
    seconds: float = 0.0
    provider: str | None = None
    config: str | None = None

    def __getitem__(self, name: str) -> Finding:
        """The finding of that name. Raises KeyError."""
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise KeyError(name)
