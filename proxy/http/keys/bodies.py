"""Reading the bodies of requests for keys."""

from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from proxy.keys.tokens import KeyClaims
from proxy.services import Services
from serving.http.errors import bad_request
from serving.http.strict_json import parse_json_object

Body = TypeVar("Body", bound=BaseModel)


async def read(request: Request, services: Services, claims: KeyClaims, model: type[Body]) -> Body:
    """Return the body of a key's request; an empty one states nothing. Raises 400, 408, 413, 415.

    A body counts as JSON also where its content type does not say so.
    """
    raw = await services.read_body(request, claims)
    return parse(raw if raw else b"{}", model)


def parse(raw: bytes, model: type[Body]) -> Body:
    """Return a body as its model. Raises 400, naming the field."""
    parse_json_object(raw)
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        param = ".".join(str(part) for part in problem["loc"]) or None
        where = "" if param is None else f"'{param}': "
        message = where + problem["msg"].removeprefix("Value error, ")
        raise bad_request("invalid_request", message, param=param) from None
