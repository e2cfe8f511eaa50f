"""Going back to a backup, so that nothing is charged or paid twice and no revoked key works.

::

    the backup's data ──► an empty database ──► marked: no process starts on it ──► migrated
      ──► new batch ids, every key ended                     before anything else can use it
      ──► mirrored up to the chain's head
      ──► what the chain settled and paid since the backup is taken over, or named as lost
      ──► the mark is cleared, in the same transaction

Cut off anywhere before, the same restore goes on: the mark says that the ledger is not whole.

The chain is the record of what was settled and paid; what only the ledger knew since the backup is
lost, and is named to the unit where the chain tells of it.
"""

import shutil
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from eth_utils.address import to_checksum_address
from sqlalchemy import Connection, Engine, NullPool, create_engine, inspect
from web3 import Web3

from contracts.chain import Web3Transport, translated
from contracts.deployment import Deployment
from contracts.errors import Fatal
from contracts.reader import ChainReader, check_chain
from indexer.sync import Follower, Outcome, SyncRules
from ledger.chain.mirror import load_mirror
from ledger.database.engine import open_engine, read, write
from ledger.database.restore_mark import clear_mark, load_mark, mark_restoring, note_ended_keys
from ledger.database.schema import bind_deployment, migrate
from ledger.payments.withdrawals import TakenBack, take_back_lost
from ledger.restored import OpenUsage, end_all_keys, load_open_usage, renew_batch_ids
from ledger.selling.convictions import OpenConviction, load_open_convictions
from ledger.selling.lost_payouts import (
    RecoveredPayout,
    abandon_unpaid,
    find_lost_payouts,
    load_unpaid_batches,
    take_over_payouts,
)
from ledger.spending.lost_batches import (
    Recovered,
    abandon_unsettled,
    find_lost_batches,
    load_unsettled_batches,
    take_over,
)
from scripts.saving.backups import Backup
from scripts.saving.taking import hash_file, run_tool
from serving.process.ids import new_id

RULES: Final = SyncRules(
    confirmations=0, window_blocks=256, range_blocks_max=2_000, blocks_per_step_max=1_000
)
STILL: Final = 3
"""So many looks in a row that find nothing new: the mirror is at the head."""


class NotRestored(Fatal):
    """The backup cannot be restored there; the message says why. Nothing was changed."""


@dataclass(slots=True)
class Restored:
    """What a restore came to. Amounts in 1e-6 USDC."""

    from_block: int
    to_block: int
    ended_keys: dict[str, int] = field(default_factory=dict)
    settlements: list[Recovered] = field(default_factory=list)
    payouts: list[RecoveredPayout] = field(default_factory=list)
    taken_back: list[TakenBack] = field(default_factory=list)
    open_convictions: list[OpenConviction] = field(default_factory=list)
    """As the backup has them: each may have been overturned since, and its seller paid."""
    open_usage: OpenUsage = field(default_factory=lambda: OpenUsage(0, 0))

    @property
    def lost_charges_usdc(self) -> int:
        """What was charged on chain for requests of which there is no record any more."""
        return sum(one.lost_usdc for one in self.settlements)

    @property
    def lost_payouts_usdc(self) -> int:
        """What was paid to sellers for sales of which there is no record any more."""
        return sum(one.lost_usdc for one in self.payouts)


def restore(
    backup: Backup,
    ledger_url: str,
    web3: Web3,
    deployment: Deployment,
    *,
    now_s: int,
    say: Callable[[str], None],
) -> Restored:
    """Restore a backup into an empty database. Raises ``NotRestored``, and what the chain raises.

    Where it was cut off, a restore of the same backup into the same database goes on.
    """
    check_backup(backup, deployment)
    check_chain(
        ChainReader(Web3Transport(web3)),
        chain_id=deployment.chain_id,
        addresses={"position": deployment.position},
    )
    engine = open_engine(ledger_url)
    try:
        if _is_cut_off(engine, backup):
            say("going on with a restore that was cut off")
        else:
            _check_empty(engine, backup)
            say("copying the backup")
            _bring_back(engine, backup, now_s=now_s)
        migrate(engine, is_restore=True)
        with write(engine) as connection:
            bind_deployment(connection, deployment)
            ended = _end_keys_once(connection, now_s=now_s)
        # As it was when the backup was taken: a restore that was cut off may have mirrored since.
        from_block = -1 if backup.block_number is None else backup.block_number
        say(f"mirroring the chain from block {from_block + 1:,}")
        to_block = _catch_up(engine, web3, deployment)
        done = _take_over(engine, web3, from_block=from_block, now_s=now_s)
        done.ended_keys, done.to_block = ended, to_block
        return done
    finally:
        engine.dispose()


def check_backup(backup: Backup, deployment: Deployment) -> None:
    """Raise ``NotRestored`` where a backup is damaged or of another deployment."""
    if hash_file(backup.data_path) != (backup.sha256, backup.bytes):
        raise NotRestored(f"{backup.data_path} is not as it was when the backup was taken")
    if (backup.chain_id, backup.position) != (deployment.chain_id, deployment.position):
        raise NotRestored(
            f"the backup is of {backup.position} on chain {backup.chain_id}, the record is of"
            f" {deployment.position} on chain {deployment.chain_id}"
        )


def _is_cut_off(engine: Engine, backup: Backup) -> bool:
    """Tell whether a restore of this backup was begun there. Raises ``NotRestored`` for another."""
    if engine.dialect.name != backup.kind:
        return False
    if backup.kind == "sqlite" and not Path(engine.url.database or "").exists():
        return False
    with read(engine) as connection:
        mark = load_mark(connection)
    if mark is not None and mark.backup_sha256 != backup.sha256:
        raise NotRestored("a restore of another backup was begun there: go on with that one")
    return mark is not None


def _end_keys_once(connection: Connection, *, now_s: int) -> dict[str, int]:
    mark = load_mark(connection)
    if mark is not None and mark.ended_keys is not None:
        return mark.ended_keys
    renew_batch_ids(connection)
    ended = end_all_keys(connection, now_s=now_s)
    note_ended_keys(connection, ended)
    return ended


def _check_empty(engine: Engine, backup: Backup) -> None:
    if engine.dialect.name != backup.kind:
        raise NotRestored(f"the backup is of {backup.kind}, and the URL is not")
    if engine.dialect.name == "sqlite":
        path = Path(engine.url.database or "")
        if any(Path(f"{path}{end}").exists() for end in ("", "-wal", "-shm")):
            raise NotRestored(f"{path} is there: move it away first, with its -wal and -shm")
        return
    with read(engine) as connection:
        if inspect(connection).get_table_names():
            raise NotRestored("the database is not empty: create another one, and name that")


def _bring_back(engine: Engine, backup: Backup, *, now_s: int) -> None:
    """Copy the backup's data, and mark it before anything can take it for a whole ledger."""
    if backup.kind == "postgresql":
        arguments = ["--no-owner", "--single-transaction", "--exit-on-error"]
        run_tool(
            "pg_restore",
            engine.url,
            [*arguments, f"--dbname={engine.url.database}", str(backup.data_path)],
        )
        with write(engine) as connection:
            mark_restoring(connection, backup_sha256=backup.sha256, now_s=now_s)
        return
    path = Path(engine.url.database or "")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    # What a restore left that was killed: the copy is not to be rolled back by it.
    draft.with_name(f"{draft.name}-journal").unlink(missing_ok=True)
    shutil.copyfile(backup.data_path, draft)
    draft.chmod(0o600)
    with closing(sqlite3.connect(draft)) as copy:
        (found,) = copy.execute("PRAGMA integrity_check").fetchone()
    if found != "ok":
        draft.unlink()
        raise NotRestored(f"the backup is damaged: {found}")
    marking = create_engine(f"sqlite:///{draft}", poolclass=NullPool)
    with marking.begin() as connection:
        mark_restoring(connection, backup_sha256=backup.sha256, now_s=now_s)
    draft.rename(path)


def _catch_up(engine: Engine, web3: Web3, deployment: Deployment) -> int:
    """Mirror up to the head and return its number."""
    follower = Follower(engine, ChainReader(Web3Transport(web3)), deployment, RULES)
    still = 0
    while still < STILL:
        still = still + 1 if follower.converge() is Outcome.NOTHING_NEW else 0
    with read(engine) as connection:
        mirror = load_mirror(connection)
    assert mirror is not None, "the deployment's own block is mirrored"
    return mirror.block_number


def _take_over(engine: Engine, web3: Web3, *, from_block: int, now_s: int) -> Restored:
    with read(engine) as connection:
        unsettled = load_unsettled_batches(connection)
        unpaid = load_unpaid_batches(connection)
    senders = {sender for sender, _ in [*unsettled.values(), *unpaid.values()] if sender}
    nonces = {sender: _count_transactions(web3, sender) for sender in senders}
    done = Restored(from_block, from_block)
    with write(engine) as connection:
        lost = find_lost_batches(connection, above_block=from_block)
        if lost:
            abandon_unsettled(connection, _find_dead(unsettled, nonces))
        for batch in lost:
            done.settlements += take_over(connection, batch, now_s=now_s)
        lost_payouts = find_lost_payouts(connection, above_block=from_block)
        if lost_payouts:
            abandon_unpaid(connection, set(_find_dead(unpaid, nonces)))
        for paid in lost_payouts:
            done.payouts += take_over_payouts(connection, paid, make_id=new_id, now_s=now_s)
        done.taken_back = _take_back(connection, done.payouts, now_s=now_s)
        done.open_convictions = load_open_convictions(connection)
        done.open_usage = load_open_usage(connection)
        clear_mark(connection)
    return done


def _take_back(
    connection: Connection, payouts: list[RecoveredPayout], *, now_s: int
) -> list[TakenBack]:
    """Take the credit out of accounts that their wallets have withdrawn since."""
    found = []
    for one in payouts:
        if one.lost_payout_id is not None:
            taken = take_back_lost(
                connection,
                payout_id=one.lost_payout_id,
                payee=one.payee,
                amount_usdc=one.lost_usdc,
                now_s=now_s,
            )
            found += [] if taken is None else [taken]
    return found


def _count_transactions(web3: Web3, sender: str) -> int:
    with translated():
        return int(web3.eth.get_transaction_count(to_checksum_address(sender)))


def _find_dead(
    batches: dict[str, tuple[str | None, int | None]], nonces: dict[str, int]
) -> Iterable[str]:
    """Return the batches whose transaction can never land: never signed, or its nonce is used.

    Of those that landed the mirror has the events, and they are not among these any more.
    """
    for batch_id, (sender, nonce) in batches.items():
        if sender is None or nonce is None or nonce < nonces[sender]:
            yield batch_id
