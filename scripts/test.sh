#!/usr/bin/env bash
# Sets up the environment and runs all checks and tests. Arguments go to pytest (-n 0: one process).
set -euo pipefail
source "$(dirname "$0")/environment.sh"

ruff check .
ruff format --check .
mypy
# One process per core, up to four. Each gets whole files, whose fixtures are expensive.
exec python -m pytest -n auto --maxprocesses 4 --dist loadfile "$@"
