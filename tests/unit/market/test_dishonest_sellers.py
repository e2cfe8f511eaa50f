"""The lab's probes against dishonest sellers: which ones it finds, and which one it cannot.

::

    honest                    → clean
    swap, half a mixture      → both methods convict within three probes each
    answers that are kept     → doubted: ``first_token`` does not word its questions anew
    good only to probes,      → clean: what docs/evidence.md says that the lab cannot find
    a good quantisation
    inflated counts           → clean to probes, which read no counts; live traffic shows them
                                where they pass the bytes of what was shown, and not below that
"""

import asyncio
from random import Random
from typing import Any

import pytest

from market.evidence.live_checks import KNOWN_LOOKS, LiveChecks, SeenAnswer
from market.evidence.recording import weigh, write_differences, write_rounds
from market.evidence.runner import Told, run_probe
from market.evidence.schedule import METHODS
from market.evidence.verdicts import SUSPECTS, Method, OfferVerdict, count_stake, judge
from serving.models.provider_answers import Holder, weigh_answer
from tests.support.answering_models import Build, build_model
from tests.support.dishonest_sellers import (
    inflate,
    keep_answers,
    mix,
    please_probes,
    quantise,
    swap,
)

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
    "seller",
    [build_model(prefers_last=False), please_probes(), quantise(), inflate(200)],
    ids=["honest", "pleases probes", "quantised", "inflated"],
)
def test_probes__what_they_cannot_tell_from_the_model__is_clean(seller: Build) -> None:
    assert probe_all(seller) in (OfferVerdict.CLEAN, OfferVerdict.WATCHED)


@pytest.mark.parametrize(("times", "is_found"), [(200, True), (10, False)])
def test_live__inflated_counts__are_found_where_they_pass_the_bytes(
    times: int, is_found: bool
) -> None:
    checks, seller, honest = LiveChecks(), inflate(times), inflate(1)
    body = {"model": "m", "messages": [{"role": "user", "content": "alpha, beta or gamma?"}]}

    def see(build: Build) -> SeenAnswer:
        answer = build("chat/completions", body)
        shown = weigh_answer(answer, Holder.CHOICES).extent
        reported = answer["usage"]["completion_tokens"]
        return SeenAnswer(completion_reported=reported, shown_bytes=shown)

    for _ in range(KNOWN_LOOKS):
        checks.note_known("m", see(honest))
    for number in range(8):
        checks.note("offer", "m", f"account {number}", see(seller), day=1)

    (batch,) = checks.take_due()
    peak = weigh(batch.method, [write_differences(batch.hits)]).peak
    assert (count_stake(batch.method, peak) >= SUSPECTS) is is_found
