"""What `current init` makes for the programs in front of us and beside us, run by these programs.

::

    nginx, with TLS, in front of a real proxy     slow
    ├── a stream                   arrives piece by piece, while its upstream is still silent
    ├── who asks                   is whom nginx saw, whatever X-Forwarded-For a client sends
    ├── metrics                    are not for the world
    ├── a long body                is turned away before the proxy
    └── plain HTTP                 is sent to HTTPS
    promtool                       accepts the rules; alarms ring when they should, and only then
"""

import asyncio
import re
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest
import yaml
from sqlalchemy import Engine

from ledger.database.engine import write
from scripts.folder.making import render
from scripts.stack.ports import free_port
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger, make_state, put_cursor, put_positions
from tests.support.proxy import CHAT, make_body, make_key, now_s, run_proxy, settings_for
from tests.support.waiting import LIMIT_S, until

DOMAIN: Final = "ai.example"
NGINX: Final = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
PROMTOOL: Final = shutil.which("promtool")
needs_nginx = pytest.mark.skipif(NGINX is None, reason="no nginx: install one (Debian: nginx)")
needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="no openssl: install one (Debian: openssl)"
)
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="no promtool: install one (Debian: prometheus)"
)
MAIN: Final = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{servers}
}}
"""


class Balancer:
    """nginx before a proxy, reached by TLS and by plain HTTP."""

    def __init__(self, folder: Path, proxy_port: int) -> None:
        self._folder = folder
        self.port, self.plain_port = free_port(), free_port()
        self._certificate = folder / "certificate.pem"
        key = folder / "key.pem"
        names = ["-subj", f"/CN={DOMAIN}", "-addext", f"subjectAltName=DNS:{DOMAIN}"]
        made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *names]
        made += ["-keyout", str(key), "-out", str(self._certificate)]
        subprocess.run(made, check=True, capture_output=True)
        server = {
            "name": "proxy",
            "domain": DOMAIN,
            "ports": [proxy_port],
            "body": "5m",
            "metrics": "/api/current/metrics",
        }
        text = render("nginx.conf", servers=[server])
        # Ports and certificates of the test's own; nothing else is changed.
        text = re.sub(r"^ *listen \[::\].*\n", "", text, flags=re.M)
        text = text.replace("listen 443 ssl", f"listen 127.0.0.1:{self.port} ssl")
        text = text.replace("listen 80;", f"listen 127.0.0.1:{self.plain_port};")
        text = re.sub(r"ssl_certificate \S+;", f"ssl_certificate {self._certificate};", text)
        text = re.sub(r"ssl_certificate_key \S+;", f"ssl_certificate_key {key};", text)
        self._settings = folder / "nginx.conf"
        self._settings.write_text(MAIN.format(folder=folder, servers=text))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[httpx.AsyncClient]:
        """Run it until the block ends; return a client that speaks TLS with it."""
        assert NGINX is not None
        started = [NGINX, "-e", str(self._folder / "start.log"), "-p", str(self._folder)]
        process = await asyncio.create_subprocess_exec(*started, "-c", str(self._settings))
        trusted = ssl.create_default_context(cafile=str(self._certificate))
        try:
            await until(
                lambda: process.returncode is not None or self._is_open(),
                f"nginx serves: {self._folder}",
            )
            assert process.returncode is None, "nginx refuses what `current init` makes"
            async with httpx.AsyncClient(
                base_url=f"https://127.0.0.1:{self.port}",
                headers={"host": DOMAIN},
                verify=trusted,
                timeout=LIMIT_S,
                trust_env=False,
            ) as client:
                yield client
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()

    def _is_open(self) -> bool:
        return (self._folder / "nginx.pid").exists() and bool(
            (self._folder / "nginx.pid").read_text().strip()
        )


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    with write(engine) as connection:
        put_positions(connection, make_state(now_s=now_s()))
        put_cursor(connection, now_s=now_s())
    yield engine
    engine.dispose()


@pytest.mark.slow
@needs_nginx
@needs_openssl
async def test_nginx__before_a_proxy__streams_hides_and_bounds(
    engine: Engine, tmp_path: Path
) -> None:
    sni = {"sni_hostname": DOMAIN}
    async with FakeEndpoint() as provider:
        settings = settings_for(
            provider,
            tmp_path,
            trusted_proxies="127.0.0.1",
            address_requests_per_minute_max=4,
            domain=DOMAIN,
        )
        async with run_proxy(settings, engine) as proxy:
            port = proxy.client.base_url.port
            assert port is not None
            balancer = Balancer(tmp_path, port)
            async with balancer.running() as client:

                def ask(number: int, **changes: object) -> httpx.Request:
                    return client.build_request(
                        "POST",
                        CHAT,
                        json=make_body(**changes),
                        headers={
                            "authorization": f"Bearer {make_key()}",
                            # Each claims to be somebody else.
                            "x-forwarded-for": f"203.0.113.{number}",
                        },
                        extensions=sni,
                    )

                provider.behaviour = "stream_stalls"
                answer = await client.send(ask(0, stream=True), stream=True)
                assert answer.status_code == 200
                assert "strict-transport-security" in answer.headers
                pieces = answer.aiter_bytes()
                first = await anext(pieces)
                # The upstream says nothing more until it is let: nothing was kept back.
                assert b"data: " in first and not provider.release.is_set()
                provider.release.set()
                async for _ in pieces:
                    pass
                await answer.aclose()

                provider.behaviour = "normal"
                answers = [await client.send(ask(number)) for number in range(1, 6)]
                assert answers[0].status_code == 200
                assert answers[-1].status_code == 429
                assert answers[-1].json()["error"]["code"] == "rate_limited"

                hidden = await client.get("/api/current/metrics", extensions=sni)
                assert (hidden.status_code, "current_proxy" in hidden.text) == (404, False)
                asked = provider.asked
                long = await client.post(CHAT, content=b"x" * (6 * 1024**2), extensions=sni)
                assert (long.status_code, provider.asked) == (413, asked)
                plain = await client.get(
                    f"http://127.0.0.1:{balancer.plain_port}/x?y=1", headers={"host": DOMAIN}
                )
                assert (plain.status_code, plain.headers["location"]) == (
                    301,
                    f"https://{DOMAIN}/x?y=1",
                )


RINGS: Final = {
    "rule_files": ["rules.yml"],
    "evaluation_interval": "15s",
    "tests": [
        {
            "interval": "15s",
            "input_series": [
                {"series": 'current_keeper_alarm{alarm="bad_debt"}', "values": "0x8 1x40"},
                {"series": 'current_keeper_rounds_total{outcome="done"}', "values": "0+1x48"},
                {"series": 'up{job="current-proxy",instance="a"}', "values": "1x20 0x28"},
                {"series": 'up{job="other",instance="a"}', "values": "0x48"},
                {"series": 'current_indexer_is_leader{instance="a"}', "values": "1x48"},
                {"series": 'current_indexer_is_leader{instance="b"}', "values": "0x48"},
            ],
            "alert_rule_test": [
                # It stands for two minutes before it rings.
                {"eval_time": "3m", "alertname": "CurrentKeeperAlarm", "exp_alerts": []},
                {
                    "eval_time": "6m",
                    "alertname": "CurrentKeeperAlarm",
                    "exp_alerts": [
                        {
                            "exp_labels": {"severity": "page", "alarm": "bad_debt"},
                            "exp_annotations": {
                                "summary": "keeper: bad_debt; see its row in docs/operations.md"
                            },
                        }
                    ],
                },
                {"eval_time": "10m", "alertname": "CurrentKeeperAbsent", "exp_alerts": []},
                {"eval_time": "10m", "alertname": "CurrentNoIndexerLeads", "exp_alerts": []},
                {
                    "eval_time": "10m",
                    "alertname": "CurrentProcessGone",
                    "exp_alerts": [
                        {
                            "exp_labels": {
                                "severity": "page",
                                "job": "current-proxy",
                                "instance": "a",
                            },
                            "exp_annotations": {"summary": "current-proxy at a does not answer"},
                        }
                    ],
                },
            ],
        },
        {
            # Nobody shows anything, and two lead.
            "interval": "15s",
            "input_series": [
                {"series": 'current_indexer_is_leader{instance="a"}', "values": "1x20"},
                {"series": 'current_indexer_is_leader{instance="b"}', "values": "1x20"},
            ],
            "alert_rule_test": [
                {
                    "eval_time": "4m",
                    "alertname": name,
                    "exp_alerts": [
                        {
                            "exp_labels": {"severity": "page"},
                            "exp_annotations": {"summary": summary},
                        }
                    ],
                }
                for name, summary in (
                    ("CurrentKeeperAbsent", "no keeper settles, holds or pays"),
                    (
                        "CurrentNoIndexerLeads",
                        "no indexer, or more than one, mirrors the chain",
                    ),
                )
            ],
        },
    ],
}


@needs_promtool
def test_rules__by_promtool__are_accepted_and_ring_when_they_should(tmp_path: Path) -> None:
    assert PROMTOOL is not None
    (tmp_path / "rules.yml").write_text(render("rules.yml", folder=tmp_path, market=True))
    (tmp_path / "test.yml").write_text(yaml.safe_dump(RINGS))

    for words in (["check", "rules", "rules.yml"], ["test", "rules", "test.yml"]):
        done = subprocess.run([PROMTOOL, *words], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
