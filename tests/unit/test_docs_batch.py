"""The samples of docs/batch.md run, and print what the page shows; its table is that of the code."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from brainwires_provider.providers.batches import BATCHES
from brainwires_provider.resources.batch_calls import ByteStore
from paths import PROJECT

TEXT = (PROJECT / "docs" / "batch.md").read_text(encoding="utf-8")
BLOCKS = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", re.DOTALL | re.MULTILINE)


class Bucket:
    """As much of boto3's client as the page uses."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def put_object(self, *, Bucket: str, Key: str, Body: bytes) -> None:
        self.objects[Key] = Body

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        return {"Body": io.BytesIO(self.objects[Key])}

    def get_paginator(self, name: str) -> Any:
        return self

    def paginate(self, *, Bucket: str, Prefix: str) -> list[Any]:
        return [{"Contents": [{"Key": key}]} for key in self.objects if key.startswith(Prefix)] + [{}]

    def delete_object(self, *, Bucket: str, Key: str) -> None:
        del self.objects[Key]


def test_the_samples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINWIRES_DATA_DIR", str(tmp_path))
    names: dict[str, Any] = {"__name__": "sample"}
    for number, (code, shown) in enumerate(BLOCKS.findall(TEXT)):
        with redirect_stdout(io.StringIO()) as printed:
            exec(compile(code, f"batch.md, sample {number + 1}", "exec"), names)
        assert printed.getvalue() == shown
    names["client"].close()
    store: ByteStore = names["S3Folder"](Bucket(), "b", "p")
    store.put("x/1", b"one")
    assert (store.uri, store.get("x/1"), store.list("x/"), store.list("y")) == (
        "s3://b/p",
        b"one",
        ["x/1"],
        [],
    )
    store.delete("x/1")
    assert store.list("") == []


@pytest.mark.parametrize("line", [line for line in TEXT.splitlines() if line.startswith("| `")])
def test_the_table_is_that_of_the_code(line: str) -> None:
    names, limits, price, notes = (cell.strip() for cell in line.split("|")[1:5])
    for name in re.findall(r"`([a-z-]+)`", names):
        service = BATCHES[name]
        held = service.protocol().limits
        fewest = f"{held.fewest} to " if held.fewest > 1 else ""
        assert (limits, held.size % 10**6) == (f"{fewest}{held.lines:,}, {held.size // 10**6} MB", 0), name
        assert ("may mix" in notes) is not held.one_model, name
        rates = [part.strip() for part in re.split("[,;]", price)]
        assert (str(service.rate) in price) or (service.rate is None and "unknown" in rates), name
        assert ("cache 1" in price) >= (service.cached is not None), name
