"""Yesterday's backup, brought back beside a chain that went on.

::

    usage posted at the backup, settled since         written down again, with proven receipts
    ├── together with usage that came later           given up, the rest named as lost
    ├── in a batch that the backup knows              settled as if nothing had been
    ├── in the batch after one that never landed      not charged by either again
    └── not settled                                   charged once, by the restored ledger
    a payout that waited, paid since                  not paid again
    ├── for sales that came later                     named as lost, the audit agrees
    ├── of a supplier's day                           not paid again, settled before it or not
    ├── to a wallet for its credit                    the credit is spent no more
    keys that were revoked since                      do not work; nor does any that could be
    a restore that was cut off                        no process starts on it; the next one goes on
    a backup that is damaged, or a place that is used nothing is changed
"""

import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, delete, select

from contracts.units import SECONDS_PER_DAY, utc_day
from ledger.database.engine import open_engine, read, write
from ledger.database.schema import migrate
from ledger.errors import RestoreUnfinished
from ledger.payments.withdrawals import SignedWithdrawal, withdraw
from ledger.selling.accounts import save_account, save_seller
from ledger.selling.convictions import Conviction, OpenConviction, convict
from ledger.selling.offers import save_offer
from ledger.selling.sealed_keys import SealedKey
from ledger.spending.batches import abandon_batch
from ledger.spending.keys import ChildTerms, create_child, load_child, revoke_child
from ledger.suppliers.chain_payouts import follow_on_chain, submit_on_chain
from ledger.suppliers.settlement import settle_chunk
from ledger.tables import Batch, Deployment, Intent, MarketAccount, Usage, table_of
from scripts.audit import audit
from scripts.cli import commands
from scripts.saving import restoring
from scripts.saving.backups import Backup, find_backups
from scripts.saving.commands import _tell
from scripts.saving.restoring import NotRestored, Restored, restore
from scripts.saving.taking import take_backup
from tests.support.credit import WALLET, pay_in
from tests.support.deploy import USDC, World
from tests.support.keepers import (
    Crash,
    Stage,
    crash_at,
    make_stage,
    make_stage_on,
    write_record,
)
from tests.support.ledgers import Databases
from tests.support.offers import make_offer
from tests.support.supply import (
    TERMS,
    list_payouts,
    put_address,
    put_buyer,
    put_supplier,
    put_supply_offer,
    sell,
)

SELLER = "0x" + "5e" * 20


@pytest.fixture
def stage(world: World, databases: Databases) -> Iterator[Stage]:
    """A stage on each kind of database in turn."""
    yield make_stage_on(world, databases.open_unbound())


def url_of(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


class Yesterday:
    """A backup of a stage, and the stage that is restored from it."""

    def __init__(self, stage: Stage, databases: Databases, folder: Path) -> None:
        self._stage = stage
        self._databases = databases
        self.backup = take_backup(url_of(stage.engine), folder)
        self.said: list[str] = []

    def come_back(self, url: str | None = None) -> tuple[Stage, Restored]:
        url = url or self._databases.create()
        world = self._stage.world
        done = restore(
            self.backup,
            url,
            world.anvil.web3,
            world.deployment,
            now_s=int(time.time()),
            say=self.said.append,
        )
        restored = Stage(world, self._databases.open(url), ahead_s=self._stage.ahead_s)
        return restored, done


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backups"


def settle(stage: Stage) -> None:
    """Let rounds go by until the ledger has nothing left to settle."""
    for _ in range(4):
        stage.world.anvil.mine(3)
        stage.sync()
        stage.tick()


def assert_clean(stage: Stage) -> None:
    stage.assert_sound()
    assert audit(stage.engine, stage.world.anvil.web3, stage.world.deployment) == []


def test_settled_since__usage_of_the_backup_alone__is_proven_and_not_charged_again(
    stage: Stage, databases: Databases, folder: Path
) -> None:
    token_id = stage.open_held()
    stage.spend(token_id, 2 * USDC, request_id="first")
    stage.spend(token_id, 1 * USDC, request_id="second")
    yesterday = Yesterday(stage, databases, folder)
    settle(stage)
    assert stage.chain_spent(token_id) == 3 * USDC

    restored, done = yesterday.come_back()
    settle(restored)

    (found,) = done.settlements
    assert (found.cost_usdc, found.known_usdc, found.is_proven) == (3 * USDC, 3 * USDC, True)
    assert done.lost_charges_usdc == 0
    assert restored.usage_states() == {"first": "settled", "second": "settled"}
    assert restored.chain_spent(token_id) == 3 * USDC
    assert_clean(restored)


def test_settled_since__with_usage_that_came_later__is_given_up_and_the_rest_is_named(
    stage: Stage, databases: Databases, folder: Path
) -> None:
    token_id = stage.open_held()
    stage.spend(token_id, 2 * USDC, request_id="kept")
    yesterday = Yesterday(stage, databases, folder)
    stage.spend(token_id, 500_001, request_id="lost")
    settle(stage)
    assert stage.chain_spent(token_id) == 2 * USDC + 500_001

    restored, done = yesterday.come_back()
    settle(restored)

    assert done.lost_charges_usdc == 500_001
    assert restored.usage_states() == {"kept": "written_off"}
    assert restored.chain_spent(token_id) == 2 * USDC + 500_001
    assert_clean(restored)


def test_not_settled_since__is_charged_once_and_later_usage_too(
    stage: Stage, databases: Databases, folder: Path
) -> None:
    token_id = stage.open_held()
    stage.spend(token_id, 2 * USDC, request_id="first")
    yesterday = Yesterday(stage, databases, folder)

    restored, done = yesterday.come_back()
    restored.spend(token_id, 1 * USDC, request_id="after")
    settle(restored)

    assert (done.settlements, done.lost_charges_usdc) == ([], 0)
    assert restored.chain_spent(token_id) == 3 * USDC
    assert set(restored.usage_states().values()) == {"settled"}
    assert_clean(restored)


def test_batch_ids__after_a_restore__are_none_that_were_used_since(
    stage: Stage, databases: Databases, folder: Path
) -> None:
    token_id = stage.open_held()
    yesterday = Yesterday(stage, databases, folder)
    # The lost ledger used the ids that follow the backup's.
    stage.spend(token_id, 1 * USDC, request_id="lost")
    settle(stage)

    restored, done = yesterday.come_back()
    restored.spend(token_id, 2 * USDC, request_id="after")
    settle(restored)

    assert done.lost_charges_usdc == 1 * USDC
    assert restored.usage_states() == {"after": "settled"}
    assert restored.chain_spent(token_id) == 3 * USDC
    assert len(set(restored.settlements())) == 2
    assert_clean(restored)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("checkpoint", ["stored", "planned", "sent"])
def test_batch_under_way_at_the_backup__landed_since__is_charged_once(
    stage: Stage, databases: Databases, folder: Path, checkpoint: str
) -> None:
    token_id = stage.open_held()
    stage.spend(token_id, 2 * USDC, request_id="first")
    stage.world.anvil.set_automine(False)
    with pytest.raises(Crash):
        stage.keeper(crash_at(checkpoint)).tick()
    stage.world.anvil.set_automine(True)
    yesterday = Yesterday(stage, databases, folder)
    stage.world.anvil.mine(1)
    settle(stage)
    assert stage.chain_spent(token_id) == 2 * USDC

    restored, done = yesterday.come_back()
    settle(restored)

    assert done.lost_charges_usdc == 0
    assert restored.usage_states() == {"first": "settled"}
    assert restored.chain_spent(token_id) == 2 * USDC
    assert_clean(restored)


def test_batch_that_never_landed__its_usage_settled_by_another_since__is_charged_once(
    stage: Stage, databases: Databases, folder: Path
) -> None:
    token_id = stage.open_held()
    stage.spend(token_id, 2 * USDC, request_id="first")
    with pytest.raises(Crash):
        stage.keeper(crash_at("planned")).tick()
    yesterday = Yesterday(stage, databases, folder)
    batch, intent = table_of(Batch), table_of(Intent)
    with write(stage.engine) as connection:
        batch_id = connection.execute(select(batch.c.batch_id)).scalar_one()
        abandon_batch(connection, batch_id)
        connection.execute(delete(intent).where(intent.c.kind == "settle"))
    settle(stage)
    assert stage.settlements() not in ([], [batch_id])

    restored, done = yesterday.come_back()
    settle(restored)

    assert [one.is_proven for one in done.settlements] == [True]
    assert restored.chain_spent(token_id) == 2 * USDC
    assert restored.settlements() == stage.settlements()
    assert restored.usage_states() == {"first": "settled"}
    assert_clean(restored)


def test_payout_that_waited__paid_since__is_not_paid_again(
    stage: Stage, databases: Databases, folder: Path
) -> None:
    stage.open_held()
    stage.allow_paying()
    stage.owe(("po_1", SELLER, 2 * USDC))
    yesterday = Yesterday(stage, databases, folder)
    settle(stage)
    assert stage.received(SELLER) == (2 * USDC, 0)

    restored, done = yesterday.come_back()
    settle(restored)

    assert [(one.amount_usdc, one.lost_usdc) for one in done.payouts] == [(2 * USDC, 0)]
    assert restored.received(SELLER) == (2 * USDC, 0)
    assert restored.payout_states() == {"po_1": ["paid"]}
    assert_clean(restored)


def test_payout_for_sales_that_came_later__is_named_as_lost(
    stage: Stage, databases: Databases, folder: Path
) -> None:
    stage.open_held()
    stage.allow_paying()
    stage.owe(("po_1", SELLER, 2 * USDC))
    yesterday = Yesterday(stage, databases, folder)
    stage.owe(("po_2", SELLER, 1 * USDC))
    settle(stage)
    assert stage.received(SELLER) == (3 * USDC, 0)

    restored, done = yesterday.come_back()
    settle(restored)

    assert done.lost_payouts_usdc == 1 * USDC
    assert restored.received(SELLER) == (3 * USDC, 0)
    assert_clean(restored)


def sell_for_a_supplier(stage: Stage) -> None:
    """Have a supplier sell 0.15 USD yesterday, to be paid to ``SELLER`` on the chain."""
    stage.open_held()
    stage.allow_paying()
    with write(stage.engine) as connection:
        put_buyer(connection)
        put_supplier(connection)
        put_supply_offer(connection)
        put_address(connection, address=SELLER)
        sell(connection, 1_000_000, now_s=int(time.time()) - SECONDS_PER_DAY)


def settle_suppliers(stage: Stage, *, submits: bool = True) -> None:
    """Settle the suppliers' day, and hand what is due to the keeper."""
    now_s = int(time.time())
    with write(stage.engine) as connection:
        settle_chunk(connection, day=utc_day(now_s) - 1, terms=TERMS, now_s=now_s, limit=10)
        if submits:
            submit_on_chain(connection, now_s=now_s, limit=10)


def follow_suppliers(stage: Stage) -> tuple[str, str | None]:
    """Follow suppliers' payouts on the chain; return the only one's status and reason."""
    with write(stage.engine) as connection:
        submit_on_chain(connection, now_s=int(time.time()), limit=10)
    settle(stage)
    with write(stage.engine) as connection:
        follow_on_chain(connection, make_id=lambda: "mail", now_s=int(time.time()))
        (payout,) = list_payouts(connection)
    return payout["status"], payout["reason"]


def test_suppliers_payout__pending_at_the_backup_and_paid_since__is_not_paid_again(
    stage: Stage, databases: Databases, folder: Path
) -> None:
    sell_for_a_supplier(stage)
    settle_suppliers(stage, submits=False)
    yesterday = Yesterday(stage, databases, folder)
    settle_suppliers(stage)
    settle(stage)
    assert stage.received(SELLER) == (127_500, 0)

    restored, done = yesterday.come_back()

    assert done.lost_payouts_usdc == 0
    assert follow_suppliers(restored) == ("sent", None)
    assert restored.received(SELLER) == (127_500, 0)
    assert_clean(restored)


def test_suppliers_payout__settled_and_paid_since__waits_for_the_operator(
    stage: Stage, databases: Databases, folder: Path
) -> None:
    sell_for_a_supplier(stage)
    yesterday = Yesterday(stage, databases, folder)
    settle_suppliers(stage)
    settle(stage)
    assert stage.received(SELLER) == (127_500, 0)

    restored, done = yesterday.come_back()
    settle_suppliers(restored)

    assert done.lost_payouts_usdc == 127_500
    status, reason = follow_suppliers(restored)
    assert status == "needs_operator"
    assert "0.127500 USDC" in str(reason)
    assert restored.received(SELLER) == (127_500, 0)
    assert_clean(restored)


def test_credit__withdrawn_since__is_spent_no_more(
    stage: Stage, databases: Databases, folder: Path
) -> None:
    stage.open_held()
    stage.allow_paying()
    with write(stage.engine) as connection:
        save_account(connection, account_id="ac", kind="prepaid", wallet=WALLET, now_s=1)
    # Of a block that the mirror does not look at any more.
    pay_in(stage.engine, "a", 500_000, settled_block=0)
    yesterday = Yesterday(stage, databases, folder)
    wish = SignedWithdrawal("wd", WALLET, 400_000, 1_000, "nonce")
    with write(stage.engine) as connection:
        withdraw(connection, wish, minimum_usdc=1, now_s=1)
    settle(stage)
    assert stage.received(WALLET) == (399_000, 0)

    restored, done = yesterday.come_back()

    assert [(one.account_id, one.amount_usdc) for one in done.taken_back] == [("ac", 399_000)]
    account = table_of(MarketAccount)
    with read(restored.engine) as connection:
        credited = select(account.c.credited_usdc).where(account.c.account_id == "ac")
        assert connection.execute(credited).scalar_one() == 101_000
    assert_clean(restored)


def test_child_key__revoked_since__does_not_work(
    stage: Stage, databases: Databases, folder: Path
) -> None:
    token_id = stage.open_held()
    place = {"token_id": token_id, "key_epoch": 0}
    with write(stage.engine) as connection:
        create_child(connection, key_id="child", terms=ChildTerms(), now_s=1, **place)
    yesterday = Yesterday(stage, databases, folder)
    with write(stage.engine) as connection:
        revoke_child(connection, "child", now_s=2, **place)

    restored, done = yesterday.come_back()

    with read(restored.engine) as connection:
        child = load_child(connection, "child", token_id=token_id)
    assert child is not None
    assert child["revoked_at_s"] is not None
    assert done.ended_keys == {"child keys of positions": 1}


def test_epoch_bumped_since__restored_mirror_knows_it(
    stage: Stage, databases: Databases, folder: Path
) -> None:
    token_id = stage.open_held()
    yesterday = Yesterday(stage, databases, folder)
    stage.world.send("owner", stage.world.contracts.position.functions.bumpKeyEpoch(token_id))

    restored, _ = yesterday.come_back()

    assert restored.state(token_id).key_epoch == 1


@pytest.mark.parametrize("step", ["migrate", "_catch_up", "_take_over"])
def test_restore__cut_off__no_process_starts_until_the_same_one_has_ended(
    stage: Stage,
    databases: Databases,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    token_id = stage.open_held()
    stage.allow_paying()
    place = {"token_id": token_id, "key_epoch": 0}
    with write(stage.engine) as connection:
        create_child(connection, key_id="child", terms=ChildTerms(), now_s=1, **place)
    stage.owe(("po_1", SELLER, 2 * USDC))
    yesterday = Yesterday(stage, databases, folder)
    settle(stage)
    url = databases.create()

    def cut_off(*_: object, **__: object) -> None:
        raise Crash

    with monkeypatch.context() as patched, pytest.raises(Crash):
        patched.setattr(restoring, step, cut_off)
        yesterday.come_back(url)

    left = open_engine(url)
    with pytest.raises(RestoreUnfinished, match="has not ended: run the same"):
        migrate(left)
    with pytest.raises(RestoreUnfinished):
        audit(left, stage.world.anvil.web3, stage.world.deployment)
    with pytest.raises(RestoreUnfinished):
        take_backup(url, folder)
    left.dispose()

    restored, done = yesterday.come_back(url)
    migrate(restored.engine)
    settle(restored)

    assert done.ended_keys == {"child keys of positions": 1}
    assert restored.received(SELLER) == (2 * USDC, 0)
    assert_clean(restored)


def test_backup__while_the_ledger_is_written__is_whole_and_of_one_moment(
    stage: Stage, databases: Databases, folder: Path
) -> None:
    token_id = stage.open_held()
    stage.spend(token_id, 1 * USDC, request_id="before")
    with write(stage.engine):  # a writer that has not committed
        taken = take_backup(url_of(stage.engine), folder)

    assert taken.posted_usdc == 1 * USDC
    assert find_backups(folder) == [taken]
    assert {path.name for path in folder.iterdir()} == {taken.path.name}
    assert taken.data_path.stat().st_mode & 0o077 == 0
    assert databases.kind == taken.kind


def test_backup__damaged_or_place_in_use__changes_nothing(
    stage: Stage, databases: Databases, folder: Path
) -> None:
    stage.open_held()
    yesterday = Yesterday(stage, databases, folder)
    world = stage.world

    def bring_back(backup: Backup, url: str) -> None:
        restore(backup, url, world.anvil.web3, world.deployment, now_s=1, say=print)

    with pytest.raises(NotRestored, match=r"is there|not empty"):
        bring_back(yesterday.backup, url_of(stage.engine))
    with yesterday.backup.data_path.open("r+b") as file:
        file.seek(-8, 2)
        file.write(b"damaged!")
    with pytest.raises(NotRestored, match="not as it was"):
        bring_back(yesterday.backup, databases.create())
    deployment = table_of(Deployment)
    with read(stage.engine) as connection:
        assert connection.execute(select(deployment.c.next_batch_number)).scalar_one() >= 0


def test_backup__keep__deletes_the_oldest(stage: Stage, folder: Path) -> None:
    stage.open_held()
    first = take_backup(url_of(stage.engine), folder)
    renamed = Backup(
        **{**{n: getattr(first, n) for n in Backup.__dataclass_fields__}, "taken_at_s": 1}
    )
    renamed.save_manifest()
    first.path.rename(folder / "current-19700101T000001Z")

    second = take_backup(url_of(stage.engine), folder, keep=1)

    assert [one.path for one in find_backups(folder)] == [second.path]


def test_restore__conviction_open_at_the_backup__is_named_before_anything_is_refunded(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _tell(Restored(0, 0, open_convictions=[OpenConviction("c1", "o", SELLER, 1_500_000)]))

    (line,) = [one for one in capsys.readouterr().out.splitlines() if "convicted" in one]
    assert "1.5" in line and SELLER in line
    assert "`current market convictions overturn c1`" in line


def test_commands__backup_then_restore__say_what_they_did(world: World, tmp_path: Path) -> None:
    stage = make_stage(world, tmp_path)
    token_id = stage.open_held()
    stage.spend(token_id, 1 * USDC, request_id="kept")
    with write(stage.engine) as connection:
        save_seller(connection, address=SELLER, now_s=1)
        save_offer(connection, make_offer(), SealedKey(b"c", b"w", "kms"), now_s=1)
        convict(connection, Conviction("c1", "o", SELLER, "m", "two methods", 1, 1), now_s=2)
    run = CliRunner(mix_stderr=False).invoke
    ledger_url, target = url_of(stage.engine), tmp_path / "restored.sqlite3"
    saved = run(commands, ["backup", str(tmp_path / "saved"), "--ledger-url", ledger_url])
    settle(stage)
    (backup,) = find_backups(tmp_path / "saved")
    record = write_record(world.deployment, tmp_path)

    done = run(
        commands,
        [
            "restore",
            str(backup.path),
            *("--ledger-url", f"sqlite:///{target}"),
            *("--rpc-url", world.anvil.url),
            *("--deployment-file", str(record)),
            "--json",
        ],
    )

    assert (saved.exit_code, done.exit_code) == (0, 0), done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["settlements"][0]["is_proven"] is True
    assert told["open_convictions"] == [
        {"conviction_id": "c1", "offer_id": "o", "seller": SELLER, "held_usdc": 0}
    ]
    engine = open_engine(f"sqlite:///{target}")
    with read(engine) as connection:
        states = connection.execute(select(table_of(Usage).c.state)).scalars().all()
    engine.dispose()
    stage.engine.dispose()
    assert states == ["settled"]
    assert sqlite3.connect(target).execute("PRAGMA integrity_check").fetchone() == ("ok",)
