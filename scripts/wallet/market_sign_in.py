"""What a wallet signs for a market: sign-ins and withdrawals by EIP-4361, read before signing."""

from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount

from contracts.siwe import SiweInvalid, SiweMessage, parse_siwe
from scripts.market_asking import Market, MarketRefused

_LOCAL: Final = ("127.0.0.1", "localhost", "::1")
_SIGN_IN: Final = "Get an API key to "
_WITHDRAWAL: Final = "Withdraw "


class NotSigned(MarketRefused):
    """The market gave something else to sign than was asked for; nothing was signed."""


def issue_market_key(
    market: Market, account: LocalAccount, role: str, *, label: str
) -> dict[str, Any]:
    """Trade a wallet's signature for a key; ``role`` is ``seller`` or ``buyer``.

    Raises ``NotSigned``, ``MarketRefused``, ``MarketSilent``.
    """
    path = f"/v1/{role}/auth"
    told = market.ask("GET", f"{path}/challenge?{urlencode({'address': account.address})}")
    signed = _sign(market, account, told, _SIGN_IN)
    issued: dict[str, Any] = market.ask("POST", f"{path}/keys", {**signed, "label": label})
    return issued


def withdraw_credit(
    market: Market, account: LocalAccount, amount_usdc: int | None, *, dry_run: bool
) -> dict[str, Any]:
    """Take unused credit back to the wallet, all of it where no amount is named.

    Returns the withdrawal; of a trial only the words that would be signed.
    """
    from contracts.units import format_usdc

    query: dict[str, str] = {"address": account.address}
    if amount_usdc is not None:
        query["amount_usd"] = format_usdc(amount_usdc)
    path = "/v1/buyer/withdrawals"
    told = market.ask("GET", f"{path}/challenge?{urlencode(query)}")
    words = _WITHDRAWAL if amount_usdc is None else f"{_WITHDRAWAL}{format_usdc(amount_usdc)} USDC"
    if dry_run:
        read = _check(market, account, str(told["message"]), words)
        return {"would_sign": read.statement, "dry_run": True}
    done: dict[str, Any] = market.ask("POST", path, _sign(market, account, told, words))
    return done


def _sign(market: Market, account: LocalAccount, told: Any, words: str) -> dict[str, str]:
    message = str(told["message"])
    _check(market, account, message, words)
    signature = account.sign_message(encode_defunct(text=message)).signature.to_0x_hex()
    return {"message": message, "signature": signature}


def _check(market: Market, account: LocalAccount, message: str, words: str) -> SiweMessage:
    """Read what is to be signed: it must be for this market and wallet, and begin as asked."""
    try:
        read = parse_siwe(message)
    except SiweInvalid as error:
        raise NotSigned(f"the market's message is no sign-in: {error}") from None
    host = urlsplit(market.url).hostname or ""
    # A local stack calls itself by whatever name it will have.
    is_its_own = host in _LOCAL or urlsplit(f"//{read.domain}").hostname == host
    if not is_its_own:
        raise NotSigned(f"the market at {host} asks to sign for {read.domain}: nothing was signed")
    if read.address.lower() != account.address.lower():
        raise NotSigned(f"the market asks to sign for {read.address}: nothing was signed")
    if not (read.statement or "").startswith(words):
        raise NotSigned(f"the market asks to sign {read.statement!r}: nothing was signed")
    return read
