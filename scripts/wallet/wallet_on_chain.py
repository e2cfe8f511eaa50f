"""A wallet's key, and transactions that are tried before they are sent."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from web3 import Web3
from web3.contract.contract import ContractFunction

from contracts.authorizations import TokenDomain
from contracts.bindings import Contracts, bind_contracts
from contracts.chain import open_web3, translated
from contracts.deployment import Deployment, load_deployment
from contracts.errors import CurrentError, Fatal, Rejected, Retryable
from contracts.reader import check_chain
from keeper.gas import add_gas_margin

KEY_VARIABLE: Final = "CURRENT_PRIVATE_KEY"
PASSWORD_VARIABLE: Final = "CURRENT_KEYFILE_PASSWORD"
GAS_MARGIN_BPS: Final = 2_500
TIP_WEI: Final = 1_000_000
RECEIPT_TIMEOUT_S: Final = 180.0
PERMIT_LIVES_S: Final = 1_800
USDC_VERSIONS: Final = ("2", "1")
"""Of the versions that USDC's signatures may be bound to, the token's own says which one is."""


class WalletKeyMissing(Fatal):
    """No key was given, or what was given holds none."""


class TransactionFailed(Rejected):
    """The transaction is in a block and failed there, though its trial went through."""


class NotMined(Retryable):
    """The transaction was sent and is in no block yet; the message names it."""


@dataclass(frozen=True, slots=True)
class Permit:
    """A signed EIP-2612 permit."""

    deadline_s: int
    v: int
    r: bytes
    s: bytes


def load_account(
    *, private_key_file: Path | None, keyfile: Path | None, password_file: Path | None
) -> LocalAccount:
    """Return the wallet of a key file, of an encrypted keyfile, or of the environment.

    Raises ``WalletKeyMissing``; no message shows a key or a password.
    """
    try:
        if keyfile is not None:
            text = os.environ.get(PASSWORD_VARIABLE, "")
            if password_file is not None:
                text = password_file.read_text(encoding="utf-8").rstrip("\r\n")
            found = Account.decrypt(json.loads(keyfile.read_text(encoding="utf-8")), text)
            account: LocalAccount = Account.from_key(found)
            return account
        key = os.environ.get(KEY_VARIABLE, "")
        if private_key_file is not None:
            key = private_key_file.read_text(encoding="ascii")
        if not key.strip():
            raise WalletKeyMissing(
                f"no key: name --private-key-file or --keyfile, or set {KEY_VARIABLE}"
            )
        account = Account.from_key(key.strip())
    except CurrentError:
        raise
    except Exception as error:
        place = keyfile or private_key_file or KEY_VARIABLE
        raise WalletKeyMissing(f"{place} holds no private key: {type(error).__name__}") from None
    return account


class Wallet:
    """One account on one deployment. Every transaction is tried by ``eth_call`` first."""

    def __init__(self, rpc_url: str, deployment: Deployment, account: LocalAccount | None) -> None:
        """``account`` None: only to look."""
        self.web3: Web3 = open_web3(rpc_url)
        self.deployment = deployment
        self.contracts: Contracts = bind_contracts(self.web3, deployment)
        self._account = account

    @property
    def account(self) -> LocalAccount:
        """The account. Raises ``WalletKeyMissing``."""
        if self._account is None:
            raise WalletKeyMissing("no key was given")
        return self._account

    def call(self, function: ContractFunction) -> Any:
        """Return what a view says now."""
        with translated():
            return function.call()

    def try_it(self, function: ContractFunction) -> Any:
        """Return what a transaction would return now. Raises ``Reverted`` with what to do."""
        with translated():
            return function.call({"from": self.account.address})

    def send(self, function: ContractFunction) -> dict[str, Any]:
        """Try a transaction, sign and send it, and wait for its block.

        Returns hash, block, gas and fee. Raises ``Reverted`` before anything is sent, and
        ``TransactionFailed`` or ``NotMined`` afterwards.
        """
        sender = self.account.address
        self.try_it(function)
        with translated():
            gas = add_gas_margin(function.estimate_gas({"from": sender}), margin_bps=GAS_MARGIN_BPS)
            base_fee_wei = int(self.web3.eth.get_block("latest")["baseFeePerGas"])
            wish: Any = {
                "from": sender,
                "gas": gas,
                "nonce": self.web3.eth.get_transaction_count(sender, "pending"),
                "chainId": self.deployment.chain_id,
                "maxFeePerGas": 2 * base_fee_wei + TIP_WEI,
                "maxPriorityFeePerGas": TIP_WEI,
            }
            transaction: Any = function.build_transaction(wish)
            signed = self.account.sign_transaction(transaction)
            tx_hash = self.web3.eth.send_raw_transaction(signed.raw_transaction)
        return self._wait(tx_hash)

    def _wait(self, tx_hash: Any) -> dict[str, Any]:
        deadline_s = time.monotonic() + RECEIPT_TIMEOUT_S
        shown = "0x" + bytes(tx_hash).hex()
        while time.monotonic() < deadline_s:
            receipt = self._find_receipt(tx_hash)
            if receipt is not None:
                if receipt["status"] != 1:
                    raise TransactionFailed(f"{shown} failed in block {receipt['blockNumber']}")
                return {
                    "tx_hash": shown,
                    "block_number": int(receipt["blockNumber"]),
                    "gas_used": int(receipt["gasUsed"]),
                    "fee_wei": int(receipt["gasUsed"]) * int(receipt["effectiveGasPrice"]),
                }
            time.sleep(0.2)
        raise NotMined(f"{shown} is in no block yet: do not send it again, look for it")

    def _find_receipt(self, tx_hash: Any) -> Mapping[str, Any] | None:
        """Return the receipt; None while there is none, or the node is away."""
        try:
            with translated():
                return self.web3.eth.get_transaction_receipt(tx_hash)
        except CurrentError:
            return None

    def sign_permit(self, amount_usdc: int) -> Permit | None:
        """Sign a permit of the adapter for so much; None where this USDC takes none."""
        usdc, owner = self.contracts.usdc.functions, self.account.address
        spender = to_checksum_address(self.deployment.adapter)
        domain = self.find_domain()
        if domain is None:
            return None
        with translated():
            nonce = usdc.nonces(owner).call()
            now_s = int(self.web3.eth.get_block("latest")["timestamp"])
        deadline_s = now_s + PERMIT_LIVES_S
        fields = ("owner", "spender", "value", "nonce", "deadline")
        kinds = ("address", "address", "uint256", "uint256", "uint256")
        signed = self.account.sign_typed_data(
            domain_data={
                "name": domain.name,
                "version": domain.version,
                "chainId": domain.chain_id,
                "verifyingContract": to_checksum_address(domain.token),
            },
            message_types={
                "Permit": [
                    {"name": name, "type": kind} for name, kind in zip(fields, kinds, strict=True)
                ]
            },
            message_data=dict(
                zip(fields, (owner, spender, amount_usdc, nonce, deadline_s), strict=True)
            ),
        )
        r, s = (number.to_bytes(32, "big") for number in (signed.r, signed.s))
        return Permit(deadline_s, signed.v, r, s)

    def find_domain(self) -> TokenDomain | None:
        """Return what this USDC's signatures are bound to, as its own separator proves it."""
        usdc = self.contracts.usdc.functions
        try:
            with translated():
                name, separator = usdc.name().call(), bytes(usdc.DOMAIN_SEPARATOR().call())
        except CurrentError:
            return None
        for version in USDC_VERSIONS:
            domain = TokenDomain(name, version, self.deployment.chain_id, self.deployment.usdc)
            if domain.separator == separator:
                return domain
        return None


def open_wallet(rpc_url: str, deployment_file: Path, account: LocalAccount | None) -> Wallet:
    """Return a wallet on a deployment. Raises ``Fatal`` where node and record disagree."""
    from contracts.chain import Web3Transport
    from contracts.reader import ChainReader

    deployment = load_deployment(deployment_file)
    wallet = Wallet(rpc_url, deployment, account)
    reader = ChainReader(Web3Transport(wallet.web3))
    addresses = {"position": deployment.position, "adapter": deployment.adapter}
    check_chain(reader, chain_id=deployment.chain_id, addresses=addresses)
    return wallet
