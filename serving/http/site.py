"""A server's pages: files that were built before, held in memory, served with the pages' policy.

::

    <package>/site/
        site.json             which paths are pages
        index.html            what every page's path answers; the script there draws the page
        assets/<name>-<hash>  scripts and styles; their content decides their name
        *.br, *.gz            each file again, compressed at build

The framework is not asked, and no limit of requests counts a page's files: they are in memory.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Final

import orjson
from starlette.types import Receive, Scope

from serving.http.answers import Answer
from serving.http.bodies import find_header
from serving.http.front import Dispatch, Lean

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
FOREVER: Final = "public, max-age=31536000, immutable"
ASK_AGAIN: Final = "no-cache"

_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_ENCODINGS: Final = (("br", ".br"), ("gzip", ".gz"))
"""What is made at build, the smaller first."""
_SHELL: Final = "index.html"
_PARAMETER: Final = re.compile(r"\\\{\w+\\\}")


@dataclass(frozen=True, slots=True)
class SiteFile:
    """One file in all its encodings. ``bodies`` has it plain under ``""``."""

    media_type: str
    cache_control: str
    bodies: Mapping[str, bytes]
    tag: str

    def answer(self, accepted: str, known_tags: str) -> Answer:
        """Return the file as a client takes it: 304 where the client has it already."""
        encoding = choose_encoding(accepted, self.bodies)
        tag = f'"{self.tag}{"-" if encoding else ""}{encoding}"'
        headers = {
            "content-type": self.media_type,
            "cache-control": self.cache_control,
            "etag": tag,
            "vary": "accept-encoding",
            "content-security-policy": POLICY,
            "cross-origin-opener-policy": "same-origin-allow-popups",
            "referrer-policy": "no-referrer",
        }
        if encoding:
            headers["content-encoding"] = encoding
        if is_known(tag, known_tags):
            return Answer(304, headers, b"")
        return Answer(200, headers, self.bodies[encoding])


def choose_encoding(accepted: str, available: Mapping[str, bytes]) -> str:
    """Return the best encoding that a client takes; "" for none. ``accepted``: its header."""
    qualities: dict[str, bool] = {}
    for part in accepted.lower().split(","):
        name, _, parameters = part.partition(";")
        quality = parameters.replace(" ", "").removeprefix("q=")
        qualities[name.strip()] = re.fullmatch(r"0(\.0{0,3})?", quality) is None
    for encoding, _ in _ENCODINGS:
        if encoding in available and qualities.get(encoding, qualities.get("*", False)):
            return encoding
    return ""


def is_known(tag: str, known_tags: str) -> bool:
    """Tell whether ``If-None-Match`` names a tag, compared weakly (RFC 9110, 13.1.2)."""
    known = {part.strip().removeprefix("W/") for part in known_tags.split(",")}
    return "*" in known or tag in known


class Site:
    """The pages of one server."""

    def __init__(self, assets: Mapping[str, SiteFile], shell: SiteFile, paths: list[str]) -> None:
        self._assets = assets
        self._shell = shell
        patterns = (_PARAMETER.sub("[^/]+", re.escape(path)) for path in paths)
        self._pages = re.compile("|".join(patterns))

    def find(self, path: str) -> SiteFile | None:
        """Return what a path answers; None where it is no page and no file of a page."""
        if self._pages.fullmatch(path):
            return self._shell
        return self._assets.get(path)

    def dispatch_before(self, dispatch: Dispatch) -> Dispatch:
        """Return a dispatch that serves the pages, and leaves all else to ``dispatch``."""

        def find(scope: Scope) -> Lean | None:
            found = self.find(scope["path"]) if scope["method"] in ("GET", "HEAD") else None
            return dispatch(scope) if found is None else _serve(found)

        return find


def _serve(file: SiteFile) -> Lean:
    async def serve(scope: Scope, receive: Receive, request_id: str) -> Answer:
        del receive, request_id
        accepted = find_header(scope, b"accept-encoding") or ""
        return file.answer(accepted, find_header(scope, b"if-none-match") or "")

    return serve


def load_site(package: str) -> Site | None:
    """Return the pages that were built into a package; None where none were built."""
    return read_site(Path(str(files(package))) / "site")


def read_site(folder: Path) -> Site | None:
    """Return the pages in a folder; None where there is no ``site.json``."""
    try:
        described = orjson.loads((folder / "site.json").read_bytes())
    except FileNotFoundError:
        return None
    shell = _read_file(folder / _SHELL, ASK_AGAIN)
    assets = {
        f"/{path.relative_to(folder).as_posix()}": _read_file(path, FOREVER)
        for path in sorted((folder / "assets").iterdir())
        if path.suffix in _TYPES
    }
    return Site(assets, shell, described["pages"])


def _read_file(path: Path, cache_control: str) -> SiteFile:
    bodies = {"": path.read_bytes()}
    for encoding, suffix in _ENCODINGS:
        compressed = path.with_name(path.name + suffix)
        if compressed.exists():
            bodies[encoding] = compressed.read_bytes()
    tag = sha256(bodies[""]).hexdigest()[:20]
    return SiteFile(_TYPES[path.suffix], cache_control, bodies, tag)
