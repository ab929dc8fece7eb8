"""A driver: one dataset through one actor on a cluster, as its settings say; prints what came of it as JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import ray.data

import ray
from brainwires_provider import EnvKey, Limits, Options, Retry
from brainwires_provider.ray import MapActor


def by_process(row: dict[str, Any]) -> str:
    """A prompt that says which worker asks."""
    return f"{row['id']} by {os.getpid()}"


def main(settings: dict[str, Any]) -> None:
    ray.init(address=settings["address"], log_to_driver=True)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    given: dict[str, Any] = {
        "prompt": by_process if settings.get("by_process") else "Row {text}",
        "concurrency": settings["concurrency"],
        "store": settings.get("store"),
        "patience": settings.get("patience", 30.0),
        "base_url": settings["url"],
        "api_key": EnvKey("BRAINWIRES_RAY_KEY"),
        "options": Options(max_tokens=20),
        "retry": Retry(attempts=settings.get("attempts", 3), base=0.01),
    }
    if "limits" in settings:
        given["limits"] = Limits(**settings["limits"])
    if "files" in settings:
        dataset = ray.data.read_parquet(settings["files"])
    else:
        dataset = ray.data.from_items(settings["rows"], override_num_blocks=settings.get("blocks", 8))
    workers = settings["workers"]
    answered = MapActor("openai-chat:m", **given).map(
        dataset, workers=workers, num_cpus=1.5 / workers, **settings.get("map", {})
    )
    begun = time.time()
    answered.write_parquet(settings["out"], mode="overwrite")
    print(json.dumps({"seconds": time.time() - begun}), flush=True)
    sys.stdin.read() if settings.get("stays") else None


main(json.loads(Path(sys.argv[1]).read_text()))
