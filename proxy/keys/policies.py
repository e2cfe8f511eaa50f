"""The policies of positions and keys, in memory: who may serve their requests.

Every process looks for changes again and again, so a policy counts within ``LOOK_S`` in all of
them, and at once in the one that was told. A request costs no look at the ledger.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final

import orjson
from sqlalchemy import Connection

from ledger.spending.key_policies import ALL_KEYS, StoredPolicy, load_policies, save_policy
from proxy.chat.meter import Meter
from proxy.keys.tokens import KeyClaims

LOOK_S: Final = 1.0
_OVERLAP_S: Final = 60
"""How far back changes are looked for again: a change has its time before it waits for its
position, and clocks are not in one order."""


class KeyPolicies:
    """Knows every policy that stands, once ``refresh`` has run."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._policies: dict[tuple[int, str], dict[str, Any]] = {}
        self._looked_at_s: int | None = None
        self._turn = asyncio.Lock()
        """A look that began before a change must not undo it here."""

    async def refresh(self) -> None:
        """Read what was set or lifted since the last look; all of it the first time."""
        async with self._turn:
            now_s, since_s = self._meter.now_s(), self._looked_at_s
            found = await self._meter.read(lambda c: load_policies(c, changed_since_s=since_s))
            self._put(found)
            self._looked_at_s = now_s - _OVERLAP_S

    def find(self, claims: KeyClaims) -> list[dict[str, Any]]:
        """Return the policies that a key's requests are under, the position's first."""
        if not self._policies:
            return []
        names = [ALL_KEYS, claims.key_id] if claims.is_child else [ALL_KEYS]
        found = (self._policies.get((claims.token_id, name)) for name in names)
        return [policy for policy in found if policy is not None]

    def get(self, token_id: int, key_id: str) -> dict[str, Any] | None:
        """Return what was set for a child key, or for ``ALL_KEYS``; None without a policy."""
        return self._policies.get((token_id, key_id))

    async def save(
        self,
        token_id: int,
        key_id: str,
        policy: dict[str, Any] | None,
        write: Callable[[Callable[[Connection], None]], Any],
    ) -> None:
        """Set or lift a policy by ``write``, which runs it in a transaction. Raises as that."""
        text = None if policy is None else orjson.dumps(policy).decode()
        stored, now_s = StoredPolicy(token_id, key_id, text), self._meter.now_s()
        async with self._turn:
            await write(lambda connection: save_policy(connection, stored, now_s=now_s))
            self._put([stored])

    def _put(self, policies: Iterable[StoredPolicy]) -> None:
        for one in policies:
            if one.policy is None:
                self._policies.pop((one.token_id, one.key_id), None)
            else:
                self._policies[one.token_id, one.key_id] = orjson.loads(one.policy)
