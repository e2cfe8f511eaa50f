"""``python -m proxy`` is ``current proxy``."""

from proxy.commands import proxy

proxy()
