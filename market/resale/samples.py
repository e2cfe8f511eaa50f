"""Examples of what a JSON schema lets through, for catalogues that hold one to the other."""

from collections.abc import Mapping
from typing import Any, Final

_BY_TYPE: Final = {"string": "", "boolean": False, "null": None}
_UNREADABLE: Final = frozenset(
    {"pattern", "format", "allOf", "anyOf", "oneOf", "not", "$ref", "minProperties", "multipleOf"}
)
DEEPEST: Final = 24


def make_sample(schema: Any, *, depth: int = 0) -> Any:
    """Return an example: the schema's own, else the least that it lets through.

    Raises ``LookupError`` where the schema says more than is read here and gives no example.
    """
    if not isinstance(schema, Mapping) or depth > DEEPEST:
        raise LookupError("no schema that is read here")
    for name in ("example", "default", "const"):
        if name in schema:
            return schema[name]
    for name in ("examples", "enum"):
        if isinstance(stated := schema.get(name), list) and stated:
            return stated[0]
    if _UNREADABLE & schema.keys():
        raise LookupError("no example of this schema")
    kind = schema.get("type", "object" if "properties" in schema else None)
    if kind == "object":
        known = schema.get("properties") or {}
        needed = schema.get("required") or ()
        return {name: make_sample(known.get(name), depth=depth + 1) for name in needed}
    if kind == "array":
        if (least := schema.get("minItems", 0)) > 1:
            raise LookupError("no example of so many items")
        return [make_sample(schema.get("items"), depth=depth + 1)] if least else []
    if kind in ("integer", "number"):
        return schema.get("minimum", schema.get("maximum", 1))
    if kind in _BY_TYPE and not schema.get("minLength"):
        return _BY_TYPE[kind]
    raise LookupError("no example of this schema")


def read_parameter(text: str, schema: Any) -> Any:
    """Return a path's part as its schema has it: a number where it says so."""
    is_whole = isinstance(schema, Mapping) and schema.get("type") == "integer"
    return int(text) if is_whole and text.isdecimal() and len(text) < 19 else text
