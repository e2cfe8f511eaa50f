"""Actions as transactions: the calldata, and the payload that an intent keeps of them.

Calldata is put together from selectors and ``eth-abi``: web3's own encoding looks the function up
by its arguments each time, which for the harvests of one round costs fifty milliseconds.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from eth_abi.abi import decode, encode
from eth_utils.abi import function_signature_to_4byte_selector
from eth_utils.address import to_checksum_address

from contracts.authorizations import (
    Authorization,
    decode_aggregate,
    encode_aggregate,
    read_word,
)
from contracts.bindings import Contracts
from keeper.facts import HoldItem, Kind
from ledger.selling.payouts import PlannedPayout
from ledger.spending.batches import PlannedBatch

MULTICALL_BASE_GAS: Final = 60_000


@dataclass(frozen=True, slots=True)
class Call:
    """A transaction without its fees. ``gas`` None: to be estimated."""

    to: str
    data: str
    token_ids: tuple[int, ...]
    gas: int | None = None
    batch_id: str | None = None

    def payload(self) -> dict[str, Any]:
        """Return what an intent stores, as JSON values."""
        payload: dict[str, Any] = {
            "to": self.to,
            "data": self.data,
            "token_ids": list(self.token_ids),
        }
        if self.gas is not None:
            payload["gas"] = self.gas
        if self.batch_id is not None:
            payload["batch_id"] = self.batch_id
        return payload


_HOLDS: Final = ("(uint256,uint256,uint256,uint256)[]",)
_SETTLE: Final = ("bytes32", "bytes32", "(uint256,uint256)[]")
_PAY: Final = ("bytes32", "address[]", "uint256[]")
_CALLS: Final = ("(address,bool,bytes)[]",)


def _select(name: str, types: Sequence[str]) -> bytes:
    return function_signature_to_4byte_selector(f"{name}({','.join(types)})")


_HOLD_SELECTOR: Final = _select("hold", _HOLDS)
_SETTLE_SELECTOR: Final = _select("settle", _SETTLE)
_PAY_SELECTOR: Final = _select("pay", _PAY)
_CALLS_SELECTOR: Final = _select("aggregate3", _CALLS)
_HARVEST_SELECTOR: Final = _select("harvest", ("uint256",))


def build_hold(contracts: Contracts, items: Sequence[HoldItem]) -> Call:
    """Build ``hold``: absolute amounts, so that repeating it is harmless."""
    holds = [(i.token_id, i.amount_usdc, i.expires_at_s, i.key_epoch) for i in items]
    data = "0x" + (_HOLD_SELECTOR + encode(_HOLDS, [holds])).hex()
    return Call(contracts.position.address, data, tuple(item.token_id for item in items))


def build_settle(contracts: Contracts, batch: PlannedBatch) -> Call:
    """Build ``settle`` for a planned batch."""
    arguments = [
        bytes.fromhex(batch.batch_id[2:]),
        bytes.fromhex(batch.receipts_root[2:]),
        list(batch.items),
    ]
    data = "0x" + (_SETTLE_SELECTOR + encode(_SETTLE, arguments)).hex()
    token_ids = tuple(token_id for token_id, _ in batch.items)
    return Call(contracts.position.address, data, token_ids, batch_id=batch.batch_id)


def build_harvest(contracts: Contracts, token_ids: Sequence[int], *, gas_each: int) -> Call:
    """Build one ``aggregate3`` of harvests, each allowed to fail.

    The gas is given, not estimated: an estimate would find the least with which the outer call
    succeeds, which is one that lets the inner ones fail.
    """
    adapter = contracts.adapter
    calls = [
        (adapter.address, True, _HARVEST_SELECTOR + token_id.to_bytes(32)) for token_id in token_ids
    ]
    data = "0x" + (_CALLS_SELECTOR + encode(_CALLS, [calls])).hex()
    gas = MULTICALL_BASE_GAS + gas_each * len(token_ids)
    return Call(contracts.multicall3.address, data, tuple(token_ids), gas=gas)


def read_harvest(answer: bytes) -> list[int | None]:
    """Return what each harvest of an ``aggregate3`` credited (1e-6 USDC), None for a failure.

    Raises ``ValueError`` for anything else.
    """
    return [read_word(result) for result in decode_aggregate(answer)]


def build_payments(
    contracts: Contracts, payments: Sequence[Authorization], *, gas_each: int
) -> Call:
    """Build one ``aggregate3`` of transfers that payers have signed, each allowed to fail.

    The gas is given for the same reason as a harvest's.
    """
    usdc = contracts.usdc.address
    data = encode_aggregate((usdc, payment.encode_transfer()) for payment in payments)
    gas = MULTICALL_BASE_GAS + gas_each * len(payments)
    return Call(contracts.multicall3.address, "0x" + data.hex(), (), gas=gas)


def build_sweep(contracts: Contracts) -> Call:
    """Build ``sweep``."""
    return Call(contracts.position.address, contracts.position.encode_abi("sweep", args=[]), ())


def build_payout(contracts: Contracts, batch: PlannedPayout) -> Call:
    """Build ``pay`` for a planned payout batch: one amount for each payee."""
    payees = [to_checksum_address(payee) for payee, _ in batch.items]
    arguments = [bytes.fromhex(batch.batch_id[2:]), payees, [amount for _, amount in batch.items]]
    data = "0x" + (_PAY_SELECTOR + encode(_PAY, arguments)).hex()
    return Call(contracts.payouts.address, data, (), batch_id=batch.batch_id)


def build_intent_id(kind: Kind, call: Call, *, block_hash: str) -> str:
    """Return the id of an action: its kind and its batch, or else what it does at which block.

    Deciding the same at the same block gives the same id.
    """
    if call.batch_id is not None:
        return f"{kind}:{call.batch_id}"
    meaning = json.dumps([block_hash, call.payload()], sort_keys=True)
    return f"{kind}:{hashlib.sha256(meaning.encode()).hexdigest()[:32]}"


def is_release(data: str) -> bool:
    """Tell whether calldata (0x hex) of ``hold`` frees at least one position."""
    (holds,) = decode(_HOLDS, bytes.fromhex(data[10:]))
    return any(amount_usdc == 0 for _, amount_usdc, _, _ in holds)
