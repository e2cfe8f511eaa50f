"""Faults as operators meet them, one at a time: each is found, with the line that mends it.

::

    chain       heads of another chain, another chain of the same id, code that was replaced,
                a key without ether, a key without its right, one key in both roles
    ledger      of a newer version, a restore cut off, read-only, far away without TLS
    host        disk full, no room for more files, settings open to all, backups of another ledger
                or of the future, an archive that is away, open, without its index
    services    upstream is the proxy itself, the mail server refuses the password, the port is
                another program's, a domain that leads nowhere, a certificate that ends or has ended
"""

import json
import os
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import text
from websockets.sync.server import ServerConnection, serve

from ledger.database.engine import write
from ledger.database.restore_mark import mark_restoring
from scripts.doctor.all_checks import ALL_CHECKS
from scripts.doctor.examination import Level, examine
from scripts.doctor.patient import Patient
from scripts.saving.backups import Backup
from tests.support.ledgers import Databases
from tests.support.wards import Ward

Break = Callable[[Ward, pytest.MonkeyPatch], None]


class Fault(NamedTuple):
    """What is broken, the check that finds it, a part of what it says, a part of the mend."""

    break_it: Break
    check: str
    says: str
    mend: str


# ------------------------------------------------------------------------------------------- chain


def same_id_other_chain(ward: Ward, _: pytest.MonkeyPatch) -> None:
    ward.use_record(replace(ward.stage.world.deployment, block_hash="0x" + "99" * 32))


def replace_code(ward: Ward, _: pytest.MonkeyPatch) -> None:
    anvil, contracts = ward.stage.world.anvil, ward.stage.world.contracts
    anvil.request("anvil_setCode", contracts.payouts.address, "0x6001600055")


def take_ether(ward: Ward, _: pytest.MonkeyPatch) -> None:
    keeper = ward.stage.world.accounts["keeper"].address
    ward.stage.world.anvil.request("anvil_setBalance", keeper, "0x1")


def use_a_strangers_key(ward: Ward, _: pytest.MonkeyPatch) -> None:
    """Another deployment's keeper's key was copied here."""
    ward.write("settler", ward.stage.world.accounts["outsider"].key.hex())


def use_one_key_twice(ward: Ward, _: pytest.MonkeyPatch) -> None:
    ward.environment["KEEPER_PAYMENTS_PRIVATE_KEY_FILE"] = ward.environment[
        "KEEPER_PRIVATE_KEY_FILE"
    ]


# ------------------------------------------------------------------------------------------ ledger


def upgrade_elsewhere(ward: Ward, _: pytest.MonkeyPatch) -> None:
    with write(ward.stage.engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        connection.execute(text("UPDATE schema_promise SET oldest_revision = '9999'"))


def cut_a_restore_off(ward: Ward, _: pytest.MonkeyPatch) -> None:
    with write(ward.stage.engine) as connection:
        mark_restoring(connection, backup_sha256="ab" * 32, now_s=int(time.time()))


def go_far_without_tls(ward: Ward, _: pytest.MonkeyPatch) -> None:
    ward.use_ledger("postgresql+psycopg://current:secret@db.invalid/current")


# -------------------------------------------------------------------------------------------- host


def fill_disk(_: Ward, patch: pytest.MonkeyPatch) -> None:
    full = shutil.disk_usage("/")._replace(free=1024**2)
    patch.setattr("scripts.doctor.host_checks.shutil.disk_usage", lambda _: full)


def use_up_files(_: Ward, patch: pytest.MonkeyPatch) -> None:
    counted = list(os.statvfs("/"))
    counted[5:8] = [1_000_000, 3, 3]
    patch.setattr(
        "scripts.doctor.host_checks.os.statvfs", lambda _: os.statvfs_result(tuple(counted))
    )


def back_up(ward: Ward, *, position: str, age_s: int) -> None:
    ward.backups = ward.folder / "backups"
    path = ward.backups / "current-1"
    path.mkdir(parents=True)
    (path / "ledger.sqlite3").touch()
    facts = ("sqlite", "ledger.sqlite3", "00", 0, "0075", 31337, position, None, 0)
    Backup(path, int(time.time()) - age_s, *facts).save_manifest()


def back_up_another(ward: Ward, _: pytest.MonkeyPatch) -> None:
    back_up(ward, position="0x" + "ee" * 20, age_s=60)


def back_up_tomorrow(ward: Ward, _: pytest.MonkeyPatch) -> None:
    back_up(ward, position=ward.stage.world.deployment.position, age_s=-86_400)


def make_archive(ward: Ward, mode: int) -> Path:
    folder = ward.folder / "archive"
    ward.environment["PROXY_ARCHIVE_FOLDER"] = str(folder)
    folder.mkdir()
    folder.chmod(mode)
    return folder


def lose_archive(ward: Ward, _: pytest.MonkeyPatch) -> None:
    make_archive(ward, 0o700).rmdir()


def open_archive(ward: Ward, _: pytest.MonkeyPatch) -> None:
    make_archive(ward, 0o755)


def lose_index(ward: Ward, _: pytest.MonkeyPatch) -> None:
    day = make_archive(ward, 0o700) / "2026-01-01"
    day.mkdir()
    (day / "0xab.json.gz").touch()


# ---------------------------------------------------------------------------------------- services


def ask_itself(ward: Ward, _: pytest.MonkeyPatch) -> None:
    ward.environment |= {
        "PROXY_PORT": "8402",
        "PROXY_UPSTREAM_URL": "http://localhost:8402/api/current/v1",
    }


def ask_its_own_domain(ward: Ward, _: pytest.MonkeyPatch) -> None:
    ward.environment |= {
        "PROXY_DOMAIN": "ai.example",
        "PROXY_UPSTREAM_URL": "https://ai.example/api/current/v1",
    }


def take_the_port(ward: Ward, _: pytest.MonkeyPatch) -> None:
    ward.upstream.answers["/api/current/readyz"] = (200, {"hello": "world"})
    ward.environment["PROXY_PORT"] = ward.upstream.url.rpartition(":")[2]


def lead_nowhere(ward: Ward, patch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise socket.gaierror("no such host")

    patch.setattr("scripts.doctor.service_checks.socket.getaddrinfo", refuse)
    ward.environment["MARKET_PUBLIC_URL"] = "https://market.example"


FAULTS: dict[str, Fault] = {
    "another chain of the same id": Fault(
        same_id_other_chain, "rpc.archive", "another chain with the same id", "_DEPLOYMENT_FILE"
    ),
    "code replaced": Fault(
        replace_code, "contracts.code", "is not this version's Payouts", "run the version"
    ),
    "no ether": Fault(take_ether, "keys.balance", "soon nothing will be sent", "send ether to 0x"),
    "another keeper's key": Fault(
        use_a_strangers_key, "keys.rights", "is no settler", "setSettler(address,bool)"
    ),
    "one key in both roles": Fault(
        use_one_key_twice, "keys.rights", "may also settle, which the payments' key", "false"
    ),
    "newer schema": Fault(
        upgrade_elsewhere,
        "ledger.schema",
        "is 9999, newer than this version's",
        "install the newer",
    ),
    "restore cut off": Fault(
        cut_a_restore_off, "ledger.writable", "restore", "current restore <the same backup>"
    ),
    "far away without TLS": Fault(
        go_far_without_tls, "ledger.tls", "is at db.invalid and may be asked", "sslmode=verify-full"
    ),
    "disk full": Fault(fill_disk, "host.disk", "a full disk stops every charge", "make room: du"),
    "no more files": Fault(use_up_files, "host.disk", "3 more files fit", "du --inodes"),
    "another ledger's backups": Fault(
        back_up_another, "host.backups", "not of this ledger", "current backup"
    ),
    "backups of tomorrow": Fault(
        back_up_tomorrow, "host.backups", "24 hours ahead of this host's clock", "set the clock"
    ),
    "archive away": Fault(lose_archive, "host.archive", "is not there", "bring it back"),
    "archive open": Fault(open_archive, "host.archive", "open to other users", "chmod 700 "),
    "archive without index": Fault(
        lose_index, "host.archive", "has no index", "current ledger check-archive "
    ),
    "upstream is itself": Fault(
        ask_itself, "settings.upstream", "itself (localhost:8402)", "PROXY_UPSTREAM_URL="
    ),
    "upstream is its own domain": Fault(
        ask_its_own_domain, "settings.upstream", "itself (ai.example:443)", "PROXY_UPSTREAM_URL="
    ),
    "port taken": Fault(
        take_the_port, "servers.ready", "another program answers", "PROXY_PORT=<free port>"
    ),
    "domain leads nowhere": Fault(
        lead_nowhere, "domain.reach", "market.example has no address", "an A or AAAA record"
    ),
}


def find(ward: Ward, check: str, *, folder: Path | None = None) -> list[tuple[str, str]]:
    """Return what a check says of what is not good, and the lines that mend it."""
    checks = [one for one in ALL_CHECKS if one.name == check]
    assert len(checks) == 1
    with Patient(ward.environment, folder=folder, backups=ward.backups) as patient:
        return [
            (one.finding.says, one.finding.mend)
            for one in examine(patient, checks)
            if one.finding.level in (Level.BAD, Level.ADVICE)
        ]


@pytest.mark.parametrize("name", FAULTS)
def test_fault__is_found_with_the_line_that_mends_it(
    ward: Ward, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    fault = FAULTS[name]
    before = find(ward, fault.check)
    fault.break_it(ward, monkeypatch)

    found = [one for one in find(ward, fault.check) if one not in before]

    assert [(fault.says in says, fault.mend in mend) for says, mend in found[:1]] == [
        (True, True)
    ], found


def test_settings_file__open_to_others__told(ward: Ward) -> None:
    folder = ward.folder / "etc"
    (folder / "env").mkdir(parents=True)
    (folder / "env" / "keeper.env").write_text("KEEPER_TIP_WEI=1\n")
    (folder / "env" / "keeper.env").chmod(0o644)

    assert find(ward, "host.modes", folder=folder) == [
        (
            "has mode 0644: other users of this host may read it",
            f"chmod 600 {folder / 'env' / 'keeper.env'}",
        )
    ]


def test_ledger__database_is_read_only__told(ward: Ward, postgres: Databases) -> None:
    engine = postgres.open_ledger()
    name = engine.url.database
    with write(engine) as connection:
        connection.execute(text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'))
    ward.use_ledger(engine.url.render_as_string(hide_password=False))

    ((says, mend),) = find(ward, "ledger.writable")

    assert "is read-only" in says
    assert "RESET default_transaction_read_only" in mend


def test_heads__of_another_chain__told(ward: Ward) -> None:
    def answer(connection: ServerConnection) -> None:
        results = {"eth_subscribe": "0xab", "eth_chainId": "0x1"}
        for said in connection:
            asked = json.loads(said)
            if asked["method"] == "eth_chainId":  # a block comes in between
                connection.send('{"jsonrpc":"2.0","method":"eth_subscription","params":{}}')
            connection.send(json.dumps({"id": asked["id"], "result": results[asked["method"]]}))

    with serve(answer, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.socket.getsockname()[1]
        ward.environment["INDEXER_HEADS_URL"] = f"ws://127.0.0.1:{port}"
        found = find(ward, "rpc.heads")
        server.shutdown()

    assert found == [
        (
            "tells of new blocks of chain 1, the deployment is on 31337",
            "INDEXER_HEADS_URL=<an endpoint of chain 31337>",
        )
    ]


@contextmanager
def refusing_mail_server() -> Iterator[int]:
    """Serve one connection as a mail server that knows no password; yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def talk() -> None:
            connection, _ = listening.accept()
            with connection, connection.makefile("rwb") as stream:
                stream.write(b"220 mail.test\r\n")
                stream.flush()
                for line in stream:
                    word = line.split()[0].upper()
                    answers = {
                        b"EHLO": b"250-mail.test\r\n250 AUTH PLAIN\r\n",
                        b"QUIT": b"221 bye\r\n",
                    }
                    stream.write(answers.get(word, b"535 5.7.8 no such password\r\n"))
                    stream.flush()

        thread = threading.Thread(target=talk, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        thread.join()


def test_mail__password_is_refused__told_without_it(ward: Ward) -> None:
    with refusing_mail_server() as port:
        ward.environment["MARKET_SMTP_URL"] = f"smtp://current:hunter2@127.0.0.1:{port}"
        found = find(ward, "mail.server")

    assert found == [
        (
            "does not take us: SMTPAuthenticationError",
            "MARKET_SMTP_URL=smtps://<user>:<password>@<host>",
        )
    ]


@contextmanager
def serving_tls(folder: Path, *, ends: timedelta) -> Iterator[int]:
    """Serve TLS with a certificate for market.example that ends then; yield the port."""
    key, name = ec.generate_private_key(ec.SECP256R1()), "market.example"
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=90))
        .not_valid_after(now + ends)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "certificate.pem"
    encoded = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    pem.write_bytes(encoded + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                    with context.wrap_socket(connection, server_side=True) as wrapped:
                        wrapped.recv(4_096)
                        wrapped.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                except ssl.SSLError:
                    continue
                except OSError:
                    return

        threading.Thread(target=answer, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("ends", "says"),
    [(timedelta(days=-1), "certificate has expired"), (timedelta(days=3), "the certificate of")],
)
def test_domain__certificate_ends_or_has_ended__told(
    ward: Ward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: timedelta, says: str
) -> None:
    real = socket.getaddrinfo

    def resolve(host: Any, *arguments: Any, **options: Any) -> Any:
        return real("127.0.0.1" if host == "market.example" else host, *arguments, **options)

    with serving_tls(tmp_path, ends=ends) as port:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        ward.environment["MARKET_PUBLIC_URL"] = f"https://market.example:{port}"
        found = find(ward, "domain.reach")

    assert says in found[0][0]
    assert "certbot" in found[0][1]
