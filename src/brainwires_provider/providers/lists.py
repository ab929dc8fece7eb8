"""Where rows list their models, whose lists are not below their base URLs: makers of the list's base URL from that.

A base URL of another form, such as a gateway's, is left as it is: the list is then looked for below it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["control_plane", "publisher_list", "up_from"]

_PUBLISHER = re.compile(r"/v1/(?:projects/[^/]+/locations/[^/]+/)?(publishers/[^/]+)$")


def control_plane(url: str) -> str:
    """Of Bedrock's runtime the control plane, in the same region."""
    return url.replace("://bedrock-runtime", "://bedrock", 1)


def publisher_list(url: str) -> str:
    """Of a Vertex AI publisher in a project the publisher itself: its list is in no project, and in v1beta1 only."""
    return _PUBLISHER.sub(r"/v1beta1/\1", url)


def up_from(end: str, start: str = "") -> Callable[[str], str]:
    """Of a URL that ends in `end` the one before it, with `start` after it."""
    return lambda url: url.removesuffix(end) + start if url.endswith(end) else url
