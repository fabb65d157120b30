#!/bin/bash
# The resource agent for clusters: what ocf-tester asks of one, that a dead daemon is noticed and
# started again, and that stopping cuts off whoever does not let go.
# shellcheck disable=SC2154  # $work, $image and $share come from lib/share.sh
set -euo pipefail
# shellcheck source=tests/programs/lib/share.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/share.sh"
need ocf-tester xmllint

agent=${UMBRA_SOURCE_DIR:?}/packaging/ocf/umbra
export OCF_ROOT=/usr/lib/ocf HA_LOGFACILITY=none HA_LOGFILE=/dev/null
readonly SUCCESS=0 ERROR=1 NOT_RUNNING=7

# expect STATUS ACTION
expect() {
    local status=0
    OCF_RESKEY_share=$share OCF_RESKEY_binary=$(command -v "$umbra") OCF_RESKEY_options=lease=5 \
        "$agent" "$2" >/dev/null 2>"$work/said" || status=$?
    ((status == $1)) || fail "$2 gave $status and not $1: $(cat "$work/said")"
}

make_image ext4
mkdir "$image/share"
share=$image/share
"$umbra" init "$share"

tested=$(ocf-tester -n umbra -o share="$share" -o binary="$(command -v "$umbra")" "$agent" 2>&1) ||
    fail "ocf-tester: $tested"
[[ $tested == *"passed all tests"* ]] || fail "ocf-tester: $tested"
"$agent" meta-data | xmllint --noout --nonet - || fail "meta-data is no XML"

expect $NOT_RUNNING monitor
expect $SUCCESS start
expect $SUCCESS monitor
echo one >"$share/file"
token=$("$umbra" snapshot create "$share")
pid=$("$umbra" status "$share" --json | sed -n 's/^ *"pid": \([0-9]*\).*/\1/p')
kill -KILL "$pid"
expect $ERROR monitor
expect $SUCCESS stop
expect $NOT_RUNNING monitor
expect $SUCCESS start
[[ $(cat "$share/.snapshots/$token/file") == one ]] || fail "the snapshot is not as it was"

tail -f "$share/file" >/dev/null &
user=$!
expect $SUCCESS stop
expect $NOT_RUNNING monitor
kill "$user"
wait "$user" 2>/dev/null || true
[[ $(cat "$share/file") == one ]] || fail "the live file is not as it was"
expect $SUCCESS start
[[ $("$umbra" events "$share") == *snapshot-created* ]] || fail "no events"
expect $SUCCESS stop
