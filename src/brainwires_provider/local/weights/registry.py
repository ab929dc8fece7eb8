"""The registry of local models: the file and the settings of each name, in one JSON file.

The file is replaced atomically, so reading it needs no lock. A writer holds a lock between processes while it reads
and writes. Members that this version does not know are kept, and a file that cannot be read is never overwritten.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from os import PathLike
from typing import Any, Final

import msgspec
from msgspec import Struct

from brainwires_provider.errors import ConfigError
from brainwires_provider.local.settings import LocalModel
from brainwires_provider.local.weights.folders import DATA_FOLDER_VARIABLE, data_folder, write_atomically
from brainwires_provider.local.weights.gguf import read_header
from brainwires_provider.local.weights.names import check_name, name_after, near_names, unique_name
from brainwires_provider.local.weights.scan import Skip, model_files, parts_of

__all__ = ["LocalRegistry", "RegisteredModel"]

_FILE: Final = "local_models.json"
_VERSION: Final = 1
_MAX_BYTES: Final = 16 << 20
_POLL: Final = 0.01  # seconds between two attempts to get a lock that another process holds


class RegisteredModel(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """A model with a name. A `model.path` of "" is the installed SmolLM2 weights.

    `source` is the origin of the file, such as "hf:repo@revision/file", "scan" or "ollama:NAME". `size` is in bytes,
    the sum of all parts.
    """

    name: str
    model: LocalModel
    added: datetime
    source: str | None = None
    sha256: str | None = None
    size: int | None = None


class LocalRegistry:
    """The registry in `folder`; default: the user's data folder (BRAINWIRES_DATA_DIR, or the platform's own).

    Creating one reads and writes nothing. `clock` returns seconds since 1970, for `added`; `lock_timeout` is the
    number of seconds to wait for another writer. Every method raises ConfigError if the file is damaged or cannot be
    read. Methods that write also raise it if the file was written by a newer version, cannot be written or stays
    locked, or if the extra `local` is not installed.
    """

    def __init__(
        self,
        folder: str | PathLike[str] | None = None,
        *,
        clock: Callable[[], float] = time.time,
        lock_timeout: float = 10.0,
    ) -> None:
        place = data_folder() if folder is None else os.path.abspath(os.path.expanduser(folder))
        # Replace the target of a link, not the link. Two paths to one file must share its lock.
        self._path = os.path.realpath(os.path.join(place, _FILE))
        self._clock = clock
        self._lock_timeout = lock_timeout

    @property
    def path(self) -> str:
        """The JSON file, which need not exist yet."""
        return self._path

    @property
    def default(self) -> str | None:
        """The name of the model that `local:` means, if one was chosen."""
        name: str | None = self._read()[0].get("default")
        return name

    def list(self) -> tuple[RegisteredModel, ...]:
        """All models, sorted by name, without those that this version cannot read."""
        models = self._read()[0]["models"]
        found = (_decode(name, models[name]) for name in sorted(models))
        return tuple(model for model in found if isinstance(model, RegisteredModel))

    def get(self, name: str) -> RegisteredModel:
        """The model of that name. Raises ConfigError, with similar names, if there is none or it cannot be read."""
        return self._entry(self._read()[0], name)

    def find(self, name: str) -> RegisteredModel | None:
        """As `get`, but None if no model has that name."""
        document = self._read()[0]
        return self._entry(document, name) if name in document["models"] else None

    def register(
        self,
        name: str,
        model: LocalModel | str | PathLike[str],
        *,
        default: bool = False,
        replace: bool = False,
        source: str | None = None,
        sha256: str | None = None,
    ) -> RegisteredModel:
        """Register a GGUF file and its settings under a name; with `default` it becomes the model of `local:`.

        The path is stored as absolute. Also raises ConfigError for a name that is invalid, or taken without `replace`,
        and for a file that does not exist or is not GGUF.
        """
        check_name(name)
        entry = self._new(name, model, source, sha256)
        with self._change() as document:
            if name in document["models"] and not replace:
                raise ConfigError(
                    f"a local model is already called {name!r}; remove it first, replace it, or choose another name"
                )
            document["models"][name] = _encode(entry)
            if default:
                document["default"] = name
        return entry

    def remove(self, name: str) -> None:
        """Remove a model from the registry; its file stays. If it was the default, there is no default afterwards."""
        self._check_known(self._read()[0], name)  # before a lock file is created
        with self._change() as document:
            self._check_known(document, name)
            del document["models"][name]
            if document.get("default") == name:
                document["default"] = None

    def set_default(self, name: str | None) -> None:
        """Choose the model of `local:`; None: the installed weights."""
        if name is None:
            if self.default is None:
                return
        else:
            self.get(name)
        with self._change() as document:
            if name is not None:
                self._entry(document, name)
            document["default"] = name

    def scan(
        self,
        folder: str | PathLike[str],
        *,
        max_depth: int = 8,
        max_models: int = 1000,
        on_skip: Skip | None = None,
    ) -> tuple[RegisteredModel, ...]:
        """Register all models below `folder` that are not registered yet, and return those added.

        Each is named after its file. A model in several parts is one model, named after the first part; projectors
        (mmproj) are skipped. Links are followed, each folder and file once, `max_depth` folders deep. `on_skip` is
        called with the path and the reason of each file and folder that is skipped. Also raises ConfigError, and
        registers nothing, if `folder` is not a folder, or has more than `max_models` models or 100,000 files below it.
        """
        place = os.path.abspath(os.path.expanduser(folder))
        if not os.path.isdir(place):
            raise ConfigError(f"{place!r} is not a folder; give the folder that contains the models")
        skip: Skip = on_skip or (lambda path, reason: None)
        files = model_files(place, max_depth, skip)
        if len(files) > max_models:
            raise ConfigError(
                f"there are more than {max_models} models below {place!r}; scan a folder in it, or allow more"
            )
        found = [entry for path in files if (entry := self._scanned(path, skip)) is not None]
        return self._add_new(found, skip) if found else ()

    def _scanned(self, path: str, skip: Skip) -> RegisteredModel | None:
        try:
            if read_header(path).architecture == "clip":
                skip(path, "a projector, which cannot run by itself")
                return None
            return self._new(name_after(path), path, "scan", None)
        except ConfigError as error:
            skip(path, error.message)
            return None

    def _add_new(self, found: Collection[RegisteredModel], skip: Skip) -> tuple[RegisteredModel, ...]:
        added: dict[str, RegisteredModel] = {}
        with self._change() as document:
            models = document["models"]
            known = {os.path.realpath(path): name for name in models if (path := _path_of(models[name]))}
            for entry in found:
                if os.path.realpath(entry.model.path) not in known:
                    entry = msgspec.structs.replace(entry, name=unique_name(entry.name, models))
                    models[entry.name] = _encode(entry)
                    added[entry.model.path] = entry
        for entry in found:  # the caller's function is called without the lock
            if entry.model.path not in added:
                name = known[os.path.realpath(entry.model.path)]
                skip(entry.model.path, f"already registered, as {name!r}")
        return tuple(added.values())

    def _new(
        self, name: str, model: LocalModel | str | PathLike[str], source: str | None, sha256: str | None
    ) -> RegisteredModel:
        if not isinstance(model, LocalModel):
            model = LocalModel(os.fspath(model))
            if not model.path:
                raise ConfigError(f"the path of local model {name!r} is empty; give the path of a GGUF file")
        size = None
        if model.path:
            path = os.path.abspath(os.path.expanduser(model.path))
            read_header(path)
            size = sum(os.path.getsize(part) for part in parts_of(path))
            model = msgspec.structs.replace(model, path=path)
        added = datetime.fromtimestamp(self._clock(), UTC)
        return RegisteredModel(name, model, added, source, sha256, size)

    def _check_known(self, document: dict[str, Any], name: str) -> None:
        if name not in document["models"]:
            near = near_names(name, document["models"])
            raise ConfigError(
                f"no registered model is called {name!r}{near}; `brainwires local list` lists them"
            )

    def _entry(self, document: dict[str, Any], name: str) -> RegisteredModel:
        self._check_known(document, name)
        entry = _decode(name, document["models"][name])
        if isinstance(entry, RegisteredModel):
            return entry
        raise ConfigError(
            f"the registered model {name!r} in {self._path!r} cannot be read: {entry}; "
            "register it again, or update brainwires-provider if a newer version wrote it"
        )

    def _read(self) -> tuple[dict[str, Any], str]:
        """The checked content of the file, and its text."""
        try:
            with open(self._path, "rb") as file:
                data = file.read(_MAX_BYTES + 1)
        except FileNotFoundError:
            return {"version": _VERSION, "default": None, "models": {}}, ""
        except OSError as error:
            raise ConfigError(
                f"the registry of local models {self._path!r} cannot be read: {error.strerror}"
            ) from None
        if len(data) > _MAX_BYTES:
            raise self._damaged(f"it is larger than {_MAX_BYTES >> 20} MiB")
        return self._parse(data)

    def _parse(self, data: bytes) -> tuple[dict[str, Any], str]:
        try:
            text = data.decode("utf-8-sig")  # some editors write a byte order mark
            document = json.loads(text)
        except json.JSONDecodeError as error:
            raise self._damaged(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
        except UnicodeDecodeError as error:
            before = data[: error.start]
            line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
            raise self._damaged(f"line {line}, column {column}: not UTF-8 text") from None
        except ValueError:
            raise self._damaged("a number in it has too many digits") from None
        except RecursionError:
            raise self._damaged("its values are nested too deeply") from None
        if not isinstance(document, dict):
            raise self._damaged("line 1, column 1: it is not a JSON object")
        if type(version := document.get("version")) is not int:
            raise self._damaged("its `version` is not an integer")
        if wrong := _wrong_member(document):
            raise self._newer(version) if version > _VERSION else self._damaged(wrong)
        return document, text

    def _newer(self, version: int) -> ConfigError:
        return ConfigError(
            f"a newer brainwires-provider wrote the registry of local models {self._path!r} "
            f"(version {version}, not {_VERSION}); update this one"
        )

    def _damaged(self, what: str) -> ConfigError:
        return ConfigError(
            f"the registry of local models {self._path!r} is damaged ({what}); "
            "repair it, or move it away and register the models again"
        )

    @contextmanager
    def _change(self) -> Iterator[dict[str, Any]]:
        """The content, to be changed in the block; written at its end if it was changed."""
        with _locked(self._path, self._lock_timeout):
            document, before = self._read()
            if document["version"] > _VERSION:
                raise self._newer(document["version"])
            yield document
            text = _text(document)
            if text == before:
                return
            try:
                write_atomically(self._path, text.encode())
            except OSError as error:
                raise _not_writable(self._path, error) from None


@contextmanager
def _locked(path: str, timeout: float) -> Iterator[None]:
    try:
        import filelock
    except ImportError:
        raise ConfigError(
            "changing the registry of local models needs the extra `local`; "
            'run `pip install "brainwires-provider[local]"`'
        ) from None
    lock = filelock.FileLock(f"{path}.lock", mode=0o600)
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        lock.acquire(timeout=timeout, poll_interval=_POLL)
    except filelock.Timeout:
        raise ConfigError(
            f"another process has held the registry of local models {path!r} locked for more than "
            f"{timeout:g} s; try again later"
        ) from None
    except OSError as error:
        raise _not_writable(path, error) from None
    try:
        yield
    finally:
        lock.release()


def _not_writable(path: str, error: OSError) -> ConfigError:
    return ConfigError(
        f"the registry of local models {path!r} cannot be written: {error.strerror or error}; "
        f"set {DATA_FOLDER_VARIABLE} to a writable folder"
    )


def _wrong_member(document: dict[str, Any]) -> str | None:
    if not isinstance(document.setdefault("models", {}), dict):
        return "its `models` is not a JSON object"
    if not isinstance(document.get("default"), str | None):
        return "its `default` is not a string"
    return None


def _text(document: dict[str, Any]) -> str:
    """JSON with one line per model, for human readers; the indentation of `json` itself is slow."""
    members = []
    for key, value in document.items():
        if key == "models":
            lines = (f"\n    {json.dumps(name)}: {json.dumps(fields)}" for name, fields in value.items())
            text = "{" + ",".join(lines) + "\n  }"
        else:
            text = json.dumps(value)
        members.append(f"\n  {json.dumps(key)}: {text}")
    return "{" + ",".join(members) + "\n}\n"


def _encode(entry: RegisteredModel) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(entry)
    del fields["name"]
    return fields


def _decode(name: str, fields: Any) -> RegisteredModel | str:
    """The entry, or the reason why it cannot be read."""
    try:
        return msgspec.convert({**fields, "name": name}, RegisteredModel)
    except msgspec.ValidationError as error:
        return str(error)
    except ConfigError as error:
        return error.message
    except TypeError:
        return "it is not a JSON object"


def _path_of(fields: Any) -> str | None:
    entry = _decode("", fields)
    return entry.model.path if isinstance(entry, RegisteredModel) else None
