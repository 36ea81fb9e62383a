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
# A file at a time, so that what a module shares is made once, in the order of tests/conftest.py.
pytest=(python -m pytest -n "$processes" --dist loadfile --no-loadscope-reorder --durations=40 "$@")
echo "+ ruff check . && ruff format --check . && mypy & ${pytest[*]}" >&2
ruff check .
ruff format --check .
types=$(mktemp)
mypy >"$types" 2>&1 &
mypy=$!
free_mb() { df -Pm "${TMPDIR:-/tmp}" | awk 'NR == 2 { print $4 }'; }
NEEDED_MB=6000 # whole runs with real weights; what a passed test wrote goes at once (pyproject.toml)
before=$(free_mb)
if [ "$before" -lt "$NEEDED_MB" ]; then
    echo "warning: $before MB are free in ${TMPDIR:-/tmp}, all tests together want $NEEDED_MB: make room, or set TMPDIR" >&2
fi
status=0
"${pytest[@]}" || status=$?
# A disk that others filled meanwhile looks like many failing tests.
if [ "$status" -ne 0 ]; then echo "free in ${TMPDIR:-/tmp}: $before MB before the tests, $(free_mb) MB after" >&2; fi
wait "$mypy" || status=1
cat "$types" && rm "$types"
exit "$status"
