"""A double of NOWPayments' payout API that follows its documents and misbehaves as told.

It is an ``httpx`` transport: nothing is reached. It can lose answers, accept and say 500, refuse
codes, let tokens end, repeat, reorder and lie.
"""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import pyotp

from market.suppliers.nowpayments import NowPayments, ProviderAccount

TOTP_SECRET: Final = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
ACCOUNT: Final = ProviderAccount(
    base_url="https://nowpayments.test",
    api_key="api-key",
    email="operator@company.example",
    password="password",
    totp_secret=TOTP_SECRET,
    ipn_url="https://market.test/v1/supply/payouts/ipn",
)


class _Dribble(httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.01)


@dataclass
class NowPaymentsDouble(httpx.AsyncBaseTransport):
    """The other end. ``payouts`` is what they have, by their id."""

    now_s: float = 1_800_000_000.0
    payouts: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    whitelist: set[str] | None = None
    """Addresses that may be paid; None: any."""
    lose: Callable[[str], bool] = lambda _: False
    """Whether the answer to ``create``, ``verify``, ``get``, ``list`` or ``auth`` is lost, after it
    was done."""
    refuse: dict[str, tuple[int, str]] = field(default_factory=dict)
    """What to answer to one of those words, with nothing done."""
    before: Callable[[str], None] = lambda _: None
    after: Callable[[str], None] = lambda _: None
    """Called before and after a request is done; what it raises, the caller sees."""
    dribbles: set[str] = field(default_factory=set)
    """Whose answers, of what was done, come a byte at a time and never end."""
    token_uses: int = 1_000
    """After how many calls a token has ended."""
    made: Callable[[dict[str, Any]], dict[str, Any]] = lambda one: one
    """What they make of a withdrawal that they accept."""
    upper: bool = False
    """Whether states come in upper case."""
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(5_000_000_001))
    _uses: Counter[str] = field(default_factory=Counter)

    def build_client(self) -> NowPayments:
        """Return a client whose calls end here."""
        return NowPayments(ACCOUNT, transport=self, wall_clock=lambda: self.now_s)

    def find(self, payout_id: str) -> list[dict[str, Any]]:
        """Return what they have of one of our ids."""
        return [one for one in self.payouts.values() if one["unique_external_id"] == payout_id]

    def move(self, payout_id: str, state: str, **changes: Any) -> None:
        """Have a payout of ours move on."""
        (one,) = self.find(payout_id)
        one.update({"status": state, **changes})

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        body = json.loads(await request.aread() or b"{}")
        assert request.headers["x-api-key"] == ACCOUNT.api_key
        self.before(str(request.url))
        what, answer = self._answer(request, body)
        self.after(what)
        self.calls.append(what)
        if what in self.dribbles:
            return httpx.Response(200, stream=_Dribble())
        if self.lose(what):
            raise httpx.ReadTimeout("lost", request=request)
        return answer

    def _answer(self, request: httpx.Request, body: dict[str, Any]) -> tuple[str, httpx.Response]:
        path = request.url.path
        if path == "/v1/auth":
            what = "auth"
        elif path.endswith("/verify"):
            what = "verify"
        elif request.method == "POST":
            what = "create"
        else:
            what = "list" if path == "/v1/payout" else "get"
        if what in self.refuse:
            status, message = self.refuse[what]
            return what, httpx.Response(status, json={"statusCode": status, "message": message})
        if what == "auth":
            assert body == {"email": ACCOUNT.email, "password": ACCOUNT.password}
            return what, httpx.Response(200, json={"token": f"t{sum(self._uses.values())}"})
        token = request.headers["authorization"].removeprefix("Bearer ")
        self._uses[token] += 1
        if self._uses[token] > self.token_uses:
            return what, httpx.Response(401, json={"message": "Access denied | Invalid token"})
        return what, getattr(self, f"_{what}")(path, body, request.url.params)

    def _create(self, path: str, body: dict[str, Any], params: Any) -> httpx.Response:
        assert path == "/v1/payout"
        assert params is not None
        for one in body["withdrawals"]:
            if self.whitelist is not None and one["address"] not in self.whitelist:
                message = f"Address {one['address']} is not whitelisted"
                return httpx.Response(400, json={"message": message, "code": "BAD_REQUEST"})
        batch = str(next(self._numbers))
        made = []
        for one in body["withdrawals"]:
            number = str(next(self._numbers))
            self.payouts[number] = self.made(
                {
                    "id": number,
                    "batch_withdrawal_id": batch,
                    "status": "waiting",
                    "error": None,
                    "hash": None,
                    "address": one["address"],
                    "currency": one["currency"],
                    "amount": one["amount"],
                    "unique_external_id": one["unique_external_id"],
                }
            )
            made.append(number)
        shown = [self._show(number) for number in made]
        return httpx.Response(200, json={"id": batch, "withdrawals": shown})

    def _verify(self, path: str, body: dict[str, Any], params: Any) -> httpx.Response:
        assert params is not None
        batch = path.split("/")[3]
        if body["verification_code"] != pyotp.TOTP(TOTP_SECRET).at(int(self.now_s)):
            return httpx.Response(400, json={"message": "Incorrect 2fa code"})
        for one in self.payouts.values():
            if one["batch_withdrawal_id"] == batch:
                one["status"] = "processing"
        return httpx.Response(200, text="OK")

    def _get(self, path: str, body: dict[str, Any], params: Any) -> httpx.Response:
        assert body == {}
        assert params is not None
        number = path.split("/")[3]
        if number not in self.payouts:
            return httpx.Response(404, json={"message": "Payout not found"})
        return httpx.Response(200, json=[self._show(number)])

    def _list(self, path: str, body: dict[str, Any], params: Any) -> httpx.Response:
        assert (path, body) == ("/v1/payout", {})
        newest = sorted(self.payouts, reverse=True)
        limit, page = int(params["limit"]), int(params["page"])
        shown = [self._show(number) for number in newest[page * limit :][:limit]]
        return httpx.Response(200, json={"payouts": shown})

    def _show(self, number: str) -> dict[str, Any]:
        one = dict(self.payouts[number])
        return {**one, "status": one["status"].upper() if self.upper else one["status"]}
