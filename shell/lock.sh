#!/usr/bin/env bash
# Write locks/FILE for each requirements file: the version and the SHA-256 hashes of every package that it
# needs, for CPython 3.10 to 3.13 on Linux x86_64.
#   bash shell/lock.sh             after changing a requirements file; keeps the other versions
#   bash shell/lock.sh --upgrade   the newest versions that the requirements allow
# All packages that .venv can contain are resolved together, so that a package in several locks has the
# same version. The locks of additional packages leave out the packages of requirements-base.txt.
set -euo pipefail
# shellcheck source=shell/_env.sh
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"
cd "$ROOT"

python="$(find_python "${PYTHONS[@]}")"
make_venv "$ROOT/.venv-tools" "$python" requirements-tools.txt
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# compile OUTPUT FILE... [FLAG of uv...]. An existing output keeps its versions.
compile() {
    .venv-tools/bin/uv pip compile --quiet --universal --python-version 3.10 --no-build \
        --generate-hashes --no-header --no-annotate --output-file "$@" >"$work/log" ||
        die "cannot lock: see the lines above"
}

# Print the packages of lock files without their hashes.
pins() {
    sed -n 's/^\([^ ].*\) \\$/\1/p' "$@" | sort -u
}

added=()
for file in requirements-*.txt; do
    case "$file" in *-base.txt | *-demo.txt | *-paddle3.txt | *-tools.txt) ;; *) added+=("$file") ;; esac
done
if [ "${1:-}" != --upgrade ]; then
    for file in requirements.txt "${added[@]}"; do
        if [ -f "locks/$file" ]; then pins "locks/$file"; fi
    done | sort -u >"$work/all.txt"
fi
compile "$work/all.txt" requirements.txt "${added[@]}" "$@"
pins "$work/all.txt" >"$work/pins"
grep -v '^paddlepaddle==' "$work/pins" >"$work/pins-paddle3"

compile locks/requirements.txt requirements.txt --constraint "$work/pins"
compile locks/requirements-paddle3.txt requirements-paddle3.txt --constraint "$work/pins-paddle3"
compile "$work/base.txt" requirements-base.txt --constraint "$work/pins"
# Except packages that the base needs on fewer versions of Python than the others do.
partly="$(comm -23 <(pins "$work/base.txt") "$work/pins" | sed 's/==.*//')"
in_base=()
for name in $(pins "$work/base.txt" | sed 's/==.*//' | sort -u); do
    grep -qx -- "$name" <<<"$partly" || in_base+=(--no-emit-package "$name")
done
for file in "${added[@]}"; do
    compile "locks/$file" "$file" --constraint "$work/pins" "${in_base[@]}"
done
for file in requirements-demo.txt requirements-tools.txt; do # separate environments
    compile "locks/$file" "$file" "$@"
done
