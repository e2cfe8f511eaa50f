"""``python -m market`` is ``current market``."""

from market.commands import market

market()
