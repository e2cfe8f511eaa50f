"""The contracts' events as typed Python values, decoded by fixed layout.

Every field of every event is a static type, so an event is a fixed number of 32-byte words: those
of its indexed fields, in order, then those of the others. What cuts them and puts them together is
compiled from ``EVENTS``, the table of what the indexer mirrors, when this module is imported; no
ABI coder runs per log. A test compares the table with the exported ABI, field by field, and both
directions with ``eth-abi``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from eth_utils.crypto import keccak

from contracts.errors import Fatal

ContractName = Literal["position", "adapter", "payouts"]
CONTRACTS: Final[tuple[ContractName, ...]] = ("position", "adapter", "payouts")
"""The contracts that emit events, by their names in a ``Deployment``."""

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
        "CreditGiven",
        "i uint256 tokenId, i address giver, uint256 amount, uint256 creditedAfter",
    ),
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
    _spec("adapter", "PositionGiven", "i uint256 tokenId, i address giver, i address owner"),
    _spec("adapter", "DepositGiven", "i uint256 tokenId, i address giver, uint256 assets"),
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


class Layout(NamedTuple):
    """How one event lies in a log, with the code that reads and writes it."""

    spec: EventSpec
    name: str
    topic_count: int
    data_length: int
    """Of the 0x hex text."""
    cut: Callable[[Sequence[str], str], bytes]
    decode: Callable[[bytes], dict[str, Value]]
    encode: Callable[[Mapping[str, Any]], bytes]


def _compile(spec: EventSpec) -> Layout:
    """Write out, as Python, what decoding and encoding this one event takes."""
    ordered = sorted(spec.fields, key=lambda field: not field.indexed)
    offsets = {field.name: 32 * index for index, field in enumerate(ordered)}
    reads = [f"{f.name!r}: {_read(f.type, offsets[f.name])}" for f in spec.fields]
    writes = [_write(field.type, f"args[{field.name!r}]") for field in ordered]
    topic_count = 1 + sum(field.indexed for field in spec.fields)
    hex_words = [*(f"topics[{place}][2:]" for place in range(1, topic_count)), "data[2:]"]
    return Layout(
        spec=spec,
        name=spec.name,
        topic_count=topic_count,
        data_length=2 + 64 * (1 + len(spec.fields) - topic_count),
        cut=eval(f"lambda topics, data, blob=bytes.fromhex: blob({' + '.join(hex_words)})"),
        decode=eval(f"lambda words, number=int.from_bytes: {{{', '.join(reads)}}}"),
        encode=eval(f"lambda args, blob=bytes.fromhex: {' + '.join(writes)}"),
    )


def _read(type_: str, offset: int) -> str:
    word = f"words[{offset}:{offset + 32}]"
    if type_ == "address":
        return f"'0x' + words[{offset + 12}:{offset + 32}].hex()"
    if type_ == "bytes32":
        return f"'0x' + {word}.hex()"
    return f"number({word}, 'big') != 0" if type_ == "bool" else f"number({word}, 'big')"


def _write(type_: str, value: str) -> str:
    if type_ in ("address", "bytes32"):
        return f"blob({value}[2:].rjust(64, '0'))"
    return f"{value}.to_bytes(32, 'big')"


_BY_TOPIC: Final[Mapping[str, Mapping[str, Layout]]] = {
    contract: {spec.topic0: _compile(spec) for spec in EVENTS if spec.contract == contract}
    for contract in CONTRACTS
}
_BY_NAME: Final[Mapping[tuple[str, str], Layout]] = {
    (contract, layout.spec.name): layout
    for contract, layouts in _BY_TOPIC.items()
    for layout in layouts.values()
}


class ChainEvent(NamedTuple):
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
        value = self.args.get("tokenId")
        assert value is None or isinstance(value, int)
        return value

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


def cut_log(contract: ContractName, topics: Sequence[str], data: str) -> tuple[Layout, bytes]:
    """Return the layout of a log's event and its words. Topics and data are 0x hex.

    Raises ``UnknownEvent`` if the topic is not in ``EVENTS`` or the lengths do not fit its layout:
    a log that we cannot read must stop the mirror, never be skipped.
    """
    layout = _BY_TOPIC[contract].get(topics[0].lower()) if topics else None
    if layout is None:
        raise UnknownEvent(f"{contract}: no event has the topic {topics[:1]}")
    if len(topics) != layout.topic_count or len(data) != layout.data_length:
        raise UnknownEvent(f"{contract}.{layout.spec.name}: topics or data do not fit its layout")
    try:
        return layout, layout.cut(topics, data)
    except ValueError as error:
        raise UnknownEvent(f"{contract}.{layout.spec.name}: its words are not hex") from error


def decode_args(
    contract: ContractName, topics: Sequence[str], data: str
) -> tuple[EventSpec, dict[str, Value]]:
    """Decode one log into its spec and its arguments. Raises what ``cut_log`` does."""
    layout, words = cut_log(contract, topics, data)
    return layout.spec, layout.decode(words)


def encode_words(event: ChainEvent) -> bytes:
    """Return the event's words: what ``decode_words`` makes its arguments from."""
    return _BY_NAME[event.contract, event.name].encode(event.args)


def decode_words(contract: ContractName, name: str, words: bytes) -> dict[str, Value]:
    """Return the arguments of the event ``name`` from its words."""
    return _BY_NAME[contract, name].decode(words)
