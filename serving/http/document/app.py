"""A FastAPI application with a finished document, whose page needs no other host."""

import json
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from importlib.resources import files
from typing import Any, Protocol, cast

from fastapi import FastAPI
from fastapi.routing import APIRoute

from serving.http.document.page import build_page_router
from serving.http.document.writing import Examples, finish, name_operation


class Lifespan(Protocol):
    """What runs around an application's serving."""

    def __call__(self, app: FastAPI) -> AbstractAsyncContextManager[None]:
        """Return the context that the application serves in."""
        ...


class DocumentedApp(FastAPI):
    """The ordinary routes of a server, with ``/openapi.json`` and ``/docs``.

    ``tags`` maps the routes' tags to what they are about, in the order of the page.
    ``examples`` names a package whose ``examples.json`` has recorded answers.
    """

    def __init__(
        self,
        *,
        title: str,
        description: str,
        tags: Mapping[str, str],
        examples: str,
        lifespan: Lifespan,
    ) -> None:
        super().__init__(
            title=title,
            description=description,
            version="1",
            openapi_tags=[{"name": name, "description": text} for name, text in tags.items()],
            docs_url=None,
            redoc_url=None,
            # It would send a key on to http:// where something in front of us speaks https.
            redirect_slashes=False,
            separate_input_output_schemas=False,
            generate_unique_id_function=name_route,
            lifespan=lifespan,
        )
        self._examples = examples
        self._document: dict[str, Any] | None = None
        self.include_router(build_page_router(title))

    def openapi(self) -> dict[str, Any]:
        """Return the document; it is written once."""
        if self._document is None:
            self._document = finish(super().openapi(), load_examples(self._examples))
        return self._document


def name_route(route: APIRoute) -> str:
    """Return the id of a route's operation."""
    return name_operation(route.name)


def load_examples(package: str) -> Examples:
    """Return the recorded answers of a package."""
    text = files(package).joinpath("examples.json").read_text(encoding="utf-8")
    return cast(Examples, json.loads(text))
