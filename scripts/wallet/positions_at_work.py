"""What an owner does with a position: each by one transaction, where a permit can be signed."""

from typing import Any, Final

from eth_utils.address import to_checksum_address

from contracts.bindings import bind
from contracts.errors import Rejected
from contracts.units import BPS_ONE, mul_div_down
from scripts.wallet.wallet_on_chain import Wallet

SLIPPAGE_BPS: Final = 50
"""How much fewer shares a deposit may bring than the vault says now, 1/10000."""


class NothingToDo(Rejected):
    """The transaction would change nothing."""


class Positions:
    """A wallet's positions. ``dry_run``: everything is tried and nothing is sent."""

    def __init__(self, wallet: Wallet, *, dry_run: bool) -> None:
        self._wallet = wallet
        self._dry_run = dry_run
        self._adapter = wallet.contracts.adapter.functions
        self._position = wallet.contracts.position.functions

    def open(
        self, amount_usdc: int, *, vault: str | None, smoothing_bps: int, interval_minutes: int
    ) -> dict[str, Any]:
        """Open a position with a first deposit; return its token id."""
        address = to_checksum_address(vault or self._wallet.deployment.vault)
        least = self._least_shares(address, amount_usdc)
        opening = (1, smoothing_bps, address, interval_minutes, amount_usdc, least)
        before = self._wallet.call(self._position.totalSupply())
        done = self._deposit(
            amount_usdc,
            plain=self._adapter.open(*opening),
            with_permit=lambda permit: self._adapter.openWithPermit(*opening, *permit),
        )
        # The transaction's own events say which one: others may have opened theirs meanwhile.
        return {"token_id": self._find_opened(done, before), **done}

    def deposit(self, token_id: int, amount_usdc: int) -> dict[str, Any]:
        """Add to a position's principal."""
        vault = to_checksum_address(self._wallet.call(self._adapter.positionOf(token_id))[0])
        least = self._least_shares(vault, amount_usdc)
        wish = (token_id, amount_usdc, least)
        return self._deposit(
            amount_usdc,
            plain=self._adapter.deposit(*wish),
            with_permit=lambda permit: self._adapter.depositWithPermit(*wish, *permit),
        )

    def withdraw(
        self, token_id: int, amount_usdc: int | None, *, least_usdc: int
    ) -> dict[str, Any]:
        """Take principal out, all of it where no amount is named; return what would be paid."""
        wanted = 2**256 - 1 if amount_usdc is None else amount_usdc
        function = self._adapter.withdrawPrincipal(token_id, wanted, least_usdc)
        paid = self._wallet.try_it(function)
        return {"expected_usdc": int(paid), **self._send(function)}

    def cash_out(self, token_id: int) -> dict[str, Any]:
        """Take out the credit that is neither spent nor held."""
        function = self._position.withdrawUnspentYield(token_id)
        paid = self._wallet.try_it(function)
        return {"expected_usdc": int(paid), **self._send(function)}

    def release(self, token_id: int) -> dict[str, Any]:
        """Ask the keeper to settle what is due and free the hold."""
        return self._send(self._position.requestRelease(token_id))

    def harvest(self, token_id: int) -> dict[str, Any]:
        """Turn the vault's yield into credit; anybody may."""
        function = self._adapter.harvest(token_id)
        expected_usdc = int(self._wallet.try_it(function))
        if expected_usdc == 0:
            raise NothingToDo(f"position {token_id} has no yield to harvest now; nothing was sent")
        return {"expected_usdc": expected_usdc, **self._send(function)}

    def revoke(self, token_id: int) -> dict[str, Any]:
        """Revoke every key ever issued for the position; return the new key epoch."""
        function = self._position.bumpKeyEpoch(token_id)
        return {"key_epoch": int(self._wallet.try_it(function)), **self._send(function)}

    def show(self, token_id: int) -> dict[str, Any]:
        """Return a position as the contracts have it now. Amounts in 1e-6 USDC."""
        call = self._wallet.call
        vault, principal, shares, interval_minutes, harvested_at_s = call(
            self._adapter.positionOf(token_id)
        )
        names = (
            "credited_usdc",
            "spent_usdc",
            "withdrawn_usdc",
            "held_usdc",
            "hold_expires_at_s",
            "day_cap_usdc",
            "day_spent_usdc",
            "key_epoch",
        )
        account = dict(zip(names, call(self._position.accountOf(token_id)), strict=True))
        return {
            "token_id": token_id,
            "owner": call(self._position.ownerOf(token_id)),
            "vault": vault,
            "principal_usdc": principal,
            "principal_value_usdc": call(self._adapter.principalValue(token_id)),
            "pending_yield_usdc": call(self._adapter.pendingYield(token_id)),
            "shares": shares,
            "harvest_interval_minutes": interval_minutes,
            "last_harvest_at_s": harvested_at_s,
            **account,
            "spendable_usdc": call(self._position.remainingAllowance(token_id)),
            "withdrawable_usdc": call(self._position.withdrawableYield(token_id)),
        }

    def _deposit(self, amount_usdc: int, *, plain: Any, with_permit: Any) -> dict[str, Any]:
        """Deposit by an allowance that is there, else by a permit, else after an approval."""
        wallet, usdc = self._wallet, self._wallet.contracts.usdc.functions
        adapter = to_checksum_address(wallet.deployment.adapter)
        allowed = wallet.call(usdc.allowance(wallet.account.address, adapter))
        if allowed >= amount_usdc:
            return self._send(plain)
        permit = wallet.sign_permit(amount_usdc)
        if permit is not None:
            return self._send(with_permit((permit.deadline_s, permit.v, permit.r, permit.s)))
        approval = usdc.approve(adapter, amount_usdc)
        if self._dry_run:
            # The deposit itself cannot be tried before the approval is there.
            wallet.try_it(approval)
            return {"dry_run": True, "needs_approval": True}
        return {"approval": wallet.send(approval), **self._send(plain)}

    def _send(self, function: Any) -> dict[str, Any]:
        if self._dry_run:
            self._wallet.try_it(function)
            return {"dry_run": True}
        return self._wallet.send(function)

    def _least_shares(self, vault: str, amount_usdc: int) -> int:
        preview = bind(self._wallet.web3, "MockVault", vault).functions.previewDeposit(amount_usdc)
        shares = int(self._wallet.call(preview))
        return mul_div_down(shares, BPS_ONE - SLIPPAGE_BPS, BPS_ONE)

    def _find_opened(self, done: dict[str, Any], before: int) -> int | None:
        if self._dry_run:
            return int(before) if not done.get("needs_approval") else None
        receipt = self._wallet.web3.eth.get_transaction_receipt(done["tx_hash"])
        minted = self._wallet.contracts.position.events.PositionMinted()
        for log in receipt["logs"]:
            if log["address"].lower() == self._wallet.deployment.position and (
                bytes(log["topics"][0]) == bytes.fromhex(minted.topic.removeprefix("0x"))
            ):
                return int(minted.process_log(log)["args"]["tokenId"])
        return None
