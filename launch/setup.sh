# Sourced by the other scripts: makes .venv in the checkout as far as it is missing. Not meant to be run by itself.
#   setup_venv EXTRAS   e.g. setup_venv demo, or setup_venv demo,dev
# PYTHON names the interpreter (default: the first of python3.12, python3.11, python3 that is 3.11 or newer).

set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

setup_venv() {
    local extras=$1 python="" candidate
    if [ ! -x "$ROOT/.venv/bin/python" ]; then
        for candidate in ${PYTHON:-python3.12 python3.11 python3}; do
            if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
                python=$candidate
                break
            fi
        done
        if [ -z "$python" ]; then
            echo "error: no Python 3.11 or newer was found; install one, or set PYTHON=/path/to/python" >&2
            exit 2
        fi
        echo "+ $python -m venv $ROOT/.venv" >&2
        "$python" -m venv "$ROOT/.venv"
    fi
    # Installed for this pyproject.toml and these extras already? Then nothing needs the network.
    local wanted stamp="$ROOT/.venv/installed-for-$extras"
    wanted="$(cksum <"$ROOT/pyproject.toml")"
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
        echo "+ pip install -e .[$extras]   (torch with CUDA libraries is about 5 GB: some minutes)" >&2
        "$ROOT/.venv/bin/python" -m pip install --quiet --disable-pip-version-check -e "$ROOT[$extras]"
        echo "$wanted" >"$stamp"
    fi
    export PATH="$ROOT/.venv/bin:$PATH"
}
