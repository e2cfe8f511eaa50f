"""Reading and documenting the bodies of requests for keys."""

from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from proxy.services import Services
from serving.http.bodies import read_body
from serving.http.errors import bad_request
from serving.http.strict_json import parse_json_object

Body = TypeVar("Body", bound=BaseModel)


def body_of(*models: type[BaseModel], required: bool = True) -> dict[str, Any]:
    schemas = [model.model_json_schema() for model in models]
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    content = {"application/json": {"schema": schema}}
    return {"requestBody": {"required": required, "content": content}}


async def read(request: Request, services: Services, model: type[Body]) -> Body:
    # Read by hand: a body counts as JSON also where its content type does not say so.
    raw = await read_body(request.scope, request.receive, services)
    return parse(raw if raw else b"{}", model)


def parse(raw: bytes, model: type[Body]) -> Body:
    parse_json_object(raw)
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        param = ".".join(str(part) for part in problem["loc"]) or None
        where = "" if param is None else f"'{param}': "
        message = where + problem["msg"].removeprefix("Value error, ")
        raise bad_request("invalid_request", message, param=param) from None
