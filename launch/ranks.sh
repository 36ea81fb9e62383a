# Sourced by the scripts that train on GPUs; not meant to be run by itself. Sourcing it installs nothing.
#   manual_unless CONDITION…            shows the comment block of the script and leaves with 2 unless the test holds
#   leave_if_dry NUM_RANKS COMMAND…     with --dry-run among the words of a command "… train RECIPE …": prints it, lets
#                                       whisper-aut check the run for that many ranks, and leaves; else nothing
#   find_whisper_aut                    the environment's own, or the checkout's, made as far as it is missing

set -euo pipefail
LAUNCH="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

manual_unless() {
    if ! test "$@"; then
        awk 'NR > 1 && !/^# / { exit } NR > 1 { print substr($0, 3) }' "$0" >&2
        exit 2
    fi
}

find_whisper_aut() {
    # An environment that has whisper-aut is used as it is: on a cluster it was made by its owner.
    if ! command -v whisper-aut >/dev/null; then
        source "$LAUNCH/setup.sh"
        setup_venv demo
    fi
}

leave_if_dry() {
    local num_ranks=$1 word dry="" words=""
    shift
    for word in "$@"; do
        if [ "$word" = --dry-run ]; then dry=yes; else words+=" $(printf '%q' "$word")"; fi
    done
    if [ -z "$dry" ]; then return; fi
    echo "+$words"
    # What follows the word "train" belongs to whisper-aut; before it stand the launcher's own words.
    while [ "$1" != train ]; do shift; done
    WORLD_SIZE=$num_ranks exec whisper-aut "$@"
}
