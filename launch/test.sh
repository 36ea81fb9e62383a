#!/usr/bin/env bash
# Everything that must be green: lint, types, tests. The same here and in continuous integration.
#   bash launch/test.sh [pytest arguments]    e.g. -m "not integration", tests/data
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup_venv demo,dev
# Unit tests are many small tensors: a second thread costs them more than it gives.
cd "$ROOT"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
echo "+ ruff check . && ruff format --check . && mypy && pytest $*" >&2
ruff check .
ruff format --check .
mypy
exec python -m pytest "$@"
