"""Comparing the mirror with the contracts' own views, at the very block that is mirrored.

What the views say does not depend on any log: a difference is the trace of events that no node has
shown, or that were mirrored from a chain that is not the node's.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from eth_abi.abi import encode
from eth_utils.crypto import keccak
from sqlalchemy import Engine

from contracts.authorizations import decode_aggregate
from contracts.deployment import Deployment
from contracts.node_errors import NodeFailure, NodeRefused, NodeUnavailable
from contracts.reader import ChainReader
from contracts.transport import Call
from ledger.chain import mirror, position_rows
from ledger.chain.mirror import MirrorState
from ledger.chain.positions import PositionState, get_allowance
from ledger.database.engine import read

CHUNK_POSITIONS: Final = 250
"""Positions that are asked for, and kept in memory, together."""
MULTICALL_CALLS: Final = 60
"""Calls in one ``aggregate3``: what the project's own stand-in for Multicall3 takes."""
_AGGREGATE: Final = "0x" + keccak(text="aggregate3((address,bool,bytes)[])")[:4].hex()
_NO_ADDRESS: Final = "0x" + "00" * 20

ViewCall = tuple[str, str]
"""An address and calldata, 0x hex."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that is not what the chain says. ``token_id`` None: of no single position."""

    token_id: int | None
    name: str
    mirrored: str
    chain: str

    def __str__(self) -> str:
        subject = "all positions" if self.token_id is None else f"position {self.token_id}"
        return f"{subject}: {self.name} is {self.mirrored} in the mirror, {self.chain} on the chain"


@dataclass(frozen=True, slots=True)
class _View:
    """One function of a position, and the names of the words that it returns."""

    contract: str
    name: str
    words: tuple[str, ...]

    @property
    def selector(self) -> str:
        return "0x" + keccak(text=f"{self.name}(uint256)")[:4].hex()


_VIEWS: Final = (
    _View(
        "position",
        "accountOf",
        (
            "credited",
            "spent",
            "withdrawn",
            "held",
            "holdExpiresAt",
            "dayCap",
            "daySpent",
            "keyEpoch",
        ),
    ),
    _View("position", "remainingAllowance", ("remainingAllowance",)),
    _View("position", "withdrawableYield", ("withdrawableYield",)),
    _View("position", "ownerOf", ("owner",)),
    _View("position", "modelTier", ("modelTier",)),
    _View("position", "dailySmoothingBps", ("dailySmoothingBps",)),
    _View(
        "adapter",
        "positionOf",
        ("vault", "principal", "shares", "harvestIntervalMinutes", "lastHarvestAt"),
    ),
)
_ADDRESSES: Final = frozenset({"owner", "vault"})


@dataclass(frozen=True, slots=True)
class Compared:
    """What was compared, and where; the differences are reported separately.

    ``values`` are single figures of positions: principal, owner, allowance. ``block`` is the
    mirrored block of the last comparison, None where nothing is mirrored yet.
    """

    positions: int = 0
    values: int = 0
    differences: int = 0
    block: MirrorState | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """One part of the positions, compared at ``block``; None where nothing is mirrored yet."""

    last: int | None
    """The last id compared; None where no more follow."""
    positions: int
    values: int
    differences: list[Difference]
    block: MirrorState | None


def compare_all(
    engine: Engine,
    reader: ChainReader,
    deployment: Deployment,
    *,
    tell: Callable[[Difference], None],
) -> Compared:
    """Compare every position, tell of each difference at once, and return the sums.

    Each part of the positions is compared at the block that is mirrored when it is its turn.
    Raises ``NodeUnavailable`` or ``NodeRefused`` where the node cannot say.
    """
    sums = Compared()
    after: int | None = -1
    while after is not None:
        chunk = compare_chunk(engine, reader, deployment, after=after)
        for difference in chunk.differences:
            tell(difference)
        sums = Compared(
            positions=sums.positions + chunk.positions,
            values=sums.values + chunk.values,
            differences=sums.differences + len(chunk.differences),
            block=chunk.block,
        )
        after = chunk.last
    return sums


def compare_chunk(
    engine: Engine,
    reader: ChainReader,
    deployment: Deployment,
    *,
    after: int,
    count: int = CHUNK_POSITIONS,
) -> Chunk:
    """Compare ``count`` positions, of those with ids above ``after`` (-1: from the first).

    The last part also says whether the chain has other positions than the mirror.
    """
    with read(engine) as connection:
        cursor = mirror.load_mirror(connection)
        states = position_rows.load_states_after(connection, token_id=after, count=count)
    if cursor is None:
        return Chunk(None, 0, 0, [], None)
    pairs = list(_pair_values(reader, deployment, cursor, states))
    found = [
        Difference(token_id, name, str(mirrored), str(value))
        for token_id, name, mirrored, value in pairs
        if mirrored != value
    ]
    if len(states) == count:
        return Chunk(states[-1].token_id, len(states), len(pairs), found, cursor)
    supply = _fetch_supply(reader, deployment, cursor)
    newest = states[-1].token_id if states else after
    # Ids are counted up from 0, and no position is ever gone.
    found += [
        Difference(token_id, "the position", "missing", "there")
        for token_id in range(newest + 1, supply)
    ]
    return Chunk(None, len(states), len(pairs), found, cursor)


def _pair_values(
    reader: ChainReader,
    deployment: Deployment,
    cursor: MirrorState,
    states: Sequence[PositionState],
) -> Iterator[tuple[int, str, int | str, int | str]]:
    """Yield a position, a value's name, and the value as mirrored and as the chain has it."""
    calls = [
        (getattr(deployment, view.contract), f"{view.selector}{state.token_id:064x}")
        for state in states
        for view in _VIEWS
    ]
    answers = iter(_fetch_views(reader, deployment.multicall3, cursor, calls))
    for state in states:
        mirrored = mirrored_values(state, now_s=cursor.block_timestamp_s)
        for view in _VIEWS:
            answer = next(answers)
            if answer is None and view.contract == "adapter" and not state.vault:
                continue  # minted, and never opened: the adapter knows nothing of it either
            for name, value in _read_words(view, answer):
                yield state.token_id, name, mirrored[name], value


def _fetch_supply(reader: ChainReader, deployment: Deployment, cursor: MirrorState) -> int:
    selector = "0x" + keccak(text="totalSupply()")[:4].hex()
    [answer] = _fetch_each(reader, cursor, [(deployment.position, selector)])
    if answer is None:
        raise NodeUnavailable("no total supply", failure=NodeFailure.MALFORMED)
    return _parse_word(answer, 0)


def _fetch_views(
    reader: ChainReader, multicall3: str, cursor: MirrorState, calls: Sequence[ViewCall]
) -> list[bytes | None]:
    """Return what the views answer, None for those that revert.

    Through Multicall3, because each ``eth_call`` costs a node far more than the view itself; one by
    one where that does not answer.
    """
    groups = [calls[i : i + MULTICALL_CALLS] for i in range(0, len(calls), MULTICALL_CALLS)]
    outer = [_call(multicall3, _encode_aggregate(group), cursor) for group in groups]
    found: list[bytes | None] = []
    for group, answer in zip(groups, reader.transport.request_batch(outer), strict=True):
        if isinstance(answer, NodeUnavailable):
            raise answer
        inner = None if isinstance(answer, NodeRefused) else _read_aggregate(answer, len(group))
        found += _fetch_each(reader, cursor, group) if inner is None else inner
    return found


def _fetch_each(
    reader: ChainReader, cursor: MirrorState, calls: Sequence[ViewCall]
) -> list[bytes | None]:
    found: list[bytes | None] = []
    for answer in reader.transport.request_batch([_call(*call, cursor) for call in calls]):
        if isinstance(answer, NodeRefused) and answer.revert_reason is not None:
            found.append(None)
        elif isinstance(answer, Exception):
            raise answer
        else:
            found.append(_parse_bytes(answer))
    return found


def _call(address: str, data: str, cursor: MirrorState) -> Call:
    return "eth_call", [{"to": address, "data": data}, {"blockHash": cursor.block_hash}]


def _encode_aggregate(calls: Sequence[ViewCall]) -> str:
    items = [(address, True, bytes.fromhex(data[2:])) for address, data in calls]
    return _AGGREGATE + encode(("(address,bool,bytes)[]",), (items,)).hex()


def _read_aggregate(answer: Any, count: int) -> list[bytes | None] | None:
    """Return the inner answers; None where this is not what a Multicall3 answers."""
    try:
        results = decode_aggregate(_parse_bytes(answer))
    except (ValueError, NodeUnavailable):
        return None
    if len(results) != count:
        return None
    return [data if succeeded else None for succeeded, data in results]


def _read_words(view: _View, answer: bytes | None) -> Iterable[tuple[str, int | str]]:
    """Return the words of an answer by their names; a revert means that the position is unknown."""
    if answer is None:
        return [(view.words[0], "refused")]
    return [
        (name, _read_address(answer, place) if name in _ADDRESSES else _parse_word(answer, place))
        for place, name in enumerate(view.words)
    ]


def _read_address(answer: bytes, place: int) -> str:
    return f"0x{_parse_word(answer, place):040x}"


def _parse_word(answer: bytes, place: int) -> int:
    if len(answer) < 32 * (place + 1):
        raise NodeUnavailable("a view was answered with too little", failure=NodeFailure.MALFORMED)
    return int.from_bytes(answer[32 * place : 32 * (place + 1)], "big")


def _parse_bytes(answer: Any) -> bytes:
    try:
        return bytes.fromhex(answer[2:])
    except (TypeError, ValueError) as error:
        raise NodeUnavailable(
            "a call was answered with no hex", failure=NodeFailure.MALFORMED
        ) from error


def mirrored_values(state: PositionState, *, now_s: int) -> dict[str, int | str]:
    """Return what the contracts' views should say of a position, by the names of their outputs.

    Amounts in 1e-6 USDC; ``now_s`` is the chain's clock, and addresses are lower-case 0x hex.
    """
    allowance = get_allowance(state, now_s=now_s)
    return {
        "credited": state.credited_usdc,
        "spent": state.spent_usdc,
        "withdrawn": state.withdrawn_usdc,
        "held": allowance.held_usdc,
        "holdExpiresAt": state.hold_expires_at_s if now_s < state.hold_expires_at_s else 0,
        "dayCap": allowance.day_cap_usdc,
        "daySpent": allowance.day_spent_usdc,
        "keyEpoch": state.key_epoch,
        "remainingAllowance": allowance.remaining_usdc,
        "withdrawableYield": allowance.withdrawable_usdc,
        "owner": state.owner,
        "modelTier": state.model_tier,
        "dailySmoothingBps": state.daily_smoothing_bps,
        "vault": state.vault or _NO_ADDRESS,
        "principal": state.principal_usdc,
        "shares": state.shares,
        "harvestIntervalMinutes": state.harvest_interval_s // 60,
        "lastHarvestAt": state.last_harvest_at_s,
    }
