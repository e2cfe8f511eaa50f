"""Asking APIs what is left of their quotas, where an owner has named the endpoint that says it."""

import structlog

from market.endpoints.sealing import KmsUnavailable
from market.resale.api_calls import ApiCalls
from market.resale.api_client import OutgoingCall
from market.resale.api_shelf import SoldConnection
from market.resale.api_streams import CredentialLeaked
from market.resale.counted_units import list_headers, read_stated
from serving.models.failures import UpstreamFailure
from serving.process.aes_gcm import SealBroken
from serving.process.turns import NoPlace

log = structlog.get_logger("market")


class UsageWatch:
    """Keeps what owners have used themselves up to date."""

    def __init__(self, api_calls: ApiCalls) -> None:
        self._api_calls = api_calls

    async def look(self) -> int:
        """Ask for each connection on sale that names an endpoint; return how many answered."""
        shelf = self._api_calls.shelf
        asked = [
            one
            for one in shelf.list_open()
            if one.terms.usage is not None and not shelf.get_rest_s(one.connection_id)
        ]
        return sum([await self.ask(one) for one in asked])

    async def ask(self, connection: SoldConnection) -> bool:
        """Ask once; tell whether the API said what is left. It is a call of the owner's."""
        usage = connection.terms.usage
        if usage is None:
            return False
        id_ = connection.connection_id
        try:
            answer = await self._api_calls.client.call(
                await self._api_calls.shelf.open_access(connection),
                connection.terms.credential,
                OutgoingCall("GET", usage.path, "", {}, b""),
                reads=list_headers(usage.source),
            )
        except CredentialLeaked:
            await self._api_calls.take_leak(id_, f"GET {usage.path}")
            return False
        except (UpstreamFailure, SealBroken, KmsUnavailable, NoPlace) as error:
            log.warning("usage_not_read", connection_id=id_, error=type(error).__name__)
            return False
        stated = read_stated(usage.source, answer) if answer.status < 300 else None
        if stated is None:
            log.warning("usage_not_read", connection_id=id_, status=answer.status)
            return False
        remaining = max(0, connection.terms.quota.units - stated) if usage.is_used else stated
        await self._api_calls.charging.learn(connection, remaining)
        return True
