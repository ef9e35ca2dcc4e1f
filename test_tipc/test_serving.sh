#!/usr/bin/env bash
# The serving chain of TIPC, for every combination: convert, start, request over HTTP, compare, stop.
#   bash test_tipc/test_serving.sh CONFIG
# Get the model first: bash test_tipc/prepare.sh CONFIG serving_infer
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common_func.sh"
tipc serving "$@"
