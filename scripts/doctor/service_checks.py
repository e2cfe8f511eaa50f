"""What answers over the network: our own servers, upstream, mail, scanner, and who hears alarms."""

import asyncio
import smtplib
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import httpx
from eth_utils.crypto import keccak

from contracts.reader import mask_url
from scripts.doctor.examination import Finding, advise, bad, check, good, unknown
from scripts.doctor.patient import Patient
from scripts.doctor.settings_checks import is_public

TIMEOUT_S: Final = 5.0
CERTIFICATE_DAYS_MIN: Final = 14
MODELS_SHOWN: Final = 5
CREDIT_LOW_USD: Final = 5.0
_REASONS: Final = {
    "ledger": ("the ledger does not answer", "see ledger.reach"),
    "mirror": ("the mirror of the chain is stale", "see ledger.mirror"),
    "upstream": ("upstream lists no models", "see upstream.models"),
    "operator_credit": ("your credit at upstream is spent", "pay upstream"),
    "clock": ("this host's clock is far off the ledger's", "see ledger.clock"),
}


def _get(url: str, **options: Any) -> httpx.Response:
    return httpx.get(url, timeout=TIMEOUT_S, follow_redirects=False, **options)


@check("servers.ready")
def check_ready(patient: Patient) -> Iterator[Finding]:
    """The servers of this host run and would let requests through."""
    for name, path in (("proxy", "/api/current/readyz"), ("market", "/readyz")):
        if name not in patient.settings:
            continue
        settings: Any = patient.settings[name]
        host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
        url = f"http://{host}:{settings.port}{path}"
        try:
            answer = _get(url)
            told = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            says = f"does not answer at {url}: {type(error).__name__}"
            yield bad(name, says, f"systemctl start current-{name}")
            continue
        if told.get("ready") is True:
            yield good(name, f"is ready at {url}")
        elif "ready" not in told:
            yield bad(name, f"another program answers at {url}", f"{name.upper()}_PORT=<free port>")
        for reason, (says, mend) in _REASONS.items():
            if told.get(reason) is False:
                yield bad(name, says, mend)


@check("upstream.models")
def check_upstream(patient: Patient) -> Iterator[Finding]:
    """Upstream takes the key, lists models, and the price of each is known."""
    settings = patient.proxy
    base, key = settings.upstream_url.get_secret_value(), settings.upstream_key.get_secret_value()
    name = mask_url(base)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        answer = _get(f"{base}/models", headers=headers)
    except httpx.HTTPError as error:
        says = f"does not answer: {type(error).__name__}"
        yield bad(name, says, "PROXY_UPSTREAM_URL=<base URL, up to and with /v1>")
        return
    if answer.status_code in (401, 403):
        yield bad(name, f"refuses the key ({answer.status_code})", "PROXY_UPSTREAM_KEY_FILE=<file>")
        return
    try:
        listed = [str(entry["id"]) for entry in answer.json()["data"]]
    except (ValueError, KeyError, TypeError):
        says = f"answers {answer.status_code} and no list of models"
        yield bad(name, says, "PROXY_UPSTREAM_URL=<base URL, up to and with /v1>")
        return
    if not listed:
        yield bad(name, "lists no model: nothing can be asked for", "list an offer, or another one")
        return
    yield good(name, f"lists {len(listed)} models")
    yield from _check_prices(patient, listed, base, headers)


def _check_prices(
    patient: Patient, listed: list[str], base: str, headers: dict[str, str]
) -> Iterator[Finding]:
    from serving.models.references import load_references

    settings, now_s = patient.proxy, int(patient.now())
    prices = load_references(
        settings.prices_file, upstream_age_s_max=settings.upstream_prices_age_s_max
    )
    if settings.upstream_prices:
        try:
            told = _get(f"{base}/prices", headers=headers)
            entries = told.json()["data"] if told.status_code == 200 else []
            prices.note_upstream(entries, now_s=now_s)
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            pass  # most upstreams state no prices
    missing = [model for model in listed if prices.find_terms(model, now_s=now_s) is None]
    if missing:
        names = ", ".join(missing[:MODELS_SHOWN])
        more = f" and {len(missing) - MODELS_SHOWN} more" if len(missing) > MODELS_SHOWN else ""
        says = f"no price is known of {names}{more}: requests for them are refused"
        where = settings.prices_file or "a file; PROXY_PRICES_FILE=<its path>"
        level = bad if len(missing) == len(listed) else advise
        yield level("prices", says, f"""[models."{missing[0]}"] with its prices in {where}""")
    else:
        yield good("prices", "every listed model has one")


@check("upstream.credit")
def check_credit(patient: Patient) -> Iterator[Finding]:
    """The operator's own credit at upstream pays for requests."""
    settings = patient.proxy
    base, key = settings.upstream_url.get_secret_value(), settings.upstream_key.get_secret_value()
    name = mask_url(base)
    if not key:
        return
    headers = {"Authorization": f"Bearer {key}"}
    origin = "{0.scheme}://{0.netloc}".format(urlsplit(base))
    # OpenRouter and our own servers, a market, DeepSeek.
    places = [f"{base}{path}" for path in ("/credits", "/key", "/buyer/account")]
    for url in (*places, f"{origin}/user/balance"):
        try:
            answer = _get(url, headers=headers)
            told = answer.json() if answer.status_code == 200 else None
        except (httpx.HTTPError, ValueError):
            continue
        left = None if told is None else _find_credit(told)
        if left is None:
            continue
        if left <= 0:
            yield bad(name, f"your credit there is spent ({left:.2f} US dollars)", "pay upstream")
        elif left < CREDIT_LOW_USD:
            says = f"your credit there is {left:.2f} US dollars: soon every request is refused"
            yield advise(name, says, "pay upstream")
        else:
            yield good(name, f"your credit there is {left:.2f} US dollars")
        return
    says = "says nothing of your credit there"
    yield unknown(name, says, "look at the provider's page; current_proxy_operator_credit_spent")


def _find_credit(told: Any) -> float | None:
    """Return the credit left in US dollars, None where the answer has none: OpenRouter's form, or
    a market's."""
    data = told.get("data", told) if isinstance(told, dict) else None
    if not isinstance(data, dict):
        return None
    try:
        if "total_credits" in data:
            return float(data["total_credits"]) - float(data.get("total_usage") or 0)
        if data.get("limit_remaining") is not None:
            return float(data["limit_remaining"])
        if isinstance(data.get("balance_infos"), list):
            return sum(float(one["total_balance"]) for one in data["balance_infos"])
        if "available_usdc" in data:
            return int(data["available_usdc"]) / 1_000_000
    except (TypeError, ValueError, KeyError):
        return None
    return None


@check("domain.reach")
def check_domain(patient: Patient) -> Iterator[Finding]:
    """A public domain leads here, by TLS, with a certificate that lasts."""
    domains = []
    if "proxy" in patient.settings and is_public(patient.proxy, domain=patient.proxy.domain):
        domains.append(("proxy", patient.proxy.domain, "/api/current/healthz"))
    if "market" in patient.settings and is_public(patient.market, domain=patient.market.domain):
        domains.append(("market", patient.market.domain, "/healthz"))
    for name, domain, path in domains:
        host, _, port = domain.partition(":")
        try:
            addresses = socket.getaddrinfo(host, int(port or 443), proto=socket.IPPROTO_TCP)
        except (OSError, ValueError):
            yield bad(name, f"{host} has no address", f"an A or AAAA record for {host}")
            continue
        yield from _check_certificate(patient, name, host, int(port or 443), len(addresses))
        try:
            answer = _get(f"https://{domain}{path}")
        except httpx.HTTPError as error:
            says = f"https://{domain} does not answer: {type(error).__name__}"
            yield bad(name, says, "see the balancer's log; nginx/ or caddy/ of the folder")
            continue
        if answer.status_code != 200:
            says = f"https://{domain}{path} answers {answer.status_code}, and not this server"
            yield bad(name, says, "let the balancer pass the path on to this server")


def _check_certificate(
    patient: Patient, name: str, host: str, port: int, count: int
) -> Iterator[Finding]:
    try:
        with (
            socket.create_connection((host, port), timeout=TIMEOUT_S) as raw,
            ssl.create_default_context().wrap_socket(raw, server_hostname=host) as wrapped,
        ):
            until = str((wrapped.getpeercert() or {}).get("notAfter"))
    except ssl.SSLCertVerificationError as error:
        yield bad(name, f"{host}: {error.verify_message}", f"certbot --nginx -d {host}, or Caddy")
        return
    except (OSError, ValueError) as error:
        says = f"{host}:{port} takes no TLS connection: {type(error).__name__}"
        yield bad(name, says, "start the balancer, open port 443")
        return
    left_s = ssl.cert_time_to_seconds(until) - patient.now()
    day = datetime.fromtimestamp(ssl.cert_time_to_seconds(until), UTC).date()
    if left_s < CERTIFICATE_DAYS_MIN * 86_400:
        yield bad(name, f"the certificate of {host} ends on {day}", "renew it: certbot renew")
    else:
        yield good(name, f"{host} has {count} addresses and a certificate until {day}")


@check("mail.server")
def check_mail_server(patient: Patient) -> Iterator[Finding]:
    """The mail server takes us and our password. No mail is sent."""
    url = patient.market.smtp_url.get_secret_value()
    if not url:
        return
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "smtps"
    name = mask_url(url)
    try:
        kind = smtplib.SMTP_SSL if secure else smtplib.SMTP
        with kind(host, parts.port or (465 if secure else 25), timeout=TIMEOUT_S) as server:
            server.ehlo_or_helo_if_needed()
            if not secure and server.has_extn("starttls"):
                server.starttls(context=ssl.create_default_context())
                server.ehlo()
            if parts.username is not None:
                server.login(unquote(parts.username), unquote(parts.password or ""))
    except (OSError, smtplib.SMTPException) as error:
        says = f"does not take us: {type(error).__name__}"
        yield bad(name, says, "MARKET_SMTP_URL=smtps://<user>:<password>@<host>")
        return
    yield good(name, "takes us")
    if "@localhost" in patient.market.mail_from:
        says = "mail is from no-reply@localhost, which no server accepts"
        yield bad("mail", says, "MARKET_MAIL_FROM='Current <no-reply@your.domain>'")


@check("scanner.answers")
def check_scanner(patient: Patient) -> Iterator[Finding]:
    """The virus scanner answers; without an answer no document is taken."""
    from contracts.errors import CurrentError
    from market.suppliers.virus_scanner import open_scanner

    scanner = open_scanner(patient.market.virus_scanner)
    if scanner is None:
        return
    try:
        clean = asyncio.run(scanner.is_clean(b"current doctor"))
    except (CurrentError, OSError, TimeoutError):
        yield bad("clamd", "does not answer: no document is taken", "systemctl start clamav-daemon")
        return
    if clean:
        yield good("clamd", "answers")


@check("alarms.received")
def check_alarms(patient: Patient) -> Iterator[Finding]:
    """What the processes measure is asked for, and what rings reaches somebody."""
    for name, port in _metrics_ports(patient):
        if port == 0:
            mend = f"{name.upper()}_METRICS_PORT={9464 if name == 'keeper' else 9465}"
            yield bad(name, "its metrics are off: no alarm of it can ring", mend)
    for name in ("proxy", "market"):
        settings: Any = patient.settings.get(name)
        if settings is not None and not settings.metrics_token.get_secret_value():
            yield bad(
                name,
                "its metrics are for nobody: no token is set",
                f"{name.upper()}_METRICS_TOKEN_FILE=<a file with `openssl rand -hex 32`>",
            )
    url = patient.prometheus_url
    if url is None:
        yield unknown(
            "alarms",
            "where Prometheus is is not said, so nobody is known to hear an alarm",
            "current doctor --prometheus-url http://127.0.0.1:9090",
        )
        return
    base = url.rstrip("/")
    try:
        targets = _get(f"{base}/api/v1/targets").json()["data"]["activeTargets"]
        rules = _get(f"{base}/api/v1/rules").json()["data"]["groups"]
        managers = _get(f"{base}/api/v1/alertmanagers").json()["data"]["activeAlertmanagers"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        says = f"Prometheus does not answer at {mask_url(base)}: {type(error).__name__}"
        yield bad("alarms", says, "systemctl start prometheus")
        return
    ours = [one for one in targets if str(one["labels"].get("job", "")).startswith("current")]
    for one in ours:
        if one.get("health") != "up":
            says = f"Prometheus does not reach {one['labels'].get('instance')}"
            yield bad(
                str(one["labels"]["job"]), says, f"{one.get('lastError') or 'see its targets'}"
            )
    if not ours:
        mend = "scrape_config_files: [<folder>/prometheus/scrape.yml] in prometheus.yml"
        yield bad("alarms", "Prometheus asks none of our processes", mend)
    if not any("current_" in str(group) for group in rules):
        mend = "rule_files: [<folder>/prometheus/rules.yml] in prometheus.yml"
        yield bad("alarms", "Prometheus has none of our rules", mend)
    if not managers:
        mend = "alerting: alertmanagers: … in prometheus.yml, with a receiver that wakes somebody"
        yield bad("alarms", "no Alertmanager is connected: rules ring, and nobody hears it", mend)
    if ours and managers:
        yield good("alarms", f"{len(ours)} targets, {len(managers)} Alertmanagers")


def _metrics_ports(patient: Patient) -> Iterator[tuple[str, int]]:
    if "keeper" in patient.settings:
        yield "keeper", patient.keeper.metrics_port
    if "indexer" in patient.settings:
        yield "indexer", patient.indexer.metrics_port


@check("secrets.strength")
def check_secrets(patient: Patient) -> Iterator[Finding]:
    """No secret is one that is in our own tests or documents, or used twice."""
    seen: dict[bytes, str] = {}
    secrets = []
    if "proxy" in patient.settings:
        secrets.append(("PROXY_KEY_SECRET", patient.proxy.key_secrets()[0]))
    if "market" in patient.settings:
        secrets.append(("MARKET_SECRET", patient.market.list_secrets()[0]))
    for name, secret in secrets:
        digest = keccak(secret)
        if digest in seen:
            says = f"is the same as {seen[digest]}: who learns one has both"
            yield bad(
                name, says, f"openssl rand -hex 32 > <its file>; the old one: {name}S_PREVIOUS"
            )
        seen[digest] = name
