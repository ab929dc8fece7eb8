"""The exit statuses of the command."""

from __future__ import annotations

__all__ = ["FAILED", "FINE", "INTERRUPTED", "MISUSED"]

FINE, FAILED, MISUSED = 0, 1, 2
INTERRUPTED = 130
"""After Ctrl-C, as shells have it."""
