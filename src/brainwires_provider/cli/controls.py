"""Characters that control a terminal, which what a model writes may hold."""

from __future__ import annotations

from typing import Final

__all__ = ["BIDI_OVERRIDES", "harmless"]

BIDI_OVERRIDES: Final = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""Embeddings, overrides and isolates: they reorder what is around them."""
_CONTROLS = {
    code: None for code in (*range(32), *range(127, 160), *BIDI_OVERRIDES) if chr(code) not in "\t\n"
}


def harmless(text: str) -> str:
    """Text without the characters that control a terminal, line ends and tabs excepted."""
    return text.translate(_CONTROLS)
