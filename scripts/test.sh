#!/usr/bin/env bash
# Sets the environment up and runs the tests; arguments go to pytest (-n 0: in one process).
set -euo pipefail
source "$(dirname "$0")/environment.sh"

ruff check .
ruff format --check .
# A process per core, up to four, each with whole files: their fixtures are dear.
exec python -m pytest -n auto --maxprocesses 4 --dist loadfile "$@"
