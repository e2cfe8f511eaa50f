"""The gateways that the proxy is measured beside, each in a process of its own.

LiteLLM's proxy is installed from ``litellm.lock`` into an environment of its own (``make lock``
writes it), Portkey's gateway from ``package-lock.json``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.install import VENVS, npm_stage, prepare, venv_stage
from bench.proxy.servers import Server, serve
from bench.proxy.upstream import MODEL, STREAM_PATH
from scripts.stack.ports import free_port

HERE: Final = Path(__file__).parent
PORTKEY: Final = HERE / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
PORTKEY_PRELOAD: Final = HERE / "mutable-headers.cjs"
LITELLM: Final = VENVS / "litellm"
LITELLM_LOCK: Final = HERE / "litellm.lock"
PEER_KEY: Final = "sk-bench-0123456789"


@contextmanager
def serve_litellm(upstream: Server, folder: Path) -> Iterator[Server]:
    """Run LiteLLM's proxy: one worker, a master key, no database."""
    install_litellm()
    port = free_port()
    streams = f"{upstream.url}{STREAM_PATH}"
    settings = {
        "model_list": [
            {
                "model_name": name,
                "litellm_params": {"model": f"openai/{MODEL}", "api_base": base, "api_key": "none"},
            }
            for name, base in ((MODEL, f"{upstream.url}/v1"), (f"{MODEL}-stream", streams))
        ],
        "general_settings": {"master_key": PEER_KEY},
    }
    path = folder / "litellm.yaml"
    path.write_text(json.dumps(settings))  # JSON is YAML
    command = [str(LITELLM / "bin" / "litellm"), "--config", str(path), "--port", str(port)]
    command += ["--host", "127.0.0.1", "--num_workers", "1"]
    environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}
    with serve(
        "LiteLLM",
        command,
        port=port,
        ready="/health/liveliness",
        folder=folder,
        environment=environment,
    ) as server:
        yield server


def install_litellm() -> None:
    """Install LiteLLM's proxy. Raises ``BenchError`` where it cannot be had."""
    prepare([venv_stage(LITELLM, LITELLM_LOCK)])


@contextmanager
def serve_portkey(folder: Path) -> Iterator[Server]:
    """Run Portkey's gateway; requests say which upstream they want."""
    prepare([npm_stage(HERE)])
    port = free_port()
    command = [
        "node",
        "--require",
        str(PORTKEY_PRELOAD),
        str(PORTKEY),
        f"--port={port}",
        "--headless",
    ]
    with serve("Portkey", command, port=port, ready="/", folder=folder) as server:
        yield server
