#!/usr/bin/env bash
# The tables of benchmarks/README.md, one command each; more flags go to the program named beside it.
#   inference   latency against all peers             bench_inference.py
#   training    a training step against PyTorch       bench_training.py
#   grouping    batches of similar length             bench_group_by_length.py
#   tokenizer   sentences a second                    bench_tokenizer.py
#   startup     infer.py to its first answer          bench_startup.py
#   memory      of inference                          bench_memory.py
#   operators   written by hand against Paddle's      bench_cpu_ops.py
#   profile     time by operator                      profile_operators.py
# The environments of the peers are made where they are missing: .venv-onnxruntime, .venv-paddlenlp.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=shell/_env.sh
source shell/_env.sh

PEER_PYTHONS=(3.11 3.10)

# peer NAME FILES...: make or complete .venv-NAME from benchmarks/requirements-NAME.txt and the files.
peer() {
    local name="$1"
    shift
    make_venv "$ROOT/.venv-$name" "$(find_python "${PEER_PYTHONS[@]}")" \
        "benchmarks/requirements-$name.txt" "$@"
}

table="${1:-}"
shift || true
python="$ROOT/.venv/bin/python"
[ -x "$python" ] || make_venv "$ROOT/.venv" "$(find_python "${PYTHONS[@]}")" requirements.txt
case "$table" in
inference)
    peer onnxruntime alignment/requirements-reference.txt
    peer paddlenlp
    exec "$python" benchmarks/bench_inference.py "$@"
    ;;
training)
    peer onnxruntime alignment/requirements-reference.txt
    exec "$python" benchmarks/bench_training.py \
        --reference_python .venv-onnxruntime/bin/python "$@"
    ;;
grouping) exec "$python" benchmarks/bench_group_by_length.py "$@" ;;
tokenizer) exec "$python" benchmarks/bench_tokenizer.py "$@" ;;
startup) exec "$python" benchmarks/bench_startup.py "$@" ;;
memory) exec "$python" benchmarks/bench_memory.py "$@" ;;
operators) exec "$python" benchmarks/bench_cpu_ops.py "$@" ;;
profile) exec "$python" benchmarks/profile_operators.py "$@" ;;
*) die "'$table' is no table: see the list at the head of this script" ;;
esac
