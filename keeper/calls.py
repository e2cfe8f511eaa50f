"""Actions as transactions: the calldata, and the payload that an intent keeps of them."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from eth_abi.abi import decode, encode

from contracts.bindings import Contracts
from keeper.facts import HarvestItem, HoldItem, Kind
from ledger.batches import PlannedBatch

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


def build_hold(contracts: Contracts, items: Sequence[HoldItem]) -> Call:
    """Build ``hold``: absolute amounts, so that repeating it is harmless."""
    holds = [(i.token_id, i.amount_usdc, i.expires_at_s, i.key_epoch) for i in items]
    data = contracts.position.encode_abi("hold", args=[holds])
    return Call(contracts.position.address, data, tuple(item.token_id for item in items))


def build_settle(contracts: Contracts, batch: PlannedBatch) -> Call:
    """Build ``settle`` for a planned batch."""
    arguments = [
        bytes.fromhex(batch.batch_id[2:]),
        bytes.fromhex(batch.receipts_root[2:]),
        list(batch.items),
    ]
    data = contracts.position.encode_abi("settle", args=arguments)
    token_ids = tuple(token_id for token_id, _ in batch.items)
    return Call(contracts.position.address, data, token_ids, batch_id=batch.batch_id)


def build_harvest(contracts: Contracts, items: Sequence[HarvestItem], *, gas_each: int) -> Call:
    """Build one ``aggregate3`` of harvests, each allowed to fail.

    The gas is given, not estimated: an estimate would find the least with which the outer call
    succeeds, which is one that lets the inner ones fail.
    """
    adapter = contracts.adapter
    calls = [
        (adapter.address, True, adapter.encode_abi("harvest", args=[item.token_id]))
        for item in items
    ]
    data = contracts.multicall3.encode_abi("aggregate3", args=[calls])
    gas = MULTICALL_BASE_GAS + gas_each * len(items)
    token_ids = tuple(item.token_id for item in items)
    return Call(contracts.multicall3.address, data, token_ids, gas=gas)


def build_sweep(contracts: Contracts) -> Call:
    """Build ``sweep``."""
    return Call(contracts.position.address, contracts.position.encode_abi("sweep", args=[]), ())


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


def without_holds(data: str) -> str:
    """Return calldata of the same ``hold`` function that places nothing."""
    return data[:10] + encode(_HOLDS, [[]]).hex()
