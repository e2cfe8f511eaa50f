# pragma version 0.4.3
# pragma nonreentrancy on
"""
@title MockUSDC
@notice USDC for a devnet and for tests: 6 decimals, EIP-2612, EIP-3009, pause, blacklist, and a faucet open
    to all. Never deployed where money is real.
"""

from snekmate.auth import ownable
from snekmate.tokens import erc20

initializes: ownable
initializes: erc20[ownable := ownable]

exports: (
    erc20.name,
    erc20.symbol,
    erc20.decimals,
    erc20.totalSupply,
    erc20.balanceOf,
    erc20.allowance,
    erc20.nonces,
    erc20.permit,
    erc20.DOMAIN_SEPARATOR,
    erc20.eip712Domain,
    ownable.owner,
)


interface Wallet:
    def isValidSignature(digest: bytes32, signature: Bytes[512]) -> bytes4: view


event AuthorizationUsed:
    authorizer: indexed(address)
    nonce: indexed(bytes32)


event AuthorizationCanceled:
    authorizer: indexed(address)
    nonce: indexed(bytes32)


event Blacklisted:
    account: indexed(address)
    refused: bool


event PauseSet:
    paused: bool


ERC1271_MAGIC: constant(bytes4) = 0x1626ba7e
RECEIVE_WITH_AUTHORIZATION_TYPEHASH: public(constant(bytes32)) = keccak256(
    "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)
TRANSFER_WITH_AUTHORIZATION_TYPEHASH: public(constant(bytes32)) = keccak256(
    "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)
CANCEL_AUTHORIZATION_TYPEHASH: public(constant(bytes32)) = keccak256(
    "CancelAuthorization(address authorizer,bytes32 nonce)"
)

paused: public(bool)
isBlacklisted: public(HashMap[address, bool])
authorizationState: public(HashMap[address, HashMap[bytes32, bool]])


@deploy
def __init__():
    """
    @notice The deployer may pause and blacklist.
    """
    ownable.__init__()
    erc20.__init__("USD Coin", "USDC", 6, "USD Coin", "2")


@external
def faucet(to: address, amount: uint256):
    """
    @notice Mint. Anyone may call.
    @param to Who receives.
    @param amount USDC (1e-6).
    """
    erc20._mint(to, amount)


@external
def blacklist(account: address, refused: bool):
    """
    @notice Refuse an account as sender and as receiver, or accept it again. Owner only.
    """
    ownable._check_owner()
    self.isBlacklisted[account] = refused
    log Blacklisted(account=account, refused=refused)


@external
def pause():
    """
    @notice Stop all transfers and approvals. Owner only.
    """
    self._set_paused(True)


@external
def unpause():
    """
    @notice Resume after a pause. Owner only.
    """
    self._set_paused(False)


@external
def approve(spender: address, amount: uint256) -> bool:
    """
    @notice ERC-20.
    """
    self._check_free(msg.sender, spender)
    erc20._approve(msg.sender, spender, amount)
    return True


@external
def transfer(to: address, amount: uint256) -> bool:
    """
    @notice ERC-20.
    """
    self._move(msg.sender, to, amount)
    return True


@external
def transferFrom(owner: address, to: address, amount: uint256) -> bool:
    """
    @notice ERC-20.
    """
    erc20._spend_allowance(owner, msg.sender, amount)
    self._move(owner, to, amount)
    return True


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
    assert validAfter < block.timestamp, "usdc: authorization not valid yet"
    assert block.timestamp < validBefore, "usdc: authorization expired"
    assert not self.authorizationState[owner][nonce], "usdc: authorization used"
    struct_hash: bytes32 = keccak256(
        abi_encode(RECEIVE_WITH_AUTHORIZATION_TYPEHASH, owner, to, amount, validAfter, validBefore, nonce)
    )
    digest: bytes32 = keccak256(concat(b"\x19\x01", erc20.eip712_domain_separator._domain_separator_v4(), struct_hash))
    signer: address = ecrecover(digest, v, r, s)
    assert signer != empty(address) and signer == owner, "usdc: invalid signature"
    self.authorizationState[owner][nonce] = True
    log AuthorizationUsed(authorizer=owner, nonce=nonce)
    self._move(owner, to, amount)


@external
def transferWithAuthorization(
    owner: address,
    to: address,
    amount: uint256,
    validAfter: uint256,
    validBefore: uint256,
    nonce: bytes32,
    signature: Bytes[512],
):
    """
    @notice EIP-3009: anyone carries out what the owner signed for. As USDC 2.2 has it: an owner with code is
        asked by ERC-1271.
    """
    assert validAfter < block.timestamp, "usdc: authorization not valid yet"
    assert block.timestamp < validBefore, "usdc: authorization expired"
    assert not self.authorizationState[owner][nonce], "usdc: authorization used"
    struct_hash: bytes32 = keccak256(
        abi_encode(TRANSFER_WITH_AUTHORIZATION_TYPEHASH, owner, to, amount, validAfter, validBefore, nonce)
    )
    self._check_signature(owner, struct_hash, signature)
    self.authorizationState[owner][nonce] = True
    log AuthorizationUsed(authorizer=owner, nonce=nonce)
    self._move(owner, to, amount)


@external
def cancelAuthorization(authorizer: address, nonce: bytes32, signature: Bytes[512]):
    """
    @notice EIP-3009: the owner takes an authorization back before it is used.
    """
    assert not self.authorizationState[authorizer][nonce], "usdc: authorization used"
    self._check_signature(authorizer, keccak256(abi_encode(CANCEL_AUTHORIZATION_TYPEHASH, authorizer, nonce)), signature)
    self.authorizationState[authorizer][nonce] = True
    log AuthorizationCanceled(authorizer=authorizer, nonce=nonce)


@internal
@view
def _check_signature(owner: address, structHash: bytes32, signature: Bytes[512]):
    digest: bytes32 = keccak256(concat(b"\x19\x01", erc20.eip712_domain_separator._domain_separator_v4(), structHash))
    if owner.is_contract:
        answer: bytes4 = staticcall Wallet(owner).isValidSignature(digest, signature)
        assert answer == ERC1271_MAGIC, "usdc: invalid signature"
        return
    assert len(signature) == 65, "usdc: invalid signature"
    v: uint256 = convert(slice(signature, 64, 1), uint256)
    signer: address = ecrecover(
        digest, v, convert(slice(signature, 0, 32), bytes32), convert(slice(signature, 32, 32), bytes32)
    )
    assert signer != empty(address) and signer == owner, "usdc: invalid signature"


@internal
def _set_paused(paused: bool):
    ownable._check_owner()
    self.paused = paused
    log PauseSet(paused=paused)


@internal
def _move(owner: address, to: address, amount: uint256):
    self._check_free(owner, to)
    erc20._transfer(owner, to, amount)


@internal
@view
def _check_free(first: address, second: address):
    assert not self.paused, "usdc: paused"
    assert not (self.isBlacklisted[first] or self.isBlacklisted[second]), "usdc: blacklisted"
    assert not self.isBlacklisted[msg.sender], "usdc: caller blacklisted"
