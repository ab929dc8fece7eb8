"""How much work an action is, in a number that is the same on every machine, however busy it is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


def work(act: Callable[[], Any]) -> int:
    """How many functions an action calls, Python's and C's. What one C function does with long data is not seen."""
    count = 0

    def profile(frame: Any, event: str, arg: Any) -> None:
        nonlocal count
        if event in ("call", "c_call"):
            count += 1

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        act()
    finally:
        sys.setprofile(before)
    return count


def is_in_proportion(act: Callable[[int], Any], size: int) -> tuple[bool, int, int]:
    """Whether four times the size is at most five times the work; and both amounts of it."""
    act(size)  # what is done once is done before
    small, large = work(lambda: act(size)), work(lambda: act(4 * size))
    return large <= 5 * small, small, large
