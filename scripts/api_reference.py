"""A server's OpenAPI document as a page: each route with its fields and refusals."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

METHODS: Final = ("get", "post", "put", "patch", "delete")
EXAMPLE_BYTES_MAX: Final = 3_000
"""Longer examples are in the server's own `/openapi.json`."""


def render_reference(document: Mapping[str, Any], *, title: str, served_at: str) -> str:
    """Return the page, in Markdown. ``served_at`` says where the server has the document itself."""
    by_tag: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method in METHODS:
            if method in methods:
                operation = methods[method]
                tag = str(operation.get("tags", ["other"])[0])
                text = "\n".join(_render_operation(document, method, path, operation))
                by_tag.setdefault(tag, []).append(text)
    lines = [
        f"# {title}",
        "",
        f"Made from the OpenAPI document that the server has at {served_at}.",
    ]
    descriptions = {one["name"]: one.get("description", "") for one in document.get("tags", [])}
    for tag, operations in sorted(by_tag.items()):
        lines += ["", f"## {tag.capitalize()}", "", _prose(str(descriptions.get(tag, "")))]
        lines += operations
    return "\n".join(lines) + "\n"


def _render_operation(
    document: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any]
) -> Iterator[str]:
    yield f"\n### {method.upper()} `{path}`\n"
    yield _prose(str(operation.get("summary", "")))
    if operation.get("description"):
        yield "\n" + _prose(str(operation["description"]))
    rows = [
        (one["name"], f"{one['in']}, {_name_type(document, one.get('schema', {}))}", one)
        for one in operation.get("parameters", [])
    ]
    yield from _table("Parameters", rows)
    body = _find_json(operation.get("requestBody", {}).get("content", {}))
    yield from _table("Body", _list_fields(document, body.get("schema", {})))
    for status, answer in operation.get("responses", {}).items():
        if status.startswith("2"):
            content = _find_json(answer.get("content", {}))
            yield from _table(f"Answer {status}", _list_fields(document, content.get("schema", {})))
            example = json.dumps(content["example"], indent=2) if "example" in content else ""
            if 0 < len(example) <= EXAMPLE_BYTES_MAX:
                yield f"\n```json\n{example}\n```"
    refused = [
        f"- {status}: {_prose(str(answer.get('description', '')))}"
        for status, answer in operation.get("responses", {}).items()
        if not status.startswith("2")
    ]
    if refused:
        yield "\nRefusals:\n\n" + "\n".join(refused)


def _find_json(content: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = content.get("application/json", {})
    return found


def _resolve(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        found: Mapping[str, Any] = document["components"]["schemas"][name]
        return found
    return schema


def _list_fields(
    document: Mapping[str, Any], schema: Mapping[str, Any]
) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Return name, type and schema of an object's fields; of a list, those of its items."""
    resolved = _resolve(document, schema)
    if resolved.get("type") == "array":
        resolved = _resolve(document, resolved.get("items", {}))
    required = resolved.get("required", [])
    return [
        (
            name,
            _name_type(document, field) + ("" if name in required else ", optional"),
            {"required": name in required, **field},
        )
        for name, field in resolved.get("properties", {}).items()
    ]


def _name_type(document: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """Say what a schema takes, in few words."""
    if "$ref" in schema:
        resolved = _resolve(document, schema)
        if "enum" in resolved:
            return _name_type(document, resolved)
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_name_type(document, one) for one in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{one}`" for one in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return f"list of {_name_type(document, schema.get('items', {}))}"
    return str(schema.get("type", "anything"))


def _table(heading: str, rows: list[tuple[str, str, Mapping[str, Any]]]) -> Iterator[str]:
    if not rows:
        return
    yield f"\n| {heading} | | |\n|---|---|---|"
    for name, kind, field in rows:
        yield f"| `{name}` | {_cell(kind)} | {_cell(str(field.get('description', '')))} |"


def _cell(text: str) -> str:
    return _prose(" ".join(text.split())).replace("|", "\\|")


def _prose(text: str) -> str:
    # A document's words are no Markdown: what looks like a link or a tag is none.
    return text.replace("](", "]\\(").replace("<", "&lt;")
