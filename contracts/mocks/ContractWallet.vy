# pragma version 0.4.3
"""
@title ContractWallet
@notice A smart-contract wallet for tests: one key, ERC-1271, and a curiosity. While it is asked whether a
    signature is valid, it calls whatever it was told to and remembers nothing, as the question is a static call.
@dev Of a signature of any length the first 65 bytes count: r, s, v, as USDC packs them.
"""

MAX_PEEKS: constant(uint256) = 64
MAX_CALLDATA: constant(uint256) = 512
MAX_SIGNATURE: constant(uint256) = 512
MAGIC: constant(bytes4) = 0x1626ba7e

key: immutable(address)

_targets: DynArray[address, MAX_PEEKS]
_calls: DynArray[Bytes[MAX_CALLDATA], MAX_PEEKS]


@deploy
def __init__(key_: address):
    """
    @param key_ Whose signatures this wallet accepts.
    """
    key = key_


@external
def peek(target: address, data: Bytes[MAX_CALLDATA]):
    """
    @notice Add a call to those that are made while a signature is checked; the check fails if one succeeds.
    """
    self._targets.append(target)
    self._calls.append(data)


@external
def act(target: address, data: Bytes[MAX_CALLDATA]):
    """
    @notice Call anything in the wallet's name.
    """
    raw_call(target, data)


@external
@view
def isValidSignature(digest: bytes32, signature: Bytes[MAX_SIGNATURE]) -> bytes4:
    """
    @notice ERC-1271.
    """
    for i: uint256 in range(len(self._calls), bound=MAX_PEEKS):
        ok: bool = raw_call(self._targets[i], self._calls[i], is_static_call=True, revert_on_failure=False)
        assert not ok, "wallet: let in"
    r: bytes32 = convert(slice(signature, 0, 32), bytes32)
    s: bytes32 = convert(slice(signature, 32, 32), bytes32)
    v: uint256 = convert(slice(signature, 64, 1), uint256)
    return MAGIC if ecrecover(digest, v, r, s) == key else 0xffffffff
