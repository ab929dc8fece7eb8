"""One planted key: how a server may repeat it, and how to find it in what a client shows, by other means than ours."""

from __future__ import annotations

import copy
import functools
import json
import pickle
import re
import traceback
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Iterator
from html import escape
from typing import Any
from urllib.parse import quote, unquote

from brainwires_provider import ProviderError
from brainwires_provider.testing import Answer

KEY = "sk-planted/key+0123456789~'<&abc\\de=f"

FORMS = {
    "plain": KEY,
    "base64": b64encode(KEY.encode()).decode(),
    "base64 of a header": b64encode(f"Authorization: Bearer {KEY}, and more".encode()).decode(),
    "base64, shifted": urlsafe_b64encode(f"ab{KEY}".encode()).decode(),
    "percent": quote(KEY, safe=""),
    "percent, lower case": quote(KEY).lower(),
    "percent, every character": "".join(f"%{byte:02X}" for byte in KEY.encode()),
    "percent, twice": quote(quote(KEY, safe=""), safe=""),
    "base64 in percent": quote(b64encode(KEY.encode()).decode(), safe=""),
    "JSON": json.dumps(KEY)[1:-1],
    "HTML": escape(KEY),
    "in a URL": f"https://host.example/v1?key={quote(KEY)}&v=1",
}
ECHO = " | ".join(FORMS.values())


def leaks(*texts: str) -> list[str]:
    """Every place of the texts that gives the key away, or a good part of it."""
    text = "\n".join(dict.fromkeys(texts))
    found = []
    for _ in range(3):
        found += [text[max(0, m.start() - 30) : m.end() + 30] for m in re.finditer(re.escape(KEY[:10]), text)]
        found += filter(_hides_key, re.findall(r"[A-Za-z0-9+/_-]{12,}", text))
        text = unquote(text)
    return found


@functools.lru_cache(100_000)
def _hides_key(run: str) -> bool:
    """Whether a word is base64 of a text with a part of the key; the same words come in most texts."""
    plain = (run[shift:].translate({45: 43, 95: 47}) for shift in range(4))
    return any(KEY[4:12].encode() in b64decode(text + "A" * (-len(text) % 4)) for text in plain)


def shown(value: Any, depth: int = 4) -> Iterator[str]:
    """The texts that can be reached from a value: its repr, and those of what it holds, which a repr may omit."""
    yield f"{value!r} {value}"
    if depth and not isinstance(value, (str, bytes, int, float, type(None))):
        inner = (
            value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
        )
        fields = (getattr(value, name) for name in getattr(value, "__struct_fields__", ()))
        for each in (*inner, *fields, *getattr(value, "__dict__", {}).values()):
            yield from shown(each, depth - 1)


def shown_by(error: ProviderError) -> Iterator[str]:
    """All texts of an error: its own, its copies', those of the errors before it, and its traceback's."""
    for each in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        yield f"{each!r} {each} {vars(each)} {each.args}"
    yield from shown(error)
    yield pickle.dumps(error, 0).decode("ascii", "replace")
    yield "".join(traceback.format_exception(error))
    for before in (error.__cause__, error.__context__):
        if isinstance(before, ProviderError):
            yield from shown_by(before)
        elif before is not None:
            yield from shown(before)


def _no(status: int, body: Any, **headers: str) -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, data)


_FIELDS = {"message": ECHO, "code": ECHO, "type": ECHO, "status": ECHO, "details": [{ECHO: [ECHO, 1]}]}
_HEADERS = dict.fromkeys(
    ("x_request_id", "request_id", "x_amzn_requestid", "retry_after", "x_odd", "server"), ECHO
)

ROUTES: dict[str, Answer] = {
    "fields of an error": _no(401, {"error": _FIELDS}),
    "fields of a body": _no(400, _FIELDS | {"__type": ECHO, "detail": [{"loc": [ECHO], "msg": ECHO}]}),
    "an error as text": _no(403, {"error": ECHO}),
    "a text": _no(500, ECHO.encode()),
    "a text that is cut": _no(404, b"x" * 100 + KEY.encode()),
    "base64 that is cut": _no(404, b"x" * 80 + b" " + FORMS["base64 of a header"].encode()),
    "a page": _no(502, f"<html><title>{ECHO}</title>".encode(), content_type="text/html"),
    "headers": _no(429, {"error": {"message": "no"}}, **_HEADERS),
    "a content type": _no(200, b"", content_type=ECHO),
    "a redirect": _no(307, b"", location=f"https://host.example/{FORMS['percent']}?key={KEY}"),
    "a redirect to a host": _no(308, b"", location=f"https://{FORMS['percent']}/"),
    "a reason": Answer(raw=f"HTTP/1.1 401 {KEY}\r\nContent-Length: 0\r\n\r\n".encode()),
    "no HTTP": Answer(raw=f"{KEY}\r\n\r\n".encode()),
    "a header that is none": Answer(raw=f"HTTP/1.1 200 OK\r\n{KEY} is wrong\r\n\r\n".encode()),
    "an error under 200": _no(200, {"error": _FIELDS}, **_HEADERS),
    "no JSON": _no(200, ECHO.encode(), **_HEADERS),
    "JSON of another shape": _no(200, {"id": {ECHO: 1}, "choices": ECHO, "output": ECHO, "message": ECHO}),
    "JSON that is cut": _no(200, json.dumps({"id": ECHO}).encode()[:-2]),
    "an error in a stream": Answer(
        headers={"content-type": "text/event-stream", "x-request-id": ECHO},
        body=b"data: " + json.dumps({"type": "error", "error": _FIELDS, "message": ECHO}).encode() + b"\n\n",
    ),
    "an error in NDJSON": Answer(
        headers={"content-type": "application/x-ndjson"}, body=json.dumps({"error": ECHO}).encode() + b"\n"
    ),
    "no event": Answer(headers={"content-type": "text/event-stream"}, body=f"data: {ECHO}\n\n".encode()),
}
"""By what a server repeats the key."""
