#!/usr/bin/env bash
# Train on one GPU of this machine (CUDA_VISIBLE_DEVICES chooses which).
#   bash launch/train_1gpu.sh RECIPE.yaml [section.field=value …] --out RUN
# With --dry-run it prints the command, then checks recipe, manifests and plan; no GPU is needed.
# Interrupted, the same command goes on. DeepSpeed's launcher gives ranks 30 s to save after SIGTERM and leaves with 1.
source "$(dirname "${BASH_SOURCE[0]}")/ranks.sh"
manual_unless $# -ge 1
command=(deepspeed --num_gpus 1 --module whisper_aut train "$@")
find_whisper_aut
leave_if_dry 1 "${command[@]}"
echo "+ ${command[*]}" >&2
exec "${command[@]}"
