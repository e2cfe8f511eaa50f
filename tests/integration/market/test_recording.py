"""Evidence that is written down while its seller changes the offer, and the operator lets it back.

record
├── of a version that the seller has changed since: doubted, convicted and suspended all the same
├── doubted, and deleted by its seller: the operator's list of sellers names it
├── by live traffic alone, however much of it: watched, and nothing else happens to it
├── again by one id, as where the ledger was slow: once
└── of an offer that the operator let back while it was asked: what was found before counts no more
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import Engine, func, select, update

from ledger.database.engine import read, write
from ledger.selling.accounts import save_seller
from ledger.selling.evidence import load_of_offer
from ledger.selling.offers import change_offer, resume_offer, save_offer
from ledger.selling.sealed_keys import SealedKey
from ledger.tables import MarketConviction, MarketOffer, table_of
from market.evidence.recording import ProbedOffer, record, write_differences, write_rounds
from market.evidence.two_samples import AnswerBlock
from market.evidence.verdicts import LIVE_METHODS, Method, OfferVerdict
from market.operator import list_sellers
from tests.support.ledgers import NOW_S, make_ledger
from tests.support.offers import SELLER, make_offer

DIFFERENCES: Final = write_differences([True] * 60)
ONE_HIT: Final = write_differences([True])
ROUNDS: Final = write_rounds([[AnswerBlock(f"t{n}", ("b",) * 8, ("a",) * 8) for n in range(8)]] * 8)
_conviction = table_of(MarketConviction)
_offer = table_of(MarketOffer)


@dataclass
class Stand:
    """An offer, as a prober read it before it asked."""

    engine: Engine
    offer: ProbedOffer

    def write_down(
        self, method: Method, observed: str, *, at_s: int, evidence_id: str | None = None
    ) -> OfferVerdict:
        with write(self.engine) as connection:
            return record(
                connection,
                self.offer,
                method,
                observed=observed,
                transcript=[],
                cost_usdc=1,
                now_s=at_s,
                evidence_id=evidence_id,
            )

    def change_label(self, *, version: int) -> None:
        with write(self.engine) as connection:
            terms: dict[str, Any] = {"offer_id": "o", "seller": SELLER, "version": version}
            assert change_offer(
                connection, **terms, changes={"label": f"p{version}"}, sealed=None, now_s=NOW_S
            )

    def look(self) -> tuple[bool, bool, int]:
        """Return whether the offer is doubted, suspended, and how often it was convicted."""
        with read(self.engine) as connection:
            doubted, suspended = connection.execute(
                select(_offer.c.doubted_at_s, _offer.c.suspended_for)
            ).one()
            count = connection.execute(select(func.count()).select_from(_conviction)).scalar_one()
        return doubted is not None, suspended is not None, int(count)


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    with write(engine) as connection:
        save_seller(connection, address=SELLER, now_s=NOW_S)
        save_offer(connection, make_offer(), SealedKey(b"c", b"w", "kms"), now_s=NOW_S)
    yield Stand(engine, ProbedOffer("o", 0, "m", SELLER))
    engine.dispose()


def test_record__seller_changes_the_label_during_each_probe__is_suspended(stand: Stand) -> None:
    stand.change_label(version=0)
    said = stand.write_down(Method.FIRST_TOKEN, ROUNDS, at_s=NOW_S + 1)
    assert (said, stand.look()) == (OfferVerdict.DOUBTED, (True, False, 0))

    stand.change_label(version=1)
    said = stand.write_down(Method.BORDER, ROUNDS, at_s=NOW_S + 2)
    assert (said, stand.look()) == (OfferVerdict.CONVICTED, (True, True, 1))


def test_record__let_back_while_it_was_asked__older_evidence_counts_no_more(stand: Stand) -> None:
    stand.write_down(Method.FIRST_TOKEN, ROUNDS, at_s=NOW_S + 1)
    with write(stand.engine) as connection:
        assert resume_offer(connection, offer_id="o", now_s=NOW_S + 2)

    said = stand.write_down(Method.BORDER, ROUNDS, at_s=NOW_S + 3)

    assert (said, stand.look()) == (OfferVerdict.DOUBTED, (True, False, 0))


def test_doubted__deleted_by_its_seller__is_named_in_the_operators_list(stand: Stand) -> None:
    assert "doubted" not in list_sellers(stand.engine)[0]

    stand.write_down(Method.BORDER, ROUNDS, at_s=NOW_S)
    with write(stand.engine) as connection:
        connection.execute(update(_offer).values(status="deleted"))

    [line] = list_sellers(stand.engine)
    assert "0 offers" in line
    assert "1 doubted, whose earnings wait (offer-resume o)" in line


def test_live_traffic__by_every_method__is_watched_and_nothing_happens(stand: Stand) -> None:
    for place, method in enumerate(sorted(LIVE_METHODS)):
        said = stand.write_down(method, DIFFERENCES, at_s=NOW_S + place)
        assert (said, stand.look()) == (OfferVerdict.WATCHED, (False, False, 0))

    said = stand.write_down(Method.BORDER, ROUNDS, at_s=NOW_S + 9)
    assert (said, stand.look()) == (OfferVerdict.DOUBTED, (True, False, 0)), "one of probes does"
    with write(stand.engine) as connection:
        connection.execute(update(_offer).values(doubted_at_s=None))
    stand.write_down(Method.LOGPROBS, DIFFERENCES, at_s=NOW_S + 10)
    assert stand.look() == (False, False, 0), "nor does it repeat what probes said"


def test_record__again_by_one_id__is_written_and_weighed_once(stand: Stand) -> None:
    for _ in range(2):
        said = stand.write_down(Method.LOGPROBS, ONE_HIT, at_s=NOW_S, evidence_id="batch")
    assert said is OfferVerdict.CLEAN

    stand.write_down(Method.LOGPROBS, ONE_HIT, at_s=NOW_S + 1, evidence_id="next")
    with read(stand.engine) as connection:
        rows = load_of_offer(connection, offer_id="o")
    assert [(row.evidence_id, row.looks) for row in rows] == [("next", 2), ("batch", 1)]
