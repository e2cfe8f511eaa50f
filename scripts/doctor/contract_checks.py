"""Contracts: the record, the code at its addresses, and how they are wired."""

from collections.abc import Iterator
from typing import Any, Final

from eth_utils.address import to_checksum_address

from contracts.bindings import bind, load_code_digests
from contracts.chain import translated
from contracts.deployment import load_deployment
from contracts.errors import CurrentError
from scripts.doctor.examination import Finding, advise, bad, check, good
from scripts.doctor.patient import Patient

OWN: Final = {
    "position": "YieldFundedPosition",
    "adapter": "LendingYieldAdapter",
    "payouts": "Payouts",
}
FOREIGN: Final = ("usdc", "vault", "multicall3")
WRONG_RECORD: Final = "…_DEPLOYMENT_FILE=<the record of the deployment that this version knows>"
USDC_DECIMALS: Final = 6


@check("contracts.record")
def check_record(patient: Patient) -> Iterator[Finding]:
    """Every process's deployment record can be read."""
    for path in {settings.deployment_file for settings in patient.settings.values()}:
        try:
            load_deployment(path)
        except CurrentError as error:
            says = f"{error}"
            yield bad(str(path), says, "ape run deploy …, or …_DEPLOYMENT_FILE=<its record>")
        else:
            yield good(str(path), "is a deployment record")


@check("contracts.code")
def check_code(patient: Patient) -> Iterator[Finding]:
    """At every address is code, and at our own the code that this version was written for."""
    digests = load_code_digests()
    for name in (*OWN, *FOREIGN):
        address = getattr(patient.deployment, name)
        with translated():
            code = bytes(patient.web3.eth.get_code(to_checksum_address(address)))
        if not code:
            yield bad(name, f"no code at {address}", WRONG_RECORD)
        elif name in OWN and not digests[OWN[name]].is_of(code):
            yield bad(
                name,
                f"the code at {address} is not this version's {OWN[name]}: its events and amounts"
                " may mean something else",
                "run the version that was deployed, or deploy this one's contracts",
            )
        else:
            yield good(name, f"has {len(code)} bytes of code at {address}")


@check("contracts.wiring")
def check_wiring(patient: Patient) -> Iterator[Finding]:
    """The contracts name each other, and USDC is what they and the vault are about."""
    record, contracts = patient.deployment, patient.contracts
    vault = bind(patient.web3, "MockVault", record.vault)
    wanted: list[tuple[str, Any, object]] = [
        ("position.usdc", contracts.position.functions.usdc(), record.usdc),
        ("position.adapter", contracts.position.functions.adapter(), record.adapter),
        ("position.treasury", contracts.position.functions.treasury(), record.payouts),
        ("adapter.usdc", contracts.adapter.functions.usdc(), record.usdc),
        ("adapter.position", contracts.adapter.functions.position(), record.position),
        ("payouts.usdc", contracts.payouts.functions.usdc(), record.usdc),
        ("payouts.position", contracts.payouts.functions.position(), record.position),
        ("payouts.adapter", contracts.payouts.functions.adapter(), record.adapter),
        ("vault.asset", vault.functions.asset(), record.usdc),
        ("usdc.decimals", contracts.usdc.functions.decimals(), USDC_DECIMALS),
    ]
    wrong = False
    for name, call, want in wanted:
        try:
            with translated():
                found = call.call()
        except CurrentError as error:
            wrong = True
            yield bad(name, f"cannot be read: {error}", WRONG_RECORD)
            continue
        if (found.lower() if isinstance(found, str) else found) != want:
            wrong = True
            yield bad(name, f"is {found}, and the record says {want}", WRONG_RECORD)
    if not wrong:
        yield good("contracts", "name each other as the record does")


@check("contracts.admin")
def check_admin(patient: Patient) -> Iterator[Finding]:
    """The admin is no key that signs every few seconds, and the same for both contracts."""
    from scripts.doctor.key_checks import find_senders

    contracts = patient.contracts
    with translated():
        owners = {
            "position": contracts.position.functions.owner().call().lower(),
            "payouts": contracts.payouts.functions.owner().call().lower(),
        }
    senders = {sender.address.lower() for sender in find_senders(patient)}
    for name, owner in owners.items():
        if owner in senders:
            yield bad(
                name,
                f"its admin {owner} is a key of the keeper: whoever steals it owns the treasury",
                f"cast send {getattr(patient.deployment, name)} 'transferOwnership(address)'"
                " <a cold wallet or Safe>, then acceptOwnership from there",
            )
        else:
            yield good(name, f"its admin is {owner}")
    if owners["position"] != owners["payouts"]:
        yield advise(
            "contracts",
            f"position and payouts have different admins: {owners['position']} and"
            f" {owners['payouts']}",
            "transferOwnership on one of them, if that is not meant",
        )
