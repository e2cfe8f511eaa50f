"""Third parties' contracts as they are deployed: USDC, ERC-4626 vaults, Safe, Permit2, Multicall3.

``bench/peers.py`` gets them from npm.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import ape
from ape.api import ReceiptAPI, TestAccountAPI
from ape.contracts import ContractContainer, ContractInstance
from eth_abi.packed import encode_packed
from eth_account import Account as EthAccount
from eth_account.messages import SignableMessage, encode_typed_data
from ethpm_types import ContractType

from bench.peers import Code, Peers
from tests.contract.world import World

VAULTS: Final = ["OpenZeppelin", "OpenZeppelin, offset", "solady", "solmate", "snekmate"]
"""Every ERC-4626 library there is, and OpenZeppelin's with its defence against inflation."""

SAFES: Final = ["Safe 1.3.0", "Safe 1.4.1", "Safe 1.5.0"]
"""Every version that has the chain in what its owners sign."""

ZERO: Final = "0x" + "00" * 20
PERMIT2: Final = "0x000000000022D473030F116dDEE9F6B43aC78BA3"
"""Its address on every chain; the code there names it nowhere, but people approve it."""


def as_container(code: Code, name: str) -> ContractContainer:
    """Return what Ape deploys and calls through."""
    contract = {
        "contractName": name,
        "abi": code.abi,
        "deploymentBytecode": {"bytecode": code.bytecode},
    }
    return ContractContainer(ContractType.model_validate(contract))


def deploy(peers: Peers, peer: str, name: str, *arguments: Any) -> ContractInstance:
    """Deploy one contract of a peer."""
    admin = ape.accounts.test_accounts[0]
    return admin.deploy(as_container(peers.found[peer].codes[name], name), *arguments)


def sign(account: TestAccountAPI, message: SignableMessage) -> bytes:
    """Return an account's signature: r, s, v."""
    return bytes(EthAccount.sign_message(message, account.private_key).signature)


def typed_data(
    domain: dict[str, Any], types: dict[str, list[tuple[str, str]]], message: dict[str, Any]
) -> SignableMessage:
    """Return EIP-712 data to sign; the first of ``types`` is the message's."""
    named = {
        kind: [{"name": name, "type": type_} for name, type_ in members]
        for kind, members in types.items()
    }
    kinds = {"name": "string", "version": "string", "verifyingContract": "address"}
    own = [{"name": key, "type": kinds.get(key, "uint256")} for key in domain]
    return encode_typed_data(
        full_message={
            "types": {"EIP712Domain": own, **named},
            "primaryType": next(iter(types)),
            "domain": domain,
            "message": message,
        }
    )


# ---------------------------------------------------------------------------------------- the world


@dataclass(frozen=True)
class RealWorld(World):
    """Our contracts over Circle's USDC instead of the mock; the admin mints, pauses, blacklists."""

    def fund(self, to: Any, amount: int) -> None:
        """Give USDC."""
        self.usdc.mint(to, amount, sender=self.admin)

    def deploy_vault_of(self, kind: str, peers: Peers) -> ContractInstance:
        """Deploy one of ``VAULTS``, empty."""
        if kind == "snekmate":
            return self.admin.deploy(self.project.PlainVault, self.usdc)
        peer, _, variant = kind.partition(", ")
        return deploy(peers, peer, "OffsetVault" if variant else "Vault", self.usdc)


def deploy_real_world(mocked: World, peers: Peers) -> RealWorld:
    """Deploy all of ours once more, with the same people, over USDC and OpenZeppelin's vault."""
    admin = mocked.admin
    usdc = deploy_usdc(admin, peers)
    position_address = admin.get_deployment_address(admin.nonce + 1)
    adapter_address = admin.get_deployment_address(admin.nonce + 2)
    payouts = admin.deploy(mocked.project.Payouts, usdc, position_address, adapter_address, admin)
    position = admin.deploy(
        mocked.project.YieldFundedPosition, usdc, adapter_address, payouts, admin
    )
    adapter = admin.deploy(mocked.project.LendingYieldAdapter, usdc, position)
    position.setSettler(mocked.settler, True, sender=admin)
    payouts.setPayer(mocked.payer, True, sender=admin)
    same = {each.name: getattr(mocked, each.name) for each in fields(World) if each.init}
    ours = {"usdc": usdc, "payouts": payouts, "position": position, "adapter": adapter}
    vault = deploy(peers, "OpenZeppelin", "Vault", usdc)
    return RealWorld(**{**same, **ours, "vault": vault})


def deploy_usdc(admin: TestAccountAPI, peers: Peers) -> ContractInstance:
    """Deploy FiatTokenV2_2 behind its proxy and initialise it step by step, as Circle did."""
    library = deploy(peers, "USDC", "SignatureChecker")
    code = peers.found["USDC"].codes["FiatTokenV2_2"]
    linked = re.sub(r"__\$[0-9a-f]{34}\$__", library.address[2:].lower(), code.bytecode)
    token = as_container(Code(code.abi, linked), "FiatTokenV2_2")
    implementation = admin.deploy(token)
    proxy = deploy(peers, "USDC", "FiatTokenProxy", implementation)
    # The proxy's admin can only upgrade; every other call of that address reverts.
    proxy.changeAdmin(ape.accounts.test_accounts[9], sender=admin)
    usdc = token.at(proxy.address, fetch_from_explorer=False)
    roles = [admin] * 4  # master minter, pauser, blacklister, owner
    usdc.initialize("USDC", "USDC", "USD", 6, *roles, sender=admin)
    usdc.initializeV2("USD Coin", sender=admin)
    usdc.initializeV2_1(admin, sender=admin)
    usdc.initializeV2_2([], "USDC", sender=admin)
    usdc.configureMinter(admin, 2**255, sender=admin)
    return usdc


def deploy_permit2(peers: Peers) -> ContractInstance:
    """Put Permit2's code where it lies on every chain."""
    code = peers.found["Permit2"].codes["Permit2"]
    # The package's copy was taken on a test chain of our id, where it lay elsewhere, and remembers
    # the EIP-712 domain of that place. As on mainnet, it shall remember chain 1 and compute ours.
    copied, mainnet = (chain_id.to_bytes(32, "big").hex() for chain_id in (31_337, 1))
    assert code.bytecode.count(copied) == 1
    ape.chain.provider.set_code(PERMIT2, code.bytecode.replace(copied, mainnet))
    return as_container(code, "Permit2").at(PERMIT2, fetch_from_explorer=False)


# ------------------------------------------------------------------------------------------- a Safe


@dataclass(frozen=True)
class Call:
    """A call that a Safe shall make."""

    to: Any
    data: bytes


SAFE_TX: Final = {
    "SafeTx": [
        ("to", "address"),
        ("value", "uint256"),
        ("data", "bytes"),
        ("operation", "uint8"),
        ("safeTxGas", "uint256"),
        ("baseGas", "uint256"),
        ("gasPrice", "uint256"),
        ("gasToken", "address"),
        ("refundReceiver", "address"),
        ("nonce", "uint256"),
    ]
}


@dataclass(frozen=True)
class Safe:
    """A Safe, its owners who sign for it, and a stranger who pays the gas."""

    contract: ContractInstance
    owners: Sequence[TestAccountAPI]
    relayer: TestAccountAPI
    multisend: ContractInstance

    @property
    def address(self) -> str:
        """Where the Safe is."""
        return str(self.contract.address)

    @property
    def domain(self) -> dict[str, Any]:
        """The EIP-712 domain of whatever its owners sign."""
        return {"chainId": ape.chain.chain_id, "verifyingContract": self.address}

    def send(self, to: ContractInstance, method: str, *arguments: Any) -> ReceiptAPI:
        """Make one call, signed by as many owners as are needed."""
        return self.execute(to.address, getattr(to, method).encode_input(*arguments))

    def send_all(self, calls: Sequence[Call]) -> ReceiptAPI:
        """Make calls in one transaction, all or none, through MultiSend."""
        packed = b"".join(
            encode_packed(
                ["uint8", "address", "uint256", "uint256", "bytes"],
                [0, str(call.to), 0, len(call.data), call.data],
            )
            for call in calls
        )
        data = self.multisend.multiSend.encode_input(packed)
        return self.execute(self.multisend.address, data, delegate=True)

    def execute(
        self,
        to: str,
        data: bytes,
        *,
        delegate: bool = False,
        signers: Sequence[TestAccountAPI] | None = None,
    ) -> ReceiptAPI:
        """Have a transaction signed, by the first two owners unless told, and send it."""
        terms = (to, 0, data, int(delegate), 0, 0, 0, ZERO, ZERO)
        names = [name for name, _ in SAFE_TX["SafeTx"]]
        # By its name: `nonce` alone is Ape's, the account's.
        nonce = self.contract.call_view_method("nonce")
        message = dict(zip(names, (*terms, nonce), strict=True))
        signable = typed_data(self.domain, SAFE_TX, message)
        signatures = self.signatures(signable, self.owners[:2] if signers is None else signers)
        return self.contract.execTransaction(*terms, signatures, sender=self.relayer)

    def sign_message(self, digest: bytes, signers: Sequence[TestAccountAPI]) -> bytes:
        """Return signatures of what the Safe wraps a 32-byte digest in (ERC-1271)."""
        types = {"SafeMessage": [("message", "bytes")]}
        return self.signatures(typed_data(self.domain, types, {"message": digest}), signers)

    @staticmethod
    def signatures(message: SignableMessage, signers: Sequence[TestAccountAPI]) -> bytes:
        """Return signatures one after the other, by ascending address as a Safe wants them."""
        in_order = sorted(signers, key=lambda signer: int(signer.address, 16))
        return b"".join(sign(signer, message) for signer in in_order)


@dataclass(frozen=True)
class SafeFactory:
    """Safe's singletons, deployed."""

    singleton: ContractInstance
    proxies: ContractInstance
    handler: ContractInstance
    multisend: ContractInstance
    container: ContractContainer

    @classmethod
    def deploy(cls, peers: Peers, version: str = SAFES[-1]) -> SafeFactory:
        """Deploy what all Safes of one version share."""
        return cls(
            singleton=deploy(peers, version, "Safe"),
            proxies=deploy(peers, version, "SafeProxyFactory"),
            handler=deploy(peers, version, "CompatibilityFallbackHandler"),
            multisend=deploy(peers, version, "MultiSendCallOnly"),
            container=as_container(peers.found[version].codes["Safe"], "Safe"),
        )

    def deployment(self, owners: Sequence[TestAccountAPI], salt: int) -> bytes:
        """Return the factory's calldata that makes a Safe where two owners must sign."""
        terms = self._terms(owners, salt)
        return bytes(self.proxies.createProxyWithNonce.encode_input(*terms))

    def predict(self, owners: Sequence[TestAccountAPI], salt: int, relayer: TestAccountAPI) -> Safe:
        """Return a Safe that is not deployed yet."""
        address = self.proxies.createProxyWithNonce.call(*self._terms(owners, salt))
        contract = self.container.at(address, fetch_from_explorer=False)
        return Safe(contract, owners, relayer, self.multisend)

    def make(self, owners: Sequence[TestAccountAPI], salt: int, relayer: TestAccountAPI) -> Safe:
        """Deploy a Safe."""
        safe = self.predict(owners, salt, relayer)
        self.proxies.createProxyWithNonce(*self._terms(owners, salt), sender=relayer)
        return safe

    def _terms(self, owners: Sequence[TestAccountAPI], salt: int) -> tuple[Any, ...]:
        members = [owner.address for owner in owners]
        setup = self.singleton.setup.encode_input(
            members, 2, ZERO, b"", self.handler, ZERO, 0, ZERO
        )
        return self.singleton, setup, salt
