"""JSON schemas in requests: the keywords that providers build on. Pure."""

from typing import Any, Final

from serving.http.errors import wrong_type

_TYPES: Final = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})


def validate_schema(schema: dict[str, Any], where: str) -> None:
    """Check the keywords of a JSON schema that are built on; unknown keywords pass.

    A keyword that is null counts as absent. Raises ``RequestRejected`` (400), naming the place.
    """
    kinds = schema.get("type")
    listed = kinds if isinstance(kinds, list) else [kinds]
    if kinds is not None and not all(isinstance(kind, str) and kind in _TYPES for kind in listed):
        raise wrong_type(f"{where}.type", "a type of JSON schema")
    if schema.get("enum") is not None and not isinstance(schema["enum"], list):
        raise wrong_type(f"{where}.enum", "a list")
    required = schema.get("required")
    if required is not None and not is_strings(required):
        raise wrong_type(f"{where}.required", "a list of strings")
    for name in ("properties", "$defs", "definitions", "patternProperties"):
        inner = schema.get(name)
        if inner is None:
            continue
        if not isinstance(inner, dict):
            raise wrong_type(f"{where}.{name}", "an object")
        for key, value in inner.items():
            _validate_subschema(value, f"{where}.{name}.{key[:64]}")
    for name in ("items", "additionalProperties", "not"):
        if name == "items" and isinstance(schema.get(name), list):
            continue  # of a tuple, in older drafts: checked as a list below
        if schema.get(name) is not None:
            _validate_subschema(schema[name], f"{where}.{name}")
    for name in ("anyOf", "oneOf", "allOf", "prefixItems", "items"):
        inner = schema.get(name)
        if inner is None or (name == "items" and not isinstance(inner, list)):
            continue
        if not isinstance(inner, list):
            raise wrong_type(f"{where}.{name}", "a list")
        for index, value in enumerate(inner):
            _validate_subschema(value, f"{where}.{name}[{index}]")


def _validate_subschema(schema: Any, where: str) -> None:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise wrong_type(where, "a JSON schema: an object, true or false")
    validate_schema(schema, where)


def is_strings(value: Any) -> bool:
    """Tell whether a value is a list of strings."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
