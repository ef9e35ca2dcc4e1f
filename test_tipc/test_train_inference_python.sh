#!/usr/bin/env bash
# The training and inference chain of TIPC, for every combination in a configuration.
#   bash test_tipc/test_train_inference_python.sh CONFIG MODE
# MODE: lite_train_lite_infer, lite_train_whole_infer, whole_train_whole_infer, whole_infer,
# klquant_whole_infer. Get the data and models first: bash test_tipc/prepare.sh CONFIG MODE
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common_func.sh"
tipc train_infer "$@"
