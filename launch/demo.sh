#!/usr/bin/env bash
# End-to-end demo, about ten minutes on two cores: data, training, export, probes, report. No download but pip's.
#   bash launch/demo.sh [--out DIR] [--base MODEL] …     options of `whisper-aut demo`
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup_venv demo
if [ $# -eq 0 ]; then set -- --out runs/demo; fi
echo "+ whisper-aut demo $*" >&2
exec whisper-aut demo "$@"
