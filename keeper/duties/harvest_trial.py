"""Harvests as one transaction, and what each of them would credit now."""

from collections.abc import Sequence
from typing import Final

import structlog
from eth_abi.abi import encode

from contracts.authorizations import decode_aggregate, read_word
from contracts.bindings import Contracts
from contracts.errors import Reverted
from keeper.duties.calls import MULTICALL_BASE_GAS, ChainCall, select
from keeper.node import Node
from keeper.node_values import WORD_BYTES

log = structlog.get_logger("keeper")

_CALLS: Final = ("(address,bool,bytes)[]",)
_CALLS_SELECTOR: Final = select("aggregate3", _CALLS)
_HARVEST_SELECTOR: Final = select("harvest", ("uint256",))


def build_harvest(contracts: Contracts, token_ids: Sequence[int], *, gas_each: int) -> ChainCall:
    """Build one ``aggregate3`` of harvests, each allowed to fail.

    The gas is given, not estimated: an estimate finds the least gas with which the outer call
    succeeds, and with that little the inner calls fail.
    """
    adapter = contracts.adapter.address
    calls = [(adapter, True, _HARVEST_SELECTOR + token_id.to_bytes(32)) for token_id in token_ids]
    data = "0x" + (_CALLS_SELECTOR + encode(_CALLS, [calls])).hex()
    gas = MULTICALL_BASE_GAS + gas_each * len(token_ids)
    return ChainCall(contracts.multicall3.address, data, tuple(token_ids), gas=gas)


def read_harvest(answer: bytes) -> list[int | None]:
    """Return what each harvest of an ``aggregate3`` credited (1e-6 USDC), None for a failure.

    Raises ``ValueError`` for anything else.
    """
    return [read_word(result) for result in decode_aggregate(answer)]


class HarvestTrial:
    """Tries due harvests at a block, as they would be sent.

    ``gas_each`` is what each may use, ``items_max`` how many are sent together.
    """

    def __init__(
        self, node: Node, contracts: Contracts, *, gas_each: int, items_max: int, sender: str
    ) -> None:
        self._node = node
        self._contracts = contracts
        self._gas_each = gas_each
        self._items_max = items_max
        self._sender = sender

    def run(self, token_ids: Sequence[int], *, block_hash: str) -> list[int | None]:
        """Return what each harvest would credit (1e-6 USDC), None where it would fail.

        As many at once first as will be sent together. Those that fail there are tried by
        themselves, each with its own gas: a vault that burns all it gets spoils no other quote.
        Raises what the node raises.
        """
        credits_usdc: list[int | None] = []
        for start in range(0, len(token_ids), self._items_max):
            chunk = token_ids[start : start + self._items_max]
            credits_usdc += self._try_together(chunk, block_hash=block_hash)
        return credits_usdc

    def _try_together(self, token_ids: Sequence[int], *, block_hash: str) -> list[int | None]:
        call = build_harvest(self._contracts, token_ids, gas_each=self._gas_each)
        request = call.request(self._sender)
        try:
            together = read_harvest(self._node.try_call(request, block=block_hash))
        except (Reverted, ValueError):
            together = []
        if len(together) != len(token_ids):
            together = [None] * len(token_ids)
        return [
            self._try_alone(token_id, block_hash=block_hash)
            if credited_usdc is None
            else credited_usdc
            for token_id, credited_usdc in zip(token_ids, together, strict=True)
        ]

    def _try_alone(self, token_id: int, *, block_hash: str) -> int | None:
        adapter = self._contracts.adapter
        call = {
            "from": self._sender,
            "to": adapter.address,
            "data": adapter.encode_abi("harvest", args=[token_id]),
            "gas": hex(self._gas_each),
        }
        try:
            answer = self._node.try_call(call, block=block_hash)
        except Reverted as error:
            log.warning("harvest_refused", token_id=token_id, reason=error.reason)
            return None
        return int.from_bytes(answer) if len(answer) == WORD_BYTES else None
