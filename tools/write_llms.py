"""Write docs/llms.txt: what the documentation has, for programs that read it (https://llmstxt.org).

    uv run python tools/write_llms.py            writes the file
    uv run python tools/write_llms.py --check    exits with 1 if it would change

The site's build copies the file to its root. Its links are relative, since the site has no address yet.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
DOCS = PROJECT / "docs"
FILE = DOCS / "llms.txt"


def first_sentence(page: str) -> str:
    """The first sentence of a page's first paragraph, without marks."""
    text = (DOCS / page).read_text(encoding="utf-8")
    text = re.sub(r"<!--.*?-->|^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    blocks = (" ".join(each.split()) for each in text.split("\n\n"))
    plain = next((each for each in blocks if each and not each.startswith(("#", "|", ":::", "-", "!["))), "")
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", plain)
    return re.split(r"(?<=[.:])\s", plain, maxsplit=1)[0].rstrip(":")


def lines(entries: list[dict[str, Any]]) -> Iterator[str]:
    """A link for each page; a section for each group."""
    for entry in entries:
        for name, value in entry.items():
            if isinstance(value, list):
                yield from ("", f"## {name}", "")
                yield from lines(value)
            else:
                about = first_sentence(value)
                yield f"- [{name}]({value.removesuffix('.md')}.html)" + (f": {about}" if about else "")


def written() -> str:
    """The file."""
    project = tomllib.loads((PROJECT / "zensical.toml").read_text(encoding="utf-8"))["project"]
    head = [f"# {project['site_name']}", "", f"> {project['site_description']}", "", "## Begin", ""]
    return "\n".join([*head, *lines(project["nav"])]) + "\n"


def main() -> int:
    """Write it, or compare."""
    text = written()
    if "--check" in sys.argv:
        return int(not FILE.exists() or FILE.read_text(encoding="utf-8") != text)
    FILE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
