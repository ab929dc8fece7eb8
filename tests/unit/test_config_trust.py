"""`brainwires trust`: which content at which place is trusted, and that what was checked is what is used."""

from __future__ import annotations

import os
import re
import stat
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from brainwires_provider import ConfigError
from brainwires_provider.cli.app import app
from brainwires_provider.config import load_config
from brainwires_provider.config.load import trust
from brainwires_provider.config.records import forget, is_trusted
from config_files import alone, write

__all__ = ["alone"]

FILE = "brainwires.toml"
TEXT = (
    "[providers.lab]\nbased_on = 'vllm'\nbase_url = 'https://gateway.example/v1'\n"
    "headers = { X-A = { file = 'key' } }\n"
)
OPENED: list[Any] = []


def _record(event: str, args: tuple[Any, ...]) -> None:
    if event == "open" and args[0] == FILE:
        OPENED.append(args[1])  # the mode; `os.open` has none, and is called by `open`


sys.addaudithook(_record)


def run(*args: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["trust", *args], catch_exceptions=False)
    return result.exit_code, result.output


def records() -> list[Path]:
    return sorted(Path("~").expanduser().glob("**/trusted/*"))


def found() -> bool:
    """Whether the file of the current folder is trusted."""
    try:
        return load_config(environ={}).trusted
    except ConfigError as error:
        assert "was merely found" in str(error)
        return False


def test_a_file_is_trusted_until_it_changes() -> None:
    write(TEXT, FILE)
    assert not found()
    assert run("--revoke")[0] == 1  # there are no records yet
    status, told = run()
    assert status == 0
    assert (
        f"{os.getcwd()}/{FILE}: trusted until it changes (SHA-256 {sha256(TEXT.encode()).hexdigest()})"
        in told
    )
    config = load_config(environ={})
    assert (config.trusted, config.source) == (True, FILE)
    assert config == load_config(FILE)  # it means what it means when it is named

    write(TEXT + "# one letter more", FILE)
    assert not found()
    write(TEXT, FILE)
    assert found()  # the content counts, not the day
    write("model = 'lab:x'\n" + TEXT, FILE)
    assert run()[0] == 0
    assert len(records()) == 1
    write(TEXT, FILE)
    assert not found()  # the later trust takes the place of the earlier one


def test_trust_is_taken_back() -> None:
    write(TEXT, FILE)
    run(FILE)
    write("# changed meanwhile\n" + TEXT, FILE)
    assert run("--revoke")[0] == 0
    assert records() == []
    write(TEXT, FILE)
    assert not found()
    status, told = run("--revoke", FILE)
    assert status == 1 and "was not trusted" in told


def test_a_record_is_the_users_alone() -> None:
    write(TEXT, FILE)
    run()
    [record] = records()
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    assert stat.S_IMODE(record.parent.stat().st_mode) == 0o700
    assert record.read_bytes() == os.fsencode(os.path.abspath(FILE))
    assert list(record.parent.glob("*.new")) == []  # it was put there whole
    record.chmod(0o666)
    assert not found()
    record.chmod(0o600)
    assert found()
    record.write_text("elsewhere")
    assert not found()


def test_a_record_is_no_link(tmp_path: Path) -> None:
    write(TEXT, FILE)
    run()
    [record] = records()
    record.rename(tmp_path / "moved")
    record.symlink_to(tmp_path / "moved")
    assert not found()


def test_the_same_content_elsewhere_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its relative paths would mean other files there."""
    write(TEXT, "mine/" + FILE)
    write(TEXT, "theirs/" + FILE)
    run("mine/" + FILE)
    Path("linked").mkdir()
    Path("linked", FILE).symlink_to(Path("mine", FILE).absolute())
    Path("same").symlink_to("mine")
    here = os.getcwd()
    for folder, expected in (("mine", True), ("theirs", False), ("linked", False), ("same", True)):
        monkeypatch.chdir(os.path.join(here, folder))
        assert found() is expected
    assert forget("../mine/" + FILE)


def test_what_is_checked_is_what_is_parsed() -> None:
    """One look at the file: nobody can change it between the check and the use."""
    write(TEXT, FILE)
    for look in (found, lambda: trust(FILE), found):
        OPENED.clear()
        look()
        assert OPENED == ["r", None]
    assert found()


def test_records_do_not_lie_in_the_current_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prepared folder would bring them along."""
    write(TEXT, FILE)
    monkeypatch.setenv("BRAINWIRES_DATA_DIR", os.path.abspath("data"))
    run()
    assert found()
    monkeypatch.setenv("BRAINWIRES_DATA_DIR", "data")
    assert not found()
    assert not forget(FILE)
    status, told = run()
    assert status == 1 and "no absolute path" in told


def test_a_users_folder_that_is_relative_is_not_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    write("[providers.vertex]\nregion = 'eu'\n", "config/brainwires/" + FILE)
    monkeypatch.setenv("XDG_CONFIG_HOME", "config")
    try:
        assert load_config(environ={}).source is None  # a relative path is passed over
    except ConfigError as error:
        assert "was merely found" in str(error)


def test_what_cannot_be_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, fault in (
        (None, "cannot be read"),
        ("x", "not TOML"),
        ("[options]\ntemprature = 1", "did you mean"),
    ):
        if text is not None:
            write(text, FILE)
        status, told = run()
        assert status == 1 and fault in told
        assert records() == []
    write(TEXT, FILE)
    Path("file").touch()
    monkeypatch.setenv("BRAINWIRES_DATA_DIR", os.path.abspath("file"))
    status, told = run()
    assert status == 1 and "cannot be written" in told
    assert not is_trusted(FILE, TEXT.encode())


def test_another_files_record_stays() -> None:
    write(TEXT, FILE)
    write(TEXT, "other.toml")
    run()
    run("other.toml")
    [first, second] = records()
    (first.parent / "folder").mkdir()  # what is no record is passed by
    assert forget("other.toml")
    assert found()
    assert len({first, second} & set(records())) == 1


def test_a_pipe_that_is_found_is_not_waited_for() -> None:
    os.mkfifo(FILE)
    with pytest.raises(ConfigError, match="is not a regular file"):
        load_config(environ={})


def test_every_test_that_the_security_page_names_is_there() -> None:
    tests = Path(__file__).parents[1]
    page = (tests.parent / "SECURITY.md").read_text(encoding="utf-8")
    names = re.findall(r"`(test_\w+)`", page)
    sources = [file.read_text(encoding="utf-8") for file in tests.rglob("*.py")]
    there = {name for source in sources for name in re.findall(r"^ *def (test_\w+)", source, re.MULTILINE)}
    assert names and [name for name in names if name not in there] == []
