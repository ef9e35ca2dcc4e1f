# shellcheck shell=bash
# Sourced by the scripts beside it: finds a Python, makes the virtual environments.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

die() {
    echo "$(basename "$0"): error: $*" >&2
    exit 2
}

# Print the command of the first Python that works and is of one of the given versions. $PYTHON wins.
find_python() {
    local candidate version wanted
    if [ -n "${PYTHON:-}" ]; then
        version="$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" ||
            die "PYTHON=$PYTHON does not run: point it at a CPython ($*)"
        for wanted in "$@"; do
            [ "$version" = "$wanted" ] && echo "$PYTHON" && return
        done
        die "PYTHON=$PYTHON is version $version: point it at one of $*"
    fi
    for candidate in python3 python "${@/#/python}"; do
        version="$("$candidate" -c 'import sys, venv, ensurepip; print("%d.%d" % sys.version_info[:2])' \
            2>/dev/null)" || continue
        for wanted in "$@"; do
            [ "$version" = "$wanted" ] && command -v "$candidate" && return
        done
    done
    die "no Python with venv found: install one of $* (on Debian also python3-venv), or set PYTHON"
}

# make_venv DIR PYTHON REQUIREMENTS...: make or complete a virtual environment. It is complete when it
# holds a stamp of these very files, written last; a killed set-up is completed by the next one.
make_venv() {
    local dir="$1" python="$2" stamp
    shift 2
    stamp="$(cat "$ROOT/requirements-base.txt" "$@" | cksum | tr ' ' '-')"
    (
        # Of two set-ups at once one works and the other waits.
        if command -v flock >/dev/null; then flock 9; fi
        venv_is_complete "$dir" "$stamp" || fill_venv "$dir" "$python" "$stamp" "$@"
    ) 9>"$dir.lock" || die "setting up $(basename "$dir") failed: see the lines above"
}

venv_is_complete() {
    [ -x "$1/bin/python" ] && grep -qsx "$2" "$1/.stamps"
}

# A chain of &&, since the caller's || switches errexit off in here.
fill_venv() {
    local dir="$1" python="$2" stamp="$3"
    shift 3
    echo "setting up $(basename "$dir") with $("$python" --version) ..." >&2 &&
        { [ -x "$dir/bin/python" ] || "$python" -m venv "$dir"; } &&
        "$dir/bin/python" -m pip install --quiet --disable-pip-version-check "${@/#/-r}" &&
        echo "$stamp" >>"$dir/.stamps"
}

# The Python that runs this project: the one of .venv once a set-up has made it.
project_python() {
    if [ -x "$ROOT/.venv/bin/python" ]; then
        echo "$ROOT/.venv/bin/python"
    else
        find_python "${PYTHONS[@]}"
    fi
}

# All versions with a Paddle; the first group runs the default Paddle 2.6.2.
PYTHONS=(3.11 3.10 3.12 3.13)
