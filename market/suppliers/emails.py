"""E-mail addresses, normalised: one account for each. Pure."""

from typing import Any, Final

from email_validator import EmailNotValidError, validate_email

from serving.http.errors import wrong_type

LENGTH_MAX: Final = 254


def find_mailbox(email: str) -> str:
    """Return the mailbox that an address leads to: without what follows a ``+``."""
    local, _, domain = email.rpartition("@")
    return f"{local.partition('+')[0]}@{domain}".lower()


def read_email(value: Any, name: str = "email") -> str:
    """Return an address in lower case, its domain in ASCII. Raises 400.

    Nothing is asked of the network. The part before the @ is ASCII: not every server takes others.
    Two spellings that differ in case only are the same here: nobody gives them to two people.
    """
    if not isinstance(value, str) or len(value) > LENGTH_MAX:
        raise wrong_type(name, "an e-mail address")
    try:
        found = validate_email(
            value.strip(),
            allow_smtputf8=False,
            check_deliverability=False,
            test_environment=True,
        )
    except EmailNotValidError:
        raise wrong_type(name, "an e-mail address") from None
    ascii_domain = found.ascii_domain or found.domain
    email = f"{found.local_part}@{ascii_domain}".lower()
    if len(email) > LENGTH_MAX:
        raise wrong_type(name, "an e-mail address")
    return email
