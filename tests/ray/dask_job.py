"""Two Dask workers, an actor on each; prints what the rows of some frames have got, as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

import pandas
from dask.distributed import Client, LocalCluster

from brainwires_provider.ray import MapActor


def main(url: str, store: str, texts: list[str | None]) -> None:
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        given: dict[str, Any] = {"prompt": "Row {text}", "store": store, "base_url": url}
        workers = list(client.scheduler_info()["workers"])
        actors = [
            client.submit(MapActor, "openai-chat:m", **given, workers=[each], actor=True, pure=False).result(
                60
            )
            for each in workers
        ]
        frames = [pandas.DataFrame({"id": [at], "text": [text]}) for at, text in enumerate(texts)]
        futures = [actors[at % 2].ask(frame) for at, frame in enumerate(frames)]
        found = pandas.concat([future.result(60) for future in futures])
        print(found.to_json(orient="records"), flush=True)


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
