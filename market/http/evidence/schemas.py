"""Evidence as answers state it."""

from pydantic import BaseModel, Field

from market.evidence.verdicts import Method, OfferVerdict
from market.http.markets.schemas import GRADE
from serving.models.grades import Grade


class MethodEvidence(BaseModel):
    """What one method has found out about an offer this year."""

    method: Method
    probes: int = Field(description="made in the year")
    looks: int = Field(description="observations, of which a probe has one or more")
    wealth: float = Field(
        description="what a bet of 1 against the offer came to at its best: while the offer is"
        " honest it ever reaches w with a probability of at most 1/w"
    )
    last_at: int = Field(description="Unix seconds")
    transcript_hashes: list[str] = Field(
        description="keccak of each transcript, newest first; a page has the newest 1,000"
    )


class OfferEvidence(BaseModel):
    """What is known of one offer."""

    offer_id: str
    provider: str = Field(description="whose endpoint it is, by its host")
    grade: Grade = Field(description=GRADE)
    verdict: OfferVerdict = Field(
        description="watched: probed earlier, the most that live traffic alone can do; doubted: one"
        " method of probes convicts it, others go before it; convicted: two do"
    )
    methods: list[MethodEvidence]


class ModelEvidence(BaseModel):
    """What is known of a model's offers, listed or suspended: a page of them."""

    model: str
    convicts_at: float = Field(
        description="the wealth at which a method of probes convicts; those of live traffic,"
        " prompt_tokens, completion_tokens and logprobs, convict at none"
    )
    offers: list[OfferEvidence]
    next_cursor: str | None = Field(description="pass it as `cursor`; null on the last page")


class EvidenceEntry(BaseModel):
    """One probe, as its day's root has it."""

    evidence_id: str
    offer_id: str
    model: str
    method: Method
    made_at: int = Field(description="Unix seconds")
    observed_hash: str = Field(description="keccak of what was observed")
    transcript_hash: str = Field(description="keccak of the transcript")
    looks: int = Field(description="at the method's wealth, in the year")
    peak_milli: int = Field(description="the method's best wealth of the year, in 1/1000")
    leaf: str


class PublishedRoot(BaseModel):
    """Where a day's root stands on chain."""

    batch_id: str = Field(
        description="of the `BatchSettled` event that has the root: it follows from the day alone,"
        " and the contract takes it once"
    )
    root: str
    block_number: int
    tx_hash: str


class EvidenceDay(BaseModel):
    """The evidence of a UTC day, in the order of its Merkle tree."""

    date: str
    is_over: bool = Field(description="whether the root stands: nothing is added any more")
    root: str | None = Field(description="of the leaves, as of receipts; null: there are none")
    published: PublishedRoot | None = Field(
        description="null: the root is not on chain, or its transaction is not mirrored yet"
    )
    entries: list[EvidenceEntry]


class SellersEvidence(EvidenceEntry):
    """One probe, as the offer's seller sees it."""

    observed: str = Field(
        description="JSON, in categories: what the wealth is computed from; its keccak is"
        " `observed_hash`"
    )
    transcript: str = Field(
        description="JSON: the questions and both sides' answers; its keccak is `transcript_hash`"
    )


class SellersEvidenceList(BaseModel):
    """The evidence on one offer, newest first."""

    evidence: list[SellersEvidence]
