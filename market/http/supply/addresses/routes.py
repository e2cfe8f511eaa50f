"""Where a supplier is paid: an address for each network, that counts after a while."""

from typing import Any, Final

from fastapi import APIRouter, Request
from sqlalchemy import Connection

from ledger.suppliers.accounts import lock_supplier
from ledger.suppliers.callers import SupplierCaller
from ledger.suppliers.mails import NewMail, enqueue_mail
from ledger.suppliers.saved_addresses import (
    Saved,
    SavedAddress,
    cancel_pending_addresses,
    choose_counting_network,
    load_addresses,
    load_supply_account,
    save_address,
)
from market.errors import not_found
from market.http.dependencies import ServicesDep
from market.http.supply.addresses.describing import describe_networks
from market.http.supply.addresses.schemas import NetworkName, PayoutAddressList, PayoutAddressWish
from market.http.supply.dependencies import (
    SESSION,
    SESSION_OR_KEY,
    SIGNED,
    PayoutsReaderDep,
    SessionDep,
    read_object,
)
from market.services import Services
from market.suppliers.mailing import UNDO
from market.suppliers.payout_addresses import AddressRefused, Network, check_address
from serving.http.document.writing import body_of
from serving.http.errors import bad_request, wrong_type
from serving.http.strict_json import check_fields
from serving.process.ids import new_id

router = APIRouter(tags=["supply"])

MAILS: Final = {
    Saved.ADDRESS: "payout_address",
    Saved.NETWORK: "payout_network",
    Saved.CANCELLED: "payout_address_cancelled",
}
"""The mail that says what saving an address did."""


@router.get(
    "/v1/supply/payout-addresses",
    responses=SIGNED,
    dependencies=SESSION_OR_KEY,
    name="list_payout_addresses",
)
async def list_addresses(services: ServicesDep, caller: PayoutsReaderDep) -> PayoutAddressList:
    """List the networks, with the address of each that counts now or later."""
    return await _list_networks(services, caller.supplier_id)


@router.put(
    "/v1/supply/payout-addresses",
    responses=SIGNED,
    dependencies=SESSION,
    openapi_extra=body_of(PayoutAddressWish),
    name="set_payout_address",
)
async def set_address(
    request: Request, services: ServicesDep, caller: SessionDep
) -> PayoutAddressList:
    """Save the address of a network, after the password or a one-time code was shown again. It
    counts after a cooling time, and a mail says so; until then the one before counts. Whatever was
    to count later on that network never will."""
    wish = _parse_address(await read_object(request, services, caller))
    network = Network(wish["network"])
    services.suppliers.callers.check_fresh(caller)
    try:
        address = check_address(network, wish["address"], own=services.unpayable)
    except AddressRefused as error:
        raise bad_request("address_refused", f"'address': {error}.", param="address") from None
    now_s = services.database.now_s()
    counts_from_s = now_s + services.supply.cooling_s
    saved = SavedAddress(new_id(), caller.supplier_id, network, address, counts_from_s)
    facts = {
        "network": str(network),
        "address": address,
        "hours": services.supply.cooling_s // 3_600,
    }

    def write(connection: Connection) -> None:
        preferred = wish.get("is_preferred")
        told = save_address(connection, saved, is_preferred=preferred, now_s=now_s)
        if told is not Saved.NOTHING:
            mail = _build_mail(caller, MAILS[told], facts)
            enqueue_mail(connection, mail, now_s=now_s)

    await services.suppliers.callers.write_as(caller, write)
    return await _list_networks(services, caller.supplier_id)


@router.delete(
    "/v1/supply/payout-addresses/{network}",
    responses=SIGNED,
    dependencies=SESSION,
    name="cancel_payout_address",
)
async def cancel_address(
    services: ServicesDep, caller: SessionDep, network: NetworkName
) -> PayoutAddressList:
    """Have the address that was to count later never count, at once and without the password: it
    stops money, and sends none."""
    now_s, supplier_id = services.database.now_s(), caller.supplier_id
    facts = {"network": str(network)}

    def write(connection: Connection) -> bool:
        lock_supplier(connection, supplier_id)
        if not cancel_pending_addresses(connection, supplier_id, networks=(network,), now_s=now_s):
            return False
        choose_counting_network(connection, supplier_id, now_s=now_s)
        mail = _build_mail(caller, MAILS[Saved.CANCELLED], facts)
        enqueue_mail(connection, mail, now_s=now_s)
        return True

    if not await services.suppliers.callers.write_as(caller, write):
        raise not_found("address that counts later")
    return await _list_networks(services, supplier_id)


def _build_mail(caller: SupplierCaller, template: str, facts: dict[str, Any]) -> NewMail:
    return NewMail(
        mail_id=new_id(),
        to_address=caller.supplier.email,
        template=template,
        facts=facts,
        token_purpose=UNDO,
        supplier_id=caller.supplier_id,
    )


def _parse_address(body: dict[str, Any]) -> dict[str, Any]:
    check_fields(body, PayoutAddressWish.model_fields)
    names = [str(network) for network in Network]
    if body.get("network") not in names:
        raise wrong_type("network", " or ".join(map(repr, names)))
    if body.get("confirm_network") != body["network"]:
        raise wrong_type("confirm_network", "the same network as 'network', named again")
    if not isinstance(body.get("address"), str):
        raise wrong_type("address", "a string")
    if body.get("is_preferred") is not None and not isinstance(body["is_preferred"], bool):
        raise wrong_type("is_preferred", "true or false")
    return body


async def _list_networks(services: Services, supplier_id: str) -> PayoutAddressList:
    def load(connection: Connection) -> Any:
        account = load_supply_account(connection, supplier_id)
        preferred = None if account is None else account["network"]
        return load_addresses(connection, supplier_id), preferred

    saved, preferred = await services.database.read(load)
    now_s = services.database.now_s()
    terms = services.supply.terms
    return PayoutAddressList(networks=describe_networks(saved, preferred, terms, now_s=now_s))
