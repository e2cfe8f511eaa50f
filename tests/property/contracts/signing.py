"""``SigningMachine``: deposits and openings by EIP-2612 permits and EIP-3009 authorizations.

Authorizations are sent by anybody. Signed for real, and presented as signed or not: replayed, used
by a stranger first, expired, by the wrong signer, for another sum, position, floor or vault.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.property.contracts.hold import callers, tokens
from tests.property.contracts.model import ADAPTER, EVERYTHING, HOUR, Authorization, Permit, Vault
from tests.property.contracts.saving import SavingMachine
from tests.property.contracts.signatures import sign_authorization, sign_permit
from tests.property.contracts.stage import MAX_TOKENS, OWNERS, VAULTS

senders = st.sampled_from(["its owner", "outsider", "keeper"])
floors = st.sampled_from([0, 0, 0, 1])
salts = st.integers(1, 2**16)
times = st.sampled_from([(-1, 1), (-1, 1), (-HOUR, HOUR), (-HOUR, HOUR), (0, 1), (-1, 0)])
"""When an authorization is valid, both exclusive, seconds from the block it would land in."""


class Way(NamedTuple):
    """A deposit or an opening before it is known how its USDC is granted."""

    sender: str
    payer: str
    """Whose position it is, and who signs."""
    function: str
    before: tuple[int | str, ...]
    floor: int
    expect: Callable[[int, int, bool], None]
    names_payer: bool = False
    """Whether a call by authorization begins with the payer."""
    vault: tuple[str, ...] = ()
    """The position's vault, where a signature names it and the call does not."""


class SigningMachine(SavingMachine):
    """Deposits whose USDC is granted by approval, permit or authorization."""

    def __init__(self) -> None:
        super().__init__()
        self.permits: list[Permit] = []
        self.authorizations: list[Authorization] = []

    @rule(owner=st.sampled_from(OWNERS), amount=st.sampled_from([0, 1, 10**7, EVERYTHING]))
    def approve_some(self, owner: str, amount: int) -> None:
        self.approve(owner, amount)

    @rule(
        drawn=tokens,
        assets=st.integers(0, 10**7),
        flaw=st.sampled_from(["", "", "", "", "signer", "owner", "value", "nonce"]),
        lasting=st.sampled_from([HOUR, HOUR, HOUR, 1, 0, -1]),
        first=st.sampled_from(["", "", "", "outsider", "keeper"]),
        floor=floors,
    )
    def deposit_by_permit(
        self, drawn: int, assets: int, flaw: str, lasting: int, first: str, floor: int
    ) -> None:
        """Sign a permit, perhaps wrongly, and deposit by it, perhaps after a stranger used it."""
        token_id = self.saving(drawn)
        owner = self.model.stakes[token_id].owner
        permit = self.permit(owner, assets, flaw, lasting)
        if first:
            self.use_permit(first, owner, permit)
        self.present_permit(self.way_to_deposit(owner, token_id, floor), assets, permit)

    @precondition(lambda self: self.permits)
    @rule(
        drawn=tokens,
        who=callers,
        assets=st.one_of(st.none(), st.none(), st.integers(0, 10**7)),
        luck=st.integers(0, 2**16),
    )
    def deposit_by_permit_again(self, drawn: int, who: str, assets: int | None, luck: int) -> None:
        """Present a permit that was presented before, or by somebody else, or for another sum."""
        token_id = self.saving(drawn)
        permit = self.permits[luck % len(self.permits)]
        way = self.way_to_deposit(self.caller(who, token_id), token_id, 0)
        self.present_permit(way, permit.value if assets is None else assets, permit)

    @precondition(lambda self: len(self.model.stakes) < MAX_TOKENS)
    @rule(
        owner=st.sampled_from(OWNERS),
        vault=st.integers(0, len(VAULTS) - 1),
        assets=st.integers(0, 10**7),
        flaw=st.sampled_from(["", "", "", "", "signer", "nonce"]),
        bps=st.sampled_from([10_000, 10_000, 0]),
    )
    def open_by_permit(self, owner: str, vault: int, assets: int, flaw: str, bps: int) -> None:
        permit = self.permit(owner, assets, flaw, HOUR)
        way = self.way_to_open(owner, self.model.vaults[vault], bps)
        self.present_permit(way, assets, permit)

    def permit(self, owner: str, value: int, flaw: str, lasting: int) -> Permit:
        """Sign for the present nonce, with one thing wrong if asked to."""
        permit = Permit(
            signer=owner,
            owner=owner,
            value=value,
            nonce=self.model.usdc.nonces.get(owner, 0),
            deadline=self.model.now + 1 + lasting,
        )
        other = _other(owner)
        wrong: dict[str, Any] = {
            "signer": other,
            "owner": other,
            "value": value + 1,
            "nonce": permit.nonce + 1,
        }
        if flaw:
            permit = permit._replace(**{flaw: wrong[flaw]})
        self.permits.append(permit)
        return permit

    def use_permit(self, sender: str, owner: str, permit: Permit) -> None:
        """Submit a permit to USDC itself, as anybody can."""
        self.call(
            lambda at: self.model.usdc.permit(owner, permit.value, permit.deadline, permit, at=at),
            sender,
            "usdc",
            "permit",
            owner,
            ADAPTER,
            permit.value,
            permit.deadline,
            *sign_permit(permit, self.stage.address),
        )

    def present_permit(self, way: Way, assets: int, permit: Permit) -> None:
        def expect(at: int) -> None:
            with self.model.atomic():
                self.model.permit(way.sender, assets, permit.deadline, permit, at=at)
                way.expect(assets, at, False)

        signature = sign_permit(permit, self.stage.address)
        given = (*way.before, assets, way.floor, permit.deadline, *signature)
        self.call(expect, way.sender, ADAPTER, f"{way.function}WithPermit", *given)

    @rule(
        drawn=tokens,
        who=senders,
        assets=st.integers(0, 10**7),
        flaw=st.sampled_from(["", "", "", "", "signer", "value", "token", "vault", "floor"]),
        times=times,
        salt=salts,
        floor=floors,
    )
    def deposit_by_authorization(
        self,
        drawn: int,
        who: str,
        assets: int,
        flaw: str,
        times: tuple[int, int],
        salt: int,
        floor: int,
    ) -> None:
        """Sign an authorization and deposit by it; with a flaw, other words than were signed."""
        token_id = self.saving(drawn)
        owner = self.model.stakes[token_id].owner
        vault = self.model.stakes[token_id].vault.name
        if flaw == "vault":
            vault = next(other.name for other in self.model.vaults if other.name != vault)
        purpose = (token_id + (flaw == "token"), vault, floor + (flaw == "floor"), salt)
        signed = self.authorize(owner, assets + (flaw == "value"), flaw, times, purpose)
        way = self.way_to_deposit(self.caller(who, token_id), token_id, floor)
        self.present_authorization(way, assets, signed)

    @precondition(lambda self: self.authorizations)
    @rule(drawn=tokens, who=callers, luck=st.integers(0, 2**16))
    def deposit_by_authorization_again(self, drawn: int, who: str, luck: int) -> None:
        """Present an authorization that was presented before, or for another position."""
        token_id = self.saving(drawn)
        signed = self.authorizations[luck % len(self.authorizations)]
        way = self.way_to_deposit(self.caller(who, token_id), token_id, 0)
        self.present_authorization(way, signed.value, signed)

    @precondition(lambda self: len(self.model.stakes) < MAX_TOKENS)
    @rule(
        owner=st.sampled_from(OWNERS),
        who=senders,
        vault=st.integers(0, len(VAULTS) - 1),
        assets=st.integers(0, 10**7),
        flaw=st.sampled_from(["", "", "", "signer", "vault"]),
        times=times,
        salt=salts,
    )
    def open_by_authorization(
        self,
        owner: str,
        who: str,
        vault: int,
        assets: int,
        flaw: str,
        times: tuple[int, int],
        salt: int,
    ) -> None:
        signed_vault = self.model.vaults[vault - (flaw == "vault")].name
        purpose = (1, 10_000, signed_vault, 60, 0, salt)
        signed = self.authorize(owner, assets, flaw, times, purpose)
        sender = owner if who == "its owner" else who
        way = self.way_to_open(owner, self.model.vaults[vault], 10_000, sender=sender)
        self.present_authorization(way, assets, signed)

    def authorize(
        self,
        owner: str,
        value: int,
        flaw: str,
        times: tuple[int, int],
        purpose: tuple[int | str, ...],
    ) -> Authorization:
        """Sign, as somebody else if that is the flaw."""
        at = self.model.now + 1
        signer = _other(owner) if flaw == "signer" else owner
        signed = Authorization(signer, owner, value, at + times[0], at + times[1], purpose)
        self.authorizations.append(signed)
        return signed

    def present_authorization(self, way: Way, assets: int, signed: Authorization) -> None:
        """Present a signature with the words of this call beside it."""
        salt = int(signed.purpose[-1])
        presented = signed._replace(
            owner=way.payer, value=assets, purpose=(*way.before, *way.vault, way.floor, salt)
        )

        def expect(at: int) -> None:
            with self.model.atomic():
                self.model.usdc.authorize(presented, signed, at=at)
                way.expect(assets, at, True)

        signature = sign_authorization(signed, self.stage.address)
        validity = (signed.valid_after, signed.valid_before, salt.to_bytes(32))
        lead = (way.payer,) if way.names_payer else ()
        given = (*lead, *way.before, assets, way.floor, *validity, *signature)
        self.call(expect, way.sender, ADAPTER, f"{way.function}WithAuthorization", *given)

    # ------------------------------------------------------------------------------------- ways

    def way_to_deposit(self, sender: str, token_id: int, floor: int) -> Way:
        def expect(assets: int, at: int, is_authorized: bool) -> None:
            deposit = self.model.deposit_signed if is_authorized else self.model.deposit
            deposit(sender, token_id, assets, min_shares=floor, at=at)

        stake = self.model.stakes[token_id]
        vault = (stake.vault.name,)
        return Way(sender, stake.owner, "deposit", (token_id,), floor, expect, vault=vault)

    def way_to_open(self, owner: str, vault: Vault, bps: int, *, sender: str | None = None) -> Way:
        """Open for ``owner``; only an authorization may be sent by somebody else."""
        by = sender or owner

        def expect(assets: int, at: int, is_authorized: bool) -> None:
            token_id = len(self.model.stakes)
            self.model.create(owner, bps=bps, vault=vault, interval=60, at=at)
            deposit = self.model.deposit_signed if is_authorized else self.model.deposit
            deposit(by, token_id, assets, at=at)

        before = (1, bps, vault.name, 60)
        return Way(by, owner, "open", before, 0, expect, names_payer=True)


def _other(owner: str) -> str:
    return OWNERS[owner == OWNERS[0]]
