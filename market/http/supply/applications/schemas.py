"""Applications, as requests and answers state them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Source = Literal[
    "enterprise_contract", "partnership", "hackathon_allocation", "own_hardware", "other"
]


class ApplicationWish(BaseModel):
    """What a company says that wants to supply compute."""

    model_config = ConfigDict(extra="forbid")

    legal_name: str = Field(max_length=200, description="in any script")
    country: str = Field(description="ISO 3166-1 alpha-2", examples=["SG"])
    website: str = Field(max_length=2_000, examples=["https://compute.example"])
    contact_name: str = Field(max_length=200)
    email: str = Field(max_length=254, description="the work address that the mail goes to")
    source_of_compute: Source
    providers: list[str] = Field(max_length=20, description="whose compute it is")
    expected_monthly_tokens: int = Field(ge=1, le=10**15, description="tokens in a month")


class MailOnItsWay(BaseModel):
    """What was asked for was taken. It says nothing of whether the address is known."""

    status: Literal["mail_on_its_way"] = "mail_on_its_way"
    message: str


class VerificationWish(BaseModel):
    """The token of a mail."""

    model_config = ConfigDict(extra="forbid")

    token: str = Field(max_length=64)


class AddressConfirmed(BaseModel):
    """An address that was confirmed: its owner may choose a password now, in the same browser."""

    email: str
    location: str = Field(description="the page to go on with")
