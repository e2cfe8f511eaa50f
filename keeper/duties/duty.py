"""What a duty is: one kind of transaction, from the facts it needs to the end of its intents.

A new kind is a file with a subclass of ``Duty`` and a line in ``keeper.duties.registry``; mypy
refuses to list a class that leaves out a part. A round uses the parts in this order::

    follow ─► load ─► look ─► decide ─► note_decided ─► build ─► note_planned ─► note_mined
    ledger,   ledger  chain   pure      ledger          calldata  ledger          ledger
    chain

and the transactor asks, however the transaction ended, what its end means: ``has_landed``,
``is_disarmed``, ``must_not_land``, ``bury``.

Amounts are 1e-6 USDC, times Unix seconds.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar

from eth_utils.address import to_checksum_address
from sqlalchemy import Connection, Engine
from web3.contract import Contract

from contracts.bindings import Contracts
from keeper.duties.calls import ChainCall
from keeper.duties.moment import DutyRules, Moment
from keeper.duties.positions import PositionsReader
from keeper.node import Node
from keeper.worth import Decision, Unworthy, Weighed
from ledger.chain.mirror import MirrorState
from ledger.intents.record import IntentRecord

NO_BATCH: Final = "0x" + "ff" * 32
"""A batch id that no ledger makes (their lower half counts from 0): for trials of a batch."""


class Item(Weighed, Protocol):
    """One thing that a transaction does."""

    @property
    def token_ids(self) -> tuple[int, ...]:
        """The position that it is about, if any."""

    @property
    def account(self) -> str:
        """On whose behalf it is sent: see ``keeper.budgets``."""

    @property
    def amount_usdc(self) -> int:
        """What it moves or secures, as decided (1e-6 USDC)."""


class OfPosition:
    """An item that is about one position."""

    __slots__ = ()

    token_id: int

    @property
    def subject(self) -> int:
        """The position."""
        return self.token_id

    @property
    def token_ids(self) -> tuple[int, ...]:
        """The position."""
        return (self.token_id,)

    @property
    def account(self) -> str:
        """The position."""
        return str(self.token_id)


class OfNobody:
    """An item that is about no position, and sent on nobody's behalf."""

    __slots__ = ()

    @property
    def token_ids(self) -> tuple[int, ...]:
        """None."""
        return ()

    @property
    def account(self) -> str:
        """Nobody's."""
        return ""


FactsT = TypeVar("FactsT")
ItemT = TypeVar("ItemT", bound=Item)
RulesT = TypeVar("RulesT", bound=DutyRules, contravariant=True)


@dataclass(frozen=True, slots=True)
class Action:
    """One transaction's worth of items of one kind, the most urgent first."""

    kind: str
    items: tuple[Any, ...]

    @property
    def reason(self) -> str:
        """Why, in one line: each reason with how often it occurs."""
        counts = Counter(item.reason for item in self.items)
        return ", ".join(f"{reason} x{count}" for reason, count in sorted(counts.items()))

    @property
    def token_ids(self) -> tuple[int, ...]:
        return tuple(token_id for item in self.items for token_id in item.token_ids)

    @property
    def amount_usdc(self) -> int:
        """What it moves or secures, as decided (1e-6 USDC)."""
        return sum(item.amount_usdc for item in self.items)


@dataclass(frozen=True, slots=True)
class Tools:
    """What every duty works with. ``sender`` is in whose name calls are tried, and
    ``payment_sender`` in whose name payments and payouts are; None: the same."""

    engine: Engine
    node: Node
    contracts: Contracts
    positions: PositionsReader
    sender: str
    payment_sender: str | None = None


class Duty(ABC, Generic[FactsT, ItemT, RulesT]):
    """One kind of transaction. Not shared between threads.

    ``FactsT`` is what it decides from, ``ItemT`` what one of its transactions is made of, and
    ``RulesT`` by what rules.
    """

    kind: ClassVar[str]
    """Its name in the ledger, on the command line, in logs and in labels of metrics."""
    is_about_positions: ClassVar[bool] = True
    """Whether the subject of an item is a position's token id."""

    is_payment: ClassVar[bool] = False
    """Whether the payments' key signs it, where there is one: it moves what others signed for, or
    pays out, and needs no right to charge a position."""

    def __init__(self, tools: Tools, rules: RulesT) -> None:
        self.tools = tools
        self.rules = rules

    @property
    def sender(self) -> str:
        """In whose name its calls are tried: whose transactions will carry them."""
        if self.is_payment and self.tools.payment_sender is not None:
            return self.tools.payment_sender
        return self.tools.sender

    # ------------------------------------------------------------------------------------- reading

    def follow(self, mirror: MirrorState, *, now_s: int) -> None:
        """Write down what the chain says of earlier transactions, before anything is decided."""

    @abstractmethod
    def load(self, connection: Connection, moment: Moment) -> FactsT:
        """Read what the ledger knows, inside the one transaction of the round. No call here."""

    def look(self, facts: FactsT, moment: Moment) -> FactsT:
        """Add what only calls at the moment's block can tell."""
        return facts

    # ------------------------------------------------------------------------------------ deciding

    @abstractmethod
    def decide(self, facts: FactsT, moment: Moment) -> Decision[ItemT]:
        """Return the items of each transaction to send now, and what is not worth its cost.

        Asks and writes nothing.
        """

    # ------------------------------------------------------------------------------------- writing

    def note_decided(
        self,
        facts: FactsT,
        actions: Sequence[Action],
        unworthy: Sequence[Unworthy],
        moment: Moment,
    ) -> None:
        """Write down what follows from the decision alone, also for what is left alone."""

    @abstractmethod
    def build(
        self, connection: Connection, items: Sequence[ItemT], *, now_s: int
    ) -> ChainCall | None:
        """Build the transaction; plan its batch with it. None: nothing is left to do."""

    def note_planned(
        self,
        connection: Connection,
        items: Sequence[ItemT],
        facts: FactsT,
        *,
        intent_id: str,
        now_s: int,
    ) -> None:
        """Write down what goes with a new intent, in the intent's own transaction."""

    def note_mined(self, items: Sequence[ItemT], facts: FactsT, moment: Moment) -> None:
        """Write down that a transaction is in a block, whether or not it succeeded there."""

    def note_refused(self, items: Sequence[ItemT], *, reason: str, moment: Moment) -> None:
        """Write down that a transaction was given up because it would revert, with no item to
        blame."""

    def is_blamed(self, items: Sequence[ItemT], *, is_in_block: bool) -> bool:
        """Tell whether a failed transaction counts towards stopping its kind.

        ``is_in_block``: it has reverted there, rather than been refused before it was signed. What
        only a stranger can cause must not stop the kind for everybody else.
        """
        return True

    @abstractmethod
    def build_trial(self, items: Sequence[ItemT]) -> ChainCall | None:
        """Build a call by which a refused item can be told from the others; it is only simulated.

        None where no item can fail the others.
        """

    # --------------------------------------------------------------------------- what an end means

    @property
    @abstractmethod
    def is_repeatable(self) -> bool:
        """Whether an intent counts once on chain, however often it is sent.

        An intent that a crash left unsigned is carried out after all; a failed intent is tried
        again.
        """

    @property
    @abstractmethod
    def give_up_blocks(self) -> int:
        """How deep a failed attempt must lie before what stood on it may stand on another one."""

    @abstractmethod
    def has_landed(self, intent: IntentRecord, *, block_number: int) -> bool:
        """Tell whether the intent's effect is on chain at a block, by whichever sender."""

    @abstractmethod
    def is_disarmed(self, intent: IntentRecord, *, block_number: int) -> bool:
        """Tell whether a transaction of another key does no harm any more, whenever it lands."""

    def must_not_land(self, connection: Connection, intent: IntentRecord) -> bool:
        """Tell whether an intent that is in no block must not be carried out any more."""
        return False

    @abstractmethod
    def bury(self, connection: Connection, intent: IntentRecord) -> None:
        """Take back in the ledger what stood on an intent that can never have its effect."""


class PlainDuty(Duty[FactsT, ItemT, RulesT]):
    """A duty whose transactions have nothing standing on them in the ledger.

    An interrupted intent is dropped and decided again: by then it may be out of date.
    """

    @property
    def is_repeatable(self) -> bool:
        return False

    @property
    def give_up_blocks(self) -> int:
        return 0

    def has_landed(self, intent: IntentRecord, *, block_number: int) -> bool:
        return False

    def bury(self, connection: Connection, intent: IntentRecord) -> None:
        pass


class BatchDuty(Duty[FactsT, ItemT, RulesT]):
    """A duty whose transactions carry a batch id, which counts once on chain.

    The same batch has the same effect whenever it lands; usage or payouts are bound to it until it
    lands or never can.
    """

    @property
    @abstractmethod
    def counter(self) -> tuple[Contract, str]:
        """The contract, and its view that tells of a batch id whether it has counted."""

    @property
    def is_repeatable(self) -> bool:
        return True

    @property
    def give_up_blocks(self) -> int:
        return self.rules.give_up_blocks

    def has_landed(self, intent: IntentRecord, *, block_number: int) -> bool:
        contract, view = self.counter
        batch_id = bytes.fromhex(str(intent.payload["batch_id"])[2:])
        return _ask(self.tools.node, contract, view, batch_id, block_number=block_number)


def is_allowed(
    tools: Tools, contract: Contract, view: str, intent: IntentRecord, *, block_number: int
) -> bool:
    """Tell whether ``view`` of a contract allows an intent's sender to act, as most nodes say."""
    assert intent.sender is not None
    sender = to_checksum_address(intent.sender)
    return _ask(tools.node, contract, view, sender, block_number=block_number)


def _ask(
    node: Node, contract: Contract, view: str, argument: bytes | str, *, block_number: int
) -> bool:
    call = {"to": contract.address, "data": contract.encode_abi(view, args=[argument])}
    return bool(int.from_bytes(node.call_agreed(call, block=hex(block_number))))
