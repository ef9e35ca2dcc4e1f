#!/usr/bin/env bash
# The measurements of benchmarks/README.md, one command each; further flags are passed to the program.
#   inference   latency compared with all peers         bench_sides.py
#   file        10,000 sentences: rate and memory       bench_sides.py
#   training    a training step compared with PyTorch   bench_sides.py
#   serving     the HTTP service under load             serving/load.py
#   startup     a run of infer.py for one answer        bench_startup.py
#   report      table and plot of a result of inference report_inference.py
# The environment of the peers, .venv-peers, is made if it is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=shell/_env.sh
source shell/_env.sh

name="${1:-}"
shift || true
case "$name" in
inference | file | training)
    program=(bench_sides.py "$name")
    make_venv "$ROOT/.venv-peers" "$(find_python 3.11 3.12)" \
        alignment/requirements-reference.txt benchmarks/requirements-peers.txt
    ;;
startup) program=(bench_startup.py) ;;
serving) program=(serving/load.py) ;;
report) program=(report_inference.py) ;;
*) die "'$name' is not a measurement: choose inference, file, training, serving, startup or report" command-line ;;
esac
python="$ROOT/.venv/bin/python"
[ -x "$python" ] || make_venv "$ROOT/.venv" "$(find_python "${PYTHONS[@]}")" \
    requirements.txt requirements-openvino.txt
exec "$python" "benchmarks/${program[0]}" "${program[@]:1}" "$@"
