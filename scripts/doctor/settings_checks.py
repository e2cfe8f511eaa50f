"""Settings: each process's own, and how they fit together."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from contracts.errors import CurrentError
from scripts.doctor.examination import Finding, advise, bad, check, good
from scripts.doctor.patient import Absent, Patient
from serving.http.limits import is_loopback, parse_networks
from serving.http.settings import ServerSettings

DEVNET_CHAIN_ID = 31337
USUAL = ("indexer", "keeper", "proxy")
"""Without these nobody is served; a market is one of several possible upstreams."""


@check("settings.read")
def check_settings(patient: Patient) -> Iterator[Finding]:
    """Every process's settings can be read, and every process that is needed has some."""
    for name, reason in patient.refusals.items():
        yield bad(name, f"its settings are refused: {reason}", f"current {name} --help")
    for name in patient.settings:
        yield good(name, "its settings are valid")
    for name in USUAL:
        if name not in patient.settings and name not in patient.refusals:
            yield advise(
                name,
                f"no {name.upper()}_… setting is known here, so it was not examined",
                "give the settings of all processes: current doctor --folder <deployment folder>",
            )


@check("settings.agree")
def check_agreement(patient: Patient) -> Iterator[Finding]:
    """All processes have the same ledger and deployment record."""
    records = {str(one.deployment_file.resolve()): name for name, one in patient.settings.items()}
    for what, found in (("ledger", patient.ledger_urls), ("deployment record", records)):
        if len(found) > 1:
            yield bad(
                what,
                f"the processes name {len(found)} different ones, so they do not meet",
                f"give every process the same: …_{'LEDGER_URL' if what == 'ledger' else what}",
            )
        elif found:
            yield good(what, "all processes name the same one")


@check("settings.holds")
def check_holds(patient: Patient) -> Iterator[Finding]:
    """A hold is renewed before the proxy stops to use it."""
    keeper, proxy = patient.keeper, patient.proxy
    if keeper.hold_renew_before_s <= proxy.hold_margin_s:
        yield bad(
            "holds",
            f"a hold is renewed {keeper.hold_renew_before_s} s before it ends, and the proxy uses"
            f" none that ends within {proxy.hold_margin_s} s: requests are refused in between",
            f"KEEPER_HOLD_RENEW_BEFORE_S={proxy.hold_margin_s * 3}",
        )
    else:
        yield good("holds", "holds are renewed before the proxy stops using them")


@check("settings.key")
def check_key_is_set(patient: Patient) -> Iterator[Finding]:
    """The keeper has a key: without one it can only say what it would do."""
    if not patient.keeper.has_key:
        yield bad(
            "keeper",
            "no key is set: nothing is held, settled, harvested or paid",
            "KEEPER_PRIVATE_KEY_FILE=<file>, or KEEPER_KEYFILE=…, or KEEPER_KMS_KEY_ID=…",
        )
    if len(patient.keeper.rpc_urls()) < 2:
        yield advise(
            "keeper",
            "one endpoint alone is believed about receipts, nonces and payments",
            "KEEPER_RPC_URL='<provider A> <provider B> <provider C>'",
        )


def is_public(settings: ServerSettings, *, domain: str) -> bool:
    """Tell whether strangers reach a server: by a domain, or because it listens on more."""
    host = domain.rpartition(":")[0] or domain
    is_local = host in ("", "localhost") or is_loopback(host)
    return not is_local or not (settings.host == "localhost" or is_loopback(settings.host))


@check("settings.limits")
def check_limits(patient: Patient) -> Iterator[Finding]:
    """A server that strangers reach bounds them, and knows them apart behind its balancer."""
    for name, prefix, domain in _public_servers(patient):
        settings = patient.find(name, ServerSettings)
        networks = parse_networks(settings.trusted_proxies)
        if any(network.prefixlen == 0 for network in networks):
            yield bad(
                name,
                "every address is trusted to say whom it forwards for: a client names any address",
                f"{prefix}_TRUSTED_PROXIES=<the balancer's addresses>",
            )
            continue
        behind_balancer = settings.host == "localhost" or is_loopback(settings.host)
        if behind_balancer and not settings.trusted_proxies:
            yield bad(
                name,
                f"it serves {domain} behind a balancer, and all clients count as one address",
                f"{prefix}_TRUSTED_PROXIES=127.0.0.1,::1",
            )
        elif name == "market" and _is_own_upstream(patient):
            if settings.address_requests_per_minute_max:
                yield bad(
                    name,
                    "it counts this host's own proxies as one address, and turns them away at"
                    f" {settings.address_requests_per_minute_max} requests a minute",
                    "MARKET_ADDRESS_REQUESTS_PER_MINUTE_MAX=0, and a limit in the balancer",
                )
        elif not settings.address_requests_per_minute_max:
            yield advise(
                name,
                "no limit of requests by address: one client may take all that a process serves",
                f"{prefix}_ADDRESS_REQUESTS_PER_MINUTE_MAX=600",
            )
        else:
            yield good(name, "requests are limited by address")


def _is_own_upstream(patient: Patient) -> bool:
    """Tell whether this host's proxy asks this host's market directly."""
    if "proxy" not in patient.settings:
        return False
    parts = urlsplit(patient.proxy.upstream_url.get_secret_value())
    host = parts.hostname or ""
    return parts.port == patient.market.port and (host == "localhost" or is_loopback(host))


@check("settings.upstream")
def check_loop(patient: Patient) -> Iterator[Finding]:
    """The proxy does not ask itself for its models."""
    settings = patient.proxy
    parts = urlsplit(settings.upstream_url.get_secret_value())
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    is_here = host == "localhost" or is_loopback(host)
    own = settings.domain if ":" in settings.domain else f"{settings.domain}:443"
    if (is_here and port == settings.port) or f"{host}:{port}" == own:
        yield bad(
            "proxy",
            f"its upstream is itself ({host}:{port}): every request goes round until it is refused",
            "PROXY_UPSTREAM_URL=<the market's or a provider's base URL, up to and with /v1>",
        )


@check("settings.domain")
def check_domains(patient: Patient) -> Iterator[Finding]:
    """What wallets sign in to is said, and the market knows where the proxy is."""
    proxy = patient.settings.get("proxy")
    if proxy is not None and not patient.proxy.domain:
        yield advise(
            "proxy",
            "PROXY_DOMAIN is not set: only browsers on this machine can sign in",
            "PROXY_DOMAIN=<the host that browsers show>",
        )
    if "market" in patient.settings:
        url = patient.market.public_url
        if not url.startswith("https://") and "127.0.0.1" not in url and "localhost" not in url:
            yield bad(
                "market",
                f"wallets sign in to {url}, without TLS",
                "MARKET_PUBLIC_URL=https://<host>",
            )
        if proxy is not None and patient.proxy.domain:
            domain = patient.proxy.domain
            if domain not in patient.market.own_urls and domain != patient.market.domain:
                yield advise(
                    "market",
                    "a seller may name this deployment's own proxy as an endpoint",
                    f"MARKET_OWN_URLS=https://{domain}",
                )


@check("settings.ports")
def check_ports(patient: Patient) -> Iterator[Finding]:
    """No two processes of this host listen at one port."""
    ports: dict[int, str] = {}
    for name, field in (
        ("proxy", "port"),
        ("market", "port"),
        ("keeper", "metrics_port"),
        ("indexer", "metrics_port"),
    ):
        port = getattr(patient.settings.get(name), field, 0)
        if port and port in ports:
            yield bad(
                name,
                f"port {port} is meant for {ports[port]} too: one of them does not start",
                f"{name.upper()}_{field.upper()}=<a free port>",
            )
        elif port:
            ports[port] = name


@check("settings.finality")
def check_finality(patient: Patient) -> Iterator[Finding]:
    """On a chain that others use, something is waited for before it counts."""
    if patient.deployment.chain_id == DEVNET_CHAIN_ID:
        return
    if "indexer" in patient.settings and patient.indexer.confirmations == 0:
        yield advise(
            "indexer",
            "a hold counts in the very block that has it: a reorg of one block takes back what"
            " requests are served from",
            "INDEXER_CONFIRMATIONS=1",
        )


@check("settings.devnet")
def check_devnet_leftovers(patient: Patient) -> Iterator[Finding]:
    """Nothing that is meant for a devnet is on where strangers come."""
    for name, _, domain in _public_servers(patient):
        if name == "market" and patient.market.allow_loopback:
            yield bad(
                name,
                f"MARKET_ALLOW_LOOPBACK is on while {domain} is public: a seller's endpoint may be"
                " any service of this machine",
                "MARKET_ALLOW_LOOPBACK=false",
            )
        if name == "proxy" and patient.proxy.legacy_key_message:
            yield advise(
                name,
                "keys are also issued for a text that is bound to no domain",
                "PROXY_LEGACY_KEY_MESSAGE=false, once all clients sign in by EIP-4361",
            )


@check("settings.contact")
def check_contacts(patient: Patient) -> Iterator[Finding]:
    """Whoever finds a weakness can say so."""
    for name, prefix, _ in _public_servers(patient):
        if not patient.find(name, ServerSettings).security_contact:
            yield advise(
                name,
                "nobody can be told of a weakness: /.well-known/security.txt answers 404",
                f"{prefix}_SECURITY_CONTACT=mailto:security@<domain>",
            )


@check("settings.prices_file")
def check_price_files(patient: Patient) -> Iterator[Finding]:
    """The operator's price files can be read."""
    from serving.models.references import load_references

    for name in ("proxy", "market"):
        if name not in patient.settings:
            continue
        path = patient.proxy.prices_file if name == "proxy" else patient.market.prices_file
        if path is None:
            continue
        try:
            load_references(path)
        except CurrentError as error:
            yield bad(name, str(error), f"mend {path}")
        else:
            yield good(name, f"{path} is a valid price file")


def _public_servers(patient: Patient) -> Iterator[tuple[str, str, str]]:
    """Yield name, prefix and domain of each server that strangers reach."""
    for name, prefix in (("proxy", "PROXY"), ("market", "MARKET")):
        try:
            settings = patient.find(name, ServerSettings)
        except Absent:
            continue
        domain = patient.proxy.domain if name == "proxy" else patient.market.domain
        if is_public(settings, domain=domain):
            yield name, prefix, domain or settings.host
