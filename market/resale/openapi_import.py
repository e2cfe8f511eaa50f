"""Operations out of an OpenAPI 3.0 or 3.1 document, within bounds. Pure.

The document is untrusted. Its `servers`, security, callbacks and links are not looked at: where and
how an API is called is the connection's to say. A `$ref` may lead inside the document only, and
what it leads to counts; whatever refers to itself, is too deep or too large is refused.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

from market.resale.call_paths import PathRefused, parse_template
from market.resale.operations import (
    OPERATIONS_MAX,
    PLACES,
    SCHEMA_BYTES_MAX,
    TermsRefused,
    may_pass,
    measure,
)

PARAMETERS_SHOWN_MAX: Final = 200
DEPTH_MAX: Final = 24
NODES_MAX: Final = 50_000
TEXT_MAX: Final = 2_000_000
"""Characters of all that the references lead to, each time that they do."""
_DROPPED: Final = frozenset(
    {"servers", "security", "callbacks", "links", "externalDocs", "x-codeSamples"}
)
_WORDS: Final = frozenset({"description", "title", "example", "examples", "summary"})
_VERSIONS: Final = ("3.0", "3.1")


def import_openapi(document: Any, *, methods: Sequence[str]) -> list[dict[str, Any]]:
    """Return the document's operations as ``market.resale.operations`` reads them.

    Operations of other methods, and those whose path has a parameter that is not a whole segment,
    are left out. Raises ``TermsRefused``.
    """
    if not isinstance(document, Mapping):
        raise TermsRefused("must be an OpenAPI document", "openapi")
    version = str(document.get("openapi", ""))
    if not version.startswith(_VERSIONS):
        raise TermsRefused("must be an OpenAPI document of version 3.0 or 3.1", "openapi")
    paths = document.get("paths")
    if not isinstance(paths, Mapping):
        raise TermsRefused("has no 'paths'", "openapi")
    reader = _Reader(document)
    found: list[dict[str, Any]] = []
    for path, item in paths.items():
        entry = reader.resolve(item, 0, ())
        if not isinstance(entry, Mapping) or not _is_template(str(path)):
            continue
        for method in methods:
            operation = entry.get(method.lower())
            if isinstance(operation, Mapping):
                found.append(_read(str(path), method, operation, entry))
    if not 1 <= len(found) <= OPERATIONS_MAX:
        raise TermsRefused(
            f"must have 1 to {OPERATIONS_MAX} operations that can be sold", "openapi"
        )
    return found


def list_paths(document: Any) -> list[str]:
    """Return every path that the document has, of whatever method and whether it can be sold."""
    paths = document.get("paths") if isinstance(document, Mapping) else None
    return [str(path) for path in paths] if isinstance(paths, Mapping) else []


class _Reader:
    """Replaces references by what they lead to, and counts what that comes to."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._nodes = 0
        self._text = 0

    def resolve(self, value: Any, depth: int, open_refs: tuple[str, ...]) -> Any:
        self._nodes += 1
        if isinstance(value, str):
            self._text += len(value)
        elif isinstance(value, Mapping):
            self._text += sum(len(str(name)) for name in value)
        if depth > DEPTH_MAX or self._nodes > NODES_MAX or self._text > TEXT_MAX:
            raise TermsRefused("is too deep or too large", "openapi")
        if isinstance(value, Mapping):
            reference = value.get("$ref")
            if isinstance(reference, str):
                if reference in open_refs:
                    # A schema that holds itself: shown as anything.
                    return {}
                return self.resolve(self._find(reference), depth + 1, (*open_refs, reference))
            if reference is not None and not isinstance(reference, Mapping):
                raise TermsRefused("has a '$ref' that is no text", "openapi")
            return {
                str(name): self.resolve(inner, depth + 1, open_refs)
                for name, inner in value.items()
                if name not in _DROPPED
            }
        if isinstance(value, list):
            return [self.resolve(inner, depth + 1, open_refs) for inner in value]
        return value

    def _find(self, reference: str) -> Any:
        if not reference.startswith("#/"):
            raise TermsRefused("has a '$ref' that leads outside of the document", "openapi")
        found: Any = self._document
        for part in reference[2:].split("/"):
            name = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and name.isascii() and name.isdecimal() and len(name) < 6:
                if int(name) >= len(found):
                    raise TermsRefused("has a '$ref' that leads nowhere", "openapi")
                found = found[int(name)]
                continue
            if not isinstance(found, Mapping) or name not in found:
                raise TermsRefused("has a '$ref' that leads nowhere", "openapi")
            found = found[name]
        return found


def _is_template(path: str) -> bool:
    try:
        parse_template(path)
    except PathRefused:
        return False
    return True


def _read(
    path: str, method: str, operation: Mapping[str, Any], entry: Mapping[str, Any]
) -> dict[str, Any]:
    parameters = [
        one
        for group in (entry.get("parameters"), operation.get("parameters"))
        if isinstance(group, list)
        for one in group
        if isinstance(one, Mapping)
    ]
    headers = [str(one.get("name")).lower() for one in parameters if one.get("in") == "header"]
    return {
        "method": method,
        "path": path,
        "summary": str(operation.get("summary") or operation.get("operationId") or "")[:500],
        "query": sorted({str(one.get("name")) for one in parameters if one.get("in") == "query"}),
        "headers": sorted({one for one in headers if may_pass(one)}),
        "input_schema": _fit(_describe_input(operation, parameters)),
        "output_example": _fit(_find_example(operation)),
    }


def _fit(value: Any) -> Any:
    """Return a schema or an example as it is shown: a long one without words, or not at all."""
    if (measure(value) or SCHEMA_BYTES_MAX) < SCHEMA_BYTES_MAX:
        return value
    value = _strip(value)
    return value if (measure(value) or SCHEMA_BYTES_MAX) < SCHEMA_BYTES_MAX else None


def _strip(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            name: _strip(inner)
            for name, inner in value.items()
            if not (name in _WORDS and isinstance(inner, str | list))
        }
    return [_strip(inner) for inner in value] if isinstance(value, list) else value


def _describe_input(
    operation: Mapping[str, Any], parameters: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    described: dict[str, Any] = {
        "parameters": [
            {name: one[name] for name in ("name", "in", "required", "schema") if name in one}
            for one in parameters
            if one.get("in") in PLACES[:3]
            and isinstance(one.get("name"), str)
            and isinstance(one.get("schema", {}), Mapping | bool)
        ][:PARAMETERS_SHOWN_MAX]
    }
    body = operation.get("requestBody")
    content = body.get("content") if isinstance(body, Mapping) else None
    if isinstance(content, Mapping) and isinstance(content.get("application/json"), Mapping):
        schema = content["application/json"].get("schema", {})
        described["body"] = schema if isinstance(schema, Mapping | bool) else {}
    return described


def _find_example(operation: Mapping[str, Any]) -> Any:
    responses = operation.get("responses")
    answer = responses.get("200") if isinstance(responses, Mapping) else None
    content = answer.get("content") if isinstance(answer, Mapping) else None
    media = content.get("application/json") if isinstance(content, Mapping) else None
    return media.get("example") if isinstance(media, Mapping) else None
