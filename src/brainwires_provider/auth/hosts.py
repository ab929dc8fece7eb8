"""The hosts of Amazon Bedrock and of Vertex AI, and the patterns of valid regions, locations and projects.

A region or a location becomes part of a host, and a project part of a path. Therefore each is checked, whatever its
source: code, a file, the environment, a profile. Only exact names of a service count as the cloud's own hosts, because
customers have hosts below `amazonaws.com` and `googleapis.com` too.
References: AWS General Reference, "Amazon Bedrock endpoints and quotas"; Google Cloud, "Vertex AI locations" and
"Creating and managing projects".
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

from brainwires_provider.errors import ConfigError

__all__ = ["Cloud", "checked", "is_own_host"]

Cloud: TypeAlias = Literal["aws", "google"]
Part: TypeAlias = Literal["region", "location", "project"]

_REGION = r"[a-z]{2,4}(?:-[a-z]{2,12}){1,3}-[0-9]{1,2}"
_LOCATION = r"[a-z]{2,16}-[a-z]{2,16}[0-9]{1,2}"
_SEVERAL = r"(?:us|eu)"  # several regions, with hosts of their own
_PATTERNS: dict[Part, tuple[re.Pattern[str], str]] = {
    "region": (re.compile(_REGION), "an AWS region is written like us-east-1"),
    "location": (
        re.compile(rf"global|{_SEVERAL}|{_LOCATION}"),
        "a Google Cloud location is written like us-central1, or is global, us or eu",
    ),
    "project": (
        re.compile(r"(?:[a-z0-9][a-z0-9.-]{0,252}:)?[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"),
        "a Google Cloud project is written like my-project-1: small letters, digits and dashes",
    ),
}
_SERVICE = r"bedrock(?:-runtime)?(?:-fips)?"
_OWN: dict[Cloud, re.Pattern[str]] = {
    "aws": re.compile(
        rf"(?:{_SERVICE}\.{_REGION}\.(?:amazonaws\.com|api\.aws)"
        rf"|{_SERVICE}\.cn-[a-z]+-[0-9]{{1,2}}\.amazonaws\.com\.cn"
        rf"|bedrock-mantle\.{_REGION}\.api\.aws)(?::443)?"
    ),
    "google": re.compile(
        rf"(?:(?:{_LOCATION}-)?aiplatform\.googleapis\.com|aiplatform\.{_SEVERAL}\.rep\.googleapis\.com)(?::443)?"
    ),
}


def checked(part: Part, value: str, provider: str | None = None) -> str:
    """Return `value` if it is valid, and so safe within a host or a path. Raises ConfigError otherwise."""
    pattern, form = _PATTERNS[part]
    if pattern.fullmatch(value) is None:
        what = "region" if part == "location" else part
        raise ConfigError(f"{value!r} is not a valid {what}: {form}", provider=provider)
    return value


def is_own_host(cloud: Cloud, url: str) -> bool:
    """Whether a URL is the cloud's own service over TLS, to which the cloud's credentials may be sent."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "https" and _OWN[cloud].fullmatch(parts.netloc.lower()) is not None
