"""A duty's transaction before it has fees, and the payload that its intent stores.

Calldata is put together from selectors and ``eth-abi``: web3's own encoding looks the function up
by its arguments each time, which for the harvests of one round costs fifty milliseconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from eth_utils.abi import function_signature_to_4byte_selector

MULTICALL_BASE_GAS: Final = 60_000
"""What an ``aggregate3`` uses beside its calls, a transaction's own gas included."""


@dataclass(frozen=True, slots=True)
class ChainCall:
    """A transaction without its fees. ``gas`` None: to be estimated."""

    to: str
    data: str
    token_ids: tuple[int, ...]
    gas: int | None = None
    batch_id: str | None = None
    accounts: tuple[str, ...] = ()
    """On whose behalf it is sent, where these are not positions: see ``keeper.budgets``."""

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
        if self.accounts:
            payload["accounts"] = list(self.accounts)
        return payload

    def request(self, sender: str) -> dict[str, str]:
        """Return the call as a node simulates it in the name of ``sender``."""
        request = {"from": sender, "to": self.to, "data": self.data}
        return request if self.gas is None else {**request, "gas": hex(self.gas)}


def select(name: str, types: Sequence[str]) -> bytes:
    """Return the selector of a function."""
    return function_signature_to_4byte_selector(f"{name}({','.join(types)})")
