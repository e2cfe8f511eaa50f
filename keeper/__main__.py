"""``python -m keeper`` is ``current keeper``."""

from keeper.commands import keeper

keeper()
