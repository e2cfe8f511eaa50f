"""What the documents mean on GitHub and MkDocs reads otherwise: links to sources, and anchors.

Links that lead out of ``docs/`` name files of the repository, which a site does not have: their
words stay, as code. Headings are found by the names that GitHub gives them.
"""

import re
from typing import Any

_OUTWARD = re.compile(r"\[([^\]]+)\]\((?:\.\./)+(?:[\w.-]+/)*[\w.-]+\)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Turn links out of ``docs/`` into code."""
    depth = page.file.src_uri.count("/")

    def change(found: re.Match[str]) -> str:
        climbs = found.group().partition("](")[2].count("../")
        return found.group() if climbs <= depth else f"`{found.group(1).strip('`')}`"

    return _OUTWARD.sub(change, markdown)


def on_config(config: Any) -> Any:
    """Name headings as GitHub does."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = slugify
    return config


def slugify(text: str, separator: str) -> str:
    """Return a heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", separator)
