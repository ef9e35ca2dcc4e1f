#!/usr/bin/env bash
# Export a checkpoint. Flags of tools/export_model.py can be added and override those here.
set -euo pipefail
# shellcheck source=shell/_env.sh
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"

python="$(project_python)"
model=(--model_path ./convbert_base_outputs/best.pdparams)
[ -d "${model[1]}" ] || model=() # then the bundled model is used
exec "$python" "$ROOT/tools/export_model.py" "${model[@]}" "$@"
