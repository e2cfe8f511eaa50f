"""The means to carry intents out: ledger, node, key, clock, and how each intent ends."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import structlog
from sqlalchemy import Connection, Engine

from keeper.errors import GasPriceOverBound
from keeper.node import Node
from keeper.transactor.fees import FeeRules, Fees, decide_fees
from keeper.transactor.signer import Signer
from ledger.database.clock import LedgerClock
from ledger.database.engine import read, write
from ledger.intents import record
from ledger.intents.record import IntentRecord, SignedTransaction

log = structlog.get_logger("keeper")

REVERTED_ON_CHAIN: Final = "reverted on chain"
CANCELLED: Final = "cancelled"
ON_CHAIN: Final = "its effect is on chain"


class IntentEndings(Protocol):
    """What the transactor must ask about the meaning of an intent: ``keeper.duties`` answers."""

    def is_repeatable(self, intent: IntentRecord) -> bool:
        """Tell whether an intent counts once on chain, however often it is sent.

        An intent that a crash left unsigned is carried out after all; a failed intent is tried
        again.
        """

    def get_give_up_blocks(self, intent: IntentRecord) -> int:
        """Return how deep a failed attempt must lie before its intent is given up."""

    def has_landed(self, intent: IntentRecord, *, block_number: int) -> bool:
        """Tell whether the intent's effect is on chain at a block, by whichever sender."""

    def is_disarmed(self, intent: IntentRecord, *, block_number: int) -> bool:
        """Tell whether a transaction of another key does no harm any more, whenever it lands."""

    def must_not_land(self, connection: Connection, intent: IntentRecord) -> bool:
        """Tell whether an intent that is in no block must not be carried out any more."""

    def bury(self, connection: Connection, intent: IntentRecord) -> None:
        """Take back in the ledger what stood on an intent that can never have its effect."""


@dataclass(frozen=True, slots=True)
class SendRules:
    """How transactions are sent and waited for."""

    fees: FeeRules
    confirmations: int
    receipt_timeout_s: float
    receipt_poll_s: float
    replace_after_s: int
    gas_margin_bps: int
    ether_price_usdc: int
    """One ether, to count what transactions cost."""


def no_checkpoint(_name: str) -> None:
    """Do nothing: what runs between two steps outside of crash tests."""


def no_fence() -> None:
    """Let everything through: for a keeper that is alone with its ledger."""


@dataclass(frozen=True, slots=True)
class Means:
    """What it takes to carry intents out.

    ``fence`` raises ``LeadershipLost`` where another keeper may be at work. ``checkpoint`` is
    called between any two steps, with the name of the step just done.
    """

    engine: Engine
    node: Node
    signer: Signer
    endings: IntentEndings
    rules: SendRules
    chain_id: int
    stop: threading.Event
    clock: LedgerClock
    fence: Callable[[], None] = no_fence
    checkpoint: Callable[[str], None] = no_checkpoint
    signers_by_kind: Mapping[str, Signer] = field(default_factory=dict)
    """Who signs the kinds that ``signer`` does not."""

    @property
    def signers(self) -> tuple[Signer, ...]:
        """Everybody who signs, each once; ``signer`` first."""
        by_address = {one.address: one for one in (self.signer, *self.signers_by_kind.values())}
        return tuple(by_address.values())

    def get_signer(self, kind: str) -> Signer:
        """Return who signs a kind of transaction."""
        return self.signers_by_kind.get(kind, self.signer)

    def find_signer(self, address: str | None) -> Signer | None:
        """Return who signs for an address; None where another key does."""
        wanted = None if address is None else address.lower()
        return next((one for one in self.signers if one.address.lower() == wanted), None)

    def now_s(self) -> int:
        return int(self.clock.measured_now())

    def load(self, intent_id: str) -> IntentRecord:
        """Return an intent that exists, as it stands now."""
        with read(self.engine) as connection:
            intent = record.load_intent(connection, intent_id)
        assert intent is not None
        return intent

    def end(self, intent: IntentRecord, mark: Callable[..., None], error: str) -> None:
        """End an intent without its effect, and what stood on it, in one transaction."""
        with write(self.engine) as connection:
            mark(connection, intent.intent_id, error=error, now_s=self.now_s())
            self.endings.bury(connection, intent)
        log.warning("intent_ended", intent_id=intent.intent_id, kind=intent.kind, error=error)

    def must_not_land(self, intent: IntentRecord) -> bool:
        """Tell whether an intent that is in no block must not be carried out any more."""
        with read(self.engine) as connection:
            return self.endings.must_not_land(connection, intent)

    def fetch_fees(self) -> Fees:
        """Return what a new transaction offers. Raises ``GasPriceOverBound``."""
        fees = decide_fees(self.node.fetch_base_fee_wei(), self.rules.fees)
        if fees is None:
            raise GasPriceOverBound(f"gas is over {self.rules.fees.fee_wei_max} wei")
        return fees

    def sign(
        self, to: str, data: str, *, signer: Signer, nonce: int, gas: int, fees: Fees
    ) -> SignedTransaction:
        """Sign a transaction that carries no ether. Raises ``LeadershipLost``."""
        self.fence()
        transaction: Mapping[str, Any] = {
            "type": 2,
            "chainId": self.chain_id,
            "nonce": nonce,
            "to": to,
            "data": data,
            "value": 0,
            "gas": gas,
            "maxFeePerGas": fees.max_fee_wei,
            "maxPriorityFeePerGas": fees.tip_wei,
        }
        return signer.sign(transaction)

    def get_request(self, intent: IntentRecord) -> dict[str, str]:
        """Return an intent's call as a node simulates it."""
        sender = self.get_signer(intent.kind).address if intent.sender is None else intent.sender
        request = {
            "from": sender,
            "to": str(intent.payload["to"]),
            "data": str(intent.payload["data"]),
        }
        gas = intent.payload.get("gas")
        return request if gas is None else {**request, "gas": hex(int(gas))}
