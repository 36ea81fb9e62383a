# Sourced by the scripts that train on GPUs; not meant to be run by itself.
#   run_or_check NUM_RANKS COMMAND… train RECIPE …   runs the command; with --dry-run among its words it prints it and
#                                                    lets whisper-aut check the run for that many ranks instead

set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# An environment that has whisper-aut is used as it is: on a cluster it was made by its owner. Else the checkout's own.
if ! command -v whisper-aut >/dev/null; then
    source "$ROOT/launch/setup.sh"
    setup_venv demo
fi

run_or_check() {
    local num_ranks=$1 word
    shift
    for word in "$@"; do
        if [ "$word" = --dry-run ]; then
            echo "+ $(without_dry_run "$@")"
            # What follows the word "train" belongs to whisper-aut; before it stand the launcher's own words.
            while [ "$1" != train ]; do shift; done
            WORLD_SIZE=$num_ranks exec whisper-aut "$@"
        fi
    done
    echo "+ $*" >&2
    exec "$@"
}

without_dry_run() {
    local word words=()
    for word in "$@"; do
        if [ "$word" != --dry-run ]; then words+=("$(printf '%q' "$word")"); fi
    done
    echo "${words[*]}"
}
