"""The contracts' events as typed Python values, decoded by fixed layout.

Every field of every event is a static type, so a log is decoded by cutting 32-byte words; no ABI
coder runs per log. ``EVENTS`` is the table of what the indexer mirrors. A test compares it with the
exported ABI, field by field, and the decoder with ``eth-abi``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from eth_utils.crypto import keccak

from contracts.errors import Fatal

ContractName = Literal["position", "adapter", "payouts"]
Value = int | str | bool
"""``uint*`` as int, ``address`` as lower-case 0x hex, ``bytes32`` as 0x hex, ``bool`` as bool."""


class UnknownEvent(Fatal):
    """A log of one of our contracts has a topic or a shape that its ABI does not know."""


@dataclass(frozen=True, slots=True)
class Field:
    """One event argument: its ABI name and static type, and whether it is a topic."""

    name: str
    type: str
    indexed: bool


@dataclass(frozen=True, slots=True)
class EventSpec:
    """The layout of one event: indexed fields come from topics, the others from data words."""

    contract: ContractName
    name: str
    fields: tuple[Field, ...]

    @property
    def signature(self) -> str:
        return f"{self.name}({','.join(field.type for field in self.fields)})"

    @property
    def topic0(self) -> str:
        return "0x" + keccak(text=self.signature).hex()


def _spec(contract: ContractName, name: str, layout: str) -> EventSpec:
    """Build a spec from ``"i uint256 tokenId, uint256 amount"`` (a leading ``i`` marks a topic)."""
    fields = []
    for part in layout.split(", "):
        *marks, type_, field_name = part.split(" ")
        fields.append(Field(name=field_name, type=type_, indexed=marks == ["i"]))
    return EventSpec(contract, name, tuple(fields))


_OWNERSHIP = "i address previousOwner, i address newOwner"

EVENTS: Final[tuple[EventSpec, ...]] = (
    _spec("position", "Transfer", "i address sender, i address receiver, i uint256 tokenId"),
    _spec("position", "Locked", "uint256 tokenId"),
    _spec(
        "position",
        "PositionMinted",
        "i uint256 tokenId, i address owner, uint8 modelTier, uint16 dailySmoothingBps",
    ),
    _spec("position", "YieldCredited", "i uint256 tokenId, uint256 amount, uint256 creditedAfter"),
    _spec(
        "position",
        "HoldPlaced",
        "i uint256 tokenId, uint256 requested, uint256 granted, uint256 expiresAt,"
        " uint256 keyEpoch",
    ),
    _spec(
        "position",
        "BatchSettled",
        "i bytes32 batchId, bytes32 receiptsRoot, uint256 total, uint256 itemCount",
    ),
    _spec(
        "position",
        "Settled",
        "i uint256 tokenId, i bytes32 batchId, uint256 cost, uint256 spentAfter",
    ),
    _spec("position", "Swept", "i address treasury, uint256 amount"),
    _spec("position", "ReleaseRequested", "i uint256 tokenId, i address owner"),
    _spec(
        "position",
        "UnspentYieldWithdrawn",
        "i uint256 tokenId, i address owner, uint256 assets, uint256 withdrawnAfter",
    ),
    _spec("position", "KeyEpochBumped", "i uint256 tokenId, uint256 keyEpoch"),
    _spec("position", "SettlerSet", "i address settler, bool allowed"),
    _spec("position", "OwnershipTransferStarted", _OWNERSHIP),
    _spec("position", "OwnershipTransferred", _OWNERSHIP),
    _spec(
        "adapter",
        "VaultCreated",
        "i uint256 tokenId, i address owner, i address vault, uint8 modelTier,"
        " uint16 dailySmoothingBps, uint16 harvestIntervalMinutes",
    ),
    _spec("adapter", "HarvestIntervalSet", "i uint256 tokenId, uint16 harvestIntervalMinutes"),
    _spec(
        "adapter",
        "Deposited",
        "i uint256 tokenId, i address owner, uint256 assets, uint256 shares,"
        " uint256 principalAfter, uint256 sharesAfter",
    ),
    _spec(
        "adapter",
        "PrincipalWithdrawn",
        "i uint256 tokenId, i address owner, uint256 assets, uint256 sharesBurned,"
        " uint256 principalAfter, uint256 sharesAfter, uint256 loss",
    ),
    _spec(
        "adapter",
        "Harvested",
        "i uint256 tokenId, i address caller, uint256 credited, uint256 sharesBurned,"
        " uint256 sharesAfter",
    ),
    _spec(
        "adapter",
        "ExitedInKind",
        "i uint256 tokenId, i address owner, uint256 shares, uint256 principalForgone",
    ),
    _spec("payouts", "Paid", "i bytes32 batchId, i address payee, uint256 amount"),
    _spec("payouts", "PayoutCredited", "i bytes32 batchId, i address payee, uint256 amount"),
    _spec("payouts", "BatchPaid", "i bytes32 batchId, uint256 total, uint256 count"),
    _spec("payouts", "Claimed", "i address payee, i address to, uint256 amount"),
    _spec("payouts", "Withdrawn", "i address to, uint256 amount"),
    _spec("payouts", "PayerSet", "i address payer, bool allowed"),
    _spec("payouts", "OwnershipTransferStarted", _OWNERSHIP),
    _spec("payouts", "OwnershipTransferred", _OWNERSHIP),
)

_BY_TOPIC: Final[Mapping[tuple[str, str], EventSpec]] = {
    (spec.contract, spec.topic0): spec for spec in EVENTS
}


@dataclass(frozen=True, slots=True)
class ChainEvent:
    """One decoded log, with its place in the chain. ``args`` keeps the ABI's own field names."""

    contract: ContractName
    name: str
    args: Mapping[str, Value]
    block_number: int
    block_hash: str
    block_timestamp_s: int
    tx_hash: str
    log_index: int

    @property
    def token_id(self) -> int | None:
        """The position that the event is about, or None for events about no single one."""
        return self.integer("tokenId") if "tokenId" in self.args else None

    def integer(self, name: str) -> int:
        """Return an integer argument; asserts that it is one."""
        value = self.args[name]
        assert isinstance(value, int)
        return value

    def text(self, name: str) -> str:
        """Return an address or bytes32 argument as lower-case 0x hex; asserts that it is one."""
        value = self.args[name]
        assert isinstance(value, str)
        return value


def decode_args(
    contract: ContractName, topics: Sequence[str], data: str
) -> tuple[EventSpec, dict[str, Value]]:
    """Decode one log's topics and data (0x hex) into its spec and its arguments.

    Raises ``UnknownEvent`` if the topic is not in ``EVENTS`` or the lengths do not fit its layout:
    a log that we cannot read must stop the mirror, never be skipped.
    """
    spec = _BY_TOPIC.get((contract, topics[0].lower())) if topics else None
    if spec is None:
        raise UnknownEvent(f"{contract}: no event has the topic {topics[:1]}")
    indexed_count = sum(field.indexed for field in spec.fields)
    data_length = 2 + 64 * (len(spec.fields) - indexed_count)
    if len(topics) != 1 + indexed_count or len(data) != data_length:
        raise UnknownEvent(f"{contract}.{spec.name}: topics or data do not fit its layout")
    args: dict[str, Value] = {}
    topic_index, offset = 1, 2
    for field in spec.fields:
        if field.indexed:
            word = topics[topic_index][2:]
            topic_index += 1
        else:
            word = data[offset : offset + 64]
            offset += 64
        args[field.name] = _decode_word(field.type, word)
    return spec, args


def _decode_word(type_: str, word: str) -> Value:
    if type_ == "address":
        return "0x" + word[24:].lower()
    if type_ == "bytes32":
        return "0x" + word.lower()
    value = int(word, 16)
    return bool(value) if type_ == "bool" else value
