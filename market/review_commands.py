"""``current review``: reviews of suppliers at the command line, and who may review."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import click

from market.commands import SETTINGS
from serving.process.command_line import Parsed, argument, group

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from market.settings import MarketSettings


def _opened() -> "tuple[MarketSettings, AbstractContextManager[Engine]]":
    from ledger.database.schema import opened_ledger
    from market.settings import MarketSettings

    settings = MarketSettings.from_environment()
    return settings, opened_ledger(settings.ledger_url.get_secret_value())


def _parse_item(text: str) -> tuple[str, str]:
    requirement, sign, said = text.partition("=")
    if not sign or not said.strip():
        raise ValueError("an item is a requirement, '=', and a text for the applicant")
    return requirement.strip(), said.strip()


_supplier = argument("supplier_id", help="The supplier's id, as the queue shows it.")
_version = argument("version", type=click.IntRange(1), help="The number of the newest version.")
_item = click.option(
    "--item",
    "items",
    type=Parsed("requirement=text", _parse_item),
    multiple=True,
    help="What is to be put right: 'documents.bank_proof=Not readable.' Repeatable.",
)
_note = click.option("--note", default="", help="For reviewers only.")


@group("review")
def review() -> None:
    """Review suppliers, and say who may."""


@review.command("queue", settings=SETTINGS)
@click.option("--status", default="under_review", help="Which ones.")
def queue(status: str) -> None:
    """List the suppliers that wait for a review, those first that wait for longest."""
    from market.reviewer import list_queue

    _, opened = _opened()
    with opened as engine:
        for line in list_queue(engine, status):
            click.echo(line)


@review.command("show", settings=SETTINGS)
@_supplier
def show(supplier_id: str) -> None:
    """Print an application with all its versions, as JSON. The look is written down."""
    from market.reviewer import show_application

    _, opened = _opened()
    with opened as engine:
        click.echo(show_application(engine, supplier_id))


def _add_decision(word: str, text: str) -> None:
    @review.command(word, settings=SETTINGS, help=text)
    @_supplier
    @_version
    @_item
    @_note
    def decide(
        supplier_id: str, version: int, items: tuple[tuple[str, str], ...], note: str
    ) -> None:
        from market.reviewer import decide_at_command_line

        settings, opened = _opened()
        with opened as engine:
            said = decide_at_command_line(
                engine, settings.review_rules(), supplier_id, version, word, items, note
            )
            click.echo(said)


_add_decision("approve", "Approve a version: its offers may sell from now on.")
_add_decision("revise", "Ask for a revision of a version, with items.")
_add_decision("reject", "Reject a version for good, with items.")
_add_decision("suspend", "Suspend an approved supplier, with items: its offers serve nobody.")
_add_decision("reinstate", "Let a suspended supplier sell again.")


@review.command("grant", settings=SETTINGS)
@argument("email", help="The address; one without an account is invited by mail.")
@argument(
    "role", type=click.Choice(["supplier", "reviewer", "operator"]), help="supplier: neither."
)
def grant(email: str, role: str) -> None:
    """Say that somebody may review (reviewer), and suspend too (operator), or no more."""
    from market.reviewer import grant_role

    _, opened = _opened()
    with opened as engine:
        click.echo(grant_role(engine, email, role))


@review.command("codes-off", settings=SETTINGS)
@argument("supplier_id", help="The account that asks for them, as the queue shows it.")
def codes_off(supplier_id: str) -> None:
    """Take a supplier's one-time codes off, whom somebody else's shut out.

    Ask first who it is, by another way than its mailbox: whoever has that opens the account then.
    """
    from market.reviewer import take_codes_off

    _, opened = _opened()
    with opened as engine:
        click.echo(take_codes_off(engine, supplier_id))
