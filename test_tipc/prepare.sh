#!/usr/bin/env bash
# Get the data and models that a configuration needs in a mode, into test_tipc/data/<model_name>.
#   bash test_tipc/prepare.sh CONFIG MODE [--data_dir DIR] [--model_dir DIR] [--trained_dir DIR]
# MODE: those of test_train_inference_python.sh, serving_infer, paddle2onnx_infer, benchmark_train.
# If a download fails, data or weights from this repository are used instead, and a line says so.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common_func.sh"
tipc prepare "$@"
