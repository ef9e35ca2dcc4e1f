# shellcheck shell=bash
# Sourced by the TIPC scripts beside it: a run folder, steps with status and log, own processes only.
#
#   tipc_begin KIND LABEL CONFIG MODE [OPTION]   check both, make the plan and the run folder
#   tipc_run_plan   run the steps in order; one that failed stops only those that need it
#   tipc_finish     result file, summary table, exit status 1 if a step failed
#
# TIPC_OUTPUT         where run folders go (test_tipc/output)
# TIPC_STEP_SECONDS   time limit of a step (21600)
# TIPC_READY_SECONDS  time limit for a server to become ready (120)

TIPC_DIR="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=shell/_env.sh
source "$TIPC_DIR/../shell/_env.sh"
cd "$ROOT" || exit
export TIPC_SCRIPT="$0"

TIPC_OUTPUT="${TIPC_OUTPUT:-test_tipc/output}"
TIPC_STEP_SECONDS="${TIPC_STEP_SECONDS:-21600}"
TIPC_READY_SECONDS="${TIPC_READY_SECONDS:-120}"
STOP_TENTHS=150  # tenths of a second a process has to end after SIGTERM
ORPHAN_TENTHS=20 # and the children it leaves behind

RUN_DIR="" LABEL="" HELPER="" CHILD="" SERVER="" WAITER="" CURRENT=""
declare -A STEP_STATUS=()

helper() {
    "$HELPER" "$TIPC_DIR/helper.py" "$@"
}

# The `python3` of a configuration is the project's own, unless another environment is active.
use_project_environment() {
    HELPER="$(project_python)"
    if [ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && [ -x "$ROOT/.venv/bin/python3" ]; then
        export PATH="$ROOT/.venv/bin:$PATH"
    fi
}

tipc_begin() {
    local kind="$1" config="$3" mode="$4" option="${5:-}"
    LABEL="$2"
    use_project_environment
    RUN_DIR="$(helper plan "$kind" "$config" "$mode" --base "$TIPC_OUTPUT" --option "$option")" ||
        exit $?
    RESULTS="$RUN_DIR/results_$LABEL.log"
    : >"$RESULTS"
    : >"$RUN_DIR/plan/done.tsv"
    trap 'interrupted INT 130' INT
    trap 'interrupted TERM 143' TERM
    trap 'interrupted HUP 129' HUP
    trap 'stop_children' EXIT
    echo "run folder: $RUN_DIR"
    cat "$RUN_DIR/plan/notes.txt"
}

# ---------------------------------------------------------------- processes

# Set START to the start time of a process; fails for one that has ended. With its number it tells a
# process from a stranger that got the same number later.
start_time() {
    local stat="" fields
    { read -r -d '' stat <"/proc/$1/stat" || [ -n "$stat" ]; } 2>/dev/null || return 1
    # After the last ')' come field 3, the state, and on; field 22 is the start time.
    read -ra fields <<<"${stat##*) }"
    [ "${fields[0]}" != Z ] || return 1
    START="${fields[19]}"
}

# Print "pid:start-time" of a process and of all below it.
process_tree() {
    local pid="$1" thread child children=""
    start_time "$pid" || return 0
    echo "$pid:$START"
    for thread in "/proc/$pid/task/"*; do
        { read -r -d '' children <"$thread/children" || true; } 2>/dev/null
        for child in $children; do
            process_tree "$child"
        done
    done
}

is_alive() {
    start_time "${1%%:*}" && [ "$START" = "${1##*:}" ]
}

# wait_for_end TENTHS MEMBER...: wait until none of them lives any more.
wait_for_end() {
    local tenths="$1" member tenth alive
    shift
    for ((tenth = 0; tenth < tenths; tenth++)); do
        alive=""
        for member in "$@"; do
            if is_alive "$member"; then alive=1; fi
        done
        [ -n "$alive" ] || return 0
        sleep 0.1
    done
    return 1
}

# Ask a process that we started to end, and let it end its children; kill what is left of them.
stop_tree() {
    local member
    local -a members
    mapfile -t members < <(process_tree "$1")
    [ "${#members[@]}" -gt 0 ] || return 0
    kill -TERM "$1" 2>/dev/null || true
    wait_for_end "$STOP_TENTHS" "${members[0]}" || true
    wait_for_end "$ORPHAN_TENTHS" "${members[@]}" && return 0
    for member in "${members[@]}"; do
        if is_alive "$member"; then
            echo "killing process ${member%%:*}, which did not end" >&2
            kill -KILL "${member%%:*}" 2>/dev/null || true
        fi
    done
}

stop_children() {
    local pid
    for pid in $CHILD $WAITER $SERVER; do
        stop_tree "$pid"
    done
    CHILD="" WAITER="" SERVER=""
}

interrupted() {
    trap '' INT TERM HUP
    echo
    echo "interrupted by SIG$1: stopping what this run started"
    stop_children
    [ -z "$CURRENT" ] || record_step "$CURRENT" INTERRUPTED 0
    finish_files || true # its status is that of the summary
    exit "$2"
}

# Run a command in a session of its own, so that Ctrl-C reaches this script alone and it can clean up.
run_child() {
    local log="$1" status=0
    shift
    setsid timeout --kill-after=30 "$TIPC_STEP_SECONDS" "$@" >"$log" 2>&1 </dev/null &
    CHILD=$!
    wait "$CHILD" || status=$?
    kill -TERM -- "-$CHILD" 2>/dev/null || true # what it may have left behind in its session
    CHILD=""
    [ "$status" -ne 124 ] || echo "no end within $TIPC_STEP_SECONDS s" >>"$log"
    return "$status"
}

# ---------------------------------------------------------------- steps

tipc_run_plan() {
    local number kind name needs log
    STEPS="$(wc -l <"$RUN_DIR/plan/steps.tsv")"
    while IFS=$'\t' read -r number kind name needs log <&3; do
        run_step "$number" "$kind" "$name" "$needs" "$log"
    done 3<"$RUN_DIR/plan/steps.tsv"
}

run_step() {
    local number="$1" kind="$2" name="$3" needs="$4" log="$5" status=0 began
    local missing
    CURRENT="$number"
    missing="$(first_missing "$needs")"
    if [ -n "$missing" ] && [ "$kind" != stop ]; then
        echo "step $number of $STEPS, $name: skipped, it needs step $missing"
        record_step "$number" SKIPPED 0
        CURRENT=""
        return 0
    fi
    echo "step $number of $STEPS, $name ..."
    mkdir -p "$(dirname "$log")"
    touch "$RUN_DIR/plan/$number.started"
    began="$SECONDS"
    "step_$kind" "$number" "$log" || status=$?
    if [ "$status" -eq 0 ]; then
        record_step "$number" OK "$((SECONDS - began))"
    else
        record_step "$number" FAILED "$((SECONDS - began))"
        echo "step $number of $STEPS, $name: FAILED with status $status; the end of $log:"
        tail -n 20 "$log" | sed 's/^/    | /'
    fi
    CURRENT=""
}

first_missing() {
    local step
    for step in $1; do
        [ "$step" = - ] || [ "${STEP_STATUS[$step]:-}" = OK ] || { echo "$step" && return 0; }
    done
}

# A command that has to end well, leave its files, and pass its check.
step_run() {
    local number="$1" log="$2"
    local -a words check
    mapfile -d '' -t words <"$RUN_DIR/plan/$number.command"
    mapfile -d '' -t check <"$RUN_DIR/plan/$number.check"
    run_child "$log" "${words[@]}" || return $?
    made_anew "$number" >>"$log" || return 1
    [ "${#check[@]}" -eq 0 ] || "${check[@]}" >>"$log" 2>&1
}

# A server: started, then polled until it is ready, and left running for the steps that follow.
step_serve() {
    local number="$1" log="$2" status=0
    local -a words check
    mapfile -d '' -t words <"$RUN_DIR/plan/$number.command"
    mapfile -d '' -t check <"$RUN_DIR/plan/$number.check"
    setsid "${words[@]}" >"$log" 2>&1 </dev/null &
    SERVER=$!
    # In the background: bash takes a signal at once in `wait`, after the end of a command otherwise.
    "$HELPER" "$TIPC_DIR/helper.py" wait-ready --pid "$SERVER" --seconds "$TIPC_READY_SECONDS" \
        "${check[@]}" >>"$log" 2>&1 &
    WAITER=$!
    wait "$WAITER" || status=$?
    WAITER=""
    [ "$status" -ne 0 ] || return 0
    stop_tree "$SERVER"
    SERVER=""
    return 1
}

# The end of a server: by its own pid, well or of our SIGTERM (143), and its ports free afterwards.
step_stop() {
    local log="$2" status=0
    local -a words
    mapfile -d '' -t words <"$RUN_DIR/plan/$1.command"
    : >"$log"
    if [ -n "$SERVER" ]; then
        stop_tree "$SERVER" >>"$log" 2>&1
        wait "$SERVER" || status=$?
        echo "the server ended with status $status" >>"$log"
        SERVER=""
    fi
    "${words[@]}" >>"$log" 2>&1 || return $?
    [ "$status" -eq 143 ] || return "$status"
}

# Every file that a step has to write must exist and be no older than the start of the step.
made_anew() {
    local path
    local -a made
    mapfile -d '' -t made <"$RUN_DIR/plan/$1.makes"
    for path in "${made[@]}"; do
        if [ ! -s "$path" ]; then
            echo "the command ended well but did not write $path"
            return 1
        elif [ "$path" -ot "$RUN_DIR/plan/$1.started" ]; then
            echo "$path is older than this step: a product of an earlier run"
            return 1
        fi
    done
}

# One result line, as TIPC prints it, and one row for the summary.
record_step() {
    local number="$1" status="$2" seconds="$3" command
    command="$(cat "$RUN_DIR/plan/$number.shown")"
    STEP_STATUS[$number]="$status"
    printf '%s\t%s\t%s\n' "$number" "$status" "$seconds" >>"$RUN_DIR/plan/done.tsv"
    case "$status" in
        OK) echo " Run successfully with command - ${command}!  " ;;
        SKIPPED) echo " Run skipped with command - ${command}!  " ;;
        *) echo " Run failed with command - ${command}!  " ;;
    esac | tee -a "$RESULTS"
}

# ---------------------------------------------------------------- end

# The latest run's result file under TIPC's name, and a link to its folder; both replaced in one step.
finish_files() {
    local status=0
    put_in_place || status=$?
    helper summary "$RUN_DIR" || status=$?
    return "$status"
}

put_in_place() {
    local temporary="$TIPC_OUTPUT/.results_$LABEL.$$"
    cp "$RESULTS" "$temporary" &&
        mv -fT "$temporary" "$TIPC_OUTPUT/results_$LABEL.log" &&
        ln -s "$(basename "$RUN_DIR")" "$temporary" &&
        mv -fT "$temporary" "$TIPC_OUTPUT/latest_$LABEL" && return 0
    echo "the results in $TIPC_OUTPUT are not those of this run: see $RESULTS" >&2
    rm -f "$temporary"
    return 1
}

tipc_finish() {
    local status=0
    stop_children
    finish_files || status=$?
    exit "$status"
}
