#!/usr/bin/env bash
# Fine-tune. Flags of train.py can be added and override those here.
set -euo pipefail
# shellcheck source=shell/_env.sh
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"

python="$(project_python)"
exec "$python" "$ROOT/train.py" --task_name sst-2 --model_type convbert --model_name_or_path convbert-base "$@"
