"""``current audit``: the ledger's invariants, against its own rows and against the chain.

L1, L3 and L4 need the ledger only. L5 compares every mirrored position with the contracts' own
views at the mirrored block. L6 mirrors the chain again into a ledger of its own and compares the
rows.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, RowMapping, Table, select
from web3 import Web3

from contracts.bindings import Contracts, bind_contracts
from contracts.chain import Web3Transport, open_web3, translated
from contracts.deployment import Deployment
from contracts.node_errors import NodeUnavailable
from contracts.reader import ChainReader
from indexer.sync import Follower, SyncRules
from indexer.verify import mirrored_values
from ledger.audit import Violation, find_stranded_batches, find_violations
from ledger.chain.mirror import MirrorState, load_mirror
from ledger.chain.position_rows import load_state_from_row
from ledger.database.engine import open_engine, read, write
from ledger.database.restore_mark import check_not_restoring
from ledger.database.schema import bind_deployment
from ledger.tables import Event, Position, table_of

_event = table_of(Event)
_position = table_of(Position)

ACCOUNT_FIELDS: Final = (
    "credited",
    "spent",
    "withdrawn",
    "held",
    "holdExpiresAt",
    "dayCap",
    "daySpent",
    "keyEpoch",
)
"""What ``accountOf`` returns, in its order."""

_OWN_COLUMNS: Final = (
    "drawn_usdc",
    "hold_unconfirmed_usdc",
    "hold_confirmed_expires_at_s",
    "hold_placing_usdc",
    "harvest_look_at_s",
    "harvest_failures",
    "harvest_sent_at_s",
)
"""Columns of ``position`` that the chain does not determine."""


def audit(engine: Engine, web3: Web3, deployment: Deployment) -> list[Violation]:
    """Return everything that breaks an invariant; an empty list is a clean bill.

    Reads one snapshot of the ledger, then the chain at the block that it mirrors: a database ends
    a transaction that is idle for long, and the chain may be asked for hours. Raises
    ``RestoreUnfinished`` for a ledger into which a restore has not ended.
    """
    contracts = bind_contracts(web3, deployment)
    with read(engine) as connection:
        check_not_restoring(connection)
        violations = [*find_violations(connection), *find_stranded_batches(connection)]
        cursor = load_mirror(connection)
        if cursor is None:
            return [*violations, Violation("L5", "mirror", "nothing is mirrored yet")]
        positions, events = _load_rows(connection, _position), _load_rows(connection, _event)
    header = ChainReader(Web3Transport(web3)).fetch_header(cursor.block_number)
    if header is None or header.block_hash != cursor.block_hash:
        detail = f"block {cursor.block_number} is not {cursor.block_hash} on the chain"
        return [*violations, Violation("L5", "mirror", detail)]
    violations += _find_l5(positions, contracts, cursor)
    violations += _find_l6({_event: events, _position: positions}, web3, deployment, cursor)
    return violations


def _load_rows(connection: Connection, table: Table) -> list[RowMapping]:
    keys = table.primary_key.columns
    return list(connection.execute(select(table).order_by(*keys)).mappings())


def _find_l5(
    rows: Sequence[RowMapping], contracts: Contracts, cursor: MirrorState
) -> Iterator[Violation]:
    """L5: credited - spent - withdrawn >= 0, and every mirrored number is the contracts' own."""
    supply = _call(contracts.position.functions.totalSupply(), cursor)
    if [row["token_id"] for row in rows] != list(range(supply)):
        yield Violation("L5", "positions", f"{len(rows)} mirrored, {supply} on the chain")
        return
    owed = liabilities = 0
    for row in rows:
        state = load_state_from_row(row)
        mirrored = mirrored_values(state, now_s=cursor.block_timestamp_s)
        actual = _chain_figures(contracts, state.token_id, cursor)
        owed += state.spent_usdc
        liabilities += state.unspent_usdc
        for name, value in actual.items():
            if mirrored[name] != value:
                detail = f"{name} is {mirrored[name]} in the mirror, {value} on the chain"
                yield Violation("L5", f"position {state.token_id}", detail)
    owed_now = _call(contracts.position.functions.owed(), cursor)
    liabilities_now = _call(contracts.position.functions.liabilities(), cursor)
    if liabilities_now - owed_now != liabilities:
        detail = f"unspent credit is {liabilities}, the chain says {liabilities_now - owed_now}"
        yield Violation("L5", "liabilities", detail)


def _chain_figures(contracts: Contracts, token_id: int, cursor: MirrorState) -> dict[str, Any]:
    position, adapter = contracts.position.functions, contracts.adapter.functions
    account = _call(position.accountOf(token_id), cursor)
    figures = dict(zip(ACCOUNT_FIELDS, account, strict=True))
    figures["remainingAllowance"] = _call(position.remainingAllowance(token_id), cursor)
    figures["withdrawableYield"] = _call(position.withdrawableYield(token_id), cursor)
    figures["owner"] = _call(position.ownerOf(token_id), cursor).lower()
    vault, principal, shares, interval, last = _call(adapter.positionOf(token_id), cursor)
    figures["vault"] = vault.lower()
    figures["principal"], figures["shares"] = principal, shares
    figures["harvestIntervalMinutes"], figures["lastHarvestAt"] = interval, last
    return figures


def _call(function: Any, cursor: MirrorState) -> Any:
    with translated():
        return function.call(block_identifier=cursor.block_number)


def _find_l6(
    live: Mapping[Table, Sequence[RowMapping]],
    web3: Web3,
    deployment: Deployment,
    cursor: MirrorState,
) -> list[Violation]:
    """L6: mirroring again from the deployment block yields the same events and positions."""
    with tempfile.TemporaryDirectory(prefix="current-audit-") as directory:
        again = open_engine(f"sqlite:///{Path(directory) / 'ledger.sqlite3'}")
        try:
            _mirror_again(again, web3, deployment, cursor)
            with read(again) as fresh:
                again_rows = {table: _load_rows(fresh, table) for table in live}
        finally:
            again.dispose()
    return [
        violation
        for table, rows in live.items()
        for violation in _compare(rows, again_rows[table], table, cursor)
    ]


def _mirror_again(again: Engine, web3: Web3, deployment: Deployment, cursor: MirrorState) -> None:
    with write(again) as connection:
        # What no process works with needs no migrations: the tables are made as they are declared.
        _event.metadata.create_all(connection)
        bind_deployment(connection, deployment)
    # Window 0 reads everything up to the head in ranges; the head may be past the cursor.
    rules = SyncRules(
        confirmations=0, window_blocks=1, range_blocks_max=2_000, blocks_per_step_max=1_000
    )
    follower = Follower(again, PinnedReader(web3, cursor), deployment, rules)
    while True:
        follower.converge()
        with read(again) as connection:
            reached = load_mirror(connection)
        if reached is not None and reached.block_hash == cursor.block_hash:
            return


class PinnedReader(ChainReader):
    """A reader for which a given block is the head."""

    def __init__(self, web3: Web3, cursor: MirrorState) -> None:
        super().__init__(Web3Transport(web3))
        self._cursor = cursor

    def fetch_head(self) -> Any:
        header = self.fetch_header(self._cursor.block_number)
        if header is None or header.block_hash != self._cursor.block_hash:
            raise NodeUnavailable("the chain was reorganised during the audit; run it again")
        return header


def _compare(
    live: Sequence[RowMapping], fresh: Sequence[RowMapping], table: Table, cursor: MirrorState
) -> list[Violation]:
    names = [column.name for column in table.columns if column.name not in _OWN_COLUMNS]
    keys = [column.name for column in table.primary_key.columns]
    sides = [
        {tuple(row[key] for key in keys): {name: row[name] for name in names} for row in rows}
        for rows in (live, fresh)
    ]
    live_rows, fresh_rows = sides
    return [
        Violation(
            "L6",
            f"{table.name} {key}",
            f"live {live_rows.get(key)}, mirrored again up to block {cursor.block_number}"
            f" {fresh_rows.get(key)}",
        )
        for key in sorted(live_rows.keys() | fresh_rows.keys())
        if live_rows.get(key) != fresh_rows.get(key)
    ]


def open_for_audit(ledger_url: str, rpc_url: str) -> tuple[Engine, Web3]:
    """Open the ledger and the node that an audit reads."""
    return open_engine(ledger_url), open_web3(rpc_url)
