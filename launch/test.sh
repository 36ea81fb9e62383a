#!/usr/bin/env bash
# Everything that must be green: lint, types, tests. The same here and in continuous integration.
#   bash launch/test.sh [pytest arguments]    e.g. -m "not integration", tests/data
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup_venv demo,dev,parity
# Unit tests are many small tensors: a second thread costs them more than it gives.
cd "$ROOT"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
# Two processes: more gain little, since whole training runs are the longest thread. 0 is this process alone (--pdb).
processes="${WHISPER_AUT_TEST_PROCESSES:-2}"
echo "+ ruff check . && ruff format --check . && mypy && pytest -n $processes $*" >&2
ruff check .
ruff format --check .
mypy
exec python -m pytest -n "$processes" "$@"
