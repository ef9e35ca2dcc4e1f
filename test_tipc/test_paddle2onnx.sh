#!/usr/bin/env bash
# The ONNX chain of TIPC: convert with paddle2onnx, run with ONNX Runtime, compare with Paddle.
#   bash test_tipc/test_paddle2onnx.sh CONFIG
# Get the model first: bash test_tipc/prepare.sh CONFIG paddle2onnx_infer
# Needs: pip install -r requirements-onnx.txt
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common_func.sh"
tipc paddle2onnx "$@"
