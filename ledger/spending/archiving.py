"""Usage that is settled for good leaves the table for the archive; its sums stay.

Of a batch all usage leaves, or none. A batch is archived where the chain settled it in a block that
no reorganisation is followed to, and no other batch names any of its usage (``batch_stray``): such
usage may still change hands. Voided usage leaves too. What is written off stays: a batch may still
land and pay it.

The file is on disk before a row is taken out, and rows, sums and the batch's mark change in one
transaction. So a process that is killed anywhere has lost nothing, and done again it counts once.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Engine, RowMapping, Select, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from contracts.errors import Rejected
from contracts.units import SECONDS_PER_DAY, utc_day
from ledger.database.engine import is_postgres, read, write
from ledger.database.restore_mark import check_not_restoring
from ledger.database.statements import LOOKUP_SIZE, chunks
from ledger.spending.archive_files import Archived, ArchiveFolder, name_day
from ledger.tables import Batch, BatchItem, BatchStray, Block, Usage, UsageDay, table_of

_batch = table_of(Batch)
_batch_item = table_of(BatchItem)
_block = table_of(Block)
_stray = table_of(BatchStray)
_usage = table_of(Usage)
_day = table_of(UsageDay)

AGE_DAYS_MIN: Final = 32
"""Usage of this month and of the answers that are kept for repeated requests is younger."""
VOIDED_AT_ONCE: Final = 5_000

_COMMON: Final = ("token_id", "key_id", "day", "model", "end_user", "labels")
_SUMS: Final = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens", "cost_usdc")


class NotArchivable(Rejected):
    """The usage is not, or no longer, what may leave the ledger."""


@dataclass(slots=True)
class ArchiveReport:
    """What a run has moved. Amounts in 1e-6 USDC."""

    batches: int = 0
    requests: int = 0
    voided: int = 0
    cost_usdc: int = 0


def archive_usage(
    engine: Engine,
    folder: ArchiveFolder,
    *,
    before_s: int,
    now_s: int,
    at_step: Callable[[str], None] = lambda _: None,
) -> ArchiveReport:
    """Move the batches planned, and the usage voided, before a time; say what was moved.

    Raises ``NotArchivable`` where ``before_s`` is younger than ``AGE_DAYS_MIN`` days, and
    ``ArchiveDamaged`` where a batch's usage is not what its root says: that batch stays.
    """
    if before_s > now_s - AGE_DAYS_MIN * SECONDS_PER_DAY:
        raise NotArchivable(f"the youngest usage must stay for {AGE_DAYS_MIN} days")
    report = ArchiveReport()
    with read(engine) as connection:
        check_not_restoring(connection)
        batch_ids = find_archivable(connection, before_s=before_s)
    for batch_id in batch_ids:
        with read(engine) as connection:
            archived = load_batch_usage(connection, batch_id)
        if archived is None:
            continue
        sha256 = folder.save(archived, at_step)
        with write(engine) as connection:
            take_out_batch(connection, archived, sha256=sha256, before_s=before_s, now_s=now_s)
            at_step("taken out")
        at_step("committed")
        report.batches += 1
        report.requests += len(archived.rows)
        report.cost_usdc += sum(int(row["cost_usdc"]) for row in archived.rows)
    for voided in _load_voided(engine, before_s):
        folder.save(voided, at_step)
        with write(engine) as connection:
            _delete(connection, voided.rows, state="voided")
        at_step("committed")
        report.voided += len(voided.rows)
    return report


def find_archivable(connection: Connection, *, before_s: int) -> list[str]:
    """Return the batches whose usage may leave, the oldest first."""
    rows = connection.execute(
        _select_archivable(connection, before_s).order_by(_batch.c.planned_at_s, _batch.c.batch_id)
    )
    return [str(batch_id) for batch_id in rows.scalars()]


def _select_archivable(connection: Connection, before_s: int) -> Select[tuple[str]]:
    # Below the window of blocks no reorganisation is followed.
    oldest = connection.execute(select(func.min(_block.c.number))).scalar_one()
    names_it = select(_stray.c.batch_id).where(_stray.c.batch_id == _batch.c.batch_id)
    shares_usage = (
        select(_stray.c.batch_id)
        .join(_usage, _usage.c.request_id == _stray.c.request_id)
        .where(_usage.c.batch_id == _batch.c.batch_id)
    )
    return select(_batch.c.batch_id).where(
        _batch.c.state == "settled",
        _batch.c.archived_at_s.is_(None),
        _batch.c.planned_at_s < before_s,
        _batch.c.settled_block < (0 if oldest is None else oldest),
        ~names_it.exists(),
        ~shares_usage.exists(),
    )


def load_archived_batches(connection: Connection) -> dict[str, str]:
    """Return the SHA-256 of every archived batch's content, by batch."""
    rows = connection.execute(
        select(_batch.c.batch_id, _batch.c.archive_sha256).where(
            _batch.c.archived_at_s.is_not(None)
        )
    )
    return {str(batch_id): str(sha256) for batch_id, sha256 in rows}


def load_batch_usage(connection: Connection, batch_id: str) -> Archived | None:
    """Return a batch with its usage, as a file has it; None where it has none left."""
    batch = connection.execute(select(_batch).where(_batch.c.batch_id == batch_id)).mappings().one()
    found = connection.execute(select(_usage).where(_usage.c.batch_id == batch_id)).mappings()
    rows = _sort(found)
    if not rows:
        return None
    names = ("batch_id", "receipts_root", "planned_at_s", "settled_block", "settled_tx_hash")
    facts = {name: batch[name] for name in names}
    return Archived(name_day(batch["planned_at_s"]), rows, facts)


def take_out_batch(
    connection: Connection, archived: Archived, *, sha256: str, before_s: int, now_s: int
) -> None:
    """Take a batch's usage out of the ledger and keep its sums; its file is on disk.

    Raises ``NotArchivable`` where the batch is not any more what the file has.
    """
    assert archived.batch is not None
    batch_id = archived.batch["batch_id"]
    mine = _batch.c.batch_id == batch_id
    connection.execute(select(_batch.c.batch_id).where(mine).with_for_update())
    still = _select_archivable(connection, before_s).where(mine)
    if connection.execute(still).one_or_none() is None:
        raise NotArchivable(f"batch {batch_id} changed while it was archived; run it again")
    _delete(connection, archived.rows, state="settled")
    by_token: dict[int, int] = defaultdict(int)
    for row in archived.rows:
        by_token[int(row["token_id"])] += int(row["cost_usdc"])
    for token_id, cost_usdc in by_token.items():
        connection.execute(
            update(_batch_item)
            .where(_batch_item.c.batch_id == batch_id, _batch_item.c.token_id == token_id)
            .values(archived_usdc=cost_usdc)
        )
    connection.execute(
        update(_batch).where(mine).values(archived_at_s=now_s, archive_sha256=sha256)
    )
    _add_sums(connection, archived.rows)


def _delete(connection: Connection, rows: Sequence[Mapping[str, Any]], *, state: str) -> None:
    """Delete usage that a file has, in the state that the file has it in, or nothing."""
    request_ids = [str(row["request_id"]) for row in rows]
    gone = 0
    for chunk in chunks(request_ids, LOOKUP_SIZE):
        those = _usage.c.request_id.in_(chunk) & (_usage.c.state == state)
        gone += connection.execute(delete(_usage).where(those)).rowcount
    if gone != len(request_ids):
        raise NotArchivable(f"{len(request_ids) - gone} requests changed while they were archived")


def _add_sums(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    sums: dict[tuple[Any, ...], list[int]] = {}
    for row in rows:
        facts = {**row, "day": utc_day(row["reserved_at_s"])}
        added = sums.setdefault(tuple(facts[name] for name in _COMMON), [0] * len(_SUMS))
        for place, name in enumerate(_SUMS):
            added[place] += 1 if name == "requests" else int(row[name] or 0)
    dialect = postgresql if is_postgres(connection) else sqlite
    # In one order, so that two runs never wait for each other in a circle.
    for common, values in sorted(sums.items(), key=lambda item: _name_sum(item[0])):
        new = {
            "sum_id": _name_sum(common),
            **dict(zip(_COMMON, common, strict=True)),
            **dict(zip(_SUMS, values, strict=True)),
        }
        statement = dialect.insert(_day).values(new)
        more = {name: _day.c[name] + statement.excluded[name] for name in _SUMS}
        connection.execute(
            statement.on_conflict_do_update(index_elements=[_day.c.sum_id], set_=more)
        )


def _name_sum(common: tuple[Any, ...]) -> str:
    return hashlib.sha256(orjson.dumps(common)).hexdigest()


def _load_voided(engine: Engine, before_s: int) -> Iterator[Archived]:
    """Yield what was voided before a time, a file at a time."""
    query = (
        select(_usage.c.request_id, _usage.c.resolved_at_s)
        .where(_usage.c.state == "voided", _usage.c.resolved_at_s < before_s)
        .order_by(_usage.c.resolved_at_s, _usage.c.request_id)
    )
    by_day: dict[str, list[str]] = defaultdict(list)
    with read(engine) as connection:
        for request_id, resolved_at_s in connection.execute(query):
            by_day[name_day(resolved_at_s)].append(str(request_id))
    for day, request_ids in by_day.items():
        for chunk in chunks(request_ids, VOIDED_AT_ONCE):
            with read(engine) as connection:
                rows = _load_rows(connection, chunk)
            yield Archived(day, rows, None)


def _load_rows(connection: Connection, request_ids: Sequence[str]) -> list[dict[str, Any]]:
    found: list[RowMapping] = []
    for chunk in chunks(request_ids, LOOKUP_SIZE):
        query = select(_usage).where(_usage.c.request_id.in_(chunk))
        found += connection.execute(query).mappings()
    return _sort(found)


def _sort(rows: Iterable[RowMapping]) -> list[dict[str, Any]]:
    # In Python: a database's collation need not be code point order. Column names are a kind of
    # text of their own, which no JSON has.
    plain = ({str(name): value for name, value in row.items()} for row in rows)
    return sorted(plain, key=lambda row: str(row["request_id"]))
