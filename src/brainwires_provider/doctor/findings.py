"""What an examination finds: plain values, in the order in which they were found."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

__all__ = ["Examination", "Finding", "Verdict"]

Verdict: TypeAlias = Literal["yes", "no", "ignored", "refused", "unclear"]
"""`ignored`: taken without an error, and without an effect. `unclear`: what came back does not tell."""


class Finding(Struct, frozen=True):
    """One thing that was looked at: what is so, by which evidence, and what to do about it."""

    name: str
    verdict: Verdict
    evidence: str
    advice: str = ""


class Examination(Struct, frozen=True):
    """What was found about `subject`: a base URL, a provider's name, or this machine.

    `well` is whether it can be used. `seconds` is what it all took, `requests` how many were sent. For a base URL,
    `row` is a `Provider(…)` and `config` a table of `brainwires.toml` that say what was found; None where no chat was
    answered.
    """

    subject: str
    kind: Literal["url", "provider", "setup"]
    well: bool
    findings: tuple[Finding, ...]
    model: str | None = None
    requests: int = 0
    seconds: float = 0.0
    row: str | None = None
    config: str | None = None

    def __getitem__(self, name: str) -> Finding:
        """The finding of that name. Raises KeyError."""
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise KeyError(name)
