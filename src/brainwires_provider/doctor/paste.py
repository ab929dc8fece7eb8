"""The findings to paste: a `Provider(…)` in Python, and a table of `brainwires.toml`.

Only what a finding proves becomes a quirk; the others are those of `COMPATIBLE` and the protocol's defaults.
"""

from __future__ import annotations

import ipaddress
import json
import re
import time
from typing import Any
from urllib.parse import urlsplit

from brainwires_provider.auth.keys import EnvKey, Key
from brainwires_provider.doctor.case import Case
from brainwires_provider.protocols.openai_chat.options import ChatQuirks
from brainwires_provider.providers import PROVIDERS, is_loopback
from brainwires_provider.providers.dialects import COMPATIBLE
from brainwires_provider.providers.table import ALIASES

__all__ = ["config_table", "name_for", "proven", "python_provider", "shown_url"]

# Built-in providers that a server may be based on, the plainest first.
_BASES = ("custom", "openai-chat", "vllm", "llama-server", "lmstudio", "litellm")


def proven(case: Case) -> dict[str, Any]:
    """The quirks that the findings prove, in which the server differs from `COMPATIBLE`."""
    says = case.verdict
    quirks: dict[str, Any] = {}
    if says("max_tokens") in ("ignored", "refused") and says("max_completion_tokens") == "yes":
        quirks["max_tokens_field"] = "max_completion_tokens"
    if says("developer_role") == "yes":
        quirks["developer_role"] = True
    if says("stream_usage") == "refused":
        quirks["stream_usage"] = False
    if says("parallel_tools") == "refused":
        quirks["parallel_tool_calls"] = False
    if says("tool_choice_named") in ("ignored", "refused"):
        quirks["named_choice"] = False
    if case.required_word != "required":
        quirks["required_word"] = case.required_word
    if says("json_schema") in ("ignored", "refused"):
        quirks["json_schema"] = False
    if says("seed") == "refused":
        quirks["seed_field"] = None
    if says("stop") == "yes" and says("stop_text") in ("ignored", "refused"):
        quirks["stop_list"] = True
    if says("models") == "no":
        quirks["models_path"] = None
    return quirks


def python_provider(case: Case, url: str, key: Key | None) -> str:
    """A `Provider(…)` in Python."""
    quirks, name = proven(case), name_for(url)
    changed = {field: value for field, value in quirks.items() if field in COMPATIBLE}
    start = f"**COMPATIBLE | {changed!r}" if changed else "**COMPATIBLE"
    words = [start, *(f"{field}={value!r}" for field, value in quirks.items() if field not in COMPATIBLE)]
    lines = [
        "Provider(",
        f"    {name!r},",
        f"    chat({', '.join(words)}),",
        f"    {shown_url(url)!r},{_of_query(url)}",
        f"    key_env={_variable(name, key)!r}," if key else "    keyless=True,",
    ]
    if case.streams_only:
        lines.append("    streams_only=True,")
    lines += [f"    checked={time.strftime('%Y-%m-%d')!r},", ")"]
    return "\n".join(lines)


def config_table(case: Case, url: str, key: Key | None, *, allow_http: bool) -> str:
    """A table of `brainwires.toml`, based on the provider that is nearest to what was found."""
    name, wanted = name_for(url), COMPATIBLE | proven(case)
    base, other = min(((base, _differences(base, wanted)) for base in _BASES), key=lambda each: len(each[1]))
    lines = [
        f"[providers.{name}]",
        *(f"# {base} differs in: {field} = {value!r}" for field, value in other.items()),
        f"based_on = {json.dumps(base)}",
        f"base_url = {json.dumps(shown_url(url))}{_of_query(url)}",
        f"api_key = {{ env = {json.dumps(_variable(name, key))} }}" if key else 'api_key = ""',
    ]
    if allow_http and url.startswith("http:") and not is_loopback(url):
        lines.append("allow_http = true")
    lines.append(f"# model name: {json.dumps(f'{name}:{case.asker.clean(case.model)}')}")
    return "\n".join(lines)


def _differences(base: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """The wanted quirks that a built-in provider does not have."""
    quirks = getattr(PROVIDERS[base].protocol(), "quirks", ChatQuirks())
    return {field: value for field, value in wanted.items() if getattr(quirks, field) != value}


def _variable(name: str, key: Key | None) -> str:
    """The variable that holds the key, or a new one for it."""
    return key.name if isinstance(key, EnvKey) else name.upper().replace("-", "_") + "_API_KEY"


def name_for(url: str) -> str:
    """A name for the provider at a URL, from its host; "mine" for this machine and for an IP address."""
    host = urlsplit(url).hostname or ""
    labels = [label for label in host.split(".") if label not in ("api", "www")]
    if is_loopback(url) or _is_address(host) or len(labels) < 2:
        return "mine"
    name = re.sub(r"[^a-z0-9-]", "-", labels[-2].lower())
    return f"my-{name}" if name in PROVIDERS or name in ALIASES else name


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def shown_url(url: str) -> str:
    """Without a user, a password or a query."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}{parts.path}"


def _of_query(url: str) -> str:
    return "  # add the query that was given; it is not shown here" if urlsplit(url).query else ""
