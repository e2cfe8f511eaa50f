"""``current demo``: a deposit's yield pays for an answer, on a real chain, by a real model.

Every step checks what it claims, against the chain or the proxy, and prints one line. The first
step that does not hold ends the demo with an error.
"""

import time
from collections.abc import Callable
from typing import Any, Final

import httpx
import openai
import requests
from eth_account import Account
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from web3.logs import DISCARD
from x402 import x402ClientSync
from x402.http.clients.requests import wrapRequestsWithPayment
from x402.http.utils import decode_payment_response_header
from x402.mechanisms.evm.exact import register_exact_evm_client
from x402.mechanisms.evm.signers import EthAccountSigner

from contracts.units import USDC_ONE, format_usdc
from scripts.audit import ACCOUNT_FIELDS
from scripts.receipt import verify_receipt
from scripts.stack.devnet import (
    Devnet,
    DevnetError,
    dev_account,
    issue_key,
    send,
    start_devnet,
    wait_for,
    warp_to_now,
)
from scripts.stack.devnet_api import API_NAME
from scripts.stack.model import MODEL_ID
from scripts.stack.pages_walk import walk_pages
from scripts.stack.processes import Stack
from scripts.stack.run_directory import ROOT as RUNS
from scripts.stack.run_directory import temporary_run_directory

DEPOSIT_USDC: Final = 1_000 * USDC_ONE
QUESTIONS: Final = (
    "In one sentence: why does money in the bank earn interest?",
    "In one sentence: what is a vault?",
    "In one sentence: what is a tree of hashes good for?",
)
STREAMED_QUESTION: Final = "In one sentence: what is a stream?"
STRANGERS_QUESTION: Final = "In one sentence: what is a stranger?"
POSITION_REQUESTS: Final = len(QUESTIONS) + 1
"""What the position pays for: the questions, and the streamed one."""
STRANGERS_USDC: Final = USDC_ONE
REVOKED_WITHIN_BLOCKS: Final = 2
PICTURES: Final = RUNS / "pictures"


class Journey:
    """The steps, in order; each fills in what the later ones need."""

    def __init__(self, devnet: Devnet, stack: Stack, console: Console) -> None:
        self.devnet = devnet
        self.stack = stack
        self.console = console
        self.position = devnet.contracts.position.functions
        self.adapter = devnet.contracts.adapter.functions
        self.usdc = devnet.contracts.usdc.functions
        # A wallet of its own, that nobody else on this chain knows.
        self.depositor = Account.create()
        # Another one: without a position, a key or ether.
        self.stranger = Account.create()
        self.seller = dev_account(3)
        self.paid_usdc = 0
        self.earned_usdc = 0
        self.token_id = 0
        self.api_key = ""
        self.request_id = ""
        self.cost_usdc = 0
        self.credited_usdc = 0
        self.started_s = time.monotonic()

    def run(self) -> None:
        """Walk the whole journey. Raises ``DevnetError`` at the first step that does not hold."""
        self.deposit()
        self.let_time_pass()
        self.harvest()
        self.get_key()
        self.ask()
        self.settle()
        self.check_receipt()
        self.sell_to_stranger()
        self.pay_seller()
        self.sell_call_to_stranger()
        self.revoke()
        self.withdraw()
        self.add_up()

    def say(self, step: str, text: str, tx_hash: str = "") -> None:
        """Print one step's line: what happened, figures, transaction."""
        at = f"{time.monotonic() - self.started_s:5.1f} s"
        suffix = f"  [dim]tx {tx_hash[:18]}…[/dim]" if tx_hash else ""
        self.console.print(
            f"[dim]{at}[/dim]  [bold]{step:<9}[/bold] {text}{suffix}", soft_wrap=True
        )

    def wait(self, what: str, check: Callable[[], Any]) -> Any:
        """Wait until ``check`` is true."""
        return wait_for(what, check, self.stack)

    def deposit(self) -> None:
        """A plain wallet mints a position and deposits."""
        devnet, address = self.devnet, self.depositor.address
        bank = dev_account(2)
        ether = {"to": address, "value": 10**18, "gas": 21_000, "from": bank.address}
        fees = {"nonce": devnet.web3.eth.get_transaction_count(bank.address), "chainId": 31337}
        gas_price = {"gasPrice": 2 * devnet.web3.eth.gas_price}
        signed = bank.sign_transaction({**ether, **fees, **gas_price})
        devnet.web3.eth.wait_for_transaction_receipt(
            devnet.web3.eth.send_raw_transaction(signed.raw_transaction), timeout=30
        )
        send(devnet, self.depositor, self.usdc.faucet(address, DEPOSIT_USDC))
        vault = devnet.vault.address
        minted = send(devnet, self.depositor, self.adapter.createVault(1, 10_000, vault, 30))
        events = devnet.contracts.adapter.events.VaultCreated().process_receipt(
            minted, errors=DISCARD
        )
        self.token_id = int(events[0]["args"]["tokenId"])
        self.expect("owner", self.position.ownerOf(self.token_id).call(), address)
        self.say(
            "mint",
            f"position {self.token_id} for wallet {address[:10]}…, soulbound",
            minted["transactionHash"].to_0x_hex(),
        )
        approve = self.usdc.approve(devnet.contracts.adapter.address, DEPOSIT_USDC)
        send(devnet, self.depositor, approve)
        receipt = send(devnet, self.depositor, self.adapter.deposit(self.token_id, DEPOSIT_USDC, 1))
        self.expect("balance", self.usdc.balanceOf(address).call(), 0)
        self.say(
            "deposit",
            f"{format_usdc(DEPOSIT_USDC)} USDC of principal into the vault",
            receipt["transactionHash"].to_0x_hex(),
        )

    def let_time_pass(self) -> None:
        """Move the chain's clock to now; the vault earns meanwhile."""
        moved_s = warp_to_now(self.devnet)
        pending_usdc = self.adapter.pendingYield(self.token_id).call()
        if pending_usdc <= 0 and not self.find_credits():
            raise DevnetError("no yield accrued")
        # A keeper that was quicker than this question has left nothing pending.
        earned = (
            f"yield pending: {format_usdc(pending_usdc)} USDC" if pending_usdc else "yield accrues"
        )
        self.say("time", f"{moved_s / 86_400:.0f} days pass; {earned}")

    def find_credits(self) -> list[Any]:
        """Return the position's credited harvests so far."""
        events = self.devnet.contracts.position.events.YieldCredited()
        return list(events.get_logs(from_block=0, argument_filters={"tokenId": self.token_id}))

    def harvest(self) -> None:
        """The keeper harvests by itself."""
        event = self.wait("the keeper's harvest", self.find_credits)[0]
        self.credited_usdc = int(event["args"]["amount"])
        self.say(
            "harvest",
            f"the keeper credits {format_usdc(self.credited_usdc)} USDC of yield",
            event["transactionHash"].to_0x_hex(),
        )

    def get_key(self) -> None:
        """The wallet signs, a key is issued, the keeper opens a hold for it."""
        self.wait("the position in the mirror", lambda: self.fetch_position() is not None)
        self.api_key = issue_key(self.devnet.api_url, self.depositor, self.token_id)
        self.say("key", f"issued for the wallet's signature: {self.api_key[:18]}…")

        def find() -> Any:
            events = self.devnet.contracts.position.events.HoldPlaced()
            placed = events.get_logs(from_block=0, argument_filters={"tokenId": self.token_id})
            return [event for event in placed if event["args"]["granted"] > 0]

        event = self.wait("a hold", find)[0]
        lives_s = event["args"]["expiresAt"] - int(time.time())
        self.say(
            "hold",
            f"{format_usdc(event['args']['granted'])} USDC set aside for {lives_s // 60} min",
            event["transactionHash"].to_0x_hex(),
        )
        self.wait("the hold in the mirror", lambda: self.allowance()["held_usdc"] > 0)

    def ask(self) -> None:
        """An unmodified OpenAI client asks; the answer is paid by the allowance."""
        client = openai.OpenAI(
            base_url=f"{self.devnet.api_url}/v1", api_key=self.api_key, max_retries=0, timeout=120
        )
        for question in QUESTIONS:
            self.ask_one(client, question)
        self.ask_streamed(client, STREAMED_QUESTION)

    def ask_one(self, client: openai.OpenAI, question: str) -> None:
        """Ask one question; print the answer and its cost."""
        asked_s = time.monotonic()
        raw = client.chat.completions.with_raw_response.create(
            model=MODEL_ID, messages=[{"role": "user", "content": question}], max_tokens=80
        )
        completion = raw.parse()
        took_s = time.monotonic() - asked_s
        cost_usdc = int(raw.headers["x-current-cost-usdc"])
        self.cost_usdc += cost_usdc
        self.request_id = raw.headers["x-request-id"]
        usage = completion.usage
        answer = (completion.choices[0].message.content or "").strip()
        if usage is None or cost_usdc <= 0 or not answer:
            raise DevnetError("the model's answer was empty or free")
        self.say("ask", f"[italic]{question}[/italic]")
        self.say("answer", f"[green]{escape(' '.join(answer.split()))}[/green]")
        self.say(
            "cost",
            f"{format_usdc(cost_usdc)} USDC for {usage.prompt_tokens} +"
            f" {usage.completion_tokens} tokens of {MODEL_ID}, {took_s:.1f} s",
        )

    def ask_streamed(self, client: openai.OpenAI, question: str) -> None:
        """Ask for a stream; what the buyer is charged is what the market charged, to the unit."""
        before_usdc = self.fetch_market_spent_usdc()
        words, cost_usdc = [], None
        stream = client.chat.completions.create(
            model=MODEL_ID,
            messages=[{"role": "user", "content": question}],
            max_tokens=40,
            stream=True,
            stream_options={"include_usage": True},
        )
        for chunk in stream:
            words += [choice.delta.content or "" for choice in chunk.choices]
            if chunk.usage is not None:
                cost_usdc = (chunk.usage.model_extra or {}).get("cost")
        answer = " ".join("".join(words).split())
        if not answer or not isinstance(cost_usdc, int) or cost_usdc <= 0:
            raise DevnetError("the streamed answer was empty, or did not say its cost")
        market_usdc = self.fetch_market_spent_usdc() - before_usdc
        self.expect("the market's charge for the stream", market_usdc, cost_usdc)
        self.cost_usdc += cost_usdc
        self.say("stream", f"[italic]{question}[/italic]")
        self.say("answer", f"[green]{escape(answer)}[/green]")
        self.say(
            "cost",
            f"{format_usdc(cost_usdc)} USDC in the stream's last event; the market says the same",
        )

    def fetch_market_spent_usdc(self) -> int:
        """Return what the proxy's account at the market has spent so far (1e-6 USDC)."""
        key = (self.devnet.directory.path / "market_buyer_key").read_text(encoding="ascii")
        answer = httpx.get(
            f"{self.devnet.market_url}/v1/buyer/account",
            headers={"Authorization": f"Bearer {key.strip()}"},
            timeout=10,
        )
        return int(answer.raise_for_status().json()["spent_usdc"])

    def settle(self) -> None:
        """The keeper settles the usage in one batch on chain."""

        def find() -> Any:
            events = self.devnet.contracts.position.events.Settled()
            found = events.get_logs(from_block=0, argument_filters={"tokenId": self.token_id})
            settled_usdc = sum(event["args"]["cost"] for event in found)
            return found if settled_usdc >= self.cost_usdc else None

        settled = self.wait("the settlement", find)
        self.expect("settled", sum(event["args"]["cost"] for event in settled), self.cost_usdc)
        self.say(
            "settle",
            f"{format_usdc(self.cost_usdc)} USDC booked on chain, {len(settled)} batch(es) for"
            f" {POSITION_REQUESTS} requests",
            settled[-1]["transactionHash"].to_0x_hex(),
        )

    def check_receipt(self) -> None:
        """The receipt's Merkle proof leads to the root that the chain holds."""

        def find() -> Any:
            answer = httpx.get(
                f"{self.devnet.api_url}/receipts/{self.request_id}",
                headers={"Authorization": f"Bearer {self.api_key}"},
                timeout=10,
            ).json()
            return answer if answer.get("state") == "settled" else None

        view = self.wait("the receipt", find)
        verify_receipt(view, self.devnet.web3, self.devnet.deployment)
        settlement = view["settlement"]
        self.say(
            "receipt",
            f"{format_usdc(view['cost_usdc'])} USDC: a proof of {len(settlement['proof'])} nodes"
            f" leads to root {settlement['receipts_root'][:18]}… on chain",
            settlement["tx_hash"],
        )

    def sell_to_stranger(self) -> None:
        """A wallet without a key asks the market, and pays for this one request by x402."""
        stranger = self.stranger.address
        send(self.devnet, dev_account(2), self.usdc.faucet(stranger, STRANGERS_USDC))
        client = register_exact_evm_client(x402ClientSync(), EthAccountSigner(self.stranger))
        # The client knows no USDC on a local chain.
        client.set_spend_controls(False)
        with wrapRequestsWithPayment(requests.Session(), client) as session:
            asked = session.post(
                f"{self.devnet.market_url}/v1/chat/completions",
                json={
                    "model": MODEL_ID,
                    "messages": [{"role": "user", "content": STRANGERS_QUESTION}],
                    "max_tokens": 40,
                },
                timeout=60,
            )
        if asked.status_code != 200:
            raise DevnetError(f"the market sold nothing: {asked.status_code} {asked.text[:500]}")
        receipt = decode_payment_response_header(asked.headers["payment-response"])
        self.paid_usdc = STRANGERS_USDC - self.balance(stranger)
        self.expect("payment", str(self.paid_usdc), receipt.amount)
        answer = asked.json()["choices"][0]["message"]["content"].split()
        self.say("stranger", f"[italic]{STRANGERS_QUESTION}[/italic]  no key, no position")
        self.say("answer", f"[green]{escape(' '.join(answer))}[/green]")
        cost_usdc = int(asked.headers["x-market-cost-usdc"])
        self.say(
            "x402",
            f"{format_usdc(self.paid_usdc)} USDC paid for this request, of which"
            f" {format_usdc(cost_usdc)} is spent and the rest the stranger's credit",
            receipt.transaction,
        )

    def pay_seller(self) -> None:
        """Who listed the model has earned by each request, and is paid on chain."""
        key = (self.devnet.directory.path / "market_seller_key").read_text(encoding="ascii")

        def find() -> Any:
            answer = httpx.get(
                f"{self.devnet.market_url}/v1/seller/earnings",
                headers={"Authorization": f"Bearer {key}"},
                timeout=10,
            ).json()
            sales = answer["earnings"]
            return sales if {sale["payout_state"] for sale in sales} == {"paid"} else None

        sales = self.wait("the seller's payout", find)
        self.expect("sales", len(sales), POSITION_REQUESTS + 1)
        self.earned_usdc = sum(sale["earning_usdc"] for sale in sales)
        self.expect("seller's pay", self.balance(self.seller.address), self.earned_usdc)
        events = self.devnet.contracts.payouts.events.Paid().get_logs(
            from_block=0, argument_filters={"payee": self.seller.address}
        )
        self.say(
            "payout",
            f"{format_usdc(self.earned_usdc)} USDC to the model's seller for {len(sales)} requests",
            events[-1]["transactionHash"].to_0x_hex(),
        )

    def sell_call_to_stranger(self) -> None:
        """The same wallet buys one call of the devnet's own API, with nothing but its URL."""
        client = register_exact_evm_client(x402ClientSync(), EthAccountSigner(self.stranger))
        client.set_spend_controls(False)
        before_usdc = self.balance(self.stranger.address)
        url = f"{self.devnet.market_url}/x402/{API_NAME}/v1/blocks/latest"
        with wrapRequestsWithPayment(requests.Session(), client) as session:
            asked = session.get(url, timeout=60)
        if asked.status_code != 200:
            raise DevnetError(f"no call was sold: {asked.status_code} {asked.text[:500]}")
        receipt = decode_payment_response_header(asked.headers["payment-response"])
        paid_usdc = before_usdc - self.balance(self.stranger.address)
        self.expect("payment for the call", str(paid_usdc), receipt.amount)
        self.paid_usdc += paid_usdc
        self.say("API call", f"GET {url}  block {asked.json()['number']}")
        figures = self._fetch_connection_status()
        self.expect("calls sold", figures["sold"], 1)
        self.expect(
            "the call's revenue",
            figures["revenue_usdc"],
            figures["your_share_usdc"] + figures["fee_usdc"],
        )
        due_usdc = self.earned_usdc + figures["your_share_usdc"]
        self.wait("the owner's payout", lambda: self.balance(self.seller.address) == due_usdc)
        self.earned_usdc = due_usdc
        self.say(
            "quota",
            f"{figures['sold']} of {figures['for_sale']:,} sold; the owner's share"
            f" {format_usdc(figures['your_share_usdc'])} USDC is paid out, the fee is"
            f" {format_usdc(figures['fee_usdc'])} USDC",
            receipt.transaction,
        )

    def _fetch_connection_status(self) -> dict[str, Any]:
        key = (self.devnet.directory.path / "market_seller_key").read_text(encoding="ascii")
        headers = {"Authorization": f"Bearer {key}"}
        url = f"{self.devnet.market_url}/v1/seller/connections"
        found = requests.get(url, headers=headers, timeout=20).json()["connections"]
        path = f"{url}/{found[0]['id']}/status"
        figures: dict[str, Any] = requests.get(path, headers=headers, timeout=20).json()
        return figures

    def revoke(self) -> None:
        """One on-chain call revokes the key, within two blocks."""
        receipt = send(self.devnet, self.depositor, self.position.bumpKeyEpoch(self.token_id))
        bumped_block = receipt["blockNumber"]

        def is_refused() -> bool:
            answer = httpx.post(
                f"{self.devnet.api_url}/v1/chat/completions",
                headers={"Authorization": f"Bearer {self.api_key}"},
                json={"model": MODEL_ID, "max_tokens": 1, "messages": []},
                timeout=30,
            )
            return answer.status_code == 401

        self.wait("the refusal of the revoked key", is_refused)
        blocks = self.devnet.web3.eth.block_number - bumped_block
        if blocks > REVOKED_WITHIN_BLOCKS:
            raise DevnetError(f"the revoked key was refused only {blocks} blocks later")
        self.say(
            "revoke",
            f"bumpKeyEpoch: the same key gets 401, {blocks} block(s) later",
            receipt["transactionHash"].to_0x_hex(),
        )

    def withdraw(self) -> None:
        """The owner has the hold freed, and takes unspent yield and principal home."""
        asked = send(self.devnet, self.depositor, self.position.requestRelease(self.token_id))
        self.wait("the release", lambda: self.account()["held"] == 0)
        self.say(
            "release",
            "the owner asks, the keeper frees the hold",
            asked["transactionHash"].to_0x_hex(),
        )
        before_usdc = self.balance()
        cashed = send(
            self.devnet, self.depositor, self.position.withdrawUnspentYield(self.token_id)
        )
        yield_usdc = self.balance() - before_usdc
        self.say(
            "cash out",
            f"{format_usdc(yield_usdc)} USDC of unspent yield",
            cashed["transactionHash"].to_0x_hex(),
        )
        receipt = send(self.devnet, self.depositor, self.adapter.withdrawPrincipal(self.token_id))
        principal_usdc = self.balance() - before_usdc - yield_usdc
        self.expect("principal", principal_usdc, DEPOSIT_USDC)
        self.say(
            "withdraw",
            f"{format_usdc(principal_usdc)} USDC: the whole principal",
            receipt["transactionHash"].to_0x_hex(),
        )
        payouts = self.devnet.contracts.payouts.address
        self.wait("the sweep to the treasury", lambda: self.balance(payouts) == self.treasury_usdc)

    def add_up(self) -> None:
        """Every USDC of this chain is where it should be, to the unit."""
        contracts, account = self.devnet.contracts, self.account()
        for name, actual, expected in (
            ("depositor", self.balance(), DEPOSIT_USDC + account["credited"] - self.cost_usdc),
            ("spent", account["spent"], self.cost_usdc),
            ("withdrawn", account["withdrawn"], account["credited"] - self.cost_usdc),
        ):
            self.expect(name, actual, expected)
        rows = [
            ("depositor: principal + yield - cost", self.balance()),
            ("stranger: what was not signed away", self.balance(self.stranger.address)),
            ("seller of the model: paid out", self.balance(self.seller.address)),
            ("treasury (payouts): settled - paid out", self.balance(contracts.payouts.address)),
            ("position contract: unspent credit", self.balance(contracts.position.address)),
            ("adapter: between transactions", self.balance(contracts.adapter.address)),
            ("vault: yield not harvested yet", self.balance(self.devnet.vault.address)),
        ]
        supply_usdc = self.usdc.totalSupply().call()
        total_usdc = sum(amount_usdc for _, amount_usdc in rows)
        table = Table(title="Where every USDC of this chain is")
        table.add_column("holder")
        table.add_column("USDC", justify="right")
        for name, amount_usdc in rows:
            table.add_row(name, format_usdc(amount_usdc))
        table.add_section()
        table.add_row("sum", format_usdc(total_usdc))
        table.add_row("USDC in existence", format_usdc(supply_usdc))
        self.console.print(table)
        self.expect("sum of balances", total_usdc, supply_usdc)
        self.expect("treasury", rows[3][1], self.treasury_usdc)
        self.expect("position contract", rows[4][1], 0)
        self.expect("adapter", rows[5][1], 0)
        self.say("adds up", "to the unit: nothing was lost, nothing was made")

    @property
    def treasury_usdc(self) -> int:
        """What the payouts contract should have: what came in less what the seller was paid."""
        return self.cost_usdc + self.paid_usdc - self.earned_usdc

    def expect(self, what: str, actual: object, expected: object) -> None:
        """Raise ``DevnetError`` unless the two are equal."""
        if actual != expected:
            raise DevnetError(f"{what} is {actual}, but should be {expected}")

    def balance(self, address: str = "") -> int:
        """Return an address's USDC; the depositor's by default."""
        return int(self.usdc.balanceOf(address or self.depositor.address).call())

    def account(self) -> dict[str, int]:
        """Return the contract's own account of the position."""
        return dict(zip(ACCOUNT_FIELDS, self.position.accountOf(self.token_id).call(), strict=True))

    def fetch_position(self) -> dict[str, Any] | None:
        """Return the proxy's public view of the position, None before it is mirrored."""
        answer = httpx.get(f"{self.devnet.api_url}/positions/{self.token_id}", timeout=10)
        view: dict[str, Any] | None = answer.json() if answer.status_code == 200 else None
        return view

    def allowance(self) -> dict[str, Any]:
        """Return the allowance as the proxy shows it."""
        view = self.fetch_position()
        allowance: dict[str, Any] = {"held_usdc": 0} if view is None else view["allowance"]
        return allowance


def run_demo(console: Console, *, is_like_base: bool = False, with_pages: bool = True) -> None:
    """Start a fresh stack, walk the journey, stop everything.

    ``is_like_base``: on a chain that looks like Base. ``with_pages``: once more through the pages,
    where a browser runs here; pictures of each step are kept.

    Raises ``DevnetError`` or ``ProcessError`` where a step does not hold.
    """
    started_s = time.monotonic()

    def say(text: str) -> None:
        console.print(f"[dim]{time.monotonic() - started_s:5.1f} s  {text}[/dim]", soft_wrap=True)

    with temporary_run_directory("demo", say=say) as directory, Stack(directory, say=say) as stack:
        say("starting chain, model, indexer, keeper and proxy")
        devnet = start_devnet(stack, say=say, persistent=False, is_like_base=is_like_base)
        say(f"everything runs; proxy {devnet.proxy_url}, chain {devnet.rpc_url}")
        journey = Journey(devnet, stack, console)
        journey.started_s = started_s
        journey.run()
        if with_pages:
            say(_walk(devnet))


def _walk(devnet: Devnet) -> str:
    """Walk the depositor's journey through the pages; return what came of it."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    walk = walk_pages(devnet, PICTURES)
    if isinstance(walk, str):
        return f"the pages were not walked: {walk}"
    if walk.found:
        raise DevnetError(f"the pages have faults: {'; '.join(walk.found)}")
    return f"the same through the pages, {len(walk.steps)} steps; pictures: {PICTURES}"
