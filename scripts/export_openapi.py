"""Write both servers' OpenAPI documents to ``web/src/api``, for the types of the pages."""

import json
from pathlib import Path
from typing import Final

from fastapi import APIRouter

from market.app import DESCRIPTION as MARKET_DESCRIPTION
from market.http.routes import TAGS as MARKET_TAGS
from market.http.routes import router as market_router
from proxy.app import DESCRIPTION as PROXY_DESCRIPTION
from proxy.http.routes import TAGS as PROXY_TAGS
from proxy.http.routes import router as proxy_router
from scripts.stack.anvil_path import ROOT
from serving.http.document.app import DocumentedApp

FOLDER: Final = ROOT / "web" / "src" / "api"


def build_documents() -> dict[str, dict[str, object]]:
    """Return each server's document, by the server's name."""
    return {
        "proxy": _document("Current", PROXY_DESCRIPTION, PROXY_TAGS, "proxy.http", proxy_router),
        "market": _document(
            "Current market", MARKET_DESCRIPTION, MARKET_TAGS, "market.http", market_router
        ),
    }


def _document(
    title: str, description: str, tags: dict[str, str], examples: str, router: APIRouter
) -> dict[str, object]:
    app = DocumentedApp(
        title=title,
        description=description,
        tags=tags,
        examples=examples,
        lifespan=None,  # type: ignore[arg-type]  # never served
    )
    app.include_router(router)
    return app.openapi()


def main(folder: Path = FOLDER) -> None:
    """Write ``<server>.openapi.json`` for each server."""
    for server, document in build_documents().items():
        (folder / f"{server}.openapi.json").write_text(json.dumps(document), encoding="utf-8")


if __name__ == "__main__":
    main()
