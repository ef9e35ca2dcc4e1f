#!/usr/bin/env bash
# About the packages of .venv: bash shell/packages.sh licenses|sbom|audit
#   licenses   print name, version and license of each (flags: those of pip-licenses)
#   sbom       print a CycloneDX software bill of materials (flags: those of cyclonedx-py environment)
#   audit      look up their known vulnerabilities (flags: those of pip-audit); exit status 0: none
#              known, 1: some known, 2: the lookup failed
set -euo pipefail
# shellcheck source=shell/_env.sh
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"
cd "$ROOT"

# pip-audit has exit status 1 both if it found something and if it got no answer. It writes its report
# only after it has looked up every package, and with --strict it skips none.
audit() {
    local packages report status=0
    packages="$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
    report="$(mktemp)"
    "$tools/pip-audit" --strict --progress-spinner off --path "$packages" --output "$report" "$@" ||
        status=$?
    cat "$report"
    if [ "$status" -ne 0 ] && [ ! -s "$report" ]; then
        rm "$report"
        die "the vulnerability database did not answer: see the lines above"
    fi
    rm "$report"
    return "$status"
}

command="${1:-}"
shift || true
case "$command" in licenses | sbom | audit) ;; *) die "unknown command '$command': give licenses, sbom or audit" ;; esac
[ -x "$ROOT/.venv/bin/python" ] || die "there is no .venv: run shell/quickstart.sh or shell/test.sh first"
python="$ROOT/.venv/bin/python"
make_venv "$ROOT/.venv-tools" "$python" requirements-tools.txt
tools="$ROOT/.venv-tools/bin"
case "$command" in
    licenses) exec "$tools/pip-licenses" --python "$python" --from mixed "$@" ;;
    sbom) exec "$tools/cyclonedx-py" environment --output-reproducible --pyproject pyproject.toml "$@" "$python" ;;
    audit) audit "$@" ;;
esac
