"""Models that can be downloaded by a short name. The table is `known_models.toml`, read at the first use."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
from msgspec import Struct

from brainwires_provider.local.settings import Pooling

__all__ = ["KnownModel", "find_known", "known_models"]


class KnownModel(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """A GGUF file on the Hugging Face hub. `repo` is OWNER/NAME, `revision` a commit or "main", `size` is in bytes.

    `license` is the hub's short name for it; some must be accepted on the model's page before the hub serves the file.
    `pooling` is set for embedding models: how one vector is made of many. `source` is the page that has these facts,
    `checked` the day on which they were compared with it.
    """

    name: str
    repo: str
    file: str
    revision: str
    sha256: str | None
    license: str
    about: str
    size: int | None = None
    pooling: Pooling | None = None
    source: str = ""
    checked: str = ""

    @property
    def reference(self) -> str:
        """The file as a reference that `pull` accepts: hf:OWNER/NAME@REVISION/FILE."""
        return f"hf:{self.repo}@{self.revision}/{self.file}"


@cache
def known_models() -> tuple[KnownModel, ...]:
    """All of them, in the order of the table."""
    table = tomllib.loads(
        files("brainwires_provider.local.weights").joinpath("known_models.toml").read_text("utf-8")
    )
    return tuple(_model(entry, table) for entry in table["models"])


def find_known(name: str) -> KnownModel | None:
    """The model of that name, or None."""
    return next((model for model in known_models() if model.name == name), None)


def _model(entry: dict[str, Any], table: dict[str, Any]) -> KnownModel:
    page = "https://huggingface.co/{repo}/blob/{revision}/{file}".format_map(entry)
    source = table["gallery"] if entry.pop("gallery", False) else page
    return msgspec.convert({**entry, "source": source, "checked": table["checked"]}, KnownModel)
