"""Pulling from the hub: the real huggingface_hub against a scripted one, and every way in which it can go wrong."""

import errno
import hashlib
import json
import os
import pickle
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from huggingface_hub import close_session, constants
from huggingface_hub.errors import FileMetadataError, XetDownloadError
from huggingface_hub.utils._xet_progress_reporting import XetDownloadProgressReporter

from brainwires_provider import errors
from brainwires_provider.errors import (
    ConfigError,
    ConnectError,
    ProtocolError,
    RequestTimeout,
    StreamInterrupted,
)
from brainwires_provider.local.settings import LocalModel
from brainwires_provider.local.weights import hub as pulling
from brainwires_provider.local.weights.hub import DigestError, PulledModel, PullProgress, pull
from brainwires_provider.local.weights.hub_files import HubFile, _bar, _Failure
from brainwires_provider.local.weights.known import KnownModel, find_known, known_models
from brainwires_provider.local.weights.names import check_name
from brainwires_provider.local.weights.registry import LocalRegistry
from brainwires_provider.testing import Answer, ScriptedServer, cut, refuse

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REFERENCE = "hf:acme/tiny-GGUF/Tiny-Q8_0.gguf"
AT = "/acme/tiny-GGUF/resolve/main/Tiny-Q8_0.gguf"
TOKEN = "hf_very-secret"


def gguf(size: int = 200_000) -> bytes:
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    pair = text("general.architecture") + struct.pack("<I", 8) + text("llama")
    head = struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + pair
    return head + bytes(i % 251 for i in range(size - len(head)))


WEIGHTS = gguf()
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


def told(data: bytes = WEIGHTS, **more: str) -> dict[str, str]:
    """The headers with which a hub describes a file of its large store."""
    digest = hashlib.sha256(data).hexdigest()
    return {
        "x-repo-commit": COMMIT,
        "x-linked-etag": f'"{digest}"',
        "x-linked-size": str(len(data)),
        "etag": f'"{digest}"',
        "content-type": "application/octet-stream",
        **more,
    }


def whole(data: bytes = WEIGHTS, **more: str) -> Answer:
    return Answer(headers=told(data, **more), body=data)


class Home:
    """A user's folders, and one way to pull into them."""

    def __init__(self, folder: Path) -> None:
        self.cache = folder / "hub"
        self.registry = LocalRegistry(folder / "data")
        self.seen: list[PullProgress] = []

    def pull(self, server: ScriptedServer | str, model: str = REFERENCE, **args: object) -> PulledModel:
        endpoint = server if isinstance(server, str) else server.url
        arguments: dict[str, object] = {
            "registry": self.registry,
            "on_progress": self.seen.append,
            "endpoint": endpoint,
        }
        return pull(model, **(arguments | args))  # type: ignore[arg-type]

    def leftovers(self) -> list[str]:
        return [path.name for path in self.cache.rglob("*") if "incomplete" in path.name]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    made = Home(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(made.cache))
    with ScriptedServer(
        Answer(502)
    ) as world:  # what would leave the machine asks this proxy, and is found out
        monkeypatch.setenv("HTTPS_PROXY", world.url)
        close_session()
        yield made
        close_session()
        assert world.requests == []


def methods(server: ScriptedServer) -> list[str]:
    return [request.method for request in server.requests]


# -- going well ----------------------------------------------------------------------------------------------


def test_a_file_is_fetched_checked_and_registered(home: Home) -> None:
    with ScriptedServer({AT: whole()}) as server:
        pulled = home.pull(server)

    assert pulled == PulledModel(
        "tiny-q8_0", pulled.path, SHA256, len(WEIGHTS), "acme/tiny-GGUF", "Tiny-Q8_0.gguf", COMMIT
    )
    assert Path(pulled.path).read_bytes() == WEIGHTS
    assert Path(pulled.path).is_relative_to(home.cache)
    entry = home.registry.get("tiny-q8_0")
    assert (entry.model.path, entry.sha256) == (pulled.path, SHA256)
    assert entry.source == f"hf:acme/tiny-GGUF@{COMMIT}/Tiny-Q8_0.gguf"


def test_progress_is_told_in_bytes_for_both_phases(home: Home) -> None:
    with ScriptedServer({AT: whole()}) as server:
        home.pull(server)

    assert {(each.file, each.total) for each in home.seen} == {("Tiny-Q8_0.gguf", len(WEIGHTS))}
    for phase in ("downloading", "verifying"):
        done = [each.done for each in home.seen if each.phase == phase]
        assert done == sorted(done) and done[-1] == len(WEIGHTS), phase
    assert [each.phase for each in home.seen] == sorted(each.phase for each in home.seen)


def test_a_download_from_the_xet_store_is_told_in_one_bar() -> None:
    told_of: list[tuple[int, int | None]] = []
    bar: Any = _bar(lambda done, total: told_of.append((done, total)))
    report = SimpleNamespace(
        total_bytes=100,
        total_bytes_completed=60,
        total_bytes_completion_rate=1.0,
        total_transfer_bytes_completed=40,
        total_transfer_bytes_completion_rate=1.0,
    )
    reporter = XetDownloadProgressReporter(
        reconstruction_desc="file", total=100, log_level=30, tqdm_class=bar
    )
    with reporter:
        reporter.update_progress(report)

    assert told_of == [(0, 100), (60, 100)]


def test_a_folder_takes_the_file_at_its_own_path(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    with ScriptedServer({"/acme/tiny-GGUF/resolve/v1.0/q8/Tiny.gguf": whole()}) as server:
        pulled = home.pull(server, "hf:acme/tiny-GGUF@v1.0/q8/Tiny.gguf", folder=folder, name="mine")

    assert pulled.path == str(folder / "q8" / "Tiny.gguf")
    assert home.registry.get("mine").model.path == pulled.path
    assert not home.cache.exists()


def test_what_is_here_with_a_known_digest_needs_no_network(home: Home) -> None:
    with ScriptedServer({AT: whole()}) as server:
        first = home.pull(server)
    with refuse() as port:
        again = home.pull(f"http://127.0.0.1:{port}", sha256=SHA256.upper())

    assert (again.path, again.sha256, again.revision) == (first.path, SHA256, "main")


def test_what_is_here_is_not_fetched_twice_and_with_force_it_is(home: Home) -> None:
    with ScriptedServer({AT: whole()}) as server:
        home.pull(server)
        home.pull(server)
        assert methods(server).count("GET") == 1
        home.pull(server, force=True)
        assert methods(server).count("GET") == 2


def test_a_store_elsewhere_gets_the_request_but_not_the_token(home: Home) -> None:
    with ScriptedServer(Answer(body=WEIGHTS)) as store:
        redirect = Answer(302, headers=told(location=f"{store.url}/blob?Signature=secret"))
        with ScriptedServer({AT: redirect}) as server:
            home.pull(server, token=TOKEN)

    assert {request.header("authorization") for request in server.requests} == {f"Bearer {TOKEN}"}
    assert [request.target for request in store.requests] == ["/blob?Signature=secret"]
    assert store.requests[0].header("authorization") is None


def test_a_cut_download_goes_on_where_it_ended(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        constants, "DOWNLOAD_CHUNK_SIZE", 10_000
    )  # what is not a whole one is lost: 10 MB else
    rest = Answer(206, headers={"content-range": f"bytes 70000-199999/{len(WEIGHTS)}"}, body=WEIGHTS[70000:])
    gets = iter([cut(whole(), 70_000), rest])
    with ScriptedServer(lambda request: whole() if request.method == "HEAD" else next(gets)) as server:
        pulled = home.pull(server)

    asked = [request.header("range") for request in server.requests if request.method == "GET"]
    assert asked == [None, "bytes=70000-"]
    assert Path(pulled.path).read_bytes() == WEIGHTS
    assert max(each.done for each in home.seen) == len(WEIGHTS)


def test_a_model_in_parts_is_fetched_whole(home: Home) -> None:
    parts = {f"Big-0000{n}-of-00002.gguf": gguf(1000 * n) for n in (1, 2)}
    with ScriptedServer(
        {f"/acme/big/resolve/main/{name}": whole(data) for name, data in parts.items()}
    ) as server:
        pulled = home.pull(server, "hf:acme/big/Big-00001-of-00002.gguf")

    assert (pulled.name, pulled.size) == ("big", 3000)
    assert home.registry.get("big").size == 3000
    assert sorted(os.listdir(Path(pulled.path).parent)) == sorted(parts)


def test_a_known_name_brings_its_place_digest_and_pooling(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = KnownModel(
        "tiny", "acme/tiny-GGUF", "Tiny-Q8_0.gguf", COMMIT, SHA256, None, "mit", "A test", pooling="cls"
    )
    monkeypatch.setattr(pulling, "find_known", lambda name: row if name == "tiny" else None)
    with ScriptedServer({f"/acme/tiny-GGUF/resolve/{COMMIT}/Tiny-Q8_0.gguf": whole()}) as server:
        pulled = home.pull(server, "tiny")

    assert (pulled.name, pulled.revision) == ("tiny", COMMIT)
    assert home.registry.get("tiny").model == LocalModel(pulled.path, pooling="cls")


# -- names that are taken ------------------------------------------------------------------------------------


def test_pulled_again_a_model_keeps_its_settings(home: Home) -> None:
    with ScriptedServer({AT: whole()}) as server:
        first = home.pull(server, name="mine")
        home.registry.register(
            "mine",
            LocalModel(first.path, context=512, slots=2),
            replace=True,
            source=home.registry.get("mine").source,
        )
        home.pull(server, name="mine", force=True)

    assert home.registry.get("mine").model == LocalModel(first.path, context=512, slots=2)


def test_a_name_of_another_model_is_refused_before_anything_is_fetched(home: Home, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(WEIGHTS)
    home.registry.register("mine", LocalModel(str(other), context=512))
    with ScriptedServer({AT: whole()}) as server:
        with pytest.raises(ConfigError, match="the name of another local model"):
            home.pull(server, name="mine")
        assert server.requests == []
        pulled = home.pull(server, name="mine", replace=True)

    assert home.registry.get("mine").model == LocalModel(pulled.path)


# -- the wrong file ------------------------------------------------------------------------------------------


def test_a_wrong_digest_leaves_the_file_and_registers_nothing(home: Home) -> None:
    wrong = WEIGHTS[:-1] + b"!"
    with ScriptedServer({AT: Answer(headers=told(), body=wrong)}) as server:
        with pytest.raises(DigestError) as caught:
            home.pull(server)
        with pytest.raises(DigestError):  # what is in the cache is checked again, not trusted
            home.pull(server)

    found = hashlib.sha256(wrong).hexdigest()
    error: DigestError = pickle.loads(pickle.dumps(caught.value))
    assert (error.expected, error.found) == (SHA256, found)
    assert SHA256 in error.message and found in error.message and "force" in error.message
    assert error.path is not None and Path(error.path).read_bytes() == wrong
    assert home.registry.list() == ()

    with ScriptedServer({AT: whole()}) as server:
        assert home.pull(server, force=True).path == error.path
    assert Path(error.path).read_bytes() == WEIGHTS


def test_another_file_at_the_hub_than_the_known_one_is_not_fetched(home: Home) -> None:
    other = "ab" * 32
    elsewhere = pytest.raises(DigestError, match="Nothing was downloaded")
    with ScriptedServer({AT: whole()}) as server, elsewhere as caught:
        home.pull(server, sha256=other)

    assert methods(server) == ["HEAD"]
    assert (caught.value.expected, caught.value.found, caught.value.path) == (other, SHA256, None)


def test_a_file_damaged_on_the_disk_is_found(home: Home) -> None:
    with ScriptedServer({AT: whole()}) as server:
        path = Path(home.pull(server).path).resolve()
        path.write_bytes(WEIGHTS[:1000])
        with pytest.raises(DigestError):
            home.pull(server, sha256=SHA256)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone.gguf' cannot be read: No such file"):
        pulling._digest(str(tmp_path / "gone.gguf"), lambda *_: None)


def test_a_file_without_a_digest_is_pulled_only_with_one_from_the_caller(home: Home) -> None:
    in_git = Answer(headers={"x-repo-commit": COMMIT, "etag": f'"{"c" * 40}"'}, body=WEIGHTS)
    with ScriptedServer({AT: in_git}) as server:
        with pytest.raises(ProtocolError, match="pass sha256="):
            home.pull(server)
        assert home.pull(server, sha256=SHA256).sha256 == SHA256


def test_a_file_that_is_no_gguf_is_not_registered(home: Home) -> None:
    page = whole(b"<!doctype html><p>no model</p>")
    with ScriptedServer({AT: page}) as server, pytest.raises(ConfigError, match="looks like a web page"):
        home.pull(server)
    assert home.registry.list() == ()


# -- refusals, and the network -------------------------------------------------------------------------------


def refused(status: int, code: str | None = None, text: str | None = None, **headers: str) -> Answer:
    named = {"x-error-code": code} if code else {}
    worded = {"x-error-message": text} if text else {}
    return Answer(status, headers={**named, **worded, "x-request-id": "r-1", **headers}, body=b"{}")


REFUSALS: dict[str, tuple[Answer, type[Exception], str]] = {
    "gated": (
        refused(403, "GatedRepo", "Access to model acme/tiny-GGUF is restricted"),
        errors.PermissionDeniedError,
        r"acme/tiny-GGUF is gated: accept its licence at http://127.0.0.1:\d+/acme/tiny-GGUF .* HF_TOKEN",
    ),
    "gated without a token": (refused(401, "GatedRepo"), errors.PermissionDeniedError, "accept its licence"),
    "no repository": (refused(404, "RepoNotFound"), errors.NotFoundError, "no repository acme/tiny-GGUF"),
    "no repository that is public": (
        refused(401, "RepoNotFound", "Invalid username or password."),
        errors.NotFoundError,
        "if it is private, pass a token",
    ),
    "no revision": (
        refused(404, "RevisionNotFound"),
        errors.NotFoundError,
        "no revision 'main'; .*/commits/main",
    ),
    "no file": (
        refused(404, "EntryNotFound"),
        errors.NotFoundError,
        "no file 'Tiny-Q8_0.gguf' at revision 'main' .*/tree/main",
    ),
    "disabled": (
        refused(403, text="Access to this resource is disabled."),
        errors.PermissionDeniedError,
        "disabled on the hub",
    ),
    "a bad token": (
        refused(401, text="Invalid credentials in Authorization header"),
        errors.AuthenticationError,
        "create a new one",
    ),
    "forbidden": (refused(403), errors.PermissionDeniedError, "the token cannot read it"),
    "plain 404": (refused(404), errors.NotFoundError, "check the reference"),
    "too many": (refused(429, **{"retry-after": "7"}), errors.RateLimitError, "wait, or pass a token"),
    "overloaded": (refused(503), errors.OverloadedError, "try again later"),
    "broken": (refused(500), errors.ServerError, r"failed \(500\)"),
    "bad request": (refused(400), errors.APIError, "answered 400"),
    "no hub": (Answer(body=b"hello", headers={"etag": '"abc"'}), ProtocolError, "not a Hugging Face hub"),
    "cut": (Answer(raw=b""), StreamInterrupted, "pull it again"),
    "silent": (Answer(stall_before_headers=True), RequestTimeout, "the hub stopped responding"),
    "too large": (Answer(headers=told(**{"x-linked-size": str(10**18)})), ConfigError, "the disk is full"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_says_what_to_do(case: str, home: Home) -> None:
    answer, kind, words = REFUSALS[case]
    with ScriptedServer({AT: answer}) as server, pytest.raises(kind, match=words) as caught:
        home.pull(server, token=TOKEN, timeout=0.3)

    error = caught.value
    assert type(error) is kind
    assert methods(server) == ["HEAD"]  # nothing was downloaded, and nothing asked twice
    assert TOKEN not in f"{error!r} {error.__dict__}"
    if isinstance(error, errors.APIError):
        assert (error.status, error.request_id) == (answer.status, "r-1")
        assert error.retry_after == (7.0 if answer.status == 429 else None)
    if isinstance(error, RequestTimeout):
        assert error.clock == "first_event"
    assert home.registry.list() == ()


def test_no_server_is_told_at_once(home: Home) -> None:
    with refuse() as port, pytest.raises(ConnectError, match=f"no connection to 127.0.0.1:{port}"):
        home.pull(f"http://127.0.0.1:{port}")


def test_a_store_that_refuses_names_no_signature(home: Home) -> None:
    with ScriptedServer(refused(403)) as store:
        redirect = Answer(302, headers=told(location=f"{store.url}/blob?Signature=secret"))
        denied = pytest.raises(errors.PermissionDeniedError, match="was downloaded")
        with ScriptedServer({AT: redirect}) as server, denied as caught:
            home.pull(server)
    assert "secret" not in f"{caught.value!r} {caught.value.__dict__}"
    assert home.leftovers() == []


def test_a_file_shorter_than_told_is_an_interruption(home: Home) -> None:
    short = Answer(headers=told(**{"content-length": "1000"}), body=WEIGHTS[:1000])
    with ScriptedServer({AT: short}) as server, pytest.raises(StreamInterrupted, match="pull it again"):
        home.pull(server)
    assert home.leftovers() == []


def test_offline_is_said_with_its_variable(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with ScriptedServer({AT: whole()}) as server, pytest.raises(ConnectError, match="HF_HUB_OFFLINE is set"):
        home.pull(server)
    assert server.requests == []


REQUEST = httpx2.Request("GET", "https://store.example/blob?Signature=secret")
RARE: list[tuple[Exception, type[Exception], str]] = [
    (OSError(errno.ENOSPC, "No space left"), ConfigError, "the disk is full"),
    (
        PermissionError(errno.EACCES, "Permission denied"),
        ConfigError,
        "could not be written .* Permission denied",
    ),
    (httpx2.ConnectTimeout("x", request=REQUEST), RequestTimeout, "connecting to the hub timed out"),
    (httpx2.ReadTimeout("x", request=REQUEST), RequestTimeout, "HF_HUB_DOWNLOAD_TIMEOUT"),
    (httpx2.ProxyError("x", request=REQUEST), ConnectError, "check the network"),
    (FileMetadataError("secret"), ProtocolError, "not a Hugging Face hub"),
    (XetDownloadError("secret"), errors.TransportError, r"failed \(XetDownloadError\)"),
    (PermissionError("secret"), errors.TransportError, r"failed \(PermissionError\)"),
    (RuntimeError("secret"), errors.TransportError, r"failed \(RuntimeError\)"),
]


@pytest.mark.parametrize(
    ("raised", "kind", "words"), RARE, ids=lambda value: getattr(value, "__name__", None)
)
def test_what_no_script_can_bring_about_is_told_too(
    raised: Exception, kind: type[Exception], words: str
) -> None:
    failure = _Failure("https://hub.example", HubFile("acme/tiny", "main", "t.gguf"), True)
    error = failure.translate(raised)

    assert type(error) is kind and re.search(words, str(error))
    assert "secret" not in str(error)
    wrapped = ValueError("Force download failed")
    wrapped.__cause__ = raised
    assert str(failure.translate(wrapped)) == str(error)


@pytest.mark.parametrize("phase", ["downloading", "verifying"])
@pytest.mark.parametrize("kind", [OSError, KeyboardInterrupt])
def test_what_the_callback_raises_ends_the_pull(phase: str, kind: type[BaseException], home: Home) -> None:
    def stop(progress: PullProgress) -> None:
        if progress.phase == phase:
            raise kind("enough")

    with ScriptedServer({AT: whole()}) as server, pytest.raises(kind, match="enough"):
        home.pull(server, on_progress=stop)
    assert home.leftovers() == []
    assert home.registry.list() == ()


# -- bad input -----------------------------------------------------------------------------------------------

BAD: dict[str, tuple[str, dict[str, object], str]] = {
    "unknown name": ("qwen3-0.6", {}, "did you mean 'qwen3-0.6b'.* hf:OWNER/NAME/FILE.gguf"),
    "a path": ("/models/x.gguf", {}, "no known model"),
    "no file": ("hf:acme/tiny", {}, "is not a reference to a file"),
    "no gguf": ("hf:acme/tiny/model.safetensors", {}, "is not a reference to a file"),
    "climbing": ("hf:acme/tiny/../../x.gguf", {}, "is not a reference to a file"),
    "an empty folder": ("hf:acme/tiny//x.gguf", {}, "is not a reference to a file"),
    "a backslash": ("hf:acme/tiny/a\\x.gguf", {}, "is not a reference to a file"),
    "a revision with a slash": ("hf:acme/tiny@refs/pr/1/x@.gguf", {}, "a branch without a slash"),
    "a climbing revision": ("hf:acme/tiny@../x.gguf", {}, "is not a reference to a file"),
    "a revision that is a folder": ("hf:acme/tiny@./x.gguf", {}, "is not a reference to a file"),
    "a revision that is an option": ("hf:acme/tiny@-x/x.gguf", {}, "is not a reference to a file"),
    "a revision with two dots": ("hf:acme/tiny@v1..2/x.gguf", {}, "is not a reference to a file"),
    "a repository that cannot be": ("hf:acme/-tiny--x-/x.gguf", {}, "cannot be the name of a repository"),
    "a later part": ("hf:acme/big/x-00002-of-00003.gguf", {}, "name the first"),
    "no parts": ("hf:acme/big/x-00001-of-00000.gguf", {}, "1 to 999 are possible"),
    "a digest of many": ("hf:acme/big/x-00001-of-00002.gguf", {"sha256": SHA256}, "leave it out"),
    "no digest": (REFERENCE, {"sha256": "abc"}, "64 hexadecimal digits"),
    "no timeout": (REFERENCE, {"timeout": 0}, "must be greater than zero"),
    "a token with a line end": (REFERENCE, {"token": f"{TOKEN}\n"}, "copy it again"),
    "plain http": (REFERENCE, {"endpoint": "http://hub.example"}, "it needs https"),
    "no address": (REFERENCE, {"endpoint": "hub.example"}, "it needs https"),
    "a name that cannot be": (REFERENCE, {"name": "a/b"}, "is not a valid name of a local model"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_before_any_request(case: str, home: Home) -> None:
    model, args, words = BAD[case]
    with ScriptedServer(whole()) as server, pytest.raises(ConfigError, match=words) as caught:
        home.pull(server, model, **args)
    assert server.requests == []
    assert TOKEN not in str(caught.value)


def test_without_the_extra_it_is_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match=re.escape('pip install "brainwires-provider[hub]"')):
        home.pull("http://127.0.0.1:9")


# -- the hub's own variables ---------------------------------------------------------------------------------

SCRIPT = """
import json, sys
from brainwires_provider.local.weights.hub import pull
assert "huggingface_hub" not in sys.modules, "imported before it is needed"
pulled = pull("hf:acme/tiny-GGUF/Tiny-Q8_0.gguf")
print(json.dumps([pulled.path, pulled.name]))
"""


def run(tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "BRAINWIRES_"))}
    own = {"HF_HOME": str(tmp_path / "hf"), "BRAINWIRES_DATA_DIR": str(tmp_path / "data")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT],
        env={**kept, **own, "HF_TOKEN": TOKEN, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_variables_of_the_hub_hold(tmp_path: Path) -> None:
    with ScriptedServer({AT: whole()}) as server:
        done = run(tmp_path, HF_ENDPOINT=server.url)
        assert done.returncode == 0, done.stderr
        path, name = json.loads(done.stdout)

    assert Path(path).is_relative_to(tmp_path / "hf") and Path(path).read_bytes() == WEIGHTS
    assert {(request.path, request.header("authorization")) for request in server.requests} == {
        (AT, f"Bearer {TOKEN}")
    }
    assert LocalRegistry(tmp_path / "data").get(name).sha256 == SHA256
    assert done.stderr == ""


def test_a_token_of_the_environment_stays_with_the_hub_of_the_environment(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with ScriptedServer({AT: whole()}) as server:
        home.pull(server)
    assert {request.header("authorization") for request in server.requests} == {None}


# -- the table -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", known_models(), ids=lambda model: model.name)
def test_a_known_model_is_whole(model: KnownModel) -> None:
    check_name(model.name)
    assert not model.name.startswith("ollama") and model.name not in ("smollm2", "smollm2-135m")
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", model.repo)
    assert model.file.endswith(".gguf")
    assert model.revision == "main" or re.fullmatch(r"[0-9a-f]{40}", model.revision)
    assert model.sha256 is not None and re.fullmatch(r"[0-9a-f]{64}", model.sha256)
    assert model.size is None or model.size > 10_000_000
    assert model.license and model.about and re.fullmatch(r"\d{4}-\d\d-\d\d", model.checked)
    assert model.source.startswith("https://")
    assert pulling._wanted(model.reference, None).files == pulling._wanted(model.name, None).files


def test_known_names_and_files_are_unique() -> None:
    assert len({model.name for model in known_models()}) == len(known_models())
    assert len({model.sha256 for model in known_models()}) == len(known_models())
    assert all(find_known(model.name) is model for model in known_models())
    assert find_known("no-such-model") is None


def test_the_six_names_of_the_crate_are_there() -> None:
    six = ["lfm2-350m", "lfm2-1.2b", "lfm2-2.6b-exp", "granite-nano-350m", "granite-nano-1.5b", "gemma-4-e2b"]
    assert [model.name for model in known_models()[:6]] == six
