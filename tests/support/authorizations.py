"""Transfers that payers sign (EIP-3009), written down as the market does, and who else submits."""

import secrets
import time
from typing import Any, Final

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from sqlalchemy import Engine, select

from contracts.authorizations import Authorization
from ledger.database.engine import read, write
from ledger.payments.claims import load_payments, record_payment
from ledger.payments.records import NewPayment, PaymentRecord
from ledger.tables import MarketAccount, MarketCredit, table_of
from serving.process.ids import new_id
from tests.support.deploy import World, compile_contracts
from tests.support.waiting import LIMIT_S

PAYER: Final[LocalAccount] = Account.from_key("0x" + "51" * 32)
BURNING_CODE: Final = "0x5b600056"
"""Loops for ever: whoever asks it loses all the gas that it lets it have."""
MAGIC: Final = "1626ba7e"
PRICE_READING_CODE: Final = "0x3a60145763" + MAGIC + "60e01b60005260206000f35b601456"
"""Says that it has signed where gas is free, as in a call; where it costs, it loops for ever."""

_FIELDS: Final = [
    {"name": "from", "type": "address"},
    {"name": "to", "type": "address"},
    {"name": "value", "type": "uint256"},
    {"name": "validAfter", "type": "uint256"},
    {"name": "validBefore", "type": "uint256"},
    {"name": "nonce", "type": "bytes32"},
]


def sign_typed(
    account: LocalAccount, world: World, name: str, fields: list[dict[str, str]], message: Any
) -> bytes:
    """Sign a message of the token's domain."""
    domain = {
        "name": "USD Coin",
        "version": "2",
        "chainId": world.deployment.chain_id,
        "verifyingContract": to_checksum_address(world.deployment.usdc),
    }
    return bytes(account.sign_typed_data(domain, {name: fields}, message).signature)


def authorize(
    world: World,
    value_usdc: int,
    *,
    account: LocalAccount = PAYER,
    payer: str | None = None,
    payee: str | None = None,
    nonce: str | None = None,
    lives_s: int = 600,
) -> Authorization:
    """Return a signed transfer to the payouts contract; ``payer`` where a wallet's key signs."""
    payer = payer or account.address
    payee = payee or world.deployment.payouts
    nonce = nonce or "0x" + secrets.token_hex(32)
    valid_before_s = max(int(time.time()), world.anvil.now_s()) + lives_s
    message = {
        "from": payer,
        "to": to_checksum_address(payee),
        "value": value_usdc,
        "validAfter": 0,
        "validBefore": valid_before_s,
        "nonce": bytes.fromhex(nonce[2:]),
    }
    signature = sign_typed(account, world, "TransferWithAuthorization", _FIELDS, message)
    return Authorization(
        payer.lower(), payee.lower(), value_usdc, 0, valid_before_s, nonce, signature
    )


def cancel(world: World, authorization: Authorization, account: LocalAccount = PAYER) -> None:
    """Take an authorization back on chain, as its payer may."""
    fields = [{"name": "authorizer", "type": "address"}, {"name": "nonce", "type": "bytes32"}]
    nonce = bytes.fromhex(authorization.nonce[2:])
    message = {"authorizer": account.address, "nonce": nonce}
    signature = sign_typed(account, world, "CancelAuthorization", fields, message)
    usdc = world.contracts.usdc.functions
    world.send("outsider", usdc.cancelAuthorization(account.address, nonce, signature))


def build_submission(world: World, authorization: Authorization) -> Any:
    """Return the call by which anybody carries an authorization out."""
    return world.contracts.usdc.functions.transferWithAuthorization(
        to_checksum_address(authorization.payer),
        to_checksum_address(authorization.payee),
        authorization.value_usdc,
        authorization.valid_after_s,
        authorization.valid_before_s,
        bytes.fromhex(authorization.nonce[2:]),
        authorization.signature,
    )


def submit(world: World, authorization: Authorization) -> None:
    """Carry an authorization out, as anybody may who has seen it."""
    world.send("outsider", build_submission(world, authorization))


def record(
    engine: Engine,
    authorization: Authorization,
    *,
    credits_now: bool = False,
    purpose: str = "request",
) -> str:
    """Write a payment down as the market does; return its id."""
    new = NewPayment(new_id(), authorization, purpose, "digest")
    with write(engine) as connection:
        return record_payment(
            connection,
            new,
            new_account_id=new_id(),
            balance_usdc=2**62,
            credits_now=credits_now,
            open_max=1_000,
            now_s=int(time.time()),
        ).payment_id


def load(engine: Engine, payment_id: str) -> PaymentRecord:
    """Return a payment as it stands."""
    with read(engine) as connection:
        (found,) = load_payments(connection, [payment_id])
    return found


def load_credit(engine: Engine) -> list[int]:
    """Return what each account was credited, oldest first."""
    account = table_of(MarketAccount)
    with read(engine) as connection:
        query = select(account.c.credited_usdc).order_by(account.c.account_id)
        return [int(value) for value in connection.execute(query).scalars()]


def load_credit_rows(engine: Engine) -> list[int]:
    """Return each change of credit, oldest first."""
    credit = table_of(MarketCredit)
    with read(engine) as connection:
        query = select(credit.c.amount_usdc).order_by(credit.c.credit_id)
        return [int(value) for value in connection.execute(query).scalars()]


def deploy_wallet(world: World, key: LocalAccount = PAYER) -> str:
    """Deploy a smart-contract wallet whose signer is ``key``; return its address."""
    web3 = world.anvil.web3
    sender = world.accounts["outsider"]
    code = compile_contracts()["ContractWallet"] + key.address[2:].rjust(64, "0").lower()
    transaction: dict[str, Any] = {
        "data": code,
        "value": 0,
        "nonce": web3.eth.get_transaction_count(sender.address),
        "gas": 3_000_000,
        "gasPrice": 10**10,
        "chainId": world.deployment.chain_id,
    }
    signed = sender.sign_transaction(transaction)
    tx_hash = web3.eth.send_raw_transaction(signed.raw_transaction)
    receipt = web3.eth.wait_for_transaction_receipt(tx_hash, timeout=LIMIT_S, poll_latency=0.01)
    address = receipt["contractAddress"]
    assert address is not None
    return str(address)
