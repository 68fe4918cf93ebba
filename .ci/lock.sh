#!/usr/bin/env bash
# Compile requirements.in into requirements.lock (`make lock`); needs uv, and the network.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

torch_pin='torch==2.13.0'
excluded="$(mktemp)"
trap 'rm -f "$excluded"' EXIT
echo torch > "$excluded"

uv pip compile --quiet --universal --python-version 3.10 --excludes "$excluded" --no-header --annotation-style line \
    --no-emit-index-url --no-emit-find-links requirements.in -o requirements.lock
{
    echo '# Written by `make lock` from requirements.in. Do not edit.'
    echo "$torch_pin"
    cat requirements.lock
} > "$excluded"
cp "$excluded" requirements.lock
