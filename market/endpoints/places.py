"""When a provider's key must be given again, and which endpoints are one server's. Pure.

A sealed key belongs to the place that it was given for. The holder of an account's API key may
change a base URL; were the sealed key to follow, a stolen API key would carry it off.
"""

from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


def is_same_place(stored_url: str, wanted_url: str) -> bool:
    """Tell whether a sealed key may go to ``wanted_url`` because it goes there already.

    Scheme, host (in whatever case), port and path must be the same; a slash at the end counts for
    nothing. A longer path is another place, and so is anything that only a resolver or the
    provider could know to be the same: another spelling of an address, a dot at the end of a host,
    a path with dots or escapes. A URL with credentials, or that cannot be parsed, is no place.
    """
    stored, wanted = _find_place(stored_url), _find_place(wanted_url)
    return stored is not None and stored == wanted


def _find_place(url: str) -> tuple[str, str, int | None, str] | None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if "@" in parts.netloc or "?" in url or "#" in url or not parts.hostname:
        return None
    if port is None:
        port = _PORTS.get(parts.scheme)
    return parts.scheme, parts.hostname, port, parts.path.rstrip("/")


def get_origin(url: str) -> str:
    """Return scheme, host and port of a base URL, the same for all ways of writing them."""
    parts = urlsplit(url)
    port = _PORTS.get(parts.scheme) if parts.port is None else parts.port
    return f"{parts.scheme}://{(parts.hostname or '').lower().rstrip('.')}:{port}"
