"""The page that shows a server's document. All of its files come from this server.

Swagger's files are data of the package ``fastapi-offline``; the page's policy lets the browser load
and call nothing but this server.
"""

from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from fastapi.responses import FileResponse, HTMLResponse, Response

PAGE_PATH: Final = "/docs"
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        # Swagger's elements have styles of their own.
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_FILES: Final = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
}
_HEADERS: Final = {"x-content-type-options": "nosniff", "cache-control": "public, max-age=3600"}
_START: Final = """\
window.addEventListener("load", () => {
  SwaggerUIBundle({
    url: "openapi.json",
    dom_id: "#document",
    deepLinking: true,
    validatorUrl: null,
    presets: [SwaggerUIBundle.presets.apis],
    layout: "BaseLayout",
  });
});
"""
_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
<script src="docs/swagger-ui-bundle.js" defer></script>
<script src="docs/start.js" defer></script>
</head>
<body>
<main id="document"><noscript>This page needs JavaScript; <a href="openapi.json">the document
itself</a> does not.</noscript></main>
</body>
</html>
"""


@cache
def _get_folder() -> Path:
    return Path(str(files("fastapi_offline"))) / "static"


def build_page_router(title: str) -> APIRouter:
    """Return the routes of the page and of its files. They are not part of the document."""
    router = APIRouter(include_in_schema=False)
    page = _PAGE.format(title=escape(title))

    @router.get(PAGE_PATH)
    async def show_page() -> HTMLResponse:
        """Show the document."""
        return HTMLResponse(page, headers={**_HEADERS, "content-security-policy": POLICY})

    @router.get(PAGE_PATH + "/start.js")
    async def show_start() -> Response:
        """Hand out the script that opens the document."""
        return Response(_START, media_type="text/javascript", headers=_HEADERS)

    def add_file(name: str, media_type: str) -> None:
        @router.get(f"{PAGE_PATH}/{name}", name=name)
        async def show_file() -> FileResponse:
            """Hand out one of Swagger's files."""
            return FileResponse(_get_folder() / name, media_type=media_type, headers=_HEADERS)

    for name, media_type in _FILES.items():
        add_file(name, media_type)
    return router
