#!/usr/bin/env bash
# Training speed in the format of TIPC's benchmark: one JSON line with ips (samples/s) per case.
#   bash test_tipc/benchmark_train.sh CONFIG [benchmark_train] [CASE]
# CASE: dynamic_bs8_fp32_DP_N1C1 (batch 8, fp32, one node, one card or CPU process; N1C2: two).
# Without it: every batch size and number format in lines 53 and 54 of the configuration.
# Get data and model first: bash test_tipc/prepare.sh CONFIG benchmark_train
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common_func.sh"
tipc benchmark "$@"
