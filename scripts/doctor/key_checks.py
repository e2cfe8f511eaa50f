"""Keys: who signs, with which rights and how much ether; and the market's wrapping keys."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eth_utils.address import to_checksum_address
from sqlalchemy import func, select

from contracts.chain import translated
from contracts.errors import CurrentError
from keeper.wiring import open_payment_signer, open_signer
from ledger.database.engine import read
from ledger.tables import Intent, MarketOfferKey, MarketOwnProviderKey, table_of
from market.endpoints.sealing import open_kms
from scripts.doctor.examination import Finding, advise, bad, check, good
from scripts.doctor.patient import Absent, Patient

WEI: Final = 10**18
LOW_FACTOR: Final = 5
"""A balance below so many times the alarm's is told before the alarm rings."""


@dataclass(frozen=True, slots=True)
class Sender:
    """A key of the keeper's: who it is, and what it is for."""

    role: str
    address: str
    settles: bool
    pays: bool


def find_senders(patient: Patient) -> list[Sender]:
    """Return the keeper's keys. Raises ``Absent`` where none is set, or it cannot be opened."""
    settings = patient.keeper
    if not settings.has_key:
        raise Absent("key")
    try:
        settler, payer = open_signer(settings), open_payment_signer(settings)
    except CurrentError:
        raise Absent("key") from None
    if payer is None:
        return [Sender("settler", settler.address, settles=True, pays=True)]
    return [
        Sender("settler", settler.address, settles=True, pays=False),
        Sender("payments", payer.address, settles=False, pays=True),
    ]


@check("keys.open")
def check_signers(patient: Patient) -> Iterator[Finding]:
    """The keeper's keys can be opened where the settings say that they are."""
    if not patient.keeper.has_key:
        return
    for role, open_key in (("settler", open_signer), ("payments", open_payment_signer)):
        try:
            signer = open_key(patient.keeper)
        except CurrentError as error:
            yield bad(role, str(error), "mend KEEPER_PRIVATE_KEY, KEEPER_KEYFILE or KEEPER_KMS_…")
            continue
        if signer is not None:
            yield good(role, f"is {signer.address}")


@check("keys.rights")
def check_rights(patient: Patient) -> Iterator[Finding]:
    """Each key has the right on chain that it needs, and no other."""
    position, payouts = patient.contracts.position, patient.contracts.payouts
    for sender in find_senders(patient):
        address = to_checksum_address(sender.address)
        with translated():
            is_settler = position.functions.isSettler(address).call()
            is_payer = payouts.functions.isPayer(address).call()
        if sender.settles and not is_settler:
            yield bad(
                sender.role,
                f"{address} is no settler: no hold and no settlement will land",
                f"cast send {position.address} 'setSettler(address,bool)' {address} true",
            )
        if sender.pays and not is_payer and "market" in patient.settings:
            yield bad(
                sender.role,
                f"{address} is no payer: no seller will be paid",
                f"cast send {payouts.address} 'setPayer(address,bool)' {address} true",
            )
        if sender.pays and not sender.settles and is_settler:
            yield bad(
                sender.role,
                f"{address} may also settle, which the payments' key must not",
                f"cast send {position.address} 'setSettler(address,bool)' {address} false",
            )
        if is_settler or is_payer:
            yield good(sender.role, f"{address} has rights on the contracts")


@check("keys.balance")
def check_balances(patient: Patient) -> Iterator[Finding]:
    """Each key can pay for gas for a while."""
    least_wei = patient.keeper.balance_wei_min
    for sender in find_senders(patient):
        with translated():
            balance_wei = patient.web3.eth.get_balance(to_checksum_address(sender.address))
        amount = f"{balance_wei / WEI:.6f} ether"
        mend = f"send ether to {sender.address}"
        if balance_wei < least_wei:
            says = f"has {amount}, less than {least_wei / WEI:.6f}: soon nothing will be sent"
            yield bad(sender.role, says, mend)
        elif balance_wei < LOW_FACTOR * least_wei:
            yield bad(sender.role, f"has {amount}, nearly too little", mend)
        else:
            yield good(sender.role, f"has {amount}")


@check("keys.shared")
def check_shared(patient: Patient) -> Iterator[Finding]:
    """No other program signs with the keeper's keys."""
    intent = table_of(Intent)
    for sender in find_senders(patient):
        with read(patient.engine) as connection:
            newest = connection.scalar(
                select(func.max(intent.c.nonce)).where(intent.c.sender == sender.address.lower())
            )
        with translated():
            count = patient.web3.eth.get_transaction_count(to_checksum_address(sender.address))
        if newest is not None and count > newest + 1:
            says = f"has sent {count - newest - 1} transactions that this ledger does not know"
            mend = "one key is for one keeper's ledger: find the other program, or rotate the key"
            yield advise(sender.role, says, mend)


@check("keys.kms")
def check_kms(patient: Patient) -> Iterator[Finding]:
    """The market's key wraps and unwraps, and it knows every key that something is wrapped by."""
    where = patient.market.kms
    mend = "MARKET_KMS=file:<path of the key file> or aws:<key id>"
    try:
        kms = open_kms(where)
        trial = b"current doctor: a trial of the k"
        wrapped = kms.wrap(trial, context="doctor")
        if kms.unwrap(wrapped, key_id=kms.key_id, context="doctor") != trial:
            yield bad("kms", f"{where} does not give back what it wrapped", mend)
            return
    except CurrentError as error:
        yield bad("kms", str(error), mend)
        return
    yield good("kms", f"key {kms.key_id} wraps and unwraps")
    if not where.startswith("file:"):
        return
    from market.endpoints.sealing import read_key_file

    known = read_key_file(Path(where.removeprefix("file:")))
    used: set[str] = set()
    with read(patient.engine) as connection:
        for model in (MarketOfferKey, MarketOwnProviderKey):
            used |= set(
                connection.execute(select(table_of(model).c.kms_key_id).distinct()).scalars()
            )
    for key_id in sorted(used - known.keys()):
        yield bad(
            "kms",
            f"sellers' keys are wrapped by {key_id!r}, which is not in the key file: their offers"
            " cannot be called",
            f"put the line of {key_id} back into {where.removeprefix('file:')}",
        )
