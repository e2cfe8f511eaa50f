"""An owner's own trial of a connection: one call with its credential, not charged."""

from typing import Any

from market.endpoints.sealing import KmsUnavailable
from market.resale.api_calls import ApiCalls
from market.resale.api_client import OutgoingCall
from market.resale.api_shelf import SoldConnection
from market.resale.api_streams import CredentialLeaked
from market.resale.usage_watch import UsageWatch
from serving.models.failures import UpstreamFailure
from serving.process.aes_gcm import SealBroken
from serving.process.turns import NoPlace


async def try_connection(api_calls: ApiCalls, connection: SoldConnection) -> dict[str, Any]:
    """Return what the API answered. A good answer ends a connection's rest."""
    simple = next(
        (
            one
            for one in connection.terms.operations
            if one.method == "GET" and not one.template.parameters
        ),
        None,
    )
    path = "/" if simple is None else simple.template.text
    name = "GET /" if simple is None else simple.name
    found: dict[str, Any] = {
        "operation": name, "status": None, "ok": False, "api_ms": None, "error": None
    }  # fmt: skip
    try:
        access = await api_calls.shelf.open_access(connection)
        answer = await api_calls.client.call(
            access,
            connection.terms.credential,
            OutgoingCall("GET", path, "", {}, b""),
            remaining_header=connection.terms.remaining_header,
        )
    except CredentialLeaked:
        await api_calls.take_leak(connection.connection_id, name)
        return {**found, "error": "credential_leaked"}
    except UpstreamFailure as failure:
        return {**found, "status": failure.status, "error": str(failure.cause)}
    except (SealBroken, KmsUnavailable, NoPlace) as error:
        return {**found, "error": type(error).__name__}
    api_calls.shelf.heal(connection.connection_id)
    await UsageWatch(api_calls).ask(connection)
    await api_calls.charging.learn(connection, answer.remaining_units)
    # The root of an API need not be there: that it was let in is what counts.
    is_ok = answer.status < 400 or simple is None
    return {**found, "status": answer.status, "ok": is_ok, "api_ms": answer.api_ms}
