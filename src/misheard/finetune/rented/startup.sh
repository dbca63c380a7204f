#!/bin/bash
# What a rented machine does when it starts: install misheard, train, and switch itself off.
#
# It runs as root, on an image of Ubuntu or Debian. What it is to do stands in the metadata of the
# machine (see startup_metadata in machines.py). Whatever happens it sends its log to the bucket and
# powers the machine off; where nothing was trained and nothing says why, it writes the manifest of
# a failed job, so that whoever waits for it learns of it at once. Run again on the same disk, after
# a reboot, it goes on with what is installed.
#
# From the environment, for tests: GCE_METADATA_HOST and STORAGE_EMULATOR_HOST, as Google's libraries
# have them; MISHEARD_HOME; MISHEARD_PYTHON, a Python that has misheard already; MISHEARD_POWER_OFF;
# MISHEARD_BEAT_S.

set -euo pipefail
export LC_ALL=C HOME="${HOME:-/root}" DEBIAN_FRONTEND=noninteractive

home=${MISHEARD_HOME:-/var/lib/misheard}
metadata=http://${GCE_METADATA_HOST:-metadata.google.internal}/computeMetadata/v1/instance
storage=${STORAGE_EMULATOR_HOST:-https://storage.googleapis.com}
log=$home/install.log
step="begin"
bucket="" prefix="" job="" attempt="" child="" stopping="" interrupted="" status=0 teller=""

mkdir -p "$home"
cd "$home"
exec 3>&1 4>&2
# Who tells all processes to end must not end the log first.
exec > >(trap '' TERM INT; exec tee -a "$log" >&3) 2>&1
tee=$!

# --- Metadata and bucket -------------------------------------------------------------------------

ask() {
    curl -sSf --noproxy '*' --retry 5 --retry-connrefused --max-time 20 \
        -H 'Metadata-Flavor: Google' "$metadata/$1"
}

attribute() {
    ask "attributes/$1"
}

authorization() {
    local token
    token=$(ask service-accounts/default/token | sed -n 's/.*"access_token" *: *"\([^"]*\)".*/\1/p')
    printf 'Authorization: Bearer %s' "$token"
}

encoded() {
    local text=$1 i char
    for ((i = 0; i < ${#text}; i++)); do
        char=${text:i:1}
        case $char in
            [A-Za-z0-9._~-]) printf '%s' "$char" ;;
            *) printf '%%%02X' "'$char" ;;
        esac
    done
}

# upload FILE NAME [CONDITION]: prints the HTTP status.
upload() {
    curl -sS --retry 5 --max-time 60 -o /dev/null -w '%{http_code}' -X POST \
        -H "$(authorization)" -H 'Content-Type: application/octet-stream' --data-binary "@$1" \
        "$storage/upload/storage/v1/b/$bucket/o?uploadType=media&name=$(encoded "$prefix$2")${3:-}"
}

exists() {
    curl -sSf --max-time 60 -o /dev/null -H "$(authorization)" \
        "$storage/storage/v1/b/$bucket/o/$(encoded "$prefix$1")" 2>/dev/null
}

send_log() {
    [ -n "$attempt" ] || return 0
    upload "$log" "training/jobs/$job/attempts/$attempt/install.log" >/dev/null || true
}

# As `Heartbeat.to_json` has it; it has not begun the attempt, which the program does.
beat() {
    printf '{"attempt": %s, "host": "%s", "at": "%s", "phase": "installing"}' \
        "$attempt" "$(uname -n)" "$(date -u +%Y-%m-%dT%H:%M:%S+00:00)" >"$home/heartbeat.json"
    upload "$home/heartbeat.json" "training/jobs/$job/attempts/$attempt/heartbeat.json" || true
}

# While it installs, how far it is. An hour at most: what hangs gives no sign of life for ever.
tell() {
    for _ in $(seq 60); do
        beat
        send_log
        sleep "${MISHEARD_BEAT_S:-60}"
    done
}

begin_telling() {
    # In a process group of its own, so that what it runs ends with it.
    set -m
    tell >/dev/null 2>&1 3>&1 4>&1 &
    teller=$!
    set +m
}

end_telling() {
    [ -z "$teller" ] || kill -KILL -- "-$teller" 2>/dev/null || true
    teller=""
}

# --- The end, whatever happens -------------------------------------------------------------------

# Compute Engine takes the machine back, or it is being switched off: another attempt may follow.
is_taken_away() {
    [ -n "$stopping" ] || [ "$(ask preempted 2>/dev/null)" = TRUE ]
}

write_failure() {
    local reason values digest
    reason=$(printf 'The machine of attempt %s failed at: %s (status %s). %s' \
        "$attempt" "$step" "$1" "$2" | tr -cd '[:alnum:] ._:/=,()+-' | cut -c 1-400)
    # As `Manifest.to_json` has it: sorted, with the SHA-256 of the rest.
    values="\"attempt\": $attempt, \"files\": {}, \"outcome\": \"failed\", \"reason\": \"$reason\""
    digest=$(printf '{%s}' "$values" | sha256sum | cut -d ' ' -f 1)
    printf '{%s, "sha256": "%s"}' "$values" "$digest" >"$home/manifest.json"
    # What the program has written is the better word; where both write at once, one wins.
    exists "training/jobs/$job/manifest.json" ||
        upload "$home/manifest.json" "training/jobs/$job/manifest.json" "&ifGenerationMatch=0"
}

finish() {
    local ended=$? last
    trap - EXIT
    trap '' TERM
    set +e
    end_telling
    exec 1>&3 2>&4
    # Not for ever: something that was left behind may still hold the other end.
    for _ in $(seq 20); do
        kill -0 "$tee" 2>/dev/null || break
        sleep 0.1
    done
    last=$(tail -n 1 "$log")
    echo "It ends at: $step (status $ended)." | tee -a "$log"
    if [ -n "$attempt" ]; then
        send_log
        # 3: taken away. 4: a newer attempt has begun. 5: nobody said that training may begin.
        case $ended in
            0 | 3 | 4 | 5) ;;
            *) is_taken_away || write_failure "$ended" "$last" ;;
        esac
    fi
    eval "${MISHEARD_POWER_OFF:-shutdown -h now}"
    exit "$ended"
}
trap finish EXIT

stop() {
    stopping=1 interrupted=1
    [ -z "$child" ] || kill -TERM "$child" 2>/dev/null || true
}
trap stop TERM INT

# Run a command so that it ends when the machine is told to: Bash itself would wait for it first.
run() {
    local waited=""
    [ -z "$stopping" ] || exit 143
    "$@" &
    child=$!
    interrupted=1
    # A signal ends the waiting, not the command.
    while [ -n "$interrupted" ]; do
        # Of a command that ends at that very moment Bash may miss the end, and wait for ever.
        [ -z "$waited" ] || kill -0 "$child" 2>/dev/null || break
        interrupted="" status=0 waited=1
        wait "$child" || status=$?
    done
    child=""
    return "$status"
}

# Three times: a mirror that fails now may not in a minute.
insist() {
    local pause
    for pause in 10 30; do
        if run "$@"; then return 0; fi
        echo "'$1' failed with $status; again in $pause s."
        run sleep "$pause"
    done
    run "$@"
}

# --- What is installed ---------------------------------------------------------------------------

has_gpu() {
    grep -qs 0x10de /sys/bus/pci/devices/*/vendor
}

check_driver() {
    has_gpu || { echo "This machine has no GPU of NVIDIA's."; return 0; }
    local tries
    # Some images install the driver when they start for the first time.
    for tries in $(seq 60); do
        if nvidia-smi; then return 0; fi
        echo "The driver does not answer yet ($tries)."
        run sleep 5
    done
    echo "There is a GPU and no driver for it: this image cannot be used."
    return 1
}

# Where the driver is too old for it, torch trains on the processor, and says nothing.
check_torch() {
    has_gpu || return 0
    run "$python" -c 'import sys, torch
print("torch", torch.__version__, "for CUDA", torch.version.cuda)
sys.exit(not torch.cuda.is_available())' && return 0
    echo "torch does not see the GPU: the driver of this image is too old for it."
    return 1
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    local name
    for name in python3.13 python3.12 python3.11 python3; do
        if command -v "$name" >/dev/null && is_new_enough "$name"; then
            command -v "$name"
            return 0
        fi
    done
    return 1
}

apt() {
    insist apt-get -q -y -o DPkg::Lock::Timeout=300 "$@"
}

make_environment() {
    local python name
    rm -rf "$home/venv"
    if python=$(find_python) && run "$python" -m venv "$home/venv"; then return 0; fi
    apt update
    for name in python3.12 python3.11 python3; do
        if apt-cache show "$name-venv" >/dev/null 2>&1; then
            apt install "$name" "$name-venv"
            break
        fi
    done
    python=$(find_python) || { echo "This image has no Python of 3.11 or later."; return 1; }
    rm -rf "$home/venv"
    run "$python" -m venv "$home/venv"
}

fetch_wheel() {
    local address name
    address=$(attribute misheard-wheel)
    wheel=$home/$(attribute misheard-wheel-name)
    name=${address#gs://}
    run curl -sSf --retry 8 --retry-connrefused -H "$(authorization)" -o "$wheel" \
        "$storage/storage/v1/b/${name%%/*}/o/$(encoded "${name#*/}")?alt=media"
    # Its name in the bucket is its SHA-256.
    echo "${address##*/}  $wheel" | sha256sum --check
}

install() {
    local extras
    step="fetch misheard"
    fetch_wheel
    step="make an environment"
    make_environment
    step="install misheard"
    extras=$(attribute misheard-extras)
    attribute misheard-constraints >constraints.txt 2>/dev/null || : >constraints.txt
    insist "$home/venv/bin/python" -m pip install --disable-pip-version-check --no-input \
        --constraint constraints.txt "${wheel}[${extras}]"
    touch "$home/installed"
}

# --- The work ------------------------------------------------------------------------------------

step="read the metadata"
url=$(attribute misheard-bucket)
job=$(attribute misheard-job)
number=$(attribute misheard-attempt)
bucket=${url#gs://}
bucket=${bucket%/}
if [ "$bucket" != "${bucket#*/}" ]; then
    prefix=${bucket#*/}/
    bucket=${bucket%%/*}
fi
attempt=$number

if [ -n "${MISHEARD_PYTHON:-}" ]; then
    python=$MISHEARD_PYTHON
else
    python=$home/venv/bin/python
    begin_telling
    step="check the driver"
    check_driver
    [ -f "$home/installed" ] || install
    step="check torch"
    check_torch
    end_telling
fi
send_log

step="train"
run "$python" -m misheard.finetune.rented.program "$url" "$job" "$home/job" --attempt "$attempt"
step="the end"
