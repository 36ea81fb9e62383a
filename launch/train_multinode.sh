#!/usr/bin/env bash
# Train on several machines over ssh, started from one of them. Every machine has the same paths for code, data and RUN.
#   bash launch/train_multinode.sh HOSTFILE RECIPE.yaml [section.field=value …] --out RUN
# HOSTFILE: a line a machine, "NAME slots=GPUS". Needs ssh without a password and pdsh, as DeepSpeed's launcher does.
# whisper-aut doctor --nodes HOSTFILE --shared FOLDER_OF_RUN looks at all of them first and names what would break a run.
# With --dry-run it prints the command, then checks recipe, manifests and plan for all ranks; no GPU is needed.
# Interrupted, the same command goes on. DeepSpeed's launcher gives ranks 30 s to save after SIGTERM and leaves with 1;
# launch/train.slurm, and train_8gpu.sh on one machine, give them the time that they need and leave with 75.
# Under Slurm use launch/train.slurm instead.
source "$(dirname "${BASH_SOURCE[0]}")/ranks.sh"
manual_unless $# -ge 2
hostfile=$1
shift
if [ ! -r "$hostfile" ]; then
    echo "error: there is no hostfile at $hostfile" >&2
    exit 2
fi
num_ranks=0
while read -r line; do
    line="${line%%#*}"
    [ -z "${line// /}" ] && continue
    if [[ ! "$line" =~ ^[[:alnum:]._-]+[[:space:]]+slots=([1-9][0-9]*)[[:space:]]*$ ]]; then
        echo "error: $hostfile: '$line' is not 'NAME slots=GPUS'" >&2
        exit 2
    fi
    num_ranks=$((num_ranks + BASH_REMATCH[1]))
done <"$hostfile"
if [ "$num_ranks" -eq 0 ]; then
    echo "error: $hostfile names no machine" >&2
    exit 2
fi
command=(deepspeed --hostfile "$hostfile" --module whisper_aut train "$@")
find_whisper_aut
leave_if_dry "$num_ranks" "${command[@]}"
echo "+ ${command[*]}" >&2
exec "${command[@]}"
