"""Functions from a provider's base URL to the base URL of its model list, where the two differ.

A base URL of another form, such as a gateway's, is returned unchanged: its list is then requested below it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["control_plane", "project_list", "publisher_list", "up_from"]

_PUBLISHER = re.compile(r"/v1/(?:projects/[^/]+/locations/[^/]+/)?(publishers/[^/]+)$")
_PROJECT = re.compile(r"/v1beta1/projects/[^/]+/locations/[^/]+$")


def control_plane(url: str) -> str:
    """Amazon Bedrock: from the runtime's host to the control plane's, in the same region."""
    return url.replace("://bedrock-runtime", "://bedrock", 1)


def publisher_list(url: str) -> str:
    """Vertex AI: from a publisher within a project to the publisher itself, whose list exists in v1beta1 only."""
    return _PUBLISHER.sub(r"/v1beta1/\1", url)


def project_list(url: str) -> str:
    """Vertex AI: from a location of a project to the publisher google, whose models are listed in no project."""
    return _PROJECT.sub("/v1beta1/publishers/google", url)


def up_from(end: str, start: str = "") -> Callable[[str], str]:
    """A function that replaces the suffix `end` of a URL by `start`."""
    return lambda url: url.removesuffix(end) + start if url.endswith(end) else url
