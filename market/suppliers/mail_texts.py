"""What the mails to suppliers and reviewers say, as plain text and as HTML. Pure.

Facts are untrusted text: a line each, and never markup. A link is our own address, and never of
anything else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from jinja2 import DictLoader, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment


@dataclass(frozen=True, slots=True)
class MailText:
    """A mail's text as a template has it: Jinja, with the mail's facts as variables."""

    subject: str
    paragraphs: tuple[str, ...]
    path: str | None = None
    """Where its link leads, below the market's own address; ``{token}`` is the mail's token."""
    items: str | None = None
    """The name of a fact that is a list of texts."""
    http: tuple[str, ...] = ()
    """What does the same by HTTP, in the market's own words; ``{origin}`` is its address."""
    closing: tuple[str, ...] = ()


NOT_YOU: Final = "If this was not you, you need do nothing."
UNDO_PATH: Final = "/v1/supply/undo?token={token}"
UNDO_HTTP: Final = 'POST {origin}/v1/supply/undo {"token": "{token}"}'
STOP: Final = (
    "If this was not you, stop it by this link: payout addresses that do not count yet never will,"
    " everybody is signed out, new keys are off, and a mail lets you choose another password."
    " One-time codes stay: if somebody else switched them on, ask us afterwards to take them off:"
)
CHOOSE: Final = (
    'POST {origin}/v1/supply/password-resets/confirm {"token": "{token}", "password": "…"}'
)

TEXTS: Final[Mapping[str, MailText]] = {
    "verify_email": MailText(
        "Confirm your e-mail address",
        (
            "{{ legal_name }} has applied to supply compute on Current, with this address.",
            "Confirm it within 48 hours by this link, and press the button on the page:",
        ),
        "/v1/supply/applications/verify?token={token}",
        http=(
            'POST {origin}/v1/supply/applications/verify {"token": "{token}"}',
            'then, with its cookie, POST {origin}/v1/supply/accounts {"password": "…"}',
        ),
        closing=(NOT_YOU,),
    ),
    "already_registered": MailText(
        "You have an account already",
        (
            "Somebody has applied to supply compute on Current with this address. There is an"
            " account for it already, so nothing was changed.",
            "Sign in, or choose another password, here:",
        ),
        "/login.html?supplier=1",
        http=(
            'POST {origin}/v1/supply/sessions {"email": "…", "password": "…"}',
            'or POST {origin}/v1/supply/password-resets {"email": "…"}',
        ),
        closing=(NOT_YOU,),
    ),
    "password_reset": MailText(
        "Choose another password",
        ("Somebody asked for another password of your account. Choose one within an hour here:",),
        "/login.html?reset=1#token={token}",
        http=(CHOOSE,),
        closing=(NOT_YOU,),
    ),
    "password_changed": MailText(
        "Your password was changed",
        (
            "The password of your account was changed, and all other sessions were ended.",
            STOP,
        ),
        UNDO_PATH,
        http=(UNDO_HTTP,),
    ),
    "codes_changed": MailText(
        "One-time codes {{ 'are asked for' if is_on else 'are off' }}",
        (
            "One-time codes are {{ 'asked for at each sign-in' if is_on else 'asked for no more' }}"
            " of your account.",
            STOP,
        ),
        UNDO_PATH,
        http=(UNDO_HTTP,),
    ),
    "reviewer_invited": MailText(
        "You may review suppliers",
        ("You have an account as {{ role }} now. Choose a password within 48 hours here:",),
        "/login.html?reset=1#token={token}",
        http=(CHOOSE, 'then POST {origin}/v1/supply/sessions {"email": "…", "password": "…"}'),
    ),
    "kyb_approved": MailText(
        "KYB approved",
        (
            "The application of {{ legal_name }} is approved.",
            "List your first offer and set a payout address in the dashboard:",
        ),
        "/supply-dashboard.html",
        http=("POST {origin}/v1/supply/offers", "PUT {origin}/v1/supply/payout-addresses"),
    ),
    "kyb_revision": MailText(
        "KYB: please revise {{ items | length }} item{{ 's' if items | length != 1 }}",
        ("The reviewer of {{ legal_name }} asks you to put this right:",),
        "/supplier-kyb-intake.html",
        items="items",
        http=(
            "GET {origin}/v1/supply/kyb/requirements lists it,",
            "PUT {origin}/v1/supply/kyb or POST {origin}/v1/supply/kyb/documents mends it,",
            "POST {origin}/v1/supply/kyb/submit submits it again",
        ),
        closing=("Then submit again: we usually look at it within one business day.",),
    ),
    "kyb_rejected": MailText(
        "KYB rejected",
        ("The application of {{ legal_name }} was rejected, for these reasons:",),
        items="items",
        http=("GET {origin}/v1/supply/kyb/requirements lists them",),
    ),
    "kyb_suspended": MailText(
        "Your account is suspended",
        (
            "The account of {{ legal_name }} is suspended: its offers serve nobody for now. What it"
            " has earned is not lost. This is asked of you:",
        ),
        "/supplier-kyb-intake.html",
        items="items",
        http=(
            "GET {origin}/v1/supply/kyb/requirements lists it,",
            "PUT {origin}/v1/supply/kyb or POST {origin}/v1/supply/kyb/documents files it,",
            "POST {origin}/v1/supply/kyb/submit submits it;",
            "GET {origin}/v1/supply/payouts says what is owed to you",
        ),
    ),
    "kyb_reinstated": MailText(
        "Your account is no longer suspended",
        ("The account of {{ legal_name }} is approved again.",),
        "/supply-dashboard.html",
        http=("GET {origin}/v1/supply/offers",),
    ),
    "payout_address": MailText(
        "Payout address for {{ network }}",
        (
            "An address was saved that payouts of your account on {{ network }} are to go to:"
            " {{ address }}.",
            "It counts in {{ hours }} hours; until then payouts go to the address before, if any.",
            STOP,
        ),
        UNDO_PATH,
        http=(UNDO_HTTP, "or, signed in, DELETE {origin}/v1/supply/payout-addresses/{{ network }}"),
    ),
    "payout_network": MailText(
        "Payouts go by {{ network }}",
        ("Payouts of your account go by {{ network }} from now on.", STOP),
        UNDO_PATH,
        http=(UNDO_HTTP, "or, signed in, PUT {origin}/v1/supply/payout-addresses"),
    ),
    "payout_address_cancelled": MailText(
        "Payout address for {{ network }} cancelled",
        (
            "The address on {{ network }} that was to count later was cancelled: it never will.",
            STOP,
        ),
        UNDO_PATH,
        http=(UNDO_HTTP, "or, signed in, PUT {origin}/v1/supply/payout-addresses"),
    ),
    "first_payout": MailText(
        "First payout sent",
        (
            "Your first payout, {{ net }} {{ asset }}, was sent to {{ address }} on {{ network }}.",
            "Its transaction: {{ tx_hash }}",
            "All payouts, as CSV too, are in the dashboard:",
        ),
        "/supply-dashboard.html",
        http=("GET {origin}/v1/supply/payouts", "GET {origin}/v1/supply/payouts.csv"),
    ),
    "payout_failed": MailText(
        "A payout could not be sent",
        (
            "Your payout {{ payout_id }} of {{ net }} {{ asset }} to {{ address }} on"
            " {{ network }} could not be sent: nothing has left. It is still owed to you.",
            "Look whether the address is right, and save another one if it is not. We send the"
            " payout again to the address that counts then:",
        ),
        "/supply-dashboard.html",
        http=("PUT {origin}/v1/supply/payout-addresses",),
    ),
}
"""Every mail, by the name that the outbox has for it."""

_TEXT: Final = """\
{% for line in paragraphs %}{{ line }}

{% endfor %}{% for item in items %}- {{ item }}
{% endfor %}{% if items %}
{% endif %}{% if link %}{{ link }}

{% endif %}{% if http %}By HTTP:
{% for line in http %}  {{ line }}
{% endfor %}
{% endif %}{% for line in closing %}{{ line }}

{% endfor %}-- 
Current, {{ origin }}
"""
_HTML: Final = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ subject }}</title></head>
<body style="font-family:sans-serif;max-width:40em;line-height:1.5">
{% for line in paragraphs %}<p>{{ line }}</p>
{% endfor %}{% if items %}<ul>{% for item in items %}<li>{{ item }}</li>{% endfor %}</ul>
{% endif %}{% if link %}<p><a href="{{ link }}">{{ link }}</a></p>
{% endif %}{% if http %}<p>By HTTP:</p>
<pre>{% for line in http %}{{ line }}
{% endfor %}</pre>
{% endif %}{% for line in closing %}<p>{{ line }}</p>
{% endfor %}<p>Current, {{ origin }}</p>
</body></html>
"""

_plain: Final = ImmutableSandboxedEnvironment(
    undefined=StrictUndefined, loader=DictLoader({"mail": _TEXT}), keep_trailing_newline=True
)
_markup: Final = ImmutableSandboxedEnvironment(
    undefined=StrictUndefined, autoescape=True, loader=DictLoader({"mail": _HTML})
)


@dataclass(frozen=True, slots=True)
class RenderedMail:
    """A mail as it is sent."""

    subject: str
    text: str
    html: str

    def __repr__(self) -> str:
        return f"RenderedMail({self.subject})"


def render_mail(
    template: str, facts: Mapping[str, Any], *, public_url: str, token: str | None = None
) -> RenderedMail:
    """Return the text of a mail. Raises ``KeyError`` for an unknown template.

    ``public_url`` is where the market is reached; ``token`` goes into its link.
    """
    said = TEXTS[template]
    clean = {name: _clean(value) for name, value in facts.items()}
    link = None
    if said.path is not None:
        link = public_url + said.path.replace("{token}", token or "")

    def fill(text: str) -> str:
        return _plain.from_string(text).render(clean)

    shown = {
        "subject": " ".join(fill(said.subject).split()),
        "paragraphs": [fill(line) for line in said.paragraphs],
        "closing": [fill(line) for line in said.closing],
        "items": clean.get(said.items, []) if said.items else [],
        "link": link,
        "http": [
            fill(line).replace("{origin}", public_url).replace("{token}", token or "")
            for line in said.http
        ],
        "origin": public_url,
    }
    return RenderedMail(
        subject=str(shown["subject"]),
        text=_plain.get_template("mail").render(shown),
        html=_markup.get_template("mail").render(shown),
    )


def _clean(value: Any) -> Any:
    """Return a fact without line breaks and control characters: it may not look like our text."""
    if isinstance(value, list):
        return [_clean(one) for one in value]
    if isinstance(value, str):
        return "".join(c if c.isprintable() else " " for c in value)
    return value
