"""Providers on AWS and Google Cloud: a host for each region, and requests that are signed or carry a token.

`Place` holds the settings that decide both. An `Auth` is created once for each place and kept, so that its tokens are
fetched once; creating it reads no file and opens no connection. The modules that sign are loaded when first needed,
because they load OpenSSL.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from msgspec import Struct

from brainwires_provider.auth.base import Auth
from brainwires_provider.auth.hosts import Cloud, checked
from brainwires_provider.auth.keys import Key
from brainwires_provider.errors import ConfigError

__all__ = ["Cloud", "Place", "auth_for", "url_of"]

_PROJECT_ENV = ("GOOGLE_CLOUD_PROJECT", "ANTHROPIC_VERTEX_PROJECT_ID", "GCLOUD_PROJECT")
_LOCATION_ENV = ("GOOGLE_CLOUD_LOCATION", "GOOGLE_CLOUD_REGION", "CLOUD_ML_REGION")
_SEVERAL = ("us", "eu")  # several regions, with hosts of their own


class Place(Struct, frozen=True):
    """The settings that decide a cloud provider's host and how its requests are authenticated."""

    provider: str
    region: str | None = None
    project: str | None = None
    credentials: Any = None
    """AWS: `Credentials`, a function that returns them, or a profile's name. Google Cloud: a file's path, or
    google-auth's own Credentials."""
    key: Key | None = None


def url_of(template: str, place: Place, environ: Mapping[str, str] | None = None) -> str:
    """A provider's base URL with its placeholders filled in.

    Raises ConfigError for a region, location or project that is missing or not valid, so that none of them can become
    another host or another path.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, str] = {}
    if "{region}" in template:
        values["region"] = _region(place, environ)
    if "{host}" in template:
        named = place.region or _first(environ, _LOCATION_ENV) or "global"
        location = checked("location", named, place.provider)
        values |= {"host": _google_host(location), "location": location, "project": _project(place, environ)}
    url = template.format(**values)
    return (
        url.replace(".amazonaws.com", ".amazonaws.com.cn")
        if values.get("region", "").startswith("cn-")
        else url
    )


def _region(place: Place, environ: Mapping[str, str]) -> str:
    from brainwires_provider.auth.aws import find_region

    region = find_region(place.region, environ)
    if region is None:
        raise ConfigError(
            f"{place.provider} has a host for each region: set AWS_REGION, or pass "
            f'ProviderConfig("{place.provider}", region=…)',
            provider=place.provider,
        )
    return checked("region", region, place.provider)


def _project(place: Place, environ: Mapping[str, str]) -> str:
    project = place.project or _first(environ, _PROJECT_ENV)
    if project is None:
        raise ConfigError(
            f"{place.provider} requires a Google Cloud project: set GOOGLE_CLOUD_PROJECT, or pass "
            f'ProviderConfig("{place.provider}", project=…)',
            provider=place.provider,
        )
    return checked("project", project, place.provider)


def _google_host(location: str) -> str:
    if location == "global":
        return "aiplatform.googleapis.com"
    if location in _SEVERAL:
        return f"aiplatform.{location}.rep.googleapis.com"
    return f"{location}-aiplatform.googleapis.com"


def _first(environ: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((environ[name].strip() for name in names if environ.get(name, "").strip()), None)


def auth_for(cloud: Cloud, place: Place, *, service: str, at_home: bool) -> Auth:
    """The authentication for a place. Without `at_home`, the base URL was given and its host is not the cloud's own.

    No bearer key from the environment is sent to such a host, and Google's tokens only if `credentials` were given as
    well. Raises ConfigError if a token would be sent to a host that it does not belong to.
    """
    if cloud == "google" and not at_home and place.credentials is None:
        raise ConfigError(
            "this base_url is not Google's, and Google's tokens are sent nowhere else: pass api_key= or credentials=",
            provider=place.provider,
        )
    return _made(cloud, place, service, at_home)


def _make(cloud: Cloud, place: Place, service: str, at_home: bool) -> Auth:
    if cloud == "google":
        from brainwires_provider.auth.google import GoogleAuth

        return GoogleAuth(place.credentials, any_host=not at_home)
    from brainwires_provider.auth.aws import BEARER_ENV, AWSAuth

    given: Any = place.credentials
    profile: str | None = None
    if isinstance(given, str):
        given, profile = None, given
    environ = os.environ if at_home else {k: v for k, v in os.environ.items() if k != BEARER_ENV}
    return AWSAuth(
        region=place.region,
        service=service,
        bearer=place.key,
        credentials=given,
        profile=profile,
        environ=environ,
        provider=place.provider,
    )


_made: Callable[[Cloud, Place, str, bool], Auth] = lru_cache(64)(_make)
