#!/usr/bin/env bash
# Train on the GPUs of one machine: eight, or NUM_GPUS of them.
#   bash launch/train_8gpu.sh RECIPE.yaml [section.field=value …] --out RUN
# With --dry-run it prints the command, then checks recipe, manifests and plan for that many ranks; no GPU is needed.
# Interrupted, the same command goes on. DeepSpeed's launcher gives ranks 30 s to save after SIGTERM and leaves with 1.
# ZeRO stage: train.deepspeed=zero1|zero2|zero3.
source "$(dirname "${BASH_SOURCE[0]}")/ranks.sh"
manual_unless $# -ge 1
num_gpus="${NUM_GPUS:-8}"
command=(deepspeed --num_gpus "$num_gpus" --module whisper_aut train "$@")
find_whisper_aut
leave_if_dry "$num_gpus" "${command[@]}"
echo "+ ${command[*]}" >&2
exec "${command[@]}"
