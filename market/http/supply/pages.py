"""Pages with a button, behind links of mails: a scanner that follows a link uses nothing up."""

from html import escape
from typing import Final

from fastapi import Request
from fastapi.responses import HTMLResponse

from market.http.supply.dependencies import read_open_form
from market.services import Services
from market.suppliers.fields import Fields

_POLICY: Final = "default-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="same-origin">
<title>{title}</title>
</head>
<body>
<main>
<h1>{title}</h1>
<p>{text}</p>
{form}</main>
</body>
</html>
"""
_FORM: Final = """\
<form method="post" action="{action}">
<input type="hidden" name="token" value="{token}">
<button type="submit">{button}</button>
</form>
"""


def show_button(*, title: str, text: str, action: str, token: str, button: str) -> HTMLResponse:
    """Return a page whose button posts a token to ``action``. Everything but the token is ours."""
    form = _FORM.format(action=action, token=escape(token, quote=True), button=button)
    return show_page(title=title, text=text, form=form)


def show_page(*, title: str, text: str, form: str = "") -> HTMLResponse:
    """Return a page that loads nothing, is not kept and sends no referrer to another site."""
    headers = {
        "content-security-policy": _POLICY,
        "cache-control": "no-store",
        # With no-referrer a browser sends the form with `Origin: null`, which is refused as another
        # site's: no button would work.
        "referrer-policy": "same-origin",
    }
    return HTMLResponse(_PAGE.format(title=title, text=text, form=form), headers=headers)


async def read_token(request: Request, services: Services) -> tuple[str, bool]:
    """Return the token that a page's form, or a program's JSON, sends, and whether it was a form.

    Raises 400, 403 for a page that is not ours, and as ``read_open_object`` does.
    """
    body, is_form = await read_open_form(request, services)
    return str(Fields(body, ("token",)).text("token", length_max=64)), is_form
