#!/usr/bin/env bash
# Times training on a GPU beside PyTorch, see accelerator.py, to which all arguments go. Installs the
# project, JAX for CUDA and PyTorch from wheels first.
set -euo pipefail
source "$(dirname "$0")/../environment.sh"

if [[ " $* " != *" --platform cpu "* ]] && ! python -c 'import jax_plugins.xla_cuda13' 2> /dev/null; then
    python -m pip install --quiet --disable-pip-version-check \
        "jax[cuda13]==$(python -c 'import jax; print(jax.__version__)')"
fi
exec python scripts/benchmarks/accelerator.py "$@"
