# pragma version 0.4.3
"""
@title WalletUSDC
@notice USDC as its version 2.2 treats smart-contract wallets, for tests: a signer with code is asked by a static
    call (ERC-1271), in the middle of `permit` and `receiveWithAuthorization`. A faucet open to all.
@dev A signer without code is not served; that is what MockUSDC is for.
"""

from snekmate.auth import ownable
from snekmate.tokens import erc20

initializes: ownable
initializes: erc20[ownable := ownable]

exports: (
    erc20.name,
    erc20.decimals,
    erc20.balanceOf,
    erc20.allowance,
    erc20.nonces,
    erc20.approve,
    erc20.transfer,
    erc20.transferFrom,
    erc20.DOMAIN_SEPARATOR,
)


interface Wallet:
    def isValidSignature(digest: bytes32, signature: Bytes[65]) -> bytes4: view


MAGIC: constant(bytes4) = 0x1626ba7e
PERMIT_TYPEHASH: constant(bytes32) = keccak256(
    "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
)
RECEIVE_TYPEHASH: constant(bytes32) = keccak256(
    "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)

authorizationState: public(HashMap[address, HashMap[bytes32, bool]])


@deploy
def __init__():
    """
    @notice Nobody has a role here.
    """
    ownable.__init__()
    erc20.__init__("USD Coin", "USDC", 6, "USD Coin", "2")


@external
def faucet(to: address, amount: uint256):
    """
    @notice Mint. Anyone may call.
    """
    erc20._mint(to, amount)


@external
def permit(owner: address, spender: address, amount: uint256, deadline: uint256, v: uint8, r: bytes32, s: bytes32):
    """
    @notice EIP-2612.
    """
    assert block.timestamp <= deadline, "usdc: permit expired"
    nonce: uint256 = erc20.nonces[owner]
    erc20.nonces[owner] = nonce + 1
    self._check_signature(
        owner, keccak256(abi_encode(PERMIT_TYPEHASH, owner, spender, amount, nonce, deadline)), v, r, s
    )
    erc20._approve(owner, spender, amount)


@external
def receiveWithAuthorization(
    owner: address,
    to: address,
    amount: uint256,
    validAfter: uint256,
    validBefore: uint256,
    nonce: bytes32,
    v: uint8,
    r: bytes32,
    s: bytes32,
):
    """
    @notice EIP-3009: the receiver pulls what the owner signed for.
    """
    assert msg.sender == to, "usdc: caller must be the payee"
    assert validAfter < block.timestamp and block.timestamp < validBefore, "usdc: authorization not valid"
    assert not self.authorizationState[owner][nonce], "usdc: authorization used"
    self._check_signature(
        owner, keccak256(abi_encode(RECEIVE_TYPEHASH, owner, to, amount, validAfter, validBefore, nonce)), v, r, s
    )
    self.authorizationState[owner][nonce] = True
    erc20._transfer(owner, to, amount)


@internal
@view
def _check_signature(owner: address, structHash: bytes32, v: uint8, r: bytes32, s: bytes32):
    digest: bytes32 = keccak256(concat(b"\x19\x01", erc20.eip712_domain_separator._domain_separator_v4(), structHash))
    signature: Bytes[65] = concat(r, s, convert(v, bytes1))
    answer: bytes4 = staticcall Wallet(owner).isValidSignature(digest, signature)
    assert answer == MAGIC, "usdc: invalid signature"
