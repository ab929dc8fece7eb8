"""Checks what is configured here: the file, the keys, the packages, the models and servers of this machine.

Requests are sent to this machine only: keys are searched and not tried, and servers only asked on loopback.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from importlib.util import find_spec
from urllib.parse import urlsplit

from msgspec.structs import replace

from brainwires_provider.auth.keys import EnvKey, FileKey, KeyringKey
from brainwires_provider.client import AsyncClient
from brainwires_provider.doctor.asking import cleaned
from brainwires_provider.doctor.findings import Examination, Finding
from brainwires_provider.doctor.services import key_finding, key_place, key_source, variables
from brainwires_provider.errors import ConfigError, ConnectError, ProviderError
from brainwires_provider.providers import (
    PROVIDERS,
    Config,
    ProviderConfig,
    Target,
    find_row,
    is_loopback,
    resolve,
    resolve_listing,
)
from brainwires_provider.types import Retry, Timeouts

__all__ = ["look_around"]

_PACKAGES = {
    "local": ("xllamacpp", "models on this machine"),
    "hub": ("huggingface_hub", "models from the Hugging Face Hub"),
    "bedrock": ("botocore", "AWS credentials of every kind"),
    "vertex": ("google.auth", "Google credentials of every kind"),
    "keyring": ("keyring", "keys in the system's keyring"),
    "prices": ("genai_prices", "limits and prices of models"),
}


async def look_around(config: Config | None = None, *, seconds: float = 2) -> Examination:
    """What is configured on this machine. Sends requests to servers on loopback only, `seconds` each at most."""
    began = time.monotonic()
    setup = config or Config()
    configs = {each.name: each for each in setup.providers}
    findings = [_file(setup), _model(setup, configs), *_local()]
    keyed, going, keyless, targets = await asyncio.to_thread(_providers, configs)
    asked = await asyncio.gather(*(_ask(target, configs, seconds) for target in targets))
    usable = ["local"] if any(_is_local(finding) for finding in findings) else []
    usable += [finding.name for finding in (*asked, *keyed) if finding.verdict == "yes"]
    findings = [_works(usable), *findings, *going, *keyed, *asked, *keyless, *_packages()]
    return Examination(
        "this machine",
        "setup",
        bool(usable) and not any(f.name in configs and f.verdict == "no" for f in findings),
        tuple(findings),
        setup.model,
        len(targets),
        round(time.monotonic() - began, 2),
    )


def _works(usable: list[str]) -> Finding:
    """The providers that can be used without a further step, and a command for the first."""
    if not usable:
        return Finding(
            "works now",
            "no",
            "no model is installed and no key is set; for a model on this machine: "
            'pip install "brainwires-provider[local,hub]" && brainwires local pull qwen3-0.6b --default',
        )
    model = "" if usable[0] == "local" else f" -m {usable[0]}:MODEL"
    return Finding(
        "works now", "yes", f'{", ".join(usable)}; try: brainwires chat{model or " -m local:"} "Hi"'
    )


def _file(setup: Config) -> Finding:
    if setup.source is None:
        return Finding("configuration", "no", "there is no brainwires.toml; none is needed")
    counts = f"{len(setup.providers)} providers, {len(setup.models)} models"
    trusted = "trusted" if setup.trusted else "found, not trusted"
    return Finding("configuration", "yes", f"{setup.source} ({trusted}): {counts}")


def _model(setup: Config, configs: dict[str, ProviderConfig]) -> Finding:
    """The model, and where its prompts are sent."""
    if setup.model is None:
        return Finding("default model", "no", "none is configured; requests name theirs")
    named = setup.models.get(setup.model)
    model = setup.model if named is None else f"{setup.model}, {named.model}"
    try:
        target = resolve(setup.model if named is None else named.model, configs)
    except ConfigError as error:
        return Finding("default model", "no", cleaned(f"{model}: {error.message}"))
    return Finding("default model", "yes", f"{model}, sent to {_place(target)}")


def _place(target: Target) -> str:
    """The host. A long one is not cut."""
    parts = urlsplit(target.base_url)
    return "this machine" if target.row.transport == "local" else f"{parts.scheme}://{parts.netloc}"


def _destination(target: Target, config: ProviderConfig) -> Finding:
    """Where the requests of a configured provider are sent, and with which key: its source, never its value."""
    carried = [f"key: {key_source(target, config)}"]
    for name, value in config.headers.items():
        carried.append(f"header {name}: {'as written' if isinstance(value, str) else key_place(value)}")
    return Finding(f"{target.provider} is sent to", "yes", "; ".join([_place(target), *carried]))


def _local() -> list[Finding]:
    from brainwires_provider.local.weights.find import find_model

    try:
        path = find_model("").path
    except ConfigError as error:
        return [Finding("local model", "no", cleaned(error.message))]
    if not os.path.exists(os.path.expanduser(path)):
        return [Finding("local model", "no", f"{path} does not exist")]
    return [Finding("local model", "yes", path)]


def _is_local(finding: Finding) -> bool:
    return finding.name == "local model" and finding.verdict == "yes" and find_spec("xllamacpp") is not None


def _packages() -> list[Finding]:
    found = []
    for extra, (module, use) in _PACKAGES.items():
        name = f"package {module}"
        try:
            there = find_spec(module) is not None
        except ModuleNotFoundError:
            there = False
        if there:
            found.append(Finding(name, "yes", use))
        else:
            found.append(Finding(name, "no", use, f'pip install "brainwires-provider[{extra}]"'))
    return found


# -- providers -----------------------------------------------------------------------------------------------


def _providers(
    configs: dict[str, ProviderConfig],
) -> tuple[list[Finding], list[Finding], list[Finding], list[Target]]:
    """The state of every provider.

    Findings for those that have a key or a fault, for where the configured ones send requests, one finding for all
    those without a key, and the servers on loopback.
    """
    found: list[Finding] = []
    going: list[Finding] = []
    without: list[str] = []
    servers: list[Target] = []
    for name in dict.fromkeys((*configs, *PROVIDERS)):
        config = configs.get(name) or ProviderConfig(name)
        row = find_row(config.based_on or name)
        if row.transport == "local" and name not in configs:
            continue
        is_meant = name in configs or _is_set((*variables(row), row.base_url_env))
        if row.cloud is not None and not is_meant:
            without.append(f"{name} ({' or '.join(variables(row))})")
            continue
        try:
            target = resolve_listing(name, {name: config})
        except ConfigError as error:
            if is_meant:
                found.append(Finding(name, "no", cleaned(error.message)))
            else:
                without.append(f"{name} ({' or '.join(variables(row)) or row.base_url_env})")
            continue
        if name in configs:
            going.append(_destination(target, config))
        if row.transport != "local" and is_loopback(target.base_url):
            servers.append(target)
        else:
            found.append(_held(name, target, config))
    return found, going, _without_key(without), servers


def _without_key(names: list[str]) -> list[Finding]:
    if not names:
        return []
    evidence = f"{len(names)} providers: {', '.join(names[:3])}, …; `brainwires providers` lists all"
    return [Finding("without a key", "no", evidence)]


def _held(name: str, target: Target, config: ProviderConfig) -> Finding:
    """Whether a reference to a key has a value, which is not kept."""
    try:
        if isinstance(target.key, (EnvKey, FileKey, KeyringKey)):
            target.key()
    except ConfigError as error:
        return Finding(name, "no", cleaned(error.message))
    return replace(key_finding(target, config), name=name)


def _is_set(names: Iterable[str | None]) -> bool:
    return any(os.environ.get(name, "").strip() for name in names if name)


async def _ask(target: Target, configs: dict[str, ProviderConfig], seconds: float) -> Finding:
    """Whether a server of this machine lists its models."""
    name = target.provider
    clocks = Timeouts(connect=seconds, first_event=seconds, idle=seconds, attempt=seconds)
    config = configs.get(name)
    client = AsyncClient(providers=[config] if config else (), timeouts=clocks, retry=Retry(1), proxy=None)
    place = target.base_url
    try:
        async with client:
            await client._session.transport(target)  # importing the engine is not part of the server's time
            models = await client.models(name)
    except ConnectError:
        return Finding(name, "no", f"no server listens at {place}")
    except ProviderError as error:
        return Finding(name, "unclear", cleaned(f"{place}: {error.message.removeprefix(f'{name}: ')}"))
    names = ", ".join(repr(model.id) for model in models[:3])
    words = f"{place} answers, with {len(models)} models{f': {names}' if names else ''}"
    return Finding(name, "yes", cleaned(words))
