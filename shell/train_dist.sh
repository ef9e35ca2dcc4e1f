#!/usr/bin/env bash
# Fine-tune on several GPUs of one machine. Flags of train.py can be added and override those here.
# GPUS chooses the GPUs (default 0,1,2,3). NPROC=2 starts two CPU processes over gloo instead.
set -euo pipefail
# shellcheck source=shell/_env.sh
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"

if [ -n "${NPROC:-}" ]; then
    export PADDLE_DISTRI_BACKEND=gloo
    where=(--nproc_per_node "$NPROC")
    set -- --device cpu "$@"
else
    where=(--gpus "${GPUS:-0,1,2,3}")
fi
python="$(project_python)"
exec "$python" -m paddle.distributed.launch "${where[@]}" --log_dir "${LOG_DIR:-./log}" \
    "$ROOT/train.py" --task_name sst-2 --model_type convbert --model_name_or_path convbert-base "$@"
