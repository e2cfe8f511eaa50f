# pragma version 0.4.3
# pragma nonreentrancy on
"""
@title Payouts
@notice The treasury: receives what positions have spent, pays the sellers of inference, keeps the
    operator's margin.
@dev
    ROLES
      payer   pays batches
      admin   names payers, withdraws the margin; can never touch what is credited to a payee
      payee   claims what could not be delivered

    UNITS. Amounts are USDC (1e-6).

    NO PAYEES are the zero address, USDC, the position contract, the adapter and this contract: nobody could
    take out what was paid to them.

    TOKEN ASSUMPTIONS. USDC takes no fee and does not rebase. It may blacklist a payee: the amount is then
    credited to that payee, and everybody else is paid. While USDC is paused, no batch is paid: a pause is
    nobody's own, so nobody shall have to claim for it.

    LIVENESS. Claiming needs neither payer nor admin.

    SHUTDOWN. Admin removes every payer and withdraws the margin; credits stay claimable for ever.

    INVARIANTS
      Y1  a batch is paid at most once
      Y2  paid, credited and withdrawn never exceed what came in: USDC.balanceOf(self) >= totalCredited
"""

from . import batch_ids
from . import two_step_owner
from .interfaces import IUSDC

initializes: batch_ids
initializes: two_step_owner

exports: (
    two_step_owner.owner,
    two_step_owner.pendingOwner,
    two_step_owner.transferOwnership,
    two_step_owner.acceptOwnership,
)


event Paid:
    batchId: indexed(bytes32)
    payee: indexed(address)
    amount: uint256


event PayoutCredited:
    batchId: indexed(bytes32)
    payee: indexed(address)
    amount: uint256


event BatchPaid:
    batchId: indexed(bytes32)
    total: uint256
    count: uint256


event Claimed:
    payee: indexed(address)
    to: indexed(address)
    amount: uint256


event Withdrawn:
    to: indexed(address)
    amount: uint256


event PayerSet:
    payer: indexed(address)
    allowed: bool


MAX_PAYEES: constant(uint256) = 200

usdc: public(immutable(address))
position: public(immutable(address))
adapter: public(immutable(address))

isPayer: public(HashMap[address, bool])
credited: public(HashMap[address, uint256])  # USDC (1e-6) a payee may claim
totalCredited: public(uint256)  # the sum of `credited`


@deploy
def __init__(usdc_: address, position_: address, adapter_: address, owner_: address):
    """
    @param usdc_ The USDC token.
    @param position_ The position contract, which may be deployed later at this address.
    @param adapter_ The adapter, likewise.
    @param owner_ The admin.
    """
    assert empty(address) not in [usdc_, position_, adapter_], "payouts: zero address"
    two_step_owner.__init__(owner_)
    usdc = usdc_
    position = position_
    adapter = adapter_


@external
def pay(batchId: bytes32, payees: DynArray[address, MAX_PAYEES], amounts: DynArray[uint256, MAX_PAYEES]):
    """
    @notice Pay a batch, once. Payer only.
    @dev A payee whom USDC refuses is credited and may `claim`. The whole batch must be covered and USDC not
        paused, so a refusal is always about the payee.
    @param batchId Pays once, for ever. Ids that follow each other are cheapest, see `batch_ids`.
    @param payees Whom to pay.
    @param amounts USDC (1e-6) for each of them.
    """
    assert self.isPayer[msg.sender], "payouts: not payer"
    assert len(payees) == len(amounts), "payouts: lengths differ"
    assert batch_ids._use(batchId), "payouts: batch already paid"
    total: uint256 = 0
    for amount: uint256 in amounts:
        total += amount
    assert total <= self._available(), "payouts: insufficient funds"
    assert not self._is_paused(), "payouts: usdc paused"

    for i: uint256 in range(len(payees), bound=MAX_PAYEES):
        self._pay_or_credit(batchId, payees[i], amounts[i])
    log BatchPaid(batchId=batchId, total=total, count=len(payees))


@external
def claim(to: address) -> uint256:
    """
    @notice Take out everything that is credited to the caller.
    @param to Where to send it, for a payee who cannot receive at the usual address.
    @return amount USDC (1e-6) sent.
    """
    amount: uint256 = self.credited[msg.sender]
    assert amount != 0, "payouts: nothing to claim"
    self.credited[msg.sender] = 0
    self.totalCredited -= amount
    log Claimed(payee=msg.sender, to=to, amount=amount)
    self._send(to, amount)
    return amount


@external
def withdraw(to: address, amount: uint256):
    """
    @notice Take out the operator's margin. Admin only.
    @param to Where to send it.
    @param amount USDC (1e-6), at most `available()`.
    """
    two_step_owner._check_owner()
    assert amount <= self._available(), "payouts: above available"
    log Withdrawn(to=to, amount=amount)
    self._send(to, amount)


@external
def setPayer(payer: address, allowed: bool):
    """
    @notice Allow or forbid an address to pay batches. Admin only.
    @param payer The address.
    @param allowed True to allow.
    """
    two_step_owner._check_owner()
    self.isPayer[payer] = allowed
    log PayerSet(payer=payer, allowed=allowed)


@external
@view
def available() -> uint256:
    """
    @notice USDC (1e-6) that is not credited to anybody.
    """
    return self._available()


@external
@view
def batchPaid(batchId: bytes32) -> bool:
    """
    @notice Whether a batch was paid.
    """
    return batch_ids._is_used(batchId)


@internal
def _pay_or_credit(batchId: bytes32, payee: address, amount: uint256):
    self._check_payee(payee)
    if self._try_transfer(payee, amount):
        log Paid(batchId=batchId, payee=payee, amount=amount)
        return
    self.credited[payee] += amount
    self.totalCredited += amount
    log PayoutCredited(batchId=batchId, payee=payee, amount=amount)


@internal
@view
def _check_payee(payee: address):
    """
    @notice Refuse whom no payment is of use: contracts that could neither claim nor pay out what they were
        paid, and ourselves, which would only look like a payment.
    """
    assert payee not in [empty(address), self, usdc, position, adapter], "payouts: payee not allowed"


@internal
@view
def _is_paused() -> bool:
    """
    @notice Whether USDC says that it is paused. A token without such a view is not.
    """
    ok: bool = False
    answer: Bytes[32] = b""
    ok, answer = raw_call(
        usdc, method_id("paused()"), max_outsize=32, is_static_call=True, revert_on_failure=False
    )
    return ok and len(answer) == 32 and convert(answer, uint256) != 0


@internal
def _try_transfer(to: address, amount: uint256) -> bool:
    ok: bool = False
    answer: Bytes[32] = b""
    ok, answer = raw_call(
        usdc,
        abi_encode(to, amount, method_id=method_id("transfer(address,uint256)")),
        max_outsize=32,
        revert_on_failure=False,
    )
    return ok and len(answer) == 32 and convert(answer, uint256) == 1


@internal
def _send(to: address, amount: uint256):
    self._check_payee(to)
    assert extcall IUSDC(usdc).transfer(to, amount), "payouts: usdc refused"


@internal
@view
def _available() -> uint256:
    return staticcall IUSDC(usdc).balanceOf(self) - self.totalCredited
