"""A supplier, or a reviewer, in a browser: with a jar of cookies and the token of its session."""

import re
from http.cookies import SimpleCookie
from typing import Any, Final

import httpx

from market.suppliers.supplier_tokens import is_token
from tests.support.mailbox import Mailbox, link_of
from tests.support.market import RunningMarket

EMAIL: Final = "ops@compute.example"
PASSWORD: Final = "five calm otters sing"
APPLICATION: Final[dict[str, Any]] = {
    "legal_name": "Compute Müller 計算 Pte. Ltd.",
    "country": "SG",
    "website": "https://compute.example",
    "contact_name": "Ana Müller",
    "email": EMAIL,
    "source_of_compute": "enterprise_contract",
    "providers": ["OpenAI"],
    "expected_monthly_tokens": 5_000_000,
}


class Browser:
    """Sends what a browser with our page would: cookies, the page's origin, the session's token."""

    def __init__(self, market: RunningMarket, email: str = EMAIL) -> None:
        self.market = market
        self.client = market.client
        self.email = email
        self.cookies: dict[str, str] = {}
        self.csrf_token: str | None = None

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request and keep the cookies of its answer."""
        headers = dict(options.pop("headers", {}))
        if self.cookies:
            pairs = (f"{name}={value}" for name, value in self.cookies.items())
            headers.setdefault("cookie", "; ".join(pairs))
        if self.csrf_token is not None:
            headers.setdefault("x-csrf-token", self.csrf_token)
        answer = await self.client.request(method, path, headers=headers, **options)
        for line in answer.headers.get_list("set-cookie"):
            for name, morsel in SimpleCookie(line).items():
                if morsel.value:
                    self.cookies[name] = morsel.value
                else:
                    self.cookies.pop(name, None)
        return answer

    async def get(self, path: str, **options: Any) -> httpx.Response:
        """GET."""
        return await self.ask("GET", path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """POST JSON."""
        if body is not None:
            options["json"] = body
        return await self.ask("POST", path, **options)

    async def put(self, path: str, body: Any) -> httpx.Response:
        """PUT JSON."""
        return await self.ask("PUT", path, json=body)

    async def delete(self, path: str) -> httpx.Response:
        """DELETE."""
        return await self.ask("DELETE", path)

    async def apply(self) -> httpx.Response:
        """Apply to supply compute."""
        return await self.post("/v1/supply/applications", {**APPLICATION, "email": self.email})

    async def sign_in(self, password: str = PASSWORD, **more: Any) -> httpx.Response:
        """Sign in, and keep the session's token where that works."""
        body = {"email": self.email, "password": password, **more}
        answer = await self.post("/v1/supply/sessions", body)
        if answer.status_code == 201:
            self.csrf_token = answer.json()["csrf_token"]
        return answer


async def join(
    market: RunningMarket, mailbox: Mailbox, *, email: str = EMAIL, password: str = PASSWORD
) -> Browser:
    """Apply, confirm the address, open the account and sign in, as the pages do."""
    browser = Browser(market, email)
    applied = await browser.apply()
    assert applied.status_code == 202, applied.text
    token = token_of(link_of(await mailbox.wait_for("Confirm your e-mail address", to=email)))
    verified = await browser.post("/v1/supply/applications/verify", {"token": token})
    assert verified.status_code == 200, verified.text
    opened = await browser.post("/v1/supply/accounts", {"password": password})
    assert opened.status_code == 201, opened.text
    signed_in = await browser.sign_in(password)
    assert signed_in.status_code == 201, signed_in.text
    return browser


def token_of(link: str) -> str:
    """Return the token of a mail's link."""
    match = re.search(r"token=([\w-]+)", link)
    assert match is not None and is_token(match[1]), link
    return match[1]
