#!/usr/bin/env bash
# Sets the environment up and runs the tests; arguments go to pytest.
set -euo pipefail
source "$(dirname "$0")/environment.sh"

ruff check .
ruff format --check .
exec python -m pytest "$@"
