"""Undoing, as requests and answers state it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from market.http.supply.addresses.schemas import NetworkName


class UndoWish(BaseModel):
    """The token of a mail that told of a change."""

    model_config = ConfigDict(extra="forbid")

    token: str = Field(max_length=64)


class ChangesUndone(BaseModel):
    """What was changed lately is stopped; a mail to choose another password is on its way."""

    undone: Literal[True] = True
    cancelled_networks: list[NetworkName] = Field(
        description="whose address was to count later, and never will"
    )
