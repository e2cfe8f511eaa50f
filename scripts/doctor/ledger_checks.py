"""The ledger: whether it can be reached, what it is bound to, and what waits in it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, func, make_url, select, text
from sqlalchemy.exc import ArgumentError

from contracts.errors import CurrentError
from contracts.units import format_usdc
from ledger.chain.mirror import load_mirror
from ledger.database.clock import FAR_OFF_S, LedgerClock
from ledger.database.engine import PostgresLimits, is_postgres, read
from ledger.database.pooling import check_sessions
from ledger.database.restore_mark import check_not_restoring
from ledger.database.schema import get_head, is_promised, load_revision
from ledger.errors import RestoreUnfinished, SessionsShared
from ledger.intents.queries import load_open_intents
from ledger.intents.rests import WHOLE_KIND, load_rests
from ledger.spending.debts import load_debts, load_posted
from ledger.tables import Deployment, OutboxMail, Supplier, table_of
from scripts.doctor.examination import Finding, advise, bad, check, good
from scripts.doctor.patient import Absent, Patient
from serving.http.limits import is_loopback

WAL_BYTES_MAX: Final = 1024**3
MAIL_AGE_S_MAX: Final = 1_800
NOT_DURABLE: Final = "ALTER SYSTEM SET {} = 'on'; SELECT pg_reload_conf();"
CLOCK: Final = "set the clock: timedatectl set-ntp true, or install chrony"

_deployment = table_of(Deployment)
_mail = table_of(OutboxMail)
_supplier = table_of(Supplier)


@check("ledger.reach")
def check_reach(patient: Patient) -> Iterator[Finding]:
    """The ledger is there and answers."""
    if not patient.settings:
        return
    try:
        refusal = patient.ledger_refusal
    except Absent:
        mend = "current ledger upgrade --ledger-url <the processes' …_LEDGER_URL>"
        yield bad("ledger", "there is no file at its URL yet", mend)
        return
    except CurrentError as error:
        refusal = str(error)
    if refusal is None:
        yield good("ledger", f"answers ({patient.engine.dialect.name})")
    else:
        yield bad("ledger", refusal, "start the database, or mend …_LEDGER_URL")


@check("ledger.writable")
def check_writable(patient: Patient) -> Iterator[Finding]:
    """The ledger takes writes: no standby, no restore half done, no file of another user."""
    mend = "name the primary in …_LEDGER_URL, or promote this server: pg_ctl promote"
    with read(patient.engine) as connection:
        if is_postgres(patient.engine):
            if connection.scalar(text("SELECT pg_is_in_recovery()")):
                yield bad("ledger", "is a standby: it takes no charge", mend)
                return
            if connection.scalar(text("SHOW default_transaction_read_only")) == "on":
                says = "is read-only (default_transaction_read_only): it takes no charge"
                mend = "ALTER DATABASE … RESET default_transaction_read_only"
                yield bad("ledger", says, mend)
                return
        try:
            check_not_restoring(connection)
        except RestoreUnfinished as error:
            yield bad(
                "ledger", str(error), "current restore <the same backup> goes on where it was"
            )
            return
    path = patient.sqlite_path
    if path is not None and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        says = f"this user may not write {path} and its folder"
        yield bad("ledger", says, f"chown -R <the units' user> {path.parent}")
    else:
        yield good("ledger", "takes writes")


@check("ledger.tls")
def check_tls(patient: Patient) -> Iterator[Finding]:
    """Charges and the password go to a database on another machine by TLS."""
    for text_url in patient.ledger_urls:
        try:
            url = make_url(text_url)
        except ArgumentError:
            continue  # the check of the ledger itself says so
        host = str(url.query.get("host") or url.host or "")
        is_here = host in ("", "localhost") or host.startswith("/") or is_loopback(host)
        if url.get_backend_name() != "postgresql" or is_here:
            continue
        if url.query.get("sslmode") not in ("require", "verify-ca", "verify-full"):
            says = f"is at {host} and may be asked without TLS: the password is in the clear"
            yield advise("ledger", says, "…_LEDGER_URL=…?sslmode=verify-full")


@check("ledger.schema")
def check_schema(patient: Patient) -> Iterator[Finding]:
    """The schema is this version's."""
    with read(patient.engine) as connection:
        revision, head = load_revision(connection), get_head()
        if revision == head:
            yield good("schema", f"is {head}")
        elif revision is None:
            yield bad("schema", "the database is empty", "current ledger upgrade --ledger-url …")
        elif is_promised(connection, revision):
            says = f"is {revision} of a newer version, which works with this one's {head}"
            yield advise("schema", says, "upgrade this host too")
        elif revision > head:
            says = f"is {revision}, newer than this version's {head}"
            yield bad("schema", says, "install the newer version on this host")
        else:
            yield advise(
                "schema",
                f"is {revision}, this version's is {head}: the next process that starts upgrades",
                "current backup, then current ledger upgrade --ledger-url …",
            )


@check("ledger.deployment")
def check_bound(patient: Patient) -> Iterator[Finding]:
    """The ledger belongs to the deployment of the record."""
    with read(patient.engine) as connection:
        _require_schema(connection)
        row = connection.execute(select(_deployment)).mappings().one_or_none()
    if row is None:
        mend = "start a process: the first one binds the ledger to the record"
        yield advise("deployment", "the ledger belongs to no deployment yet", mend)
        return
    record = patient.deployment
    names = ("chain_id", "position", "adapter", "payouts", "block_number", "block_hash")
    differing = [name for name in names if row[name] != getattr(record, name)]
    if differing:
        yield bad(
            "deployment",
            f"the ledger belongs to another deployment: {', '.join(differing)} differ",
            "…_DEPLOYMENT_FILE=<the record that this ledger was made with>, or a new ledger",
        )
    else:
        yield good("deployment", f"the ledger belongs to {record.position}")


@check("ledger.pooler")
def check_pooler(patient: Patient) -> Iterator[Finding]:
    """PostgreSQL's sessions are this process's own: no pooler hands them to others."""
    if not is_postgres(patient.engine):
        return
    try:
        check_sessions(patient.engine)
    except SessionsShared as error:
        yield bad("pooler", str(error), "pool_mode = session (pgbouncer), or the server's own port")
    else:
        yield good("pooler", "sessions are not shared")


@check("ledger.durability")
def check_durability(patient: Patient) -> Iterator[Finding]:
    """What the ledger has answered for survives a power cut."""
    if not is_postgres(patient.engine):
        return
    with read(patient.engine) as connection:
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            if connection.scalar(text(f"SHOW {name}")) == "off":
                yield bad(
                    name,
                    f"{name} is off: a power cut loses charges that were answered for",
                    NOT_DURABLE.format(name),
                )


@check("ledger.connections")
def check_connections(patient: Patient) -> Iterator[Finding]:
    """PostgreSQL takes as many connections as all processes open."""
    if not is_postgres(patient.engine):
        return
    each = PostgresLimits().connections_max + 1
    needed = each * len(patient.settings)
    with read(patient.engine) as connection:
        told = int(connection.scalar(text("SHOW max_connections")) or 0)
        kept = int(connection.scalar(text("SHOW superuser_reserved_connections")) or 0)
    if told - kept < needed:
        says = f"max_connections is {told}, and the processes known here open up to {needed}"
        mend = f"ALTER SYSTEM SET max_connections = {2 * needed + kept}; then restart the server"
        yield bad("connections", says, mend)
    else:
        yield good("connections", f"{told} are taken, {needed} are opened by the processes here")


@check("ledger.log")
def check_wal(patient: Patient) -> Iterator[Finding]:
    """SQLite's write-ahead log is taken over into the file."""
    path = patient.sqlite_path
    wal = None if path is None else Path(f"{path}-wal")
    if wal is not None and wal.is_file() and wal.stat().st_size > WAL_BYTES_MAX:
        yield bad(
            "wal",
            f"{wal} has {wal.stat().st_size / 1024**3:.1f} GiB: a reader keeps it from being"
            " taken over",
            f"end what reads the ledger for hours, then: sqlite3 {path} 'PRAGMA wal_checkpoint'",
        )


@check("ledger.clock")
def check_clock(patient: Patient) -> Iterator[Finding]:
    """This host's clock is the database's; on SQLite, the indexer's."""
    clock = LedgerClock(patient.engine, host_clock=patient.now)
    if is_postgres(patient.engine):
        clock.measure()
        ahead_s = clock.ahead_s
    else:
        with read(patient.engine) as connection:
            _require_schema(connection)
            mirror = load_mirror(connection)
        # A mirror that was seen in the future: this clock is behind the one that stamped it.
        ahead_s = 0 if mirror is None else min(0, int(patient.now()) - mirror.observed_at_s)
    if abs(ahead_s) > FAR_OFF_S:
        way = "ahead of" if ahead_s > 0 else "behind"
        yield bad("clock", f"this host's is {abs(ahead_s)} s {way} the ledger's", CLOCK)
    else:
        yield good("clock", "is the ledger's")


@check("ledger.mirror")
def check_mirror(patient: Patient) -> Iterator[Finding]:
    """The chain is mirrored up to its head, and the mirror is of this chain."""
    with read(patient.engine) as connection:
        _require_schema(connection)
        mirror = load_mirror(connection)
    mend = "systemctl status current-indexer: is it running, does its endpoint answer?"
    if mirror is None:
        yield bad("mirror", "nothing is mirrored: no request is let through", mend)
        return
    limit_s = patient.proxy.max_staleness_s if "proxy" in patient.settings else 60
    age_s = mirror.age_s(now_s=int(patient.now()))
    if age_s > limit_s:
        says = f"was at the head {age_s} s ago, at most {limit_s} s are allowed: all is refused"
        yield bad("mirror", says, mend)
    else:
        yield good("mirror", f"is at block {mirror.block_number}, {age_s} s old")
    header = patient.readers[patient.good_url].fetch_header(mirror.block_number)
    if header is not None and header.block_hash != mirror.block_hash and age_s > limit_s:
        says = f"its block {mirror.block_number} is not the chain's"
        yield bad("mirror", says, "start the indexer; if it refuses: current indexer rebuild")


@check("ledger.late")
def check_late(patient: Patient) -> Iterator[Finding]:
    """Nothing waits for longer than it should: transactions, usage, kinds that rest, debts."""
    keeper, now_s = patient.keeper, int(patient.now())
    with read(patient.engine) as connection:
        _require_schema(connection)
        intents = load_open_intents(connection)
        posted, rests = load_posted(connection), load_rests(connection)
        debts = load_debts(connection, now_s=now_s)
    sent = [one for one in intents if one.state == "sent"]
    stuck = [one for one in sent if now_s - one.updated_at_s > 5 * keeper.replace_after_s]
    if stuck:
        says = f"{len(stuck)} transactions are in no block for {now_s - stuck[0].updated_at_s} s"
        yield bad("intents", says, "see `waiting` and `intent_stuck` in the keeper's log")
    oldest_s = min((one.since_s for one in posted.values()), default=now_s)
    if now_s - oldest_s > keeper.settle_alarm_age_s:
        total = format_usdc(sum(one.amount_usdc for one in posted.values()))
        says = f"{total} USDC of usage wait for a settlement, the oldest for {now_s - oldest_s} s"
        yield bad("usage", says, "current keeper once --dry-run says why")
    for (kind, subject), rest in rests.items():
        if subject == WHOLE_KIND and rest.until_s > now_s:
            says = f"{kind} rests after {rest.failures} failures, for {rest.until_s - now_s} s"
            yield bad(kind, says, "see `breaker_tripped` in the log; then: current keeper retry")
    for debt in debts:
        says = f"{format_usdc(debt.debt_usdc)} USDC of usage that no credit pays"
        mend = f"current keeper write-off --token-id {debt.token_id}"
        yield bad(f"position {debt.token_id}", says, mend)
    if not (stuck or debts):
        yield good("keeper", f"{len(intents)} transactions under way, none late")


@check("ledger.mail")
def check_waiting_mail(patient: Patient) -> Iterator[Finding]:
    """Mail goes out, where there are suppliers to write to."""
    settings, now_s = patient.market, int(patient.now())
    with read(patient.engine) as connection:
        _require_schema(connection)
        suppliers = connection.scalar(select(func.count()).select_from(_supplier)) or 0
        waiting = _mail.c.state == "waiting"
        oldest_s = connection.scalar(select(func.min(_mail.c.created_at_s)).where(waiting))
    if suppliers and not settings.smtp_url.get_secret_value():
        says = f"{suppliers} suppliers have accounts, and there is no server to send mail by"
        yield bad("mail", says, "MARKET_SMTP_URL=smtps://<user>:<password>@<host>")
    elif oldest_s is not None and now_s - oldest_s > MAIL_AGE_S_MAX:
        says = f"the oldest mail waits for {now_s - oldest_s} s"
        yield bad("mail", says, "see `mail_not_sent` in the market's log")


def _require_schema(connection: Connection) -> None:
    """Raise ``Absent`` where the tables are not this version's: another check tells of it."""
    revision = load_revision(connection)
    if revision is None or revision < get_head():
        raise Absent("schema")
