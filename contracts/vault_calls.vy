# pragma version 0.4.3
"""
@title Calls to a vault that may be hostile
@notice Every call the adapter makes to an ERC-4626 vault, in its own name. No answer is believed beyond a
    preview: the adapter measures balances.
@dev Low-level calls check no code size: the adapter admits only addresses that answered before. At most one
    word of an answer is copied, however long it is. Only `_deposit` and `_redeem` pass a vault's own revert
    on, whole, at the cost of whoever called.
"""


@internal
def _deposit(vault: address, assets: uint256):
    """
    @notice Deposit, or revert with the vault's own reason.
    """
    raw_call(vault, abi_encode(assets, self, method_id=method_id("deposit(uint256,address)")))


@internal
def _redeem(vault: address, shares: uint256):
    """
    @notice Redeem, or revert with the vault's own reason.
    """
    raw_call(vault, abi_encode(shares, self, self, method_id=method_id("redeem(uint256,address,address)")))


@internal
def _ask_withdraw(vault: address, assets: uint256) -> bool:
    return raw_call(
        vault,
        abi_encode(assets, self, self, method_id=method_id("withdraw(uint256,address,address)")),
        revert_on_failure=False,
    )


@internal
def _ask_redeem(vault: address, shares: uint256) -> bool:
    return raw_call(
        vault,
        abi_encode(shares, self, self, method_id=method_id("redeem(uint256,address,address)")),
        revert_on_failure=False,
    )


@internal
def _hand_over(vault: address, to: address, shares: uint256):
    """
    @notice Transfer vault shares, believing the answer as far as there is one: ERC-20 in both its habits.
    """
    ok: bool = False
    answer: Bytes[32] = b""
    ok, answer = raw_call(
        vault,
        abi_encode(to, shares, method_id=method_id("transfer(address,uint256)")),
        max_outsize=32,
        revert_on_failure=False,
    )
    if len(answer) != 0:
        ok = ok and convert(answer, uint256) != 0
    # A call to an address whose code is gone succeeds and moves nothing.
    assert ok and vault.is_contract, "adapter: shares not transferable"


@internal
@view
def _balance_in(vault: address) -> uint256:
    # As `_view`, written out: two of these stand in every deposit, and a call within here costs 160 gas.
    ok: bool = False
    answer: Bytes[32] = b""
    ok, answer = raw_call(
        vault,
        abi_encode(self, method_id=method_id("balanceOf(address)")),
        max_outsize=32,
        is_static_call=True,
        revert_on_failure=False,
    )
    assert ok and len(answer) == 32, "adapter: vault does not answer"
    return convert(answer, uint256)


@internal
@view
def _preview_withdraw(vault: address, assets: uint256) -> uint256:
    return self._view(vault, abi_encode(assets, method_id=method_id("previewWithdraw(uint256)")))


@internal
@view
def _preview_redeem(vault: address, shares: uint256) -> uint256:
    return self._view(vault, abi_encode(shares, method_id=method_id("previewRedeem(uint256)")))


@internal
@view
def _try_asset(vault: address) -> (bool, uint256):
    return self._try_view(vault, method_id("asset()"))


@internal
@view
def _try_preview_withdraw(vault: address, assets: uint256) -> (bool, uint256):
    return self._try_view(vault, abi_encode(assets, method_id=method_id("previewWithdraw(uint256)")))


@internal
@view
def _try_max_withdraw(vault: address) -> (bool, uint256):
    return self._try_view(vault, abi_encode(self, method_id=method_id("maxWithdraw(address)")))


@internal
@view
def _try_max_redeem(vault: address) -> (bool, uint256):
    return self._try_view(vault, abi_encode(self, method_id=method_id("maxRedeem(address)")))


@internal
@view
def _view(vault: address, data: Bytes[36]) -> uint256:
    """
    @notice As `_try_view`, or revert.
    """
    ok: bool = False
    answer: Bytes[32] = b""
    ok, answer = raw_call(vault, data, max_outsize=32, is_static_call=True, revert_on_failure=False)
    assert ok and len(answer) == 32, "adapter: vault does not answer"
    return convert(answer, uint256)


@internal
@view
def _try_view(vault: address, data: Bytes[36]) -> (bool, uint256):
    """
    @notice Read one word from a vault, which may revert or return megabytes: only 32 bytes are copied.
    @return Whether there was an answer, and the answer.
    """
    ok: bool = False
    answer: Bytes[32] = b""
    ok, answer = raw_call(vault, data, max_outsize=32, is_static_call=True, revert_on_failure=False)
    if not ok or len(answer) != 32:
        return False, 0
    return True, convert(answer, uint256)
