# shellcheck shell=bash
# Sourced by the other scripts here: finds a Python and makes the virtual environments.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

# die MESSAGE [CODE]: the codes are those of docs/errors.md.
die() {
    echo "$(basename "$0"): error: $1 [${2:-environment}]" >&2
    exit 2
}

# Print the command of the first working Python with one of the given versions; $PYTHON has priority.
find_python() {
    local candidate version candidates=(python3 python "${@/#/python}")
    [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        version="$("$candidate" -c 'import sys, venv, ensurepip; print("%d.%d" % sys.version_info[:2])' \
            2>/dev/null)" || continue
        case " $* " in *" $version "*) command -v "$candidate" && return ;; esac
    done
    if [ -n "${PYTHON:-}" ]; then
        [ -n "$version" ] || die "PYTHON=$PYTHON does not run, or has no venv: set it to a CPython ($*)"
        die "PYTHON=$PYTHON has version $version: set it to one of $*"
    fi
    die "no Python with venv found: install one of $* (on Debian also python3-venv), or set PYTHON"
}

# make_venv DIR PYTHON REQUIREMENTS...: make or complete a virtual environment. If a requirements file has
# a lock, the lock is installed: exactly these versions, and only files with the recorded SHA-256. A stamp
# of the files is written last and marks the environment as complete, so that the next call completes an
# interrupted set-up.
make_venv() {
    local dir="$1" python="$2" stamp file files=() flags=()
    shift 2
    for file in "${@#"$ROOT/"}"; do # relative to the root, even if given as an absolute path
        if [ -f "$ROOT/locks/$file" ]; then
            files+=("$ROOT/locks/$file") flags=(--require-hashes --no-deps --only-binary ":all:")
        else
            files+=("$ROOT/$file")
        fi
    done
    [ "${#flags[@]}" -eq 0 ] || [ "$(uname -sm)" = "Linux x86_64" ] ||
        die "locks/ is for Linux x86_64, but this is $(uname -sm): install $* with pip"
    stamp="$(cat "${files[@]}" | cksum | tr ' ' '-')"
    (
        # If two set-ups run at the same time, the second waits.
        if command -v flock >/dev/null; then flock 9; fi
        venv_is_complete "$dir" "$stamp" ||
            fill_venv "$dir" "$python" "$stamp" "${flags[@]}" "${files[@]/#/-r}"
    ) 9>"$dir.lock" || die "setting up $(basename "$dir") failed: see the lines above"
}

venv_is_complete() {
    [ -x "$1/bin/python" ] && grep -qsx "$2" "$1/.stamps"
}

# A chain of &&, because errexit is off inside a function that is called with ||.
fill_venv() {
    local dir="$1" python="$2" stamp="$3"
    shift 3
    echo "setting up $(basename "$dir") with $("$python" --version) ..." >&2 &&
        { [ -x "$dir/bin/python" ] || "$python" -m venv "$dir"; } &&
        "$dir/bin/python" -m pip install --quiet --disable-pip-version-check "$@" &&
        echo "$stamp" >>"$dir/.stamps"
}

# The Python that runs this project: the one of .venv, if it exists; with its main packages.
project_python() {
    local python="$ROOT/.venv/bin/python"
    [ -x "$python" ] || python="$(find_python "${PYTHONS[@]}")" || exit
    "$python" -c 'from importlib.util import find_spec; exit(not all(map(find_spec, ("paddle", "tokenizers", "psutil"))))' ||
        die "$python has no Paddle, tokenizers or psutil: run bash shell/quickstart.sh" package-missing
    echo "$python"
}

# All supported versions, the preferred one first. 3.13 runs Paddle 3.3.1, the others 2.6.2.
PYTHONS=(3.11 3.10 3.12 3.13)
