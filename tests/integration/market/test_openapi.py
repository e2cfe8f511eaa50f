"""The market's document against a live market, by schemathesis: no request finds a 500.

::

    every operation: with its own key; now and then without one, with a seller's, with a buyer's
        ├── as its schema says, at its limits, and broken on purpose
        └── never 500, no undocumented status, errors in the reference's shape
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

from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger
from tests.support.market import make_settings, run_market
from tests.support.media import IMAGE_MODEL, SPEECH_MODEL, VIDEO_MODEL
from tests.support.openapi_keys import REQUESTS, Keys, open_session
from tests.support.waiting import LIMIT_S

MEDIA: Final = (
    (IMAGE_MODEL, "image"),
    (SPEECH_MODEL, "1k_characters"),
    (VIDEO_MODEL, "video"),
)


def serve(folder: Path, started: "Future[tuple[str, ...]]", stop: Callable[[], Any]) -> None:
    """Serve a market with one offer, in a thread of its own, until ``stop`` returns."""

    async def run() -> None:
        engine = make_ledger(folder / "ledger.sqlite3")
        async with (
            FakeEndpoint() as seller,
            FakeEndpoint() as studio,
            run_market(make_settings(folder), engine) as market,
        ):
            seller_key = await market.get_key()
            await market.list_offer(seller_key, seller.url)
            for model, unit in MEDIA:
                offer = {"model": model, "unit": unit, "price_per_unit": "0.01"}
                prices = {"price_input_per_1m": ..., "price_output_per_1m": ...}
                await market.list_offer(seller_key, studio.url, **offer, **prices)
            buyer_key = await market.get_buyer_key()
            started.set_result((str(market.client.base_url), seller_key, buyer_key))
            await asyncio.to_thread(stop)
            market.sales()
        engine.dispose()

    asyncio.run(run())


@pytest.fixture(scope="module")
def issued() -> list[str]:
    """The seller's key and the buyer's: they come with the market."""
    return []


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with open_session() as session:
        yield session


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, issued: list[str]) -> Iterator[Any]:
    """The document of a live market."""
    started, stop = Future[tuple[str, ...]](), threading.Event()
    folder = tmp_path_factory.mktemp("market-openapi")
    thread = threading.Thread(target=serve, args=(folder, started, stop.wait))
    thread.start()
    try:
        url, *made = started.result(LIMIT_S)
        issued += made
        yield schemathesis.openapi.from_url(url + "/openapi.json", timeout=LIMIT_S)
    finally:
        stop.set()
        thread.join()


@pytest.fixture(scope="module")
def keys(api: Any, issued: list[str]) -> Keys:
    assert api
    seller, buyer = issued
    return Keys(lambda label: seller if "/seller/" in label else buyer, [None, seller, buyer])


schema = schemathesis.pytest.from_fixture("api")


def never_500(_: Any, response: Response, __: Case[Any]) -> None:
    """Fail on what is a mistake of ours. A 503 that is documented is not."""
    assert response.status_code != 500, response.text


def is_an_error(_: Any, response: Response, __: Case[Any]) -> None:
    """Fail on a refusal that is not in the reference's shape."""
    if response.status_code >= 400:
        assert {"message", "type", "code"} <= response.json()["error"].keys()
        assert "Traceback" not in response.text


def body_as_documented(context: Any, response: Response, case: Case[Any]) -> None:
    """Hold a body against its schema. That of a stream is of its text, not of its events."""
    kind = (response.headers.get("content-type") or [""])[0]
    if not kind.startswith("text/event-stream"):
        response_schema_conformance(context, response, case)


CHECKS: Final[list[CheckFunction]] = [
    never_500,
    is_an_error,
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
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_operations__whatever_is_sent__answer_as_documented(
    case: Case[Any], keys: Keys, session: requests.Session
) -> None:
    for key in keys.choose(case):
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        response = case.call(headers=headers, timeout=LIMIT_S, session=session)
        case.validate_response(response, checks=CHECKS)
