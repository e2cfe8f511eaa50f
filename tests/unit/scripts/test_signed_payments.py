"""What a wallet signs for a market, and what it does not: the market is hostile here.

::

    a demand as asked for                         signed once, sent again until it has settled
    ├── for more, for less than exactly, another chain, token, payee, scheme, malformed
    │                                             nothing is signed
    ├── above the wallet's balance                nothing is signed
    ├── --dry-run                                 nothing is signed
    └── it never settles                          sent again, then: it may still be taken
    a sign-in or withdrawal as asked for          signed
    └── of another site, chain, wallet, meaning, role, amount, or with resources
                                                  nothing is signed
"""

import base64
import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Final

import httpx
import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount

from contracts.authorizations import Authorization, TokenDomain
from contracts.siwe import build_siwe
from market.payments.withdrawing import write_statement
from scripts.market_asking import Market, MarketRefused, MarketSilent, read_answer
from scripts.wallet import signed_payments
from scripts.wallet.market_sign_in import NotSigned, SignInSite, issue_market_key, withdraw_credit
from scripts.wallet.signed_payments import NotPaid, Payer, PaymentOpen
from tests.support.ledgers import DEPLOYMENT

ACCOUNT: Final[LocalAccount] = Account.from_key("0x" + "41" * 32)
DOMAIN: Final = TokenDomain("USD Coin", "2", DEPLOYMENT.chain_id, DEPLOYMENT.usdc)
HAS_USDC: Final = 3_000_000
PATH: Final = "/v1/buyer/credit/topup"
HONEST: Final = {
    "scheme": "exact",
    "network": f"eip155:{DEPLOYMENT.chain_id}",
    "asset": DEPLOYMENT.usdc,
    "amount": "2000000",
    "payTo": DEPLOYMENT.payouts,
    "maxTimeoutSeconds": 300,
    "extra": {"name": "Another Coin", "version": "9"},
}


class Signer:
    """A key that counts what it signs."""

    def __init__(self) -> None:
        self.address = ACCOUNT.address
        self.signed = 0

    def sign_typed_data(self, **given: Any) -> Any:
        self.signed += 1
        return ACCOUNT.sign_typed_data(**given)

    def sign_message(self, message: Any) -> Any:
        self.signed += 1
        return ACCOUNT.sign_message(message)


def make_wallet(signer: Signer) -> Any:
    return SimpleNamespace(
        deployment=DEPLOYMENT,
        account=signer,
        contracts=SimpleNamespace(
            usdc=SimpleNamespace(functions=SimpleNamespace(balanceOf=lambda _: HAS_USDC))
        ),
        call=lambda value: value,
        find_domain=lambda: DOMAIN,
        web3=SimpleNamespace(eth=SimpleNamespace(get_block=lambda _: {"timestamp": 1})),
    )


class HostileMarket(Market):
    """Answers as told: the first request without a payment, those with one in turn."""

    def __init__(self, terms: Any, *paid: "httpx.Response | Exception") -> None:
        super().__init__("https://market.example", None)
        self._terms = terms
        self._paid = list(paid) or [httpx.Response(200, json={})]
        self.payments: list[str] = []

    def send(self, *_: object, headers: dict[str, str] | None = None) -> httpx.Response:
        if not headers:
            text = json.dumps({"x402Version": 2, "accepts": self._terms}).encode()
            header = {"payment-required": base64.b64encode(text).decode()}
            return httpx.Response(402, headers=header)
        self.payments.append(headers["payment-signature"])
        answer = self._paid.pop(0) if len(self._paid) > 1 else self._paid[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def pending() -> httpx.Response:
    return httpx.Response(503, json={"error": {"code": "payment_pending", "message": ""}})


@pytest.fixture
def signer() -> Signer:
    return Signer()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signed_payments, "PAUSE_S", 0.0)


def pay(signer: Signer, market: Market, usdc_max: int = 2_000_000, **changes: Any) -> Any:
    dry_run = changes.pop("dry_run", False)
    payer = Payer(make_wallet(signer), dry_run=dry_run)
    return payer.send(market, "POST", PATH, {}, usdc_max=usdc_max, **changes)


def test_pay__as_asked_for__one_valid_signature_of_the_proven_token_until_it_settles(
    signer: Signer,
) -> None:
    market = HostileMarket([HONEST], pending(), MarketSilent("gone"), httpx.Response(200, json={}))

    assert pay(signer, market, is_exact=True).status_code == 200

    assert (signer.signed, len(market.payments), len(set(market.payments))) == (1, 3, 1)
    sent = json.loads(base64.b64decode(market.payments[0]))["payload"]
    told = sent["authorization"]
    authorization = Authorization(
        payer=told["from"].lower(),
        payee=told["to"].lower(),
        value_usdc=int(told["value"]),
        valid_after_s=int(told["validAfter"]),
        valid_before_s=int(told["validBefore"]),
        nonce=told["nonce"],
        signature=bytes.fromhex(sent["signature"][2:]),
    )
    assert authorization.is_signed_by_key(DOMAIN)
    assert (authorization.payee, authorization.value_usdc) == (DEPLOYMENT.payouts, 2_000_000)


@pytest.mark.parametrize(
    "terms",
    [
        [{**HONEST, "amount": "2000001"}],
        [{**HONEST, "amount": "1999999"}],
        [{**HONEST, "amount": "-1"}],
        [{**HONEST, "amount": "٢٠٠٠٠٠٠"}],
        [{**HONEST, "network": "eip155:1"}],
        [{**HONEST, "asset": "0x" + "ee" * 20}],
        [{**HONEST, "payTo": "0x" + "ee" * 20}],
        [{**HONEST, "scheme": "upto"}],
        [{**HONEST, "amount": None}],
        [{**HONEST, "amount": "9" * 5_000}],
        [{**HONEST, "maxTimeoutSeconds": "soon"}],
        [{**HONEST, "maxTimeoutSeconds": None}],
        [{**HONEST, "maxTimeoutSeconds": float("inf")}],
        [{**HONEST, "maxTimeoutSeconds": -1_000}],
        [],
        None,
        "exact",
    ],
)
def test_pay__another_demand__nothing_is_signed(signer: Signer, terms: Any) -> None:
    market = HostileMarket(terms)

    with pytest.raises(NotPaid, match="nothing was signed"):
        pay(signer, market, is_exact=True)

    assert (signer.signed, market.payments) == (0, [])


def test_pay__demand_nested_without_end__nothing_is_signed(signer: Signer) -> None:
    text = json.dumps({"accepts": [{**HONEST, "extra": 0}]})
    deep = text.replace('"extra": 0', '"extra": ' + "[" * 100_000 + "]" * 100_000)
    header = {"payment-required": base64.b64encode(deep.encode()).decode()}
    market = HostileMarket([])
    market.send = lambda *_, **__: httpx.Response(402, headers=header)  # type: ignore[method-assign]

    with pytest.raises(NotPaid, match="malformed"):
        pay(signer, market)

    assert signer.signed == 0


@pytest.mark.parametrize(
    "content", [b"<html>", b"[" * 100_000, b"\xff\xfe\x00"], ids=["page", "deep", "bytes"]
)
@pytest.mark.parametrize("status_code", [200, 500])
def test_answer__no_json_that_can_be_read__refused(content: bytes, status_code: int) -> None:
    with pytest.raises(MarketRefused, match="the market"):
        read_answer(httpx.Response(status_code, content=content))


def test_pay__above_the_balance__nothing_is_signed(signer: Signer) -> None:
    market = HostileMarket([{**HONEST, "amount": "3000001"}])

    with pytest.raises(NotPaid, match=r"has 3\.000000 USDC"):
        pay(signer, market, usdc_max=5_000_000)

    assert signer.signed == 0


def test_pay__dry_run__nothing_is_signed(signer: Signer) -> None:
    market = HostileMarket([HONEST])

    pay(signer, market, dry_run=True)

    assert (signer.signed, market.payments) == (0, [])


def test_pay__never_settled__says_that_it_may_still_be_taken(
    signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signed_payments, "WAIT_S", 0.0)

    with pytest.raises(PaymentOpen, match="payment_pending"):
        pay(signer, HostileMarket([HONEST], pending()))

    assert signer.signed == 1


# ------------------------------------------------------------------------------------------ sign-in


ANY_SITE: Final = SignInSite()
LOCAL_URL: Final = "http://127.0.0.1:8403"
NAMED: Final = SignInSite(domain="market.example")


class Asking(Market):
    """Gives a message to sign, and takes whatever is signed."""

    def __init__(self, message: str, url: str = "https://market.example") -> None:
        super().__init__(url, None)
        self._message = message

    def ask(self, *asked: Any, **_: object) -> Any:
        _, _, *body = asked
        return {"message": self._message} if not body else body[0]


def make_message(**changes: Any) -> str:
    values: dict[str, Any] = {
        "domain": "market.example",
        "address": ACCOUNT.address,
        "statement": "Get an API key to buy on this market.",
        "uri": "https://market.example",
        "chain_id": 8_453,
        "nonce": "0123456789abcdef",
        "issued_at": datetime.now(UTC),
        "resources": (),
        **changes,
    }
    text = build_siwe(**values)
    return text if values["resources"] else text.removesuffix("\nResources:")


def make_local(domain: str, chain_id: int = 31_337) -> str:
    return make_message(domain=domain, uri=f"http://{domain}", chain_id=chain_id)


def sign_in(signer: Any, market: Market, site: SignInSite = ANY_SITE) -> Any:
    return issue_market_key(market, signer, "buyer", label="", site=site)


@pytest.mark.parametrize(
    ("message", "url", "site"),
    [
        (make_message(), "https://market.example", ANY_SITE),
        (make_message(), "https://market.example:443/", ANY_SITE),
        (make_message(chain_id=84_532), "https://market.example", SignInSite(chain_id=84_532)),
        (make_message(), LOCAL_URL, NAMED),
        (make_local("127.0.0.1:8403"), LOCAL_URL, ANY_SITE),
        (make_local("localhost:8403"), LOCAL_URL, ANY_SITE),
        (make_local("[::1]:8403"), LOCAL_URL, ANY_SITE),
    ],
)
def test_sign_in__as_asked_for__signed(
    signer: Signer, message: str, url: str, site: SignInSite
) -> None:
    assert sign_in(signer, Asking(message, url), site)["signature"].startswith("0x")
    assert signer.signed == 1


@pytest.mark.parametrize(
    ("message", "site"),
    [
        (make_message(), ANY_SITE),
        (make_message(domain="bank.example", uri="https://bank.example"), NAMED),
        (make_local("localhost:8545"), ANY_SITE),
        (make_local("localhost"), ANY_SITE),
        (make_local("localhost.example:8403"), ANY_SITE),
        (make_local("localhost:99999"), ANY_SITE),
        (make_local("[::1"), ANY_SITE),
        (make_local("127.0.0.1:8403", chain_id=8_453), ANY_SITE),
        (make_local("127.0.0.1:8403"), NAMED),
    ],
)
def test_sign_in__another_site_by_a_local_address__nothing_is_signed(
    signer: Signer, message: str, site: SignInSite
) -> None:
    with pytest.raises(NotSigned):
        sign_in(signer, Asking(message, LOCAL_URL), site)

    assert signer.signed == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"domain": "bank.example", "uri": "https://bank.example"},
        {"domain": "market.example.evil.example", "uri": "https://market.example.evil.example"},
        {"address": "0x" + "11" * 20},
        {"statement": "Withdraw 5.000000 USDC of my unused credit to this wallet."},
        {"statement": "I sell my house."},
        {"statement": "Get an API key to sell on this market."},
        {"statement": "Get an API key to buy on this market. And my house."},
        {"domain": "market.example:8443", "uri": "https://market.example:8443"},
        {"uri": "https://bank.example"},
        {"chain_id": 1},
        {"resources": ("urn:recap:everything",)},
    ],
)
def test_sign_in__another_message__nothing_is_signed(
    signer: Signer, changes: dict[str, Any]
) -> None:
    with pytest.raises(NotSigned):
        sign_in(signer, Asking(make_message(**changes)))

    assert signer.signed == 0


@pytest.mark.parametrize("message", ["0x" + "00" * 32, None, 7])
def test_sign_in__no_message_at_all__nothing_is_signed(signer: Signer, message: Any) -> None:
    with pytest.raises(NotSigned):
        sign_in(signer, Asking(message))

    assert signer.signed == 0


def test_withdraw__another_amount_than_asked_for__nothing_is_signed(signer: Any) -> None:
    told = make_message(statement=write_statement(500_000, 10_000))

    done = withdraw_credit(Asking(told), signer, 500_000, dry_run=False, site=ANY_SITE)
    assert done["message"] == told
    for amount_usdc in (5_000_000, 50_000_000, None):
        with pytest.raises(NotSigned):
            withdraw_credit(Asking(told), signer, amount_usdc, dry_run=False, site=ANY_SITE)

    assert signer.signed == 1
