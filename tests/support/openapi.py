"""The servers' OpenAPI documents, and answers held against them."""

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, cast

import httpx
import jsonschema_rs
from sqlalchemy import create_engine

from market.app import create_app as create_market
from market.endpoints.sealing import FileKms
from proxy.app import create_app as create_proxy
from serving.dialects.shapes import PASS_THROUGH
from serving.http.document.app import DocumentedApp
from serving.http.document.writing import CSV, EVENTS, JSON, operations_of
from tests.support.ledgers import DEPLOYMENT

Schema = dict[str, Any]

TEXT_SHOWN_MAX: Final = 4_000
_PART: Final = re.compile(r"\{[^}]*\}")
_REF: Final = "#/components/schemas/"


class Document:
    """One server's document. ``check`` holds an answer against it."""

    def __init__(self, written: Mapping[str, Any]) -> None:
        self.written = written
        self.operations: Mapping[str, Schema] = {
            operation["operationId"]: operation for operation in operations_of(dict(written))
        }
        self.answered: dict[str, dict[str, Any]] = defaultdict(dict)
        """The first body of each kind that was checked, as ``Examples`` has it.

        A body that is neither JSON nor a short list or stream is None.
        """
        self._closed = json.loads(json.dumps(written["components"]["schemas"]))
        for schema in self._closed.values():
            _close(schema)
        self._validators: dict[str, jsonschema_rs.Draft202012Validator] = {}
        self._paths = [
            (re.compile(_to_pattern(path)), methods)
            for path, methods in sorted(written["paths"].items(), key=_by_parameters)
        ]

    def find(self, method: str, path: str) -> Schema | None:
        """Return the operation of a request, or None where the document has none."""
        for pattern, methods in self._paths:
            if pattern.fullmatch(path) is not None:
                found: Schema | None = methods.get(method.lower())
                return found
        return None

    def check(self, method: str, path: str, *, status: int, content_type: str, body: bytes) -> None:
        """Raise ``AssertionError`` unless the document states this answer, in every field."""
        operation = self.find(method, path)
        if operation is None:
            return
        name, what = operation["operationId"], f"{method} {path}: {status}"
        stated = operation["responses"].get(str(status))
        assert stated is not None, f"{what} is not documented: {body[:500]!r}"
        kind = content_type.partition(";")[0].strip().lower()
        contents = stated.get("content", {})
        if not contents:
            assert not body, f"{what} has a body"
            self.answered[name].setdefault(str(status), None)
            return
        found = next((one for one in contents if _covers(one, kind)), None)
        assert found is not None, f"{what} is {kind}, not {sorted(contents)}"
        schema = contents[found]["schema"]
        shown: Any = None
        if kind == JSON:
            shown = json.loads(body)
            self.validate(schema, shown, what)
        elif kind == CSV:
            columns = stated["description"].partition(": ")[2].split(", ")
            assert body.decode().splitlines()[0].split(",") == columns, what
        elif kind == EVENTS:
            for event in _read_events(body):
                # A stream that breaks off ends with an error.
                item = contents[found]["itemSchema"]
                broken = isinstance(event, dict) and "error" in event
                shape = "MessageErrorBody" if broken and "type" in event else "ErrorBody"
                self.validate({"$ref": _REF + shape} if broken else item, event, what)
        if kind in (CSV, EVENTS) and len(body) <= TEXT_SHOWN_MAX:
            shown = body.decode()
        key = str(status) if kind == JSON else f"{status} {found}"
        self.answered[name].setdefault(key, shown)

    def note_request(self, method: str, path: str, body: bytes) -> None:
        """Remember the first good request with a body of JSON."""
        operation = self.find(method, path)
        if operation is not None and "requestBody" in operation and body[:1] == b"{":
            self.answered[operation["operationId"]].setdefault("request", json.loads(body))

    def validate(self, schema: Schema, value: Any, what: str) -> None:
        """Raise ``AssertionError`` unless ``value`` has all fields of a schema, and no others."""
        key = json.dumps(schema, sort_keys=True)
        if key not in self._validators:
            closed = json.loads(key)
            _close(closed)
            whole = {**closed, "components": {"schemas": self._closed}}
            self._validators[key] = jsonschema_rs.Draft202012Validator(whole)
        problems = [
            f"{'/'.join(map(str, error.instance_path))}: {error.message}"
            for error in self._validators[key].iter_errors(value)
        ]
        assert not problems, f"{what}: {problems} in {json.dumps(value)[:1_000]}"


def walk(schema: Any, where: str = "") -> Iterator[tuple[str, Schema]]:
    """Return a schema and every schema inside it, each with where it stands."""
    if not isinstance(schema, dict):
        return
    yield where, schema
    for name, inner in schema.get("properties", {}).items():
        yield from walk(inner, f"{where}.{name}")
    for key in ("items", "additionalProperties", "propertyNames"):
        yield from walk(schema.get(key), f"{where}[{key}]")
    for key in ("anyOf", "oneOf", "allOf"):
        for index, inner in enumerate(schema.get(key, ())):
            yield from walk(inner, f"{where}|{index}")


def make_market_app() -> DocumentedApp:
    """Return the market's application, which is not begun."""
    from tests.support.market import make_settings

    with TemporaryDirectory() as folder:
        settings = make_settings(Path(folder))
        kms = FileKms(Path(settings.kms.removeprefix("file:")))
        engine = create_engine("sqlite://")
        front = create_market(settings, DEPLOYMENT, engine, kms)
    engine.dispose()
    return cast(DocumentedApp, front.app)


def make_proxy_app() -> DocumentedApp:
    """Return the proxy's application, which is not begun."""
    from tests.support.proxy import make_settings

    engine = create_engine("sqlite://")
    front = create_proxy(make_settings(), DEPLOYMENT, engine)
    engine.dispose()
    return cast(DocumentedApp, front.app)


@cache
def get_market_document() -> Document:
    """Return the market's document."""
    return Document(make_market_app().openapi())


@cache
def get_proxy_document() -> Document:
    """Return the proxy's document."""
    return Document(make_proxy_app().openapi())


def _close(schema: Schema) -> None:
    """Allow no field that a schema does not name, where it does not say that others pass."""
    for _, inner in walk(schema):
        if "properties" in inner and not inner.get(PASS_THROUGH):
            inner.setdefault("additionalProperties", False)


def _to_pattern(path: str) -> str:
    pieces = _PART.split(path)
    return "[^/]+".join(re.escape(piece) for piece in pieces)


def _by_parameters(item: tuple[str, Any]) -> int:
    return len(_PART.findall(item[0]))


def _covers(stated: str, kind: str) -> bool:
    if stated == "*/*":
        return True
    return kind == stated or (stated.endswith("/*") and kind.startswith(stated[:-1]))


def _read_events(body: bytes) -> Iterator[Any]:
    for line in body.decode().splitlines():
        data = line.removeprefix("data:").strip()
        if line.startswith("data:") and data != "[DONE]":
            yield json.loads(data)


def hold_examples(document: Document, package: str, hide: Mapping[str, str]) -> None:
    """Hold a document's examples against what a server has just answered.

    They are recorded answers: ``RECORD_EXAMPLES=1`` records them again. ``hide`` maps what belongs
    to this machine to what is shown in its place. Raises ``AssertionError`` where an answer has
    other fields than its example, or none.
    """
    text = json.dumps(document.answered, indent=1, sort_keys=True, ensure_ascii=False)
    for real, shown in hide.items():
        text = text.replace(real, shown)
    path = Path(str(files(package))) / "examples.json"
    if os.environ.get("RECORD_EXAMPLES"):
        path.write_text(text + "\n", encoding="utf-8")
        return
    recorded, answered = json.loads(path.read_text(encoding="utf-8")), json.loads(text)
    assert recorded.keys() == answered.keys()
    for name, bodies in answered.items():
        assert recorded[name].keys() == bodies.keys(), name
        for status, body in bodies.items():
            assert _outline(recorded[name][status]) == _outline(body), f"{name} {status}"


def _outline(value: Any) -> Any:
    """Return the names of a value's fields, and which of them are objects or lists."""
    if isinstance(value, dict):
        return {name: _outline(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_outline(inner) for inner in value[:1]]
    return None


METRICS_TOKEN: Final = "operators-own"
"""What the servers of tests show their metrics to."""


class CheckedClient(httpx.AsyncClient):
    """A client that holds every whole answer against the server's document."""

    def __init__(self, document: Document, **options: Any) -> None:
        # The authorities that a client trusts are read anew for each: servers of tests have none.
        super().__init__(**{"verify": False, **options})
        self.document = document
        self.is_checking = True
        """Switch it off where a provider lies: its words are passed on as they are."""

    async def send(
        self, request: httpx.Request, *, stream: bool = False, **options: Any
    ) -> httpx.Response:
        """Send a request, and check what comes back unless it is still to be streamed.

        Metrics are asked for as the operator does.
        """
        if request.url.path.endswith("/metrics"):
            request.headers.setdefault("authorization", f"Bearer {METRICS_TOKEN}")
        response = await super().send(request, stream=stream, **options)
        if self.is_checking and not stream:
            self.document.check(
                request.method,
                request.url.path,
                status=response.status_code,
                content_type=response.headers.get("content-type", ""),
                body=response.content,
            )
            if response.is_success and isinstance(request.stream, httpx.ByteStream):
                path = request.url.path
                self.document.note_request(request.method, path, request.content)
        return response
