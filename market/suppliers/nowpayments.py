"""NOWPayments' public API for payouts: the operator's account there, not a supplier's.

A token of theirs lives for five minutes. A payout has no idempotency key, so each carries our own
``unique_external_id``: after an answer that was lost their list is read before anything is sent
again. Whatever they answer is untrusted: amounts and addresses are compared by the caller.

::

    ProviderError
    ├── ProviderRefused   nothing was accepted; its ``refusal`` says whose fault that is
    └── AnswerLost        it may have been accepted: no answer, 5xx, an answer that is none
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, Final

import httpx
import pyotp

from contracts.errors import CurrentError, Rejected, Retryable
from contracts.units import format_usdc
from market.suppliers.nowpayments_ipn import read_state
from serving.models.error_words import clean

TOKEN_S: Final = 240.0
"""For how long a token of theirs is used: they say five minutes."""
TIMEOUT_S: Final = 30.0
"""How long they may be silent."""
ANSWER_S: Final = 60.0
"""How long an answer may take in all: what is not answered by then counts as lost, long before
anything is asked for again."""
TOTP_BITS_MIN: Final = 80
"""They choose the secret; some have given 16 letters."""
PAGE: Final = 100
PAGES_MAX: Final = 200
ANSWER_BYTES_MAX: Final = 4 * 1024**2


class ProviderError(CurrentError):
    """NOWPayments did not do what it was asked for."""


class Refusal(StrEnum):
    """What a refusal is about."""

    ACCOUNT = "account"
    """The operator's account or its way to them: the balance, credentials, too many calls. It says
    nothing of a payout."""
    WHITELIST = "whitelist"
    """An address has to be put on their list first."""
    ADDRESS = "address"
    """An address that they will never pay."""
    UNKNOWN = "unknown"
    """Something else: nobody may conclude that a payout has failed."""


BUSY: Final = frozenset({401, 403, 408, 429, 502, 503})
"""Statuses that say nothing of what was asked for."""
_ACCOUNT_WORDS: Final = re.compile(
    r"\b(balance|insufficient|funds|credentials?|token|api[ -]?key|permissions?|ips?|limits?)\b"
)


class ProviderRefused(ProviderError, Rejected):
    """They answered that they did not do it. ``status`` is HTTP's, ``text`` their words, cut."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"NOWPayments refused ({status}): {text[:200]}")
        self.status = status
        self.text = text[:200]

    @property
    def refusal(self) -> Refusal:
        """What they refuse for, as far as their words say."""
        said = self.text.lower()
        if _ACCOUNT_WORDS.search(said) is not None:
            return Refusal.ACCOUNT
        if "whitelist" in said:
            return Refusal.WHITELIST
        if self.status in BUSY:
            return Refusal.ACCOUNT
        if "address" in said and "invalid" in said:
            return Refusal.ADDRESS
        return Refusal.UNKNOWN


class AnswerLost(ProviderError, Retryable):
    """Nobody knows whether they did it."""


class _Codes(pyotp.TOTP):
    min_secret_length_bits = TOTP_BITS_MIN


@dataclass(frozen=True, slots=True)
class ProviderAccount:
    """The operator's account. Shows nothing in its repr."""

    base_url: str
    api_key: str
    email: str
    password: str
    totp_secret: str
    ipn_url: str

    def __repr__(self) -> str:
        return "ProviderAccount(…)"


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A payout to be sent. ``amount_usdc`` in 1e-6; ``reference`` is our name of it."""

    reference: str
    address: str
    currency: str
    amount_usdc: int


@dataclass(frozen=True, slots=True)
class SentPayout:
    """A payout as they have it."""

    reference: str
    """Our name of it, as they give it back."""
    external_id: str
    batch_id: str
    state: str
    address: str
    currency: str
    amount_usdc: int | None
    """None where their text is no amount of six decimals."""
    tx_hash: str | None
    error: str | None = None


class NowPayments:
    """Calls their API. One call at a time uses the token."""

    def __init__(
        self,
        account: ProviderAccount,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float],
    ) -> None:
        """``wall_clock``: Unix seconds, by which one-time codes are made."""
        self._account = account
        self._client = httpx.AsyncClient(
            base_url=account.base_url,
            timeout=TIMEOUT_S,
            follow_redirects=False,
            trust_env=False,
            transport=transport,
            headers={"x-api-key": account.api_key},
        )
        self._clock = clock
        self._wall_clock = wall_clock
        self._token: tuple[str, float] | None = None

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def create(self, withdrawals: Sequence[Withdrawal]) -> list[SentPayout]:
        """Ask for payouts, one batch. Raises ``ProviderRefused`` or ``AnswerLost``."""
        url = self._account.ipn_url
        body = {
            "ipn_callback_url": url,
            "withdrawals": [
                {
                    "address": one.address,
                    "currency": one.currency,
                    "amount": show_amount(one.amount_usdc),
                    "unique_external_id": one.reference,
                    "ipn_callback_url": url,
                }
                for one in withdrawals
            ],
        }
        answer = await self._ask("POST", "/v1/payout", body)
        return _read_list(answer, "withdrawals", batch_id=_read_id(answer))

    async def verify(self, batch_id: str) -> None:
        """Confirm a batch by the one-time code of this moment. Raises as ``create`` does."""
        code = _Codes(self._account.totp_secret).at(int(self._wall_clock()))
        await self._ask("POST", f"/v1/payout/{batch_id}/verify", {"verification_code": code})

    async def get(self, external_id: str) -> SentPayout | None:
        """Return a payout as it stands with them, None where they know none of this id."""
        try:
            answer = await self._ask("GET", f"/v1/payout/{external_id}")
        except ProviderRefused as refused:
            if refused.status == 404:
                return None
            raise
        if isinstance(answer, list):
            found = [one for item in answer if (one := _read_one(item)) is not None]
        elif isinstance(answer, Mapping) and "withdrawals" in answer:
            found = _read_list(answer, "withdrawals", batch_id=_read_id(answer))
        else:
            one = _read_one(answer)
            found = [] if one is None else [one]
        return next((one for one in found if one.external_id == external_id), None)

    async def list_recent(self, wanted: frozenset[str]) -> dict[str, SentPayout]:
        """Return those of the payouts ``wanted`` (our names) that they have, newest pages first.

        Raises ``AnswerLost`` unless the list was read to its end, or all were found: what was not
        seen must not be taken for what is not there.
        """
        found: dict[str, SentPayout] = {}
        for page in range(PAGES_MAX):
            path = f"/v1/payout?limit={PAGE}&page={page}&order_by=dateCreated&order=desc"
            answer = await self._ask("GET", path)
            if not isinstance(answer, Mapping) or not isinstance(answer.get("payouts"), list):
                raise AnswerLost("NOWPayments' list cannot be read")
            for item in answer["payouts"]:
                batch = _read_id(item) if isinstance(item, Mapping) else ""
                nested = item.get("withdrawals") if isinstance(item, Mapping) else None
                many = nested if isinstance(nested, list) else [item]
                for one in (_read_one(entry, batch_id=batch) for entry in many):
                    if one is not None and one.reference in wanted:
                        found.setdefault(one.reference, one)
            if len(answer["payouts"]) < PAGE or wanted <= found.keys():
                return found
        raise AnswerLost("NOWPayments' list has no end")

    # ------------------------------------------------------------------------------- one question

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON of a success. A token that has expired is renewed once: a request that is
        refused for it was not looked at."""
        for is_last in (False, True):
            token = await self._get_token()
            answer = await self._send(method, path, body, token)
            if answer.status_code == 401 and not is_last:
                self._token = None
                continue
            return self._read_answer(answer)
        raise AssertionError("two tries end in an answer")

    async def _get_token(self) -> str:
        now = self._clock()
        if self._token is None or self._token[1] <= now:
            credentials = {"email": self._account.email, "password": self._account.password}
            try:
                answer = self._read_answer(await self._send("POST", "/v1/auth", credentials, None))
            except AnswerLost as error:
                raise ProviderRefused(503, "no token: " + str(error)) from None
            token = answer.get("token") if isinstance(answer, Mapping) else None
            if not isinstance(token, str) or not token.isascii() or not token.isprintable():
                raise ProviderRefused(502, "no token came")
            self._token = (token, now + TOKEN_S)
        return self._token[0]

    async def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None, token: str | None
    ) -> httpx.Response:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        try:
            async with (
                asyncio.timeout(ANSWER_S),
                self._client.stream(method, path, json=body, headers=headers) as answer,
            ):
                read = b""
                async for piece in answer.aiter_bytes():
                    read += piece
                    if len(read) > ANSWER_BYTES_MAX:
                        raise AnswerLost("NOWPayments' answer is too long")
                return httpx.Response(answer.status_code, content=read)
        except (httpx.HTTPError, TimeoutError) as error:
            raise AnswerLost(f"no answer from NOWPayments: {type(error).__name__}") from None

    def _read_answer(self, answer: httpx.Response) -> Any:
        """Return the JSON of a success. What they say of a refusal may quote what was sent."""
        if 400 <= answer.status_code < 500:
            account = self._account
            secrets = [account.api_key, account.email, account.password, account.totp_secret]
            secrets += [] if self._token is None else [self._token[0]]
            said = clean(_read_words(answer), [one for one in secrets if one])
            raise ProviderRefused(answer.status_code, said)
        if answer.status_code not in (200, 201):
            raise AnswerLost(f"NOWPayments answered {answer.status_code}")
        try:
            return answer.json()
        except ValueError:
            # A verification is answered by the word OK.
            if answer.text.strip().strip('"').upper() == "OK":
                return {}
            raise AnswerLost("NOWPayments' answer is not JSON") from None


def show_amount(amount_usdc: int) -> str:
    """Return an amount as they take it: at most six decimals, none that are zeros at the end."""
    return format_usdc(amount_usdc).rstrip("0").rstrip(".")


def read_amount(value: Any) -> int | None:
    """Return an amount of theirs in 1e-6, None where it has more decimals or is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = Decimal(str(value)) * 1_000_000
        return int(number) if number == number.to_integral_value() and number >= 0 else None
    except (InvalidOperation, OverflowError, ValueError):
        return None


def _read_words(answer: httpx.Response) -> str:
    try:
        body = answer.json()
    except ValueError:
        return ""
    words = body.get("message", "") if isinstance(body, Mapping) else ""
    return "".join(one if one.isprintable() else "?" for one in str(words))


def _read_id(item: Any) -> str:
    return str(item.get("id", "")) if isinstance(item, Mapping) else ""


def _read_list(answer: Any, name: str, *, batch_id: str) -> list[SentPayout]:
    items = answer.get(name) if isinstance(answer, Mapping) else None
    if not isinstance(items, list):
        raise AnswerLost("NOWPayments' answer has no list of payouts")
    return [one for item in items if (one := _read_one(item, batch_id=batch_id)) is not None]


def _read_one(item: Any, *, batch_id: str = "") -> SentPayout | None:
    """Return a payout of theirs; None where it has no id or a state that nobody knows."""
    if not isinstance(item, Mapping) or not _read_id(item):
        return None
    state = read_state(item.get("status"))
    if state is None:
        return None
    tx_hash = item.get("hash")
    error = item.get("error")
    return SentPayout(
        reference=str(item.get("unique_external_id") or ""),
        external_id=_read_id(item),
        batch_id=str(item.get("batch_withdrawal_id") or batch_id),
        state=state,
        address=str(item.get("address") or ""),
        currency=str(item.get("currency") or "").lower(),
        amount_usdc=read_amount(item.get("amount")),
        tx_hash=tx_hash if isinstance(tx_hash, str) and tx_hash else None,
        error=str(error)[:200] if error else None,
    )
