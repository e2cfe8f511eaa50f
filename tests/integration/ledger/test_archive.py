"""Old usage leaves the ledger for files: nothing is lost, counted twice or shown differently.

::

    settled beyond reorganisations, and old     moved; sums, counters, receipts are what they were
    ├── named by another batch too, young, or   stays
    │   in a block that may still be taken back
    ├── voided                                  moved, without a sum
    └── posted, written off                     stays
    killed at any step, and run again           as if it had never been killed
    a file is changed or lacks                  said, and by whom
"""

import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Connection, Engine, insert, select, update

from contracts.blocks import BlockRef
from contracts.units import SECONDS_PER_DAY
from ledger.audit import Violation, find_violations
from ledger.chain.mirror import save_blocks
from ledger.database.engine import read, write
from ledger.spending.admission import AdmissionRules
from ledger.spending.archive_files import ArchiveDamaged, ArchiveFolder
from ledger.spending.archiving import ArchiveReport, NotArchivable, archive_usage
from ledger.spending.batches import close_batch, plan_batch
from ledger.spending.keys import ChildTerms, create_child, load_child_mismatches
from ledger.spending.metering import Post, Reserve, Void
from ledger.tables import Batch, BatchStray, Block, Usage, UsageDay, table_of
from ledger.tables.usage import Charge, Reservation
from proxy.store import UsageQuery, load_receipt_view, load_usage
from proxy.usage_sums import load_spent, load_sums
from scripts.cli import commands
from tests.support.keepers import Crash
from tests.support.ledgers import NOW_S, SQLITE, Databases, make_state, put_cursor, put_positions

RULES = AdmissionRules(hold_margin_s=900, max_staleness_s=60, lease_s=300)
ROOT_KEY, CHILD_KEY = "0123456789abcdef", "0123456789ab"
DAY = SECONDS_PER_DAY
BEFORE_S = NOW_S + DAY
LATER_S = NOW_S + 60 * DAY
EVER = UsageQuery(0, 0, LATER_S, None, 100)
STEPS = ("drafted", "named", "indexed", "taken out", "committed")
BATCH, STRAY, USAGE, SUMS = (table_of(one) for one in (Batch, BatchStray, Usage, UsageDay))


def serve(
    connection: Connection, name: str, cost_usdc: int | None, *, key: str = ROOT_KEY, **facts: Any
) -> None:
    """Serve a request of position 0 for a cost, or none where it is None."""
    wish = Reservation(name, 0, 0, key, facts.pop("model", "model"), 500, 1, 1, **facts)
    Reserve(wish, RULES, NOW_S, generation=0 if key == CHILD_KEY else None)(connection)
    if cost_usdc is None:
        Void(name, "upstream_failed", NOW_S)(connection)
    else:
        Post(name, Charge(cost_usdc, 10, 5, 3), NOW_S)(connection)


def settle(connection: Connection, *, block_number: int) -> str:
    planned = plan_batch(connection, limits_usdc={0: 100_000}, now_s=NOW_S)
    assert planned is not None
    close_batch(connection, planned.batch_id, block_number=block_number, tx_hash="0x" + "07" * 32)
    return planned.batch_id


@pytest.fixture
def engine(databases: Databases) -> Engine:
    return fill(databases.open_ledger())


def fill(engine: Engine) -> Engine:
    """Fill a ledger with two batches that are settled for good, and with what must stay."""
    with write(engine) as connection:
        put_positions(connection, make_state())
        put_cursor(connection, number=100)
        save_blocks(connection, [BlockRef(50, "0x" + "50" * 32, "0x" + "49" * 32, 1)], keep=60)
        create_child(
            connection,
            key_id=CHILD_KEY,
            token_id=0,
            key_epoch=0,
            terms=ChildTerms(),
            now_s=NOW_S,
        )
        serve(connection, "a", 100, end_user="ann", labels='{"team":"red"}')
        serve(connection, "b", 20, key=CHILD_KEY, model="other")
        serve(connection, "c", 0)
        settle(connection, block_number=40)
        serve(connection, "d", 3, key=CHILD_KEY, end_user="ann")
        settle(connection, block_number=49)
        serve(connection, "v", None, key=CHILD_KEY)
        serve(connection, "posted", 7)
    return engine


def archive(engine: Engine, folder: Path, **more: Any) -> ArchiveReport:
    times = {"before_s": BEFORE_S, "now_s": LATER_S, **more}
    return archive_usage(engine, ArchiveFolder(folder), **times)


def kept(engine: Engine) -> list[str]:
    with read(engine) as connection:
        return sorted(connection.execute(select(USAGE.c.request_id)).scalars())


def find_wrong(connection: Connection) -> list[Violation]:
    # No event is mirrored here.
    return [
        one
        for one in find_violations(connection)
        if "unlike the chain" not in one.detail and "the chain says" not in one.detail
    ]


def show_sums(engine: Engine) -> dict[str, Any]:
    """Return what views, counters and the audit say of all that was ever asked."""
    with read(engine) as connection:
        assert find_wrong(connection) == []
        assert load_child_mismatches(connection) == []
        groups = ("user", "model", "key", "day", "metadata.team")
        by_group = {group: sorted(load_sums(connection, EVER, group), key=str) for group in groups}
        child = UsageQuery(0, 0, LATER_S, None, 100, CHILD_KEY)
        spent = [
            load_spent(connection, token_id=0, key_id=key, now_s=LATER_S)
            for key in (None, CHILD_KEY)
        ]
        return {**by_group, "child": load_sums(connection, child, "model"), "spent": spent}


def load_views(engine: Engine) -> dict[str, Any]:
    with read(engine) as connection:
        return {
            name: load_receipt_view(connection, name, token_id=0, key_id=None) for name in "abcdv"
        }


def test_archive__old_and_final__is_as_it_was_and_the_receipts_are_in_the_files(
    engine: Engine, tmp_path: Path
) -> None:
    sums, views = show_sums(engine), load_views(engine)

    assert archive(engine, tmp_path) == ArchiveReport(2, 4, 1, 123)

    assert kept(engine) == ["posted"]
    assert show_sums(engine) == sums
    assert {name: ArchiveFolder(tmp_path).load_receipt(name) for name in "abcdv"} == views
    assert archive(engine, tmp_path) == ArchiveReport()
    with read(engine) as connection:
        assert [one["request_id"] for one in load_usage(connection, EVER)] == ["posted"]
    assert ArchiveFolder(tmp_path).load_receipt("posted") is None
    made = [path for path in tmp_path.rglob("*") if "ledger-" not in path.name]
    assert {path.stat().st_mode & 0o077 for path in made} == {0}


@pytest.mark.parametrize(
    ("step", "count"),
    # Of the first batch, of the second, and of what was voided.
    [
        ("drafted", 1),
        ("named", 2),
        ("indexed", 1),
        ("taken out", 2),
        ("committed", 1),
        ("indexed", 3),
    ],
)
def test_archive__killed_at_a_step__run_again_neither_loses_nor_doubles(
    engine: Engine, tmp_path: Path, step: str, count: int
) -> None:
    sums, views = show_sums(engine), load_views(engine)
    reached: list[str] = []

    def die(at: str) -> None:
        reached.append(at)
        if reached.count(step) == count and at == step:
            raise Crash(at)

    with pytest.raises(Crash):
        archive(engine, tmp_path, at_step=die)
    assert show_sums(engine) == sums
    archive(engine, tmp_path)

    assert kept(engine) == ["posted"]
    assert show_sums(engine) == sums
    assert {name: ArchiveFolder(tmp_path).load_receipt(name) for name in "abcdv"} == views


def _stray(connection: Connection) -> None:
    """Another batch names request a too."""
    connection.execute(
        insert(BATCH).values(
            batch_id="0xother",
            state="abandoned",
            receipts_root="0x",
            total_usdc=0,
            planned_at_s=NOW_S,
            given_up=True,
        )
    )
    connection.execute(insert(STRAY).values(request_id="a", batch_id="0xother"))


def _take_back(connection: Connection) -> None:
    """The block that settled request a's batch may still be taken back."""
    connection.execute(update(table_of(Block)).values(number=40))


def _rejuvenate(connection: Connection) -> None:
    connection.execute(update(BATCH).values(planned_at_s=BEFORE_S))


@pytest.mark.parametrize(
    ("change", "stays"),
    [
        (_stray, ["a", "b", "c", "posted"]),
        (_take_back, ["a", "b", "c", "d", "posted"]),
        (_rejuvenate, ["a", "b", "c", "d", "posted"]),
    ],
)
def test_archive__may_still_change__stays(
    engine: Engine, tmp_path: Path, change: Callable[[Connection], None], stays: list[str]
) -> None:
    with write(engine) as connection:
        change(connection)
    archive(engine, tmp_path)
    assert kept(engine) == stays


def test_archive__of_this_month__is_refused(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(NotArchivable, match="for 32 days"):
        archive(engine, tmp_path, before_s=LATER_S - 31 * DAY)
    assert len(kept(engine)) == 6


def test_archive__changed_while_its_file_was_written__stays(engine: Engine, tmp_path: Path) -> None:
    def change(at: str) -> None:
        if at == "indexed":
            with write(engine) as connection:
                _stray(connection)

    with pytest.raises(NotArchivable, match="changed while it was archived"):
        archive(engine, tmp_path, at_step=change)
    assert len(kept(engine)) == 6


def test_archive__usage_is_not_what_its_root_says__stays(engine: Engine, tmp_path: Path) -> None:
    with write(engine) as connection:
        connection.execute(
            update(USAGE).where(USAGE.c.request_id == "a").values(completion_tokens=6)
        )
    with pytest.raises(ArchiveDamaged, match="its receipts make the root"):
        archive(engine, tmp_path)
    assert len(kept(engine)) == 6


@pytest.fixture
def archived(tmp_path: Path) -> tuple[Engine, Path]:
    folder = tmp_path / "archive"
    with Databases(SQLITE, tmp_path) as databases:
        engine = fill(databases.open_ledger())
        archive(engine, folder)
        return engine, folder


def check(archived: tuple[Engine, Path]) -> tuple[int, str]:
    engine, folder = archived
    ended = CliRunner(mix_stderr=False).invoke(
        commands, ["ledger", "check-archive", str(folder), "--ledger-url", str(engine.url)]
    )
    return ended.exit_code, ended.stdout + ended.stderr


def find_file(folder: Path) -> Path:
    return min(folder.glob("*/0x*.json.gz"))


def test_check_archive__whole__indexes_it_again(archived: tuple[Engine, Path]) -> None:
    _, folder = archived
    (folder / "index.sqlite3").unlink()
    assert ArchiveFolder(folder).load_receipt("a") is None

    assert check(archived) == (0, "2 batches with 5 requests are whole\n")
    assert ArchiveFolder(folder).load_receipt("a") is not None


def test_folder__named_from_where_its_process_runs__has_receipts(
    archived: tuple[Engine, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(archived[1].parent)
    assert ArchiveFolder(Path(archived[1].name)).load_receipt("a") is not None


def test_check__while_it_reads__the_old_index_serves(archived: tuple[Engine, Path]) -> None:
    _, folder = archived
    checking = ArchiveFolder(folder).check()
    next(checking)
    views = [ArchiveFolder(folder).load_receipt(name) for name in "abcdv"]
    assert None not in views
    list(checking)
    assert [ArchiveFolder(folder).load_receipt(name) for name in "abcdv"] == views
    assert sorted(path.name for path in folder.glob("index*")) == ["index.sqlite3"]


@pytest.mark.parametrize("has_index", [True, False])
def test_check__damaged_files__it_names_all_and_the_others_have_receipts(
    archived: tuple[Engine, Path], has_index: bool
) -> None:
    _, folder = archived
    lost, *others = sorted(folder.glob("*/0x*.json.gz"))
    voided = next(folder.glob("*/voided-*.json.gz"))
    for file in (lost, voided):
        file.write_bytes(file.read_bytes()[:-9])
    if not has_index:
        (folder / "index.sqlite3").unlink()

    code, said = check(archived)

    assert (code, lost.name in said, voided.name in said) == (2, True, True)
    kept = ArchiveFolder(folder)
    for file in others:
        name = f"{file.parent.name}/{file.name}"
        assert all(kept.load_receipt(row["request_id"]) for row in kept.load(name).rows)
    if has_index:
        with pytest.raises(ArchiveDamaged, match=voided.name):
            kept.load_receipt("v")
    else:
        assert kept.load_receipt("v") is None


def test_check_archive__a_file_lacks_or_is_another__says_which(
    archived: tuple[Engine, Path],
) -> None:
    file = find_file(archived[1])
    data = file.read_bytes()
    file.write_bytes(gzip.compress(gzip.decompress(data).replace(b'"ann"', b'"eve"')))
    assert check(archived)[0] == 2
    assert "its content is not what its checksum says" in check(archived)[1]

    file.write_bytes(data[:-9])
    assert f"{file.name} cannot be read" in check(archived)[1]

    file.unlink()
    code, said = check(archived)
    assert (code, file.name[:66] in said, "bring their files back" in said) == (1, True, True)


def test_audit__a_sum_was_changed__is_found(archived: tuple[Engine, Path]) -> None:
    engine, _ = archived
    with write(engine) as connection:
        connection.execute(
            update(SUMS)
            .where(SUMS.c.key_id == CHILD_KEY, SUMS.c.cost_usdc == 3)
            .values(cost_usdc=4)
        )
        found = find_wrong(connection)
    assert sorted((one.invariant, one.subject) for one in found) == [
        ("L4", "position 0"),
        *[("L8", f"child key {CHILD_KEY}")] * len(found[1:]),
    ]
    assert len(found) > 1


KILLED = """
import os, signal, sys
from pathlib import Path
from ledger.database.engine import open_engine
from ledger.spending.archive_files import ArchiveFolder
from ledger.spending.archiving import archive_usage

url, folder, before_s, now_s, step = sys.argv[1:]

def die(at):
    if at == step:
        os.kill(os.getpid(), signal.SIGKILL)

engine = open_engine(url)
archive_usage(
    engine, ArchiveFolder(Path(folder)), before_s=int(before_s), now_s=int(now_s), at_step=die
)
"""


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_archive__killed_by_the_kernel__run_again_neither_loses_nor_doubles(
    engine: Engine, tmp_path: Path, step: str
) -> None:
    sums, views = show_sums(engine), load_views(engine)
    url = engine.url.render_as_string(hide_password=False)
    words = [url, str(tmp_path), str(BEFORE_S), str(LATER_S), step]

    ended = subprocess.run([sys.executable, "-c", KILLED, *words], check=False)

    assert ended.returncode == -9
    assert show_sums(engine) == sums
    archive(engine, tmp_path)
    assert kept(engine) == ["posted"]
    assert show_sums(engine) == sums
    assert {name: ArchiveFolder(tmp_path).load_receipt(name) for name in "abcdv"} == views


@pytest.mark.slow
def test_command__archives_and_says_what(tmp_path: Path) -> None:
    with Databases(SQLITE, tmp_path) as databases:
        engine = fill(databases.open_ledger())
        words = ["ledger", "archive", str(tmp_path / "a"), "--ledger-url", str(engine.url)]
        early = CliRunner(mix_stderr=False).invoke(commands, [*words, "--before", "2026-01-01"])
        young = CliRunner(mix_stderr=False).invoke(commands, [*words, "--before", "2999-01-01"])
    assert early.stdout == (
        "archived 0 requests of 0 batches (0.000000 USDC), and 0 that were never charged\n"
    )
    assert (young.exit_code, "must stay for 32 days" in young.stderr) == (1, True)
