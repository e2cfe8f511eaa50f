"""What a payment must be asked of the chain: the token's domain, and whether a transfer would pass.

One ``eth_call`` for each payment, at the newest block. Nothing is ever sent: the market has no key.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, Final

import structlog
from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.abi import function_signature_to_4byte_selector
from eth_utils.address import to_checksum_address
from web3 import Web3

from contracts.authorizations import (
    Authorization,
    TokenDomain,
    decode_aggregate,
    encode_aggregate,
    encode_balance,
    encode_state,
    read_reason,
    read_word,
)
from contracts.chain import translated
from contracts.errors import Retryable, Reverted
from market.payments.x402 import (
    INSUFFICIENT_FUNDS,
    INVALID_SIGNATURE,
    NONCE_USED,
    SIMULATION_FAILED,
    PaymentInvalid,
)
from serving.http.errors import TryLater, unavailable

log = structlog.get_logger("market")

CALL_GAS: Final = 5_000_000
CONTRACT_REFUSED: Final = (
    "The payer's address has code (a contract, or an account that EIP-7702 delegates to one), which"
    " cannot pay here. Pay from an address that is only a key."
)
CALLS_MAX: Final = 16
"""Payments that are looked at at a time; others wait."""

_DOMAIN_TYPES: Final = (
    "bytes1", "string", "string", "uint256", "address", "bytes32", "uint256[]",
)  # fmt: skip


class DomainUnknown(Retryable):
    """The token does not say to what its signatures are bound, in any way that is known."""


@dataclass(frozen=True, slots=True)
class PayerMeans:
    """What the payer has (1e-6 USDC)."""

    balance_usdc: int


class PaymentChain:
    """Asks the node about payments in USDC."""

    def __init__(
        self,
        web3: Web3,
        *,
        chain_id: int,
        usdc: str,
        multicall3: str,
        takes_contracts: bool = False,
    ) -> None:
        """``takes_contracts``: whether payers may have code, which USDC asks on their behalf."""
        self._web3 = web3
        self._chain_id = chain_id
        self._usdc = usdc
        self._multicall3 = multicall3
        self._takes_contracts = takes_contracts
        self._domain: TokenDomain | None = None
        self._slots = asyncio.Semaphore(CALLS_MAX)

    async def load_domain(self) -> TokenDomain:
        """Return to what signatures are bound; read once. Raises 503."""
        if self._domain is None:
            try:
                self._domain = await asyncio.to_thread(self._read_domain)
            except (Retryable, Reverted) as error:
                log.error("token_domain_unknown", error=str(error))
                text = "The chain cannot be asked about payments just now."
                raise unavailable("chain_unavailable", text) from error
        return self._domain

    async def examine(self, authorization: Authorization) -> PayerMeans:
        """Return what the payer has, if the transfer would pass. Raises ``PaymentInvalid``, 503."""
        domain = await self.load_domain()
        if not self._takes_contracts and await self._has_code(authorization.payer):
            raise PaymentInvalid(INVALID_SIGNATURE, CONTRACT_REFUSED)
        try:
            async with self._slots:
                answers = await asyncio.to_thread(self._ask, authorization)
        except (Retryable, Reverted, ValueError) as error:
            raise _unasked(error) from error
        state, balance = read_word(answers[0]), read_word(answers[1])
        if state is None or balance is None:
            raise unavailable("chain_unavailable", "USDC does not answer.")
        if state:
            raise PaymentInvalid(NONCE_USED, "The authorization was used or cancelled before.")
        if balance < authorization.value_usdc:
            raise PaymentInvalid(INSUFFICIENT_FUNDS, "The payer's balance does not cover this.")
        passes, data = answers[2]
        if passes:
            return PayerMeans(balance)
        reason = read_reason(data)
        if not authorization.is_signed_by_key(domain):
            message = f"The signature is not the payer's ({reason})."
            if not await self._has_code(authorization.payer):
                message += " No contract is at its address: a wallet pays once it is deployed."
            raise PaymentInvalid(INVALID_SIGNATURE, message)
        raise PaymentInvalid(SIMULATION_FAILED, f"USDC would refuse the transfer ({reason}).")

    def _ask(self, authorization: Authorization) -> list[tuple[bool, bytes]]:
        questions = [
            (self._usdc, encode_state(authorization.payer, authorization.nonce)),
            (self._usdc, encode_balance(authorization.payer)),
            (self._usdc, authorization.encode_transfer()),
        ]
        answers = decode_aggregate(self._call(self._multicall3, encode_aggregate(questions)))
        if len(answers) != len(questions):
            raise ValueError("not an answer for each question")
        return answers

    async def _has_code(self, address: str) -> bool:
        """Tell whether an address is a contract. Raises 503."""

        def ask() -> bool:
            with translated():
                return len(self._web3.eth.get_code(to_checksum_address(address))) > 0

        try:
            return await asyncio.to_thread(ask)
        except Retryable as error:
            raise _unasked(error) from error

    def _read_domain(self) -> TokenDomain:
        """Try what the token says of itself against its own separator. Raises ``DomainUnknown``."""
        separator = self._call(self._usdc, _select("DOMAIN_SEPARATOR()"))
        for read in (self._read_eip5267, self._read_names):
            try:
                name, version = read()
            except (Reverted, DecodingError, OverflowError, UnicodeDecodeError):
                continue
            domain = TokenDomain(name, version, self._chain_id, self._usdc)
            if domain.separator == separator:
                return domain
        raise DomainUnknown("the token's EIP-712 domain is not of the known form")

    def _read_eip5267(self) -> tuple[str, str]:
        answer = self._call(self._usdc, _select("eip712Domain()"))
        _, name, version, *_ = decode(_DOMAIN_TYPES, answer)
        return str(name), str(version)

    def _read_names(self) -> tuple[str, str]:
        name, version = (
            str(decode(["string"], self._call(self._usdc, _select(signature)))[0])
            for signature in ("name()", "version()")
        )
        return name, version

    def _call(self, to: str, data: bytes) -> bytes:
        call: Any = {"to": to_checksum_address(to), "data": "0x" + data.hex(), "gas": CALL_GAS}
        with translated():
            return bytes(self._web3.eth.call(call, "latest", ccip_read_enabled=False))


def _unasked(error: Exception) -> TryLater:
    log.warning("payment_not_examined", error=str(error))
    text = "The chain cannot be asked about this payment just now. Nothing was taken."
    return unavailable("chain_unavailable", text)


def _select(signature: str) -> bytes:
    return function_signature_to_4byte_selector(signature)
