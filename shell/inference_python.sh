#!/usr/bin/env bash
# Classify with an exported model. Flags of infer.py can be added and override those here.
set -euo pipefail
# shellcheck source=shell/_env.sh
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"

python="$(project_python)"
model=(--model_dir ./convbert_infer)
[ -d "${model[1]}" ] || model=() # then the bundled model is used
exec "$python" "$ROOT/deploy/inference_python/infer.py" "${model[@]}" "$@"
