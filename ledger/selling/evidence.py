"""The lab's evidence against and for offers: kept, published, and committed to day by day.

A day's root is that of its evidence in the order of ids, with the tree of receipts
(``ledger.spending.receipts``). The keeper sends it to the chain once the day is over
(``ledger.selling.day_roots``), and from then on nothing is added to the day: its root stands.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final

from eth_abi.abi import encode
from eth_utils.crypto import keccak
from sqlalchemy import ColumnElement, Connection, RowMapping, and_, func, select, update

from ledger.database.statements import insert_or_ignore
from ledger.selling.day_roots import load_last_day
from ledger.spending.receipts import build_root
from ledger.tables import MarketEvidence, MarketOffer, MarketProbeTurn, MarketSale, table_of

_evidence = table_of(MarketEvidence)
_offer = table_of(MarketOffer)
_sale = table_of(MarketSale)
_turn = table_of(MarketProbeTurn)

PEAK_MILLI_MAX: Final = 10**15
SHOWN_MAX: Final = 1_000
"""Rows of evidence in one list."""

_LEAF_TYPES = (
    "bytes32",  # keccak of the evidence's id
    "bytes32",  # keccak of the offer's id
    "bytes32",  # keccak of the model's name
    "bytes32",  # keccak of the method's name
    "uint256",  # when it was made, Unix seconds
    "bytes32",  # keccak of what was observed
    "bytes32",  # keccak of the transcript
    "uint256",  # observations of the method in the year so far
    "uint256",  # the largest wealth of the year so far, in 1/1000
)


@dataclass(frozen=True, slots=True)
class EvidenceRow:
    """One probe of one offer by one method: see ``ledger.tables.evidence``."""

    evidence_id: str
    offer_id: str
    offer_version: int
    model: str
    method: str
    day: int
    made_at_s: int
    observed: str
    transcript: str
    transcript_hash: str
    cost_usdc: int
    looks: int
    peak_milli: int

    def leaf(self) -> bytes:
        """Return the leaf that a day's root has of it."""
        return hash_leaf(
            (self.evidence_id, self.offer_id, self.model, self.method),
            made_at_s=self.made_at_s,
            observed_hash=keccak(text=self.observed),
            transcript_hash=bytes.fromhex(self.transcript_hash.removeprefix("0x")),
            looks=self.looks,
            peak_milli=self.peak_milli,
        )


def hash_leaf(
    names: tuple[str, str, str, str],
    *,
    made_at_s: int,
    observed_hash: bytes,
    transcript_hash: bytes,
    looks: int,
    peak_milli: int,
) -> bytes:
    """Return the leaf of evidence by what is published of it.

    ``names``: its id, the offer's, the model's and the method's. Raises ``ValueError`` for what is
    not in its range.
    """
    hashes = [keccak(text=name) for name in names]
    numbers = (looks, peak_milli)
    values = (*hashes, made_at_s, observed_hash, transcript_hash, *numbers)
    return keccak(keccak(encode(_LEAF_TYPES, values)))


def hash_transcript(transcript: str) -> str:
    """Return what is published of a transcript: its keccak, 0x hex."""
    return "0x" + keccak(text=transcript).hex()


def has_evidence(connection: Connection, *, evidence_id: str) -> bool:
    """Tell whether evidence is written down already."""
    query = select(_evidence.c.evidence_id).where(_evidence.c.evidence_id == evidence_id)
    return connection.execute(query).first() is not None


def save_evidence(connection: Connection, row: EvidenceRow) -> None:
    """Keep evidence, unless it is kept by its id already. The transcript must be what its hash
    says.

    Where the root of its day is planned already, as after a clock was set back, it is the next
    day's that has none.
    """
    assert hash_transcript(row.transcript) == row.transcript_hash
    last_day = load_last_day(connection)
    if last_day is not None and row.day <= last_day:
        row = replace(row, day=last_day + 1)
    insert_or_ignore(connection, _evidence, asdict(row))


def load_tested_from(connection: Connection, *, offer_id: str) -> int | None:
    """Return when the operator let an offer back, None where it never did or there is none."""
    query = select(_offer.c.tested_from_s).where(_offer.c.offer_id == offer_id)
    at_s = connection.execute(query).scalar_one_or_none()
    return None if at_s is None else int(at_s)


def load_observed(connection: Connection, *, offer_id: str, method: str, since_s: int) -> list[str]:
    """Return what a method has observed of an offer since a time, the oldest first."""
    query = (
        select(_evidence.c.observed)
        .where(
            _evidence.c.offer_id == offer_id,
            _evidence.c.method == method,
            _evidence.c.made_at_s >= since_s,
        )
        .order_by(_evidence.c.evidence_id)
    )
    return list(connection.execute(query).scalars())


def load_peaks(
    connection: Connection, *, offer_id: str, since_s: int
) -> list[tuple[str, int, int]]:
    """Return (method, its largest wealth so far in 1/1000, when) of each probe since a time, the
    oldest first."""
    query = (
        select(_evidence.c.method, _evidence.c.peak_milli, _evidence.c.made_at_s)
        .where(_evidence.c.offer_id == offer_id, _evidence.c.made_at_s >= since_s)
        .order_by(_evidence.c.evidence_id)
    )
    return [(str(name), int(peak), int(at_s)) for name, peak, at_s in connection.execute(query)]


def load_last_probes(connection: Connection, *, since_s: int) -> dict[str, dict[str, int]]:
    """Return when each method looked at each offer last since a time, by offer and method."""
    rows = connection.execute(
        select(_evidence.c.offer_id, _evidence.c.method, func.max(_evidence.c.made_at_s))
        .where(_evidence.c.made_at_s >= since_s)
        .group_by(_evidence.c.offer_id, _evidence.c.method)
    )
    last: dict[str, dict[str, int]] = {}
    for offer_id, method, at_s in rows:
        last.setdefault(offer_id, {})[method] = int(at_s)
    return last


def load_suspected(
    connection: Connection, *, methods: Sequence[str], peak_milli: int, since_s: int
) -> dict[str, int]:
    """Return when any of ``methods`` first found that much of an offer, by offer.

    Only what was found since a time counts, and since the operator let the offer back.
    """
    rows = connection.execute(
        select(_evidence.c.offer_id, func.min(_evidence.c.made_at_s))
        .join(_offer, _offer.c.offer_id == _evidence.c.offer_id)
        .where(
            _evidence.c.method.in_(methods),
            _evidence.c.peak_milli >= peak_milli,
            _evidence.c.made_at_s >= since_s,
            _evidence.c.made_at_s >= func.coalesce(_offer.c.tested_from_s, 0),
        )
        .group_by(_evidence.c.offer_id)
    )
    return {str(offer_id): int(at_s) for offer_id, at_s in rows}


def sum_probe_costs(connection: Connection, *, offer_id: str, since_s: int) -> tuple[int, int]:
    """Return what an offer's probes have cost since a time, and what it has sold, 1e-6 USDC.

    What is booked for probes without evidence is among their cost: it may have been paid.
    """
    probed = select(func.coalesce(func.sum(_evidence.c.cost_usdc), 0)).where(
        _evidence.c.offer_id == offer_id, _evidence.c.made_at_s >= since_s
    )
    sold = select(func.coalesce(func.sum(_sale.c.cost_usdc), 0)).where(
        _sale.c.offer_id == offer_id, _sale.c.state == "posted", _sale.c.reserved_at_s >= since_s
    )
    booked = select(func.coalesce(func.sum(_turn.c.booked_usdc), 0)).where(
        _turn.c.offer_id == offer_id, _turn.c.booked_at_s >= since_s
    )
    cost_usdc = sum(int(connection.execute(one).scalar_one()) for one in (probed, booked))
    return cost_usdc, int(connection.execute(sold).scalar_one())


@dataclass(frozen=True, slots=True)
class MethodSum:
    """What one method's evidence on one offer comes to."""

    offer_id: str
    method: str
    probes: int
    looks: int
    peak_milli: int
    last_at_s: int


def sum_by_method(
    connection: Connection, *, model: str, offer_ids: Sequence[str], since_s: int
) -> list[MethodSum]:
    """Return what the evidence that counts on a model's offers since a time comes to, by offer and
    method."""
    query = (
        select(
            _evidence.c.offer_id,
            _evidence.c.method,
            func.count(),
            func.max(_evidence.c.looks),
            func.max(_evidence.c.peak_milli),
            func.max(_evidence.c.made_at_s),
        )
        .join(_offer, _offer.c.offer_id == _evidence.c.offer_id)
        .where(_counts(model, offer_ids, since_s))
        .group_by(_evidence.c.offer_id, _evidence.c.method)
        .order_by(_evidence.c.offer_id, _evidence.c.method)
    )
    return [MethodSum(*row) for row in connection.execute(query)]


def load_hashes(
    connection: Connection, *, model: str, offer_ids: Sequence[str], since_s: int
) -> dict[tuple[str, str], list[str]]:
    """Return the transcripts' hashes of that evidence by offer and method, the newest first: the
    newest ``SHOWN_MAX`` of all."""
    query = (
        select(_evidence.c.offer_id, _evidence.c.method, _evidence.c.transcript_hash)
        .join(_offer, _offer.c.offer_id == _evidence.c.offer_id)
        .where(_counts(model, offer_ids, since_s))
        .order_by(_evidence.c.evidence_id.desc())
        .limit(SHOWN_MAX)
    )
    hashes: dict[tuple[str, str], list[str]] = {}
    for offer_id, method, transcript_hash in connection.execute(query):
        hashes.setdefault((offer_id, method), []).append(transcript_hash)
    return hashes


def _counts(model: str, offer_ids: Sequence[str], since_s: int) -> ColumnElement[bool]:
    return and_(
        _evidence.c.offer_id.in_(offer_ids),
        _evidence.c.model == model,
        _evidence.c.made_at_s >= since_s,
        _evidence.c.made_at_s >= func.coalesce(_offer.c.tested_from_s, 0),
    )


def load_of_offer(connection: Connection, *, offer_id: str) -> list[EvidenceRow]:
    """Return the evidence on one offer, the newest first, at most ``SHOWN_MAX``."""
    query = (
        select(_evidence)
        .where(_evidence.c.offer_id == offer_id)
        .order_by(_evidence.c.evidence_id.desc())
        .limit(SHOWN_MAX)
    )
    return _read(connection.execute(query).mappings().all())


def load_day(connection: Connection, day: int) -> list[EvidenceRow]:
    """Return the evidence of a UTC day, in the order of its tree."""
    query = select(_evidence).where(_evidence.c.day == day)
    # Sorted again in Python: a database's collation need not be code point order.
    rows = _read(connection.execute(query).mappings().all())
    return sorted(rows, key=lambda row: row.evidence_id)


def _read(rows: Sequence[RowMapping]) -> list[EvidenceRow]:
    return [EvidenceRow(**row) for row in rows]


def build_day_root(rows: Sequence[EvidenceRow]) -> str | None:
    """Return a day's root, 0x hex; None for a day without evidence."""
    return "0x" + build_root([row.leaf() for row in rows]).hex() if rows else None


def doubt_offer(connection: Connection, *, offer_id: str, now_s: int) -> bool:
    """Have an offer asked after all others, and what it earned vest no more; tell whether it was
    not doubted before. It is whatever the seller changes, until the operator lets it back."""
    changed = connection.execute(
        update(_offer)
        .where(_offer.c.offer_id == offer_id, _offer.c.doubted_at_s.is_(None))
        .values(doubted_at_s=now_s, changed_at_s=now_s)
    )
    return changed.rowcount == 1
