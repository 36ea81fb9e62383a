#!/usr/bin/env bash
# Train on the GPUs of one machine: eight, or NUM_GPUS of them.
#   bash launch/train_8gpu.sh RECIPE.yaml [section.field=value …] --out RUN
# With --dry-run it prints the command, then checks recipe, manifests and plan for that many ranks; no GPU is needed.
# After SIGTERM, SIGINT or SIGUSR1 ranks save, however long that takes, and it leaves with 75; the same command goes on.
# ZeRO stage: train.deepspeed=zero1|zero2|zero3.
source "$(dirname "${BASH_SOURCE[0]}")/ranks.sh"
manual_unless $# -ge 1
num_gpus="${NUM_GPUS:-8}"
command=(whisper-aut train "$@" --ranks "$num_gpus")
find_whisper_aut
leave_if_dry "$num_gpus" "${command[@]}"
echo "+ ${command[*]}" >&2
exec "${command[@]}"
