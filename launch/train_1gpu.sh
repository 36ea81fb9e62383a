#!/usr/bin/env bash
# Train on one GPU of this machine (CUDA_VISIBLE_DEVICES chooses which).
#   bash launch/train_1gpu.sh RECIPE.yaml [section.field=value …] --out RUN
# With --dry-run it prints the command, then checks recipe, manifests and plan; no GPU is needed.
# After SIGTERM, SIGINT or SIGUSR1 it saves and leaves with 75; the same command goes on.
source "$(dirname "${BASH_SOURCE[0]}")/ranks.sh"
manual_unless $# -ge 1
command=(whisper-aut train "$@")
find_whisper_aut
leave_if_dry 1 "${command[@]}"
echo "+ ${command[*]}" >&2
exec "${command[@]}"
