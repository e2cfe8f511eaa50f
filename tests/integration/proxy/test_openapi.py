"""The document at ``/openapi.json`` against a live proxy, by schemathesis.

What is sent comes from the document, and what comes back is held against it.

::

    /openapi.json
    ├── says which routes take a key, and how
    └── every operation: with a valid key; now and then without one, with a revoked and a forged one
        ├── sent as its schema says, at its limits, and broken on purpose
        └── never 500, no undocumented status, headers and bodies as documented
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import CheckFunction
from schemathesis.core.transport import Response
from schemathesis.generation.case import Case
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from ledger.database.engine import write
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger, make_state, put_cursor, put_positions
from tests.support.openapi_keys import REQUESTS, Keys, open_session
from tests.support.proxy import make_key, make_settings, now_s, run_proxy, write_prices
from tests.support.waiting import LIMIT_S

VALID_KEY: Final = make_key()
OTHER_KEYS: Final = (None, make_key(key_epoch=7), "current_0_0_" + "A" * 54)
"""No key, a revoked one, and one that we did not sign."""


def serve(folder: Path, url: "Future[str]", stop: Callable[[], Any]) -> None:
    """Serve a proxy, in a thread of its own, until ``stop`` returns."""

    async def run() -> None:
        engine = make_ledger(folder / "ledger.sqlite3")
        with write(engine) as connection:
            put_positions(connection, make_state(now_s=now_s(), credited_usdc=10**9))
            put_cursor(connection, now_s=now_s() + 600)
        async with FakeEndpoint() as provider:
            settings = make_settings(upstream_url=provider.url, prices_file=write_prices(folder))
            async with run_proxy(settings, engine) as running:
                url.set_result(str(running.client.base_url))
                await asyncio.to_thread(stop)
        engine.dispose()

    asyncio.run(run())


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    url, stop = Future[str](), threading.Event()
    thread = threading.Thread(
        target=serve, args=(tmp_path_factory.mktemp("openapi"), url, stop.wait)
    )
    thread.start()
    try:
        yield schemathesis.openapi.from_url(url.result(LIMIT_S) + "/openapi.json", timeout=LIMIT_S)
    finally:
        stop.set()
        thread.join()


@pytest.fixture(scope="module")
def keys() -> Keys:
    return Keys(lambda _: VALID_KEY, OTHER_KEYS)


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with open_session() as session:
        yield session


schema = schemathesis.pytest.from_fixture("api")


def never_500(_: Any, response: Response, __: Case[Any]) -> None:
    """Fail on what is a mistake of ours. A 503 that is documented is not."""
    assert response.status_code != 500, response.text


def is_an_error(_: Any, response: Response, __: Case[Any]) -> None:
    """Fail on a refusal that the SDK of its dialect could not read."""
    path = response.request.path_url
    if response.status_code >= 400 and not path.endswith("/readyz"):
        answer = response.json()
        if "/v1/messages" in path:
            assert answer["type"] == "error"
            assert {"type", "message"} <= answer["error"].keys()
        else:
            assert {"message", "type", "code", "param"} <= answer["error"].keys()
        assert "Traceback" not in response.text


def always_named(_: Any, response: Response, __: Case[Any]) -> None:
    """Fail where an answer has no id to ask about, or two."""
    (request_id,) = response.headers["x-request-id"]
    assert request_id


def test_document__what_answers_401__says_how_to_send_a_key(api: Any) -> None:
    document = api.raw_schema
    answers_401 = {
        path: operation.get("security")
        for path, operations in document["paths"].items()
        for operation in operations.values()
        if "401" in operation["responses"]
    }
    # There a wallet's signature, or a page's cookie, is the proof.
    for path in ("keys", "session", "session/{sessionId}"):
        assert answers_401.pop(f"/api/current/{path}") is None
    assert {str(security) for security in answers_401.values()} == {"[{'apiKey': []}]"}
    assert document["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"


def body_as_documented(context: Any, response: Response, case: Case[Any]) -> None:
    """Hold a body against its schema. That of a stream is of its text, not of its events."""
    kind = (response.headers.get("content-type") or [""])[0]
    if not kind.startswith("text/event-stream"):
        response_schema_conformance(context, response, case)


CHECKS: Final[list[CheckFunction]] = [
    never_500,
    is_an_error,
    always_named,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    body_as_documented,
]


@schema.parametrize()
@settings(
    max_examples=REQUESTS,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def test_operation__anything_sent__answers_as_documented(
    case: Case[Any], keys: Keys, session: requests.Session
) -> None:
    for key in keys.choose(case):
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        answer = case.call(headers=headers, timeout=LIMIT_S, session=session)
        case.validate_response(answer, checks=CHECKS)
