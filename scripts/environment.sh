# Sourced by demo.sh and test.sh: goes to the project's root and installs the project into .venv.
# PYTHON chooses the interpreter (3.11 or later), VENV the folder of the environment.
if [ -z "${BASH_VERSION:-}" ]; then # other shells do not say where this file is
    echo 'scripts/environment.sh needs bash: start bash, then source it again.' >&2
    return 1
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.." || return 1
venv="${VENV:-.venv}"
[ "${venv#/}" != "$venv" ] || venv="$PWD/$venv"
python="${PYTHON:-python3}"

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "Python 3.11 or later is needed; $python is $("$python" --version 2>&1)." >&2
    echo "Set PYTHON=/path/to/python3.11 to use another one." >&2
    return 1
fi
if [ -n "${PYTHON:-}" ] && [ -e "$venv/bin/python" ] &&
    [ "$("$python" --version)" != "$("$venv/bin/python" --version)" ]; then
    echo "$venv holds $("$venv/bin/python" --version). Delete it, or set VENV to another folder." >&2
    return 1
fi
# Installed already, from the same requirements?
wanted="$PWD $(cat pyproject.toml requirements.txt requirements-dev.txt)"
if [ "$wanted" != "$(cat "$venv/requirements.installed" 2>/dev/null)" ]; then
    echo "Installing the project and its requirements into $venv"
    # An environment that works keeps its Python.
    { { "$venv/bin/python" -m pip --version > /dev/null 2>&1 || "$python" -m venv "$venv"; } &&
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e '.[dev]' &&
        echo "$wanted" > "$venv/requirements.installed"; } || return 1
fi
export PATH="$venv/bin:$PATH"
