"""What the framework cannot see of an operation, and the finishing of its document. Pure.

Bodies of requests are read by hand and answers are often written by hand, so each operation states
their models by the functions below. ``finish`` then does for every operation what would be
forgotten for some: units, summaries, headers, and examples that are recorded answers.
"""

import functools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel

Document = dict[str, Any]
Examples = Mapping[str, Mapping[str, Any]]
"""Recorded bodies: operation id -> "request", an answer's status or, where its body is no JSON, its
status and media type -> body."""

EVENTS: Final = "text/event-stream"
CSV: Final = "text/csv"
JSON: Final = "application/json"

_STANDS_FOR: Final = "x-stands-for"
_MODELS: Final[dict[str, type[BaseModel]]] = {}
"""The models that routes have stated, by their full names."""
_REF: Final = "#/components/schemas/"
_VALIDATION_MODELS: Final = ("HTTPValidationError", "ValidationError")
_UNITS: Final = tuple(
    (re.compile(pattern), unit)
    for pattern, unit in (
        (r"usdc_per_mtok(_max)?$", "1e-6 USDC per 1e6 tokens"),
        (r"usdc(_max|_per_request|_per_million)?$", "1e-6 USDC"),
        (r"usd$", "US dollars"),
        (r"^(max_)?price_.*per_1m$", "US dollars per 1e6 tokens"),
        (r"^price_per_unit$", "US dollars for each `unit`"),
        (r"_bps$", "1/10,000"),
        (r"_pct$", "per cent"),
        (r"_at_s$", "Unix seconds"),
        (r"_ms$|^timestamp$", "milliseconds"),
        (r"_s(_max)?$", "seconds"),
        (r"tokens(_max|_bound|_applied|_requested)?$", "tokens"),
        (r"_blocks$", "blocks"),
        (r"_rpm$|_per_minute_max$", "requests in a minute"),
    )
)
_TIME: Final = re.compile(r"_(at|until|before|from|to)$")


def name_operation(name: str) -> str:
    """Return an operation's id in the document: ``create_offer`` is ``createOffer``."""
    head, *rest = re.split(r"[_/]", name)
    return head + "".join(part.capitalize() for part in rest)


def schema_of(model: type[BaseModel]) -> Document:
    """Return what stands for a model's schema until the document is finished.

    A hundred routes state the same error: the framework would check and copy the whole schema at
    each place.
    """
    key = f"{model.__module__}.{model.__qualname__}"
    _MODELS[key] = model
    return {_STANDS_FOR: key}


@functools.cache
def _write_schema(key: str) -> str:
    model = _MODELS[key]
    schema = model.model_json_schema(ref_template=_REF + "{model}")
    return json.dumps({**schema, _STANDS_FOR: model.__name__})


def one_of(*models: type[BaseModel], media_type: str = JSON) -> Document:
    """Return the content of a body that is one of these models."""
    schemas = [schema_of(model) for model in models]
    return {media_type: {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}}


def body_of(*models: type[BaseModel], required: bool = True, media_type: str = JSON) -> Document:
    """Return ``openapi_extra`` for a route whose body is one of these models."""
    content = one_of(*models, media_type=media_type)
    return {"requestBody": {"required": required, "content": content}}


def events_of(model: type[BaseModel]) -> Document:
    """Return the content of an answer that streams: each event's data is one of this model."""
    return {EVENTS: {"schema": {"type": "string"}, "itemSchema": schema_of(model)}}


def text_of(media_type: str) -> Document:
    """Return the content of an answer that is plain text of some kind."""
    return {media_type: {"schema": {"type": "string"}}}


def bytes_of(media_type: str) -> Document:
    """Return the content of an answer that is not text."""
    return {media_type: {"schema": {"type": "string", "format": "binary"}}}


def table_of_lines(columns: tuple[str, ...]) -> Document:
    """Return the answer of a route that lists as CSV, first the names of these columns."""
    return {"description": f"CSV with a header line: {', '.join(columns)}", "content": text_of(CSV)}


def finish(document: Document, examples: Examples) -> Document:
    """Return the framework's document with everything that the framework does not know."""
    schemas: Document = document.setdefault("components", {}).setdefault("schemas", {})
    for name in _VALIDATION_MODELS:
        schemas.pop(name, None)
    for operation in operations_of(document):
        _drop_validation(operation)
        _split_summary(operation)
        _add_headers(operation)
    document["paths"] = _lift(document["paths"], schemas)
    for name in sorted(schemas):
        _tidy(schemas[name], name)
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    for operation in operations_of(document):
        for parameter in operation.get("parameters", ()):
            parameter["schema"].pop("title", None)
            _note_unit(parameter["name"], parameter["schema"], parameter)
        _add_examples(operation, examples.get(operation["operationId"], {}))
    return document


def operations_of(document: Document) -> Iterator[Document]:
    """Return every operation of a document."""
    for path in document["paths"].values():
        yield from path.values()


def _drop_validation(operation: Document) -> None:
    """Drop the framework's own answer to wrong parameters: they are answered with 400."""
    found = operation["responses"].get("422")
    if found is not None and "HTTPValidationError" in str(found):
        del operation["responses"]["422"]


def _split_summary(operation: Document) -> None:
    """Make the first sentence of a description the summary."""
    text = " ".join(operation.get("description", "").split())
    first, dot, rest = text.partition(". ")
    operation["summary"] = first.rstrip(".")
    if dot:
        operation["description"] = rest
    else:
        operation.pop("description", None)


def _add_headers(operation: Document) -> None:
    for status, response in operation["responses"].items():
        headers = response.setdefault("headers", {})
        headers.setdefault(
            "x-request-id",
            {"description": "what to ask about this request by", "schema": {"type": "string"}},
        )
        if status in ("429", "503"):
            headers.setdefault(
                "retry-after",
                {"description": "seconds, where waiting helps", "schema": {"type": "integer"}},
            )


def _lift(value: Any, schemas: Document) -> Any:
    """Return ``value`` with references for what stands for schemas, which go to ``schemas``."""
    if isinstance(value, list):
        return [_lift(item, schemas) for item in value]
    if not isinstance(value, dict):
        return value
    key = value.get(_STANDS_FOR)
    if key is None:
        return {name: _lift(item, schemas) for name, item in value.items()}
    schema = _drop_nulls(json.loads(_write_schema(key)))
    name = schema.pop(_STANDS_FOR)
    for of, found in {**schema.pop("$defs", {}), name: schema}.items():
        if "$ref" not in found:
            schemas.setdefault(of, found)
    return {"$ref": _REF + name}


def _drop_nulls(value: Any) -> Any:
    """Return a schema without defaults that are null, which the framework leaves out as well."""
    if isinstance(value, list):
        return [_drop_nulls(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _drop_nulls(item) for key, item in value.items() if item is not None}


def _tidy(schema: Any, name: str) -> None:
    """Give each property of a model its unit; drop the titles that only repeat the names."""
    if not isinstance(schema, dict):
        return
    schema.pop("title", None)
    if "description" in schema:
        schema["description"] = " ".join(schema["description"].split())
    for field, inner in schema.get("properties", {}).items():
        _tidy(inner, field)
        _note_unit(field, inner, inner)
    for key in ("items", "additionalProperties", "propertyNames"):
        _tidy(schema.get(key), name)
    for key in ("anyOf", "oneOf", "allOf"):
        for inner in schema.get(key, ()):
            _tidy(inner, name)


def _note_unit(name: str, schema: Document, described: Document) -> None:
    """Say the unit of a number in its description. Its name decides: see ``_UNITS``."""
    kinds = {schema.get("type")} | {one.get("type") for one in schema.get("anyOf", ())}
    if not kinds & {"integer", "number", "string"}:
        return
    is_number = bool(kinds & {"integer", "number"})
    unit = next((unit for pattern, unit in _UNITS if is_number and pattern.search(name)), None)
    if unit is None and _TIME.search(name) is not None:
        unit = "Unix seconds" if is_number else "ISO 8601, UTC"
    text = described.get("description", "")
    if unit is not None and unit not in text:
        described["description"] = f"{text} ({unit})" if text else unit


def _add_examples(operation: Document, recorded: Mapping[str, Any]) -> None:
    for key, body in recorded.items():
        status, _, media_type = key.partition(" ")
        stated = operation["requestBody"] if key == "request" else operation["responses"][status]
        if body is not None:
            stated["content"][media_type or JSON]["example"] = body
