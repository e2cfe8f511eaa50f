"""The lab's probes against dishonest sellers: which ones it finds, and which one it cannot.

::

    honest                    → clean
    swap, half a mixture      → both methods convict within three probes each
    answers that are kept     → doubted: ``first_token`` does not word its questions anew
    good only to probes       → clean: what docs/evidence.md says that the lab cannot find
"""

import asyncio
from random import Random
from typing import Any

import pytest

from market.evidence.recording import weigh, write_rounds
from market.evidence.runner import Told, run_probe
from market.evidence.schedule import METHODS
from market.evidence.verdicts import Method, OfferVerdict, judge
from tests.support.answering_models import Build, build_model
from tests.support.dishonest_sellers import keep_answers, mix, please_probes, swap

PROBES = 3
"""Of each method."""


def probe_all(seller: Build) -> OfferVerdict:
    """Return the verdict on a seller after ``PROBES`` of each method."""

    def build_ask(build: Build) -> Any:
        async def ask(body: dict[str, Any]) -> Told:
            answer = build("chat/completions", body)
            return Told(answer["choices"][0]["message"]["content"], "request", 1)

        return ask

    ask_offer, ask_reference = build_ask(seller), build_ask(build_model(prefers_last=False))
    chance, peaks = Random(3), {}

    async def probe(method: Method) -> str:
        found = await run_probe(
            ask_offer,
            ask_reference,
            secret=b"a secret",
            model="m",
            method=method,
            random=chance,
            templates=16,
        )
        return write_rounds(found.rounds)

    for method in METHODS:
        observed = [asyncio.run(probe(method)) for _ in range(PROBES)]
        peaks[method] = weigh(method, observed).peak
    return judge(peaks)


@pytest.mark.parametrize("seller", [swap(), mix(0.5)], ids=["swap", "mix"])
def test_probes__a_dishonest_seller__is_convicted(seller: Build) -> None:
    assert probe_all(seller) is OfferVerdict.CONVICTED


def test_probes__a_seller_who_keeps_answers__is_found_by_one_method_alone() -> None:
    assert probe_all(keep_answers()) is OfferVerdict.DOUBTED


@pytest.mark.parametrize(
    "seller", [build_model(prefers_last=False), please_probes()], ids=["honest", "pleases probes"]
)
def test_probes__honest_or_honest_to_probes__is_clean(seller: Build) -> None:
    assert probe_all(seller) in (OfferVerdict.CLEAN, OfferVerdict.WATCHED)
