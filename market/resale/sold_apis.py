"""What is on sale, as strangers and catalogues of x402 read it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import orjson

from contracts.units import format_usdc
from market.resale.candidates import Candidate
from market.resale.operations import Operation
from market.resale.samples import make_sample, read_parameter

HEADER_BYTES_MAX: Final = 3_000
"""Of the extensions of a 402: they go in a header, and clients read 16 KB of headers in all."""
IDENTIFIER_RULE: Final = "^[A-Za-z0-9_-]{16,128}$"
_BODIES: Final = ("POST", "PUT", "PATCH")


def describe_call(candidate: Candidate) -> str:
    """Return a 402's description of what is sold."""
    operation = candidate.operation
    words = operation.summary or operation.name
    return f"{words[:200]} ({candidate.connection.name}); what it costs less stays credit"


def build_extensions(candidate: Candidate) -> dict[str, Any]:
    """Return the extensions of a 402: how the call is made, for catalogues (`bazaar`)."""
    operation, parameters = candidate.operation, candidate.parameters
    full = describe_discovery(operation, parameters)
    shorter = (
        full,
        describe_discovery(replace(operation, output_example=None), parameters),
        describe_discovery(replace(operation, output_example=None, input_schema=None), parameters),
        describe_discovery(
            replace(operation, output_example=None, input_schema=None, query=None), {}
        ),
    )
    shown = next(
        (one for one in shorter if len(orjson.dumps(one, default=str)) <= HEADER_BYTES_MAX),
        {"info": {"input": {"type": "http", "method": operation.method}}, "schema": {}},
    )
    return {
        "bazaar": shown,
        "payment-identifier": {
            "info": {"required": False},
            "schema": {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "type": "object",
                "properties": {
                    "required": {"type": "boolean"},
                    "id": {"type": "string", "pattern": IDENTIFIER_RULE},
                },
                "required": ["required"],
            },
        },
    }


def describe_discovery(
    operation: Operation, parameters: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return an operation as the extension `bazaar` has it: an example, and its schema."""
    stated = operation.input_schema if isinstance(operation.input_schema, Mapping) else {}
    listed = [one for one in stated.get("parameters", ()) if isinstance(one, Mapping)]
    query = {
        str(one["name"]): one.get("schema") or {"type": "string"}
        for one in listed
        if one.get("in") == "query" and "name" in one
    } or {name: {"type": "string"} for name in sorted(operation.query or ())}
    path = {name: _find_schema(listed, name) for name in operation.template.parameters}
    example: dict[str, Any] = {"type": "http", "method": operation.method}
    properties: dict[str, Any] = {
        "type": {"type": "string", "const": "http"},
        "method": {"type": "string", "enum": [operation.method]},
    }
    if operation.method in _BODIES:
        body, sample = _exemplify(stated.get("body"), otherwise=({"type": "object"}, {}))
        example |= {"bodyType": "json", "body": sample}
        properties["bodyType"] = {"type": "string", "enum": ["json", "form-data", "text"]}
        properties["body"] = body
    if query:
        example["queryParams"] = {}
        properties["queryParams"] = {"type": "object", "properties": query}
    if path:
        shown = {
            name: _exemplify(schema, otherwise=({"type": "string"}, ""))
            for name, schema in path.items()
        }
        example["pathParams"] = {name: sample for name, (_, sample) in shown.items()}
        if parameters:
            example["pathParams"] = {
                name: read_parameter(text, shown[name][0]) for name, text in parameters.items()
            }
        path = {name: schema for name, (schema, _) in shown.items()}
        properties["pathParams"] = {"type": "object", "properties": path}
    info: dict[str, Any] = {"input": example}
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "input": {
                "type": "object",
                "properties": properties,
                "required": ["type", "method"],
                "additionalProperties": False,
            }
        },
        "required": ["input"],
    }
    if operation.output_example is not None:
        info["output"] = {"type": "json", "example": operation.output_example}
        schema["properties"]["output"] = {"type": "object"}
    return {"info": info, "schema": schema}


def _exemplify(schema: Any, *, otherwise: tuple[Any, Any]) -> tuple[Any, Any]:
    """Return a schema and an example that it lets through: catalogues refuse what disagrees."""
    try:
        return schema, make_sample(schema)
    except LookupError:
        return otherwise


def _find_schema(listed: list[Mapping[str, Any]], name: str) -> Any:
    for one in listed:
        if one.get("in") == "path" and one.get("name") == name:
            return one.get("schema") or {"type": "string"}
    return {"type": "string"}


def build_openapi(name: str, url: str, offered: Sequence[Candidate]) -> dict[str, Any]:
    """Return the OpenAPI document of what is sold under a name, with each call's price."""
    paths: dict[str, dict[str, Any]] = {}
    for one in offered:
        operation, price = one.operation, one.price
        stated = operation.input_schema if isinstance(operation.input_schema, Mapping) else {}
        listed = [item for item in stated.get("parameters", ()) if isinstance(item, Mapping)]
        named = {item.get("name") for item in listed}
        parameters = listed + [
            {"name": found, "in": "path", "required": True, "schema": {"type": "string"}}
            for found in operation.template.parameters
            if found not in named
        ]
        parameters += [
            {"name": found, "in": "query", "required": False, "schema": {"type": "string"}}
            for found in sorted(operation.query or ())
            if found not in named
        ]
        described: dict[str, Any] = {
            "summary": operation.summary or operation.name,
            "operationId": operation.name,
            "parameters": parameters,
            "responses": {
                "200": {"description": "the API's own answer"},
                "402": {"description": "what to pay, by x402 or with a key's credit"},
            },
            "x-price-usdc": price.ceiling_usdc,
            "x-payment-info": {
                "protocols": ["x402"],
                "pricingMode": "fixed",
                "price": format_usdc(price.ceiling_usdc),
            },
        }
        if operation.method in _BODIES:
            schema = stated.get("body") or {"type": "object"}
            described["requestBody"] = {"content": {"application/json": {"schema": schema}}}
        paths.setdefault(operation.template.text, {})[operation.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": name, "version": "1"},
        "servers": [{"url": url}],
        "components": {
            "securitySchemes": {"buyerKey": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"buyerKey": []}, {}],
        "paths": paths,
    }
