# pragma version 0.4.3
# pragma nonreentrancy on
"""
@title One owner, replaced in two steps
@notice The next owner has to accept, so a mistyped address can never take over. There is no way to
    renounce: a contract without an owner could not replace a lost keeper.
"""

event OwnershipTransferStarted:
    previousOwner: indexed(address)
    newOwner: indexed(address)


event OwnershipTransferred:
    previousOwner: indexed(address)
    newOwner: indexed(address)


owner: public(address)  # the admin
pendingOwner: public(address)  # zero when no transfer is under way


@deploy
def __init__(owner: address):
    """
    @param owner The first admin.
    """
    assert owner != empty(address), "owner: zero address"
    self._set_owner(owner)


@external
def transferOwnership(newOwner: address):
    """
    @notice Offer the ownership to `newOwner`, who has to call `acceptOwnership`. Owner only.
    @param newOwner The next owner; the zero address takes a pending offer back.
    """
    self._check_owner()
    self.pendingOwner = newOwner
    log OwnershipTransferStarted(previousOwner=self.owner, newOwner=newOwner)


@external
def acceptOwnership():
    """
    @notice Become the owner, after an offer by the present one.
    """
    assert msg.sender == self.pendingOwner, "owner: not pending owner"
    self.pendingOwner = empty(address)
    self._set_owner(msg.sender)


@internal
def _set_owner(newOwner: address):
    previous_owner: address = self.owner
    self.owner = newOwner
    log OwnershipTransferred(previousOwner=previous_owner, newOwner=newOwner)


@internal
@view
def _check_owner():
    assert msg.sender == self.owner, "owner: not owner"
