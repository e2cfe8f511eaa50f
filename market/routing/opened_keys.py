"""Keys of others in the clear, in this process's memory: opened once for each version of what they
are for."""

import asyncio
from collections import OrderedDict
from typing import Final

from ledger.selling.sealed_keys import SealedKeys
from market.endpoints.sealing import Sealer
from market.records.database import Database
from serving.models.upstream import Access
from serving.process.aes_gcm import SealBroken

KEPT_MAX: Final = 10_000


class OpenedKeys:
    """Opens the keys of one table, and keeps the newest."""

    def __init__(self, database: Database, sealer: Sealer, keys: SealedKeys) -> None:
        self._database = database
        self._sealer = sealer
        self._keys = keys
        self._kept: OrderedDict[tuple[str, int], Access] = OrderedDict()
        self._forgets = 0
        """How many times keys were dropped: one that is opened meanwhile may be of them."""

    async def open(self, owner_id: str, version: int, base_url: str, *, tenant: str) -> Access:
        """Return where an endpoint is, with its key.

        Raises ``SealBroken`` where the key was erased or does not open, ``KmsUnavailable``.
        """
        key = (owner_id, version)
        access = self._kept.get(key)
        if access is None:
            forgets = self._forgets
            sealed = await self._database.read(lambda c: self._keys.load(c, owner_id))
            if sealed is None:
                raise SealBroken("the key was erased")
            opened = await asyncio.to_thread(self._sealer.open, sealed, offer_id=owner_id)
            access = Access(base_url, opened, tenant=tenant)
            if forgets != self._forgets:
                return access  # it may be changed or deleted by now: nothing of it is kept
            self._kept[key] = access
            if len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
        return access

    def forget(self, owner_id: str, *, but_version: int | None = None) -> None:
        """Drop an owner's keys; that of one version may stay."""
        self._forgets += 1
        gone = [key for key in self._kept if key[0] == owner_id and key[1] != but_version]
        for key in gone:
            del self._kept[key]
