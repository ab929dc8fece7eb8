"""Ollama's own store: its models are found and used where they lie, and no name or manifest leads out of it."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainwires_provider.errors import ConfigError
from brainwires_provider.local.settings import LocalModel
from brainwires_provider.local.weights.find import find_model
from brainwires_provider.local.weights.ollama_store import OllamaFile, OllamaStore

HOST = "registry.ollama.ai"
TYPE = "application/vnd.ollama.image."
WEIGHTS = b"GGUF and the rest"
posix = pytest.mark.skipif(os.name != "posix", reason="needs links")


class Store:
    """A store as Ollama writes it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "blobs").mkdir(parents=True)
        (root / "manifests").mkdir()

    def blob(self, data: bytes, kind: str = "model") -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (self.root / "blobs" / f"sha256-{digest}").write_bytes(data)
        return {"mediaType": TYPE + kind, "digest": f"sha256:{digest}", "size": len(data)}

    def path(self, layer: dict[str, Any]) -> Path:
        return self.root / "blobs" / layer["digest"].replace(":", "-")

    def manifest(self, place: str, *layers: dict[str, Any]) -> Path:
        path = self.root / "manifests" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "digest": "sha256:0",
                "size": 2,
            },
            "layers": layers,
        }
        path.write_text(json.dumps(content))
        return path


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "models"))
    return Store(tmp_path / "models")


def test_a_whole_model(store: Store) -> None:
    layers = [
        store.blob(WEIGHTS),
        store.blob(b"eyes", "projector"),
        store.blob(b"a", "adapter"),
        store.blob(b"b", "adapter"),
        store.blob(b"{{ .Prompt }}", "template"),
        store.blob("Sei kürzer.".encode(), "system"),
        store.blob(b'{"num_ctx": 4096, "stop": ["<end>"]}', "params"),
        {"mediaType": TYPE + "license", "digest": "sha256:gone", "size": 9},
    ]
    store.manifest(f"{HOST}/library/gemma3/4b", *layers)

    assert OllamaStore().lookup("gemma3:4b") == OllamaFile(
        name="gemma3:4b",
        path=str(store.path(layers[0])),
        digest="sha256:" + hashlib.sha256(WEIGHTS).hexdigest(),
        size=len(WEIGHTS),
        media_types=tuple(layer["mediaType"] for layer in layers),
        template="{{ .Prompt }}",
        system="Sei kürzer.",
        params={"num_ctx": 4096, "stop": ["<end>"]},
        projector=str(store.path(layers[1])),
        adapters=(str(store.path(layers[2])), str(store.path(layers[3]))),
    )
    assert find_model("ollama:gemma3:4b") == LocalModel(str(store.path(layers[0])))


NAMES = {
    f"{HOST}/library/llama3.2/latest": (
        "llama3.2:latest",
        ["llama3.2", "llama3.2:latest", "LLaMA3.2", f"{HOST}/library/llama3.2"],
    ),
    f"{HOST}/library/llama3.2/3b": (
        "llama3.2:3b",
        ["llama3.2:3b", "library/llama3.2:3b", f"https://{HOST}/library/llama3.2:3b"],
    ),
    f"{HOST}/me/mine/v1": ("me/mine:v1", ["me/mine:v1", "Me/Mine:V1"]),
    "hf.co/bartowski/Llama-3.2-1B-Instruct-GGUF/Q4_K_M": (
        "hf.co/bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M",
        ["hf.co/bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M", "hf.co/bartowski/llama-3.2-1b-instruct-gguf:q4_k_m"],
    ),
    "localhost_5000/a/b/latest": ("localhost_5000/a/b:latest", ["localhost_5000/a/b"]),
}  # fmt: skip
if os.name == "posix":
    NAMES["localhost:5000/a/b/c"] = (
        "localhost:5000/a/b:c",
        ["localhost:5000/a/b:c", "http://localhost:5000/a/b:c"],
    )
    NAMES["localhost:5000/a/b/latest"] = ("localhost:5000/a/b:latest", ["localhost:5000/a/b"])


def test_names_as_ollama_spells_them(store: Store) -> None:
    weights = {place: store.blob(place.encode()) for place in NAMES}
    for place, layer in weights.items():
        store.manifest(place, layer)
    for place, (shown, spellings) in NAMES.items():
        for spelling in spellings:
            found = OllamaStore().lookup(spelling)
            assert (found.name, found.path) == (shown, str(store.path(weights[place]))), spelling
    assert [file.name for file in OllamaStore().list()] == sorted(shown for shown, _ in NAMES.values())


def test_the_very_spelling_comes_before_another_case(store: Store) -> None:
    if (store.root / "BLOBS").exists():
        pytest.skip("this file system does not tell case apart")
    for name in ("Mine", "mine"):
        store.manifest(f"{HOST}/library/{name}/latest", store.blob(name.encode()))
    for name in ("Mine", "mine"):
        assert Path(OllamaStore().lookup(name).path).read_text() == name


@pytest.mark.parametrize(
    "name",
    [
        "", ":", "x:", ":x", "/x", "x/", "//x", "a//x", "..", "../x", "../../../x", "a/../x", "a/b/..", "a/..:x",
        "x:..", "x:../../x", "x:a/b", "a/b/c/d", "/etc/passwd", "\\x", "x\\..\\y", "C:\\x", "x\0", "x:\0", "x y",
        "x\n", "~/x", ".x", "-x", "x:.y", "a.b/x", "é", "x:é", "x" * 81, "n" * 81 + "/x", "x:" + "t" * 81,
        "h" * 351 + "/a/x", "x@sha256:0",
    ],
)  # fmt: skip
def test_a_name_that_could_lead_elsewhere_is_refused(store: Store, name: str) -> None:
    with pytest.raises(
        ConfigError, match=r"is not a name of an Ollama model \(\[\[HOST/\]NAMESPACE/\]MODEL\[:TAG\]\)"
    ):
        find_model(f"ollama:{name}")


@settings(max_examples=100)
@given(st.text(alphabet="ab./:\\~-_\0%", max_size=12))
def test_no_name_leads_out_of_the_manifests(name: str) -> None:
    from brainwires_provider.local.weights.ollama_store import _Folder, _parse

    try:
        path = _Folder("/store").manifest(_parse(name))
    except ConfigError:
        return
    below = os.path.relpath(os.path.normpath(path), os.path.join(os.path.realpath("/store"), "manifests"))
    assert len(Path(below).parts) == 4 and ".." not in Path(below).parts


def layer(store: Store, **changes: Any) -> dict[str, Any]:
    return {**store.blob(WEIGHTS), **changes}


DIGEST = hashlib.sha256(WEIGHTS).hexdigest()
BAD: dict[str, tuple[Callable[[Store], Any], str]] = {
    "no digest": (lambda s: [layer(s, digest="")], "by '', which is not a SHA-256 digest"),
    "path digest": (lambda s: [layer(s, digest="../../x")], "which is not a SHA-256 digest"),
    "path after digest": (lambda s: [layer(s, digest=f"sha256:{DIGEST}/../x")], "which is not a SHA-256 digest"),
    "short digest": (lambda s: [layer(s, digest=f"sha256:{DIGEST[:-1]}")], "which is not a SHA-256 digest"),
    "line after digest": (lambda s: [layer(s, digest=f"sha256:{DIGEST}\n")], "which is not a SHA-256 digest"),
    "other hash": (lambda s: [layer(s, digest=f"sha512:{DIGEST}")], "which is not a SHA-256 digest"),
    "not hex": (lambda s: [layer(s, digest="sha256:" + "g" * 64)], "which is not a SHA-256 digest"),
    "missing blob": (lambda s: [layer(s, digest="sha256:" + "0" * 64)], "blob sha256:0000.* is missing; pull it"),
    "wrong size": (lambda s: [layer(s, size=4096)], r"has 17 bytes, not 4,096; pull it again with `ollama pull m:t`"),
    "no layers": (lambda s: [], "no weights of 'm:t' on this machine; for a model of its cloud"),
    "null layers": (lambda s: None, "no weights"),
    "tensors": (lambda s: [layer(s, mediaType=TYPE + "tensor; name=x")], "as safetensors, which llama.cpp cannot"),
    "two files": (lambda s: [layer(s), s.blob(b"more")], "in 2 files, which llama.cpp cannot load"),
    "no object": (lambda s: ["x"], "its manifest is damaged: Expected `object`"),
    "no size": (lambda s: [{"mediaType": "x", "digest": "y"}], "its manifest is damaged: .*`size`"),
    "bad params": (lambda s: [layer(s), s.blob(b"[1]", "params")], "its params are damaged: Expected `object`"),
    "deep params": (lambda s: [layer(s), s.blob(b'{"a":' + b"[" * 99_999, "params")], "its params are damaged"),
    "huge text": (lambda s: [layer(s), s.blob(b"x" * ((1 << 20) + 1), "system")], "more than 1,048,576"),
    "missing template": (lambda s: [layer(s), layer(s, mediaType=TYPE + "template", size=3)], "has 17 bytes, not 3"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_model_that_cannot_be_used_says_why(store: Store, case: str) -> None:
    make, words = BAD[case]
    path = store.manifest(f"{HOST}/library/m/t")
    path.write_text(json.dumps({"layers": make(store)}))
    store.manifest(f"{HOST}/library/good/latest", store.blob(b"good"))
    with pytest.raises(ConfigError, match=words) as caught:
        OllamaStore().lookup("m:t")
    assert "'m:t'" in str(caught.value)
    assert [file.name for file in OllamaStore().list()] == ["good:latest"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b'{"layers": [{"mediaType": "\xff"}]}', b"[" * 99_999, b"{}"]
)
def test_a_damaged_manifest_is_named(store: Store, content: bytes) -> None:
    store.manifest(f"{HOST}/library/m/t").write_bytes(content)
    with pytest.raises(ConfigError, match="its manifest is damaged" if content != b"{}" else "no weights"):
        OllamaStore().lookup("m:t")
    store.manifest(f"{HOST}/library/good/latest", store.blob(b"good"))
    assert [file.name for file in OllamaStore().list()] == ["good:latest"]


def test_an_absurd_manifest_is_not_read(store: Store) -> None:
    with store.manifest(f"{HOST}/library/m/t").open("wb") as file:
        file.truncate((16 << 20) + 1)
    with pytest.raises(ConfigError, match="the manifest of 'm:t' in Ollama's store has 16,777,217 bytes"):
        OllamaStore().lookup("m:t")


@posix
def test_links_may_not_leave_the_store(store: Store, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(WEIGHTS)
    weights = store.blob(WEIGHTS)
    store.path(weights).unlink()
    store.path(weights).symlink_to(secret)
    store.manifest(f"{HOST}/library/m/t", weights)
    with pytest.raises(
        ConfigError, match=r"a blob of 'm:t' in Ollama's store links to .*secret', outside the store"
    ):
        OllamaStore().lookup("m:t")

    inside = store.blob(b"inside")
    outside = store.manifest("hf.co/a/b/c", inside).rename(tmp_path / "manifest")
    (store.root / "manifests/hf.co/a/b/c").symlink_to(outside)
    with pytest.raises(
        ConfigError, match=r"the manifest of 'hf.co/a/b:c' in Ollama's store links to .*outside"
    ):
        OllamaStore().lookup("hf.co/a/b:c")
    assert OllamaStore().list() == ()

    (store.root / "manifests/hf.co/a/b/e").symlink_to("gone")
    with pytest.raises(ConfigError, match=r"the manifest of 'hf.co/a/b:e' in Ollama's store is missing"):
        OllamaStore().lookup("hf.co/a/b:e")
    (store.root / "manifests/hf.co/a/b/d").symlink_to(store.root / "blobs")
    with pytest.raises(
        ConfigError, match=r"the manifest of 'hf.co/a/b:d' in Ollama's store is not a regular file"
    ):
        OllamaStore().lookup("hf.co/a/b:d")


@posix
def test_links_within_the_store_and_to_the_store_are_followed(store: Store, tmp_path: Path) -> None:
    weights = store.blob(WEIGHTS)
    real = store.manifest(f"{HOST}/library/m/t", weights)
    (real.parent / "u").symlink_to("t")
    (tmp_path / "link").symlink_to(store.root)
    found = OllamaStore(tmp_path / "link").lookup("m:u")
    assert found.name == "m:u" and found.path == str(store.path(weights))
    assert [file.name for file in OllamaStore(tmp_path / "link").list()] == ["m:t", "m:u"]


def test_an_unknown_model_says_what_can_be_done(store: Store) -> None:
    store.manifest(f"{HOST}/library/qwen3/4b", store.blob(WEIGHTS))
    with pytest.raises(
        ConfigError,
        match=r"no model 'qwen3:8b' on this machine \(did you mean 'qwen3:4b'\?\); pull it with `ollama pull",
    ):
        OllamaStore().lookup("qwen3:8b")
    with pytest.raises(ConfigError, match=r"called 'qwen3:4b' \(did you mean 'ollama:qwen3:4b'\?\)"):
        find_model("qwen3:4b")
    (store.root / "manifests").rename(store.root / "elsewhere")
    with pytest.raises(ConfigError, match="no model 'qwen3:4b' on this machine; pull it"):
        OllamaStore().lookup("qwen3:4b")
    assert OllamaStore().list() == ()


def test_without_a_store_it_says_where_it_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "none"))
    with pytest.raises(
        ConfigError, match=r"no Ollama store on this machine \(searched .*none\); set OLLAMA_MODELS"
    ):
        OllamaStore().lookup("m")
    assert OllamaStore().list() == ()
    assert not (tmp_path / "none").exists()


def test_foreign_files_are_no_models(store: Store) -> None:
    store.manifest(f"{HOST}/library/m/t", store.blob(WEIGHTS))
    (store.root / "manifests" / ".DS_Store").write_bytes(b"")
    (store.root / "manifests" / HOST / "library" / "m" / ".DS_Store").write_bytes(b"")
    (store.root / "manifests" / HOST / "library" / "m" / "a b").write_bytes(b"")
    (store.root / "manifests" / HOST / "library" / "m" / "deep" / "er").mkdir(parents=True)  # no manifest
    assert [file.name for file in OllamaStore().list()] == ["m:t"]


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("OLLAMA_MODELS", "  ")
    own = str(tmp_path / ".ollama" / "models")
    system = ("/usr/share/ollama/.ollama/models",) if sys.platform == "linux" else ()
    assert OllamaStore().folders == (own, *system)
    monkeypatch.setenv("OLLAMA_MODELS", f' "{tmp_path}" ')
    assert OllamaStore().folders == (str(tmp_path),)
    assert OllamaStore("~").folders == (str(tmp_path),)

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("OLLAMA_MODELS", "")
    monkeypatch.setattr("brainwires_provider.local.weights.ollama_store._SERVICE", str(tmp_path / "service"))
    both = OllamaStore()
    assert both.folders == (own, str(tmp_path / "service"))
    first, second = Store(Path(own)), Store(tmp_path / "service")
    first.manifest(f"{HOST}/library/a/t", first.blob(b"first"))
    for name in "ab":
        second.manifest(f"{HOST}/library/{name}/t", second.blob(b"second"))
    assert Path(both.lookup("a:t").path).read_bytes() == b"first"
    assert Path(both.lookup("b:t").path).read_bytes() == b"second"
    assert [(file.name, file.size) for file in both.list()] == [("a:t", 5), ("b:t", 6)]


@pytest.mark.parametrize("call", ["builtins.open", "os.stat"])
def test_a_file_that_may_not_be_read_is_named(
    store: Store, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = str(store.manifest(f"{HOST}/library/m/t", store.blob(WEIGHTS)))
    real = open if call == "builtins.open" else os.stat

    def refusing(file: Any, *args: Any, **kwargs: Any) -> Any:
        if file == path:
            raise PermissionError(13, "Permission denied")  # what root, who may run this, never sees
        return real(file, *args, **kwargs)

    monkeypatch.setattr(call, refusing)
    with pytest.raises(
        ConfigError, match="the manifest of 'm:t' in Ollama's store cannot be read: Permission"
    ):
        OllamaStore().lookup("m:t")
