"""Keys in the clear, in memory: kept by version, dropped at once where they are to be forgotten."""

from typing import Any, cast

import pytest

from ledger.selling.sealed_keys import SealedKey, SealedKeys
from market.endpoints.sealing import Sealer
from market.records.database import Database
from market.routing.opened_keys import OpenedKeys
from serving.process.aes_gcm import SealBroken


class Keys:
    """A table of sealed keys, a ledger and a KMS, all in one: it counts what is opened."""

    def __init__(self) -> None:
        self.sealed: SealedKey | None = SealedKey(b"secret", b"w", "k1")
        self.opened = 0
        self.opened_keys = OpenedKeys(
            cast(Database, self), cast(Sealer, self), cast(SealedKeys, self)
        )

    async def read(self, query: Any) -> Any:
        return query(None)

    def load(self, _: object, __: str) -> SealedKey | None:
        return self.sealed

    def open(self, sealed: SealedKey, *, offer_id: str) -> str:
        assert offer_id == "o1"
        self.opened += 1
        return sealed.ciphertext.decode()

    async def ask(self, version: int = 1) -> str:
        access = await self.opened_keys.open("o1", version, "https://a.example", tenant="0xa")
        assert (access.base_url, access.tenant) == ("https://a.example", "0xa")
        return access.api_key


async def test_open__twice__is_opened_once_for_each_version() -> None:
    keys = Keys()

    assert [await keys.ask(), await keys.ask(), await keys.ask(2)] == ["secret"] * 3
    assert keys.opened == 2


async def test_forget__of_a_version_that_stays__keeps_that_alone() -> None:
    keys = Keys()
    await keys.ask()
    await keys.ask(2)

    keys.opened_keys.forget("o1", but_version=2)
    await keys.ask(2)
    assert keys.opened == 2
    keys.opened_keys.forget("o1")
    keys.sealed = None

    with pytest.raises(SealBroken):
        await keys.ask(2)


async def test_forget__while_it_is_opened__is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = Keys()

    def open_late(sealed: SealedKey, *, offer_id: str) -> str:
        keys.opened_keys.forget(offer_id)
        return sealed.ciphertext.decode()

    monkeypatch.setattr(keys, "open", open_late)
    assert await keys.ask() == "secret"
    keys.sealed = None

    with pytest.raises(SealBroken):
        await keys.ask()
