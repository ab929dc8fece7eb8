"""A cluster of this machine for all tests of this folder, and drivers on it, which a test may kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

HERE = Path(__file__).parent
KEY = "sk-canary-3f9a77c1d2e84b60"
SECONDS = 1800.0  # for one driver: the machine may be busy


def _is_installed() -> bool:
    try:  # not find_spec: this folder is called ray, too
        version("ray")
    except PackageNotFoundError:
        return False
    return True


class Driver:
    """A process that runs a job on the cluster."""

    def __init__(self, cluster: Cluster, settings: dict[str, Any]) -> None:
        given = Path(settings["out"]).with_name(f"job-{token_hex(4)}.json")  # an argument has 128 kB at most
        given.write_text(json.dumps({"address": cluster.address, **settings}))
        command = [sys.executable, str(HERE / "ray_job.py"), str(given)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True, env=cluster.environment
        )
        self._cluster = cluster

    def result(self) -> dict[str, Any]:
        """What it has printed when it ended well."""
        output = self._wait()
        assert self.process.returncode == 0, output[-6000:]
        found: dict[str, Any] = json.loads(next(line for line in output.splitlines() if line.startswith("{")))
        return found

    def failure(self) -> str:
        """What it has printed when it ended with an error."""
        output = self._wait()
        assert self.process.returncode == 1, output[-6000:]
        return output

    def kill(self) -> None:
        self.process.kill()
        self._wait()

    def _wait(self) -> str:
        try:
            output, _ = self.process.communicate(timeout=SECONDS)
        finally:
            self.process.kill()
        self._cluster.printed.append(output)
        return output


class Cluster:
    """The cluster's keeper."""

    def __init__(self) -> None:
        quiet = {
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else the whole checkout is uploaded under `uv run`
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
            # The clocks of Ray's own processes are for machines that have nothing else to do.
            "RAY_raylet_start_wait_time_s": "60",
            "RAY_agent_register_timeout_ms": "600000",
            "RAY_worker_register_timeout_seconds": "600",
            "RAY_health_check_timeout_ms": "60000",
            # Workers that no task asks for are not started; those that are have the priority of their driver.
            "RAY_enable_worker_prestart": "0",
            "RAY_prestart_worker_first_driver": "0",
            "RAY_worker_niceness": "0",
            "RAY_DATA_PARQUET_FOOTER_NUM_ACTORS": "1",  # else 32 processes look at the files before they are read
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": token_hex(32),
            "BRAINWIRES_RAY_KEY": KEY,
        }
        self.environment = os.environ | quiet
        command = [sys.executable, str(HERE / "cluster_keeper.py"), "4"]
        pipe = subprocess.PIPE
        with tempfile.TemporaryFile("w+") as errors:
            self._keeper = subprocess.Popen(
                command,
                stdin=pipe,
                stdout=pipe,
                stderr=errors,
                text=True,
                env=self.environment,
                start_new_session=True,  # what ends the tests leaves it time to end the cluster
            )
            assert self._keeper.stdout is not None
            line = self._keeper.stdout.readline()
            errors.seek(0)
            assert line, f"the cluster does not start: {errors.read()[-4000:]}"
        found = json.loads(line)
        self.address: str = found["address"]
        self.folder = Path(found["folder"])
        self.printed: list[str] = []
        """The output of all drivers."""

    def driver(self, **settings: Any) -> Driver:
        return Driver(self, settings)

    def workers(self) -> list[int]:
        """The processes of actors that ask."""
        import psutil

        processes = psutil.Process(self._keeper.pid).children(recursive=True)
        titled = []
        for each in processes:
            try:
                titled.append((" ".join(each.cmdline()), each.pid))
            except psutil.Error:  # it ends just now
                continue
        return sorted(pid for title, pid in titled if title.startswith("ray::") and "MapActor" in title)

    def logs(self) -> Iterator[tuple[Path, bytes]]:
        """All that Ray has written."""
        for path in self.folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                yield path, path.read_bytes()

    def close(self) -> None:
        self._keeper.communicate(timeout=120)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    if not _is_installed():
        pytest.skip("ray is in a group of its own: uv sync --group ray")
    cluster = Cluster()
    try:
        yield cluster
    finally:
        cluster.close()
