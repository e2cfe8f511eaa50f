"""What a wallet signs for a market: sign-ins and withdrawals by EIP-4361, read before signing.

A market that passes on another's message would get what that other gives for it. So each message
must name the market's own site and chain, this wallet, and exactly what the command is for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount

from contracts.siwe import SiweInvalid, SiweMessage, parse_siwe
from scripts.market_asking import Market, MarketRefused
from scripts.stack.anvil import CHAIN_ID as DEVNET_CHAIN_ID

BASE_CHAIN_ID: Final = 8_453
_LOCAL: Final = ("127.0.0.1", "localhost", "::1")
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class SignInSite:
    """What a market's messages name, where it is not what its URL says.

    ``domain``: host and port; None: those of the URL, and at a local one any local name with its
    port. ``chain_id`` None: the devnet's with a local domain, else Base's.
    """

    domain: str | None = None
    chain_id: int | None = None

    def accepts(self, domain: str, market_url: str) -> bool:
        """Tell whether a message's domain is that of the market that was asked."""
        if self.domain is not None:
            return domain.lower() == self.domain.lower()
        asked = urlsplit(market_url)
        own_port = asked.port or _PORTS[asked.scheme]
        host, port = _read_domain(domain)
        hosts = _LOCAL if asked.hostname in _LOCAL else (asked.hostname,)
        return host in hosts and (port or _PORTS[asked.scheme]) == own_port

    def chain_of(self, domain: str) -> int:
        """Return the chain that a message for ``domain`` must name."""
        if self.chain_id is not None:
            return self.chain_id
        return DEVNET_CHAIN_ID if _read_domain(domain)[0] in _LOCAL else BASE_CHAIN_ID


def _read_domain(domain: str) -> tuple[str | None, int | None]:
    try:
        parts = urlsplit(f"//{domain}")
        return parts.hostname, parts.port
    except ValueError:
        return None, None


class NotSigned(MarketRefused):
    """The market gave something else to sign than was asked for; nothing was signed."""


def issue_market_key(
    market: Market, account: LocalAccount, role: str, *, label: str, site: SignInSite
) -> dict[str, Any]:
    """Trade a wallet's signature for a key; ``role`` is ``seller`` or ``buyer``.

    Raises ``NotSigned``, ``MarketRefused``, ``MarketSilent``.
    """
    from market.identity.authentication import STATEMENTS
    from market.identity.keys import Role

    wanted = STATEMENTS[Role(role)]
    path = f"/v1/{role}/auth"
    told = market.ask("GET", f"{path}/challenge?{urlencode({'address': account.address})}")
    message = _read_message(told)
    _check(market, account, message, site, is_wanted=lambda words: words == wanted)
    signed = _sign(account, message)
    issued: dict[str, Any] = market.ask("POST", f"{path}/keys", {**signed, "label": label})
    return issued


def withdraw_credit(
    market: Market,
    account: LocalAccount,
    amount_usdc: int | None,
    *,
    dry_run: bool,
    site: SignInSite,
) -> dict[str, Any]:
    """Take unused credit back to the wallet, all of it where no amount is named.

    Returns the withdrawal; of a trial only the words that would be signed.
    """
    from contracts.units import format_usdc
    from market.payments.withdrawing import read_statement

    def is_wanted(words: str) -> bool:
        try:
            return read_statement(words)[0] == amount_usdc
        except ValueError:
            return False

    query: dict[str, str] = {"address": account.address}
    if amount_usdc is not None:
        query["amount_usd"] = format_usdc(amount_usdc)
    path = "/v1/buyer/withdrawals"
    message = _read_message(market.ask("GET", f"{path}/challenge?{urlencode(query)}"))
    read = _check(market, account, message, site, is_wanted=is_wanted)
    if dry_run:
        return {"would_sign": read.statement, "dry_run": True}
    done: dict[str, Any] = market.ask("POST", path, _sign(account, message))
    return done


def _read_message(told: Any) -> str:
    if not isinstance(told, dict) or not isinstance(told.get("message"), str):
        raise NotSigned("the market gave no message to sign")
    return str(told["message"])


def _sign(account: LocalAccount, message: str) -> dict[str, str]:
    signature = account.sign_message(encode_defunct(text=message)).signature.to_0x_hex()
    return {"message": message, "signature": signature}


def _check(
    market: Market,
    account: LocalAccount,
    message: str,
    site: SignInSite,
    *,
    is_wanted: Callable[[str], bool],
) -> SiweMessage:
    """Read what is to be signed: for this market, its chain and this wallet, and as asked for."""
    try:
        read = parse_siwe(message)
    except SiweInvalid as error:
        raise NotSigned(f"the market's message is no sign-in: {error}") from None
    if not site.accepts(read.domain, market.url):
        raise NotSigned(
            f"the market at {market.url} asks to sign for {read.domain}: nothing was signed;"
            f" if that is its name, say --domain {read.domain}"
        )
    try:
        # Whether it is good for now is the market's to judge, by its own clock.
        chain_id = site.chain_of(read.domain)
        read.check(domain=read.domain, chain_id=chain_id, now_s=read.issued_at_s)
    except SiweInvalid as error:
        raise NotSigned(f"{error} (--chain-id): nothing was signed") from None
    if read.address.lower() != account.address.lower():
        raise NotSigned(f"the market asks to sign for {read.address}: nothing was signed")
    if not is_wanted(read.statement or ""):
        raise NotSigned(f"the market asks to sign {read.statement!r}: nothing was signed")
    if read.resources:
        raise NotSigned("the market asks to sign for resources too: nothing was signed")
    return read
