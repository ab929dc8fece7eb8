"""In the plain run these tests are not even imported: to load a framework takes each process three seconds and more.

The samples of the frameworks' pages in docs/how-to run there all the same.
"""

from __future__ import annotations

from pathlib import Path

import pytest

NEEDS_NO_FRAMEWORK = ("conftest.py", "test_responses_items.py")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what `-m 'not slow'` would deselect."""
    is_test = collection_path.suffix == ".py" and collection_path.name not in NEEDS_NO_FRAMEWORK
    return True if is_test and config.option.markexpr == "not slow" else None
