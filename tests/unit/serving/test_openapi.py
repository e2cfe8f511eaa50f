"""Both servers' documents say everything that a generated client needs.

::

    every operation
    ├── has an id, a tag and a summary of its own
    ├── answers with a model or a declared media type
    └── says its errors by the one error model
    every schema
    ├── says its type: nothing is free-form but what passes through
    └── says the unit of its amounts
    the page
    └── names no other host
"""

import json
import re
from collections import Counter
from typing import Any, Final

import pytest

from serving.dialects.shapes import PASS_THROUGH
from serving.http.document.writing import JSON
from tests.support.openapi import Document, get_market_document, get_proxy_document, walk

_TYPED: Final = ("$ref", "type", "enum", "const", "anyOf", "oneOf", "allOf")


@pytest.fixture(params=[get_proxy_document, get_market_document], ids=["proxy", "market"])
def document(request: pytest.FixtureRequest) -> Document:
    made: Document = request.param()
    return made


def schemas_of(document: Document) -> list[tuple[str, dict[str, Any]]]:
    """Return every schema of a document, with where it stands."""
    found: list[tuple[str, dict[str, Any]]] = []
    for name, schema in document.written["components"]["schemas"].items():
        found += walk(schema, name)
    for name, operation in document.operations.items():
        contents = [operation.get("requestBody", {}).get("content", {})]
        contents += [one.get("content", {}) for one in operation["responses"].values()]
        for content in contents:
            for media_type, stated in content.items():
                found += walk(stated["schema"], f"{name} {media_type}")
        for parameter in operation.get("parameters", ()):
            found += walk(parameter["schema"], f"{name}?{parameter['name']}")
    return found


def test_operations__each__have_an_id_a_tag_and_a_summary(document: Document) -> None:
    declared = [tag["name"] for tag in document.written["tags"]]
    count = sum(len(methods) for methods in document.written["paths"].values())

    assert len(document.operations) == count
    for name, operation in document.operations.items():
        assert re.fullmatch(r"[a-z][A-Za-z0-9]+", name), name
        (tag,) = operation["tags"]
        assert tag in declared, name
        assert len(operation["summary"]) > 10, name
    used = {operation["tags"][0] for operation in document.operations.values()}
    assert used == set(declared)


def test_operations__each__answer_with_a_model_or_a_media_type(document: Document) -> None:
    for name, operation in document.operations.items():
        good = {status: one for status, one in operation["responses"].items() if status < "300"}
        assert len(good) == 1, name
        for status, response in good.items():
            content = response.get("content", {})
            assert (content == {}) == (status == "204"), name
            for media_type, stated in content.items():
                assert stated["schema"], f"{name}: {media_type} is untyped"
                if media_type == JSON:
                    assert "$ref" in stated["schema"], f"{name}: JSON without a model"


def test_operations__each__say_their_errors_by_the_one_model(document: Document) -> None:
    for name, operation in document.operations.items():
        errors = {s: one for s, one in operation["responses"].items() if s >= "400"}
        if operation["tags"] != ["operation"]:
            assert errors.keys() >= {"429", "431", "500", "503"}, name
        for status, response in errors.items():
            refs = re.findall(r"schemas/(\w+)", json.dumps(response["content"][JSON]["schema"]))
            own = {"PaymentRequired", "Readiness"}
            assert refs, f"{name} {status}"
            assert all(ref.endswith("ErrorBody") or ref in own for ref in refs), f"{name} {status}"


def test_operations__that_answer_401__say_how_to_send_a_key(document: Document) -> None:
    schemes = document.written["components"]["securitySchemes"]
    for name, operation in document.operations.items():
        needs_key = "401" in operation["responses"] and "message" not in str(
            operation.get("requestBody", {}).get("content", {}).get(JSON, {}).get("example", "")
        )
        if "security" in operation:
            assert "401" in operation["responses"], name
            for alternative in operation["security"]:
                (scheme,) = alternative
                stated = schemes[scheme]
                assert stated.get("scheme") == "bearer" or stated["in"] == "cookie"
        elif needs_key:
            # Here a wallet's signature is the proof, or a password, or the token of a mail.
            assert operation["tags"] in (["keys"], ["sessions"], ["suppliers"]), name


def test_schemas__each__say_their_type(document: Document) -> None:
    for where, schema in schemas_of(document):
        assert any(key in schema for key in _TYPED), f"{where} is untyped: {schema}"
        if schema.get("type") == "array":
            assert "items" in schema, where
        if schema.get("type") == "object":
            inner = schema.get("additionalProperties")
            is_map = isinstance(inner, dict) and any(key in inner for key in _TYPED)
            has_fields = "properties" in schema
            assert has_fields or is_map, f"{where} is free-form"
            assert inner is not True or schema.get(PASS_THROUGH), f"{where} takes anything"


def test_schemas__amounts_and_times__say_their_unit(document: Document) -> None:
    for where, schema in schemas_of(document):
        for name, inner in schema.get("properties", {}).items():
            kinds = {inner.get("type")} | {one.get("type") for one in inner.get("anyOf", ())}
            text = inner.get("description", "")
            if name.endswith("_usdc"):
                by_kind = inner.get("additionalProperties", {})
                is_map = isinstance(by_kind, dict) and by_kind.get("type") == "integer"
                assert kinds <= {"integer", "null", None} or is_map, f"{where}.{name}"
                assert "1e-6 USDC" in text, f"{where}.{name}"
            elif kinds & {"integer", "number"}:
                assert text or name in _COUNTS, f"{where}.{name} has no unit"
            elif re.search(r"_at(_s)?$", name) and "string" in kinds:
                assert "ISO 8601" in text, f"{where}.{name}"


_COUNTS: Final = {
    "block_number",
    "chain_id",
    "choices",
    "code",
    "completion",
    "created",
    "index",
    "keyEpoch",
    "key_epoch",
    "model_tier",
    "models",
    "n",
    "offers",
    "open_requests",
    "prompt",
    "quantity",
    "rate_limit_rpm",
    "requests",
    "rotations",
    "tokenId",
    "token_id",
    "x402Version",
}
"""Numbers whose names say what they count."""


def test_schemas__names__stand_for_one_thing(document: Document) -> None:
    """A model that two modules define alike would have been renamed by its module."""
    names = Counter(document.written["components"]["schemas"])
    assert not [name for name in names if "__" in name or name.endswith(("-Input", "-Output"))]


def test_examples__each__are_what_the_document_says(document: Document) -> None:
    for name, operation in document.operations.items():
        for status, response in operation["responses"].items():
            for stated in response.get("content", {}).values():
                if "example" in stated and stated is not None:
                    document.validate(stated["schema"], stated["example"], f"{name} {status}")
