"""Paying a market by x402 (version 2, scheme exact): one signed transfer of USDC (EIP-3009).

What a 402 asks for is held against the deployment's record before anything is signed: the chain,
the token, the payee, and an amount that the caller bounds. A market that asks for anything else
gets no signature.
"""

import base64
import json
import secrets
import time
from typing import TYPE_CHECKING, Any, Final

from eth_utils.address import to_checksum_address

from contracts.errors import Rejected, Retryable
from contracts.units import format_usdc
from scripts.market_asking import Market, MarketSilent
from scripts.wallet.wallet_on_chain import Wallet

if TYPE_CHECKING:
    import httpx

REQUIRED_HEADER: Final = "payment-required"
PAYMENT_HEADER: Final = "payment-signature"
WAIT_S: Final = 120.0
"""How long a signed payment is sent again while it settles."""
LIVES_S: Final = 300
PAUSE_S: Final = 1.0
_WAITS: Final = ("payment_pending", "payment_in_use", "chain_unavailable")
_FIELDS: Final = (
    ("from", "address"), ("to", "address"), ("value", "uint256"),
    ("validAfter", "uint256"), ("validBefore", "uint256"), ("nonce", "bytes32"),
)  # fmt: skip


class NotPaid(Rejected):
    """The market asks for another payment than may be made; nothing was signed."""


class PaymentOpen(Retryable):
    """A payment was signed and sent, and the market has not said what became of it."""


class Payer:
    """Pays what a market asks for from a wallet, up to a bound for each request.

    ``pay_to``: the only payee; the deployment's payouts contract where None.
    """

    def __init__(self, wallet: Wallet, *, pay_to: str | None = None, dry_run: bool = False) -> None:
        self._wallet = wallet
        self._payee = (pay_to or wallet.deployment.payouts).lower()
        self._dry_run = dry_run
        self.paid_usdc: int | None = None
        """What was signed, or would have been; None: nothing was asked for."""

    def send(
        self,
        market: Market,
        method: str,
        path: str,
        body: object = None,
        *,
        usdc_max: int,
        is_exact: bool = False,
    ) -> "httpx.Response":
        """Send a request, pay what it costs, and send it again until its payment has settled.

        ``is_exact``: a demand below ``usdc_max`` is refused too. Raises ``NotPaid`` before anything
        is signed, and ``PaymentOpen`` where a payment may still be taken.
        """
        answer = market.send(method, path, body)
        if answer.status_code != 402 or REQUIRED_HEADER not in answer.headers:
            return answer
        terms = self._choose(answer.headers[REQUIRED_HEADER])
        amount_usdc = int(terms["amount"])
        if amount_usdc > usdc_max or (is_exact and amount_usdc != usdc_max):
            raise NotPaid(
                f"the market asks for {format_usdc(amount_usdc)} USDC, and"
                f" {'exactly' if is_exact else 'at most'} {format_usdc(usdc_max)} may be paid:"
                " nothing was signed"
            )
        self._check_balance(amount_usdc)
        self.paid_usdc = amount_usdc
        if self._dry_run:
            return answer
        header, nonce = self._sign(terms, amount_usdc)
        return _send_until_settled(market, method, path, body, header=header, nonce=nonce)

    def _choose(self, header: str) -> dict[str, Any]:
        """Return the demand that may be met. Raises ``NotPaid``."""
        try:
            offered = json.loads(base64.b64decode(header, validate=True))["accepts"]
            for terms in offered:
                if self._is_ours(terms):
                    # They are sent back, two levels down: what cannot be is not signed either.
                    json.dumps([[terms]])
                    found: dict[str, Any] = terms
                    return found
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise NotPaid("the market's demand is malformed: nothing was signed") from None
        raise NotPaid(
            "the market asks for a payment on another chain, in another token or to another payee"
            " than the deployment's record names: nothing was signed"
        )

    def _is_ours(self, terms: dict[str, Any]) -> bool:
        deployment = self._wallet.deployment
        return (
            terms["scheme"] == "exact"
            and terms["network"] == f"eip155:{deployment.chain_id}"
            and terms["asset"].lower() == deployment.usdc.lower()
            and terms["payTo"].lower() == self._payee
            and terms["amount"].isascii()
            and terms["amount"].isdigit()
            and int(terms["amount"]) > 0
            and _read_timeout_s(terms) > 0
        )

    def _check_balance(self, amount_usdc: int) -> None:
        usdc = self._wallet.contracts.usdc.functions
        has_usdc = int(self._wallet.call(usdc.balanceOf(self._wallet.account.address)))
        if has_usdc < amount_usdc:
            raise NotPaid(
                f"{self._wallet.account.address} has {format_usdc(has_usdc)} USDC, and"
                f" {format_usdc(amount_usdc)} are asked for: nothing was signed"
            )

    def _sign(self, terms: dict[str, Any], amount_usdc: int) -> tuple[str, str]:
        """Return the payment's header and its nonce."""
        domain = self._wallet.find_domain()
        if domain is None:
            raise NotPaid("this USDC takes no signed transfers: nothing was signed")
        payer, nonce = self._wallet.account.address, "0x" + secrets.token_hex(32)
        # Chains whose clock is ahead or behind are not the payer's concern.
        now_s = max(int(time.time()), int(self._wallet.web3.eth.get_block("latest")["timestamp"]))
        before_s = now_s + min(LIVES_S, _read_timeout_s(terms))
        signed = self._wallet.account.sign_typed_data(
            domain_data={
                "name": domain.name,
                "version": domain.version,
                "chainId": domain.chain_id,
                "verifyingContract": to_checksum_address(domain.token),
            },
            message_types={
                "TransferWithAuthorization": [
                    {"name": name, "type": kind} for name, kind in _FIELDS
                ]
            },
            message_data={
                "from": payer,
                "to": to_checksum_address(self._payee),
                "value": amount_usdc,
                "validAfter": 0,
                "validBefore": before_s,
                "nonce": bytes.fromhex(nonce[2:]),
            },
        )
        authorization = {
            "from": payer,
            "to": to_checksum_address(self._payee),
            "value": str(amount_usdc),
            "validAfter": "0",
            "validBefore": str(before_s),
            "nonce": nonce,
        }
        payload = {
            "x402Version": 2,
            "accepted": terms,
            "payload": {
                "signature": signed.signature.to_0x_hex(),
                "authorization": authorization,
            },
        }
        return base64.b64encode(json.dumps(payload).encode()).decode(), nonce


def _read_timeout_s(terms: dict[str, Any]) -> int:
    """Return how long a payment may live, as the market has it. Raises ``ValueError``."""
    told = terms.get("maxTimeoutSeconds", LIVES_S)
    if not isinstance(told, int):
        raise ValueError("maxTimeoutSeconds is no whole number")
    return told


def _send_until_settled(
    market: Market, method: str, path: str, body: object, *, header: str, nonce: str
) -> "httpx.Response":
    """Send a paid request; again is harmless: one payment is taken once."""
    deadline_s = time.monotonic() + WAIT_S
    while True:
        last: str
        try:
            answer = market.send(method, path, body, headers={PAYMENT_HEADER: header})
            last = _code_of(answer)
            if last not in _WAITS:
                return answer
        except MarketSilent as error:
            last = str(error)
        if time.monotonic() > deadline_s:
            raise PaymentOpen(
                f"the payment with nonce {nonce} was sent and is not settled ({last}): it becomes"
                f" credit or expires unused within {LIVES_S} s; look with `current buy balance`"
            )
        time.sleep(PAUSE_S)


def _code_of(answer: "httpx.Response") -> str:
    if not answer.is_error:
        return ""
    try:
        return str(answer.json()["error"]["code"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
