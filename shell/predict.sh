#!/usr/bin/env bash
# Classify with a checkpoint. Flags of tools/predict.py can be added and override those here.
set -euo pipefail
# shellcheck source=shell/_env.sh
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"

python="$(project_python)"
model=(--model_path ./convbert_base_outputs/best.pdparams)
[ -d "${model[1]}" ] || model=() # then the bundled model is used
exec "$python" "$ROOT/tools/predict.py" "${model[@]}" "$@"
