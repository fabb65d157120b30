#!/bin/bash
# A snapshot is deleted of which a neighbour needs some blocks of a record and not others; then the
# daemon is killed, before anything else is written. The neighbour stays as it was.
# shellcheck disable=SC2154  # $work, $image and $share come from lib/share.sh
set -euo pipefail
# shellcheck source=tests/programs/lib/share.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/share.sh"
need python3

blocks() { head -c $(($2 * 16384)) /dev/zero | tr '\0' "$1"; }
overwrite() { blocks "$1" "$2" | dd of="$share/file" conv=notrunc bs=$(($2 * 16384)) iflag=fullblock status=none; }
unlike() { tr -d "$1" <"$2" | wc -c; }

kill_daemon() {
    local pid
    pid=$("$umbra" status "$share" --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["pid"])')
    kill -KILL "$pid"
    # Its mount answers with an error once it is gone.
    while stat "$share" >/dev/null 2>&1; do sleep 0.1; done
}

make_image ext4
make_share data
blocks a 3 >"$share/file"
one=$(take_snapshot)
overwrite b 1
two=$(take_snapshot)
# One record for two blocks: snapshot one needs the second only, snapshot two both.
overwrite c 2
"$umbra" snapshot delete "$share" "${two##*/}"
[[ $(unlike a "$one/file") == 0 ]] || fail "the snapshot has changed with the deletion"

for round in 1 2; do
    kill_daemon
    "$umbra" mount "$share" 2>"$work/said"
    [[ $(unlike a "$one/file") == 0 ]] || fail "the snapshot has changed with kill $round: $(cat "$work/said")"
    if grep -q truncated "$work/said"; then
        fail "something was cut off in kill $round: $(cat "$work/said")"
    fi
done
rm -r "$share/.umbra" 2>/dev/null && fail "Umbra's own folder can be reached"
"$umbra" umount "$share"
rm -r "$share/.umbra/diff/index"
"$umbra" mount "$share" 2>"$work/said"
grep -q rebuilt "$work/said" || fail "the index was not rebuilt: $(cat "$work/said")"
[[ $(unlike a "$one/file") == 0 ]] || fail "the snapshot has changed with the index rebuilt"
[[ $(unlike c "$share/file") == 16384 ]] || fail "the live file has changed"
echo "the snapshot stayed as it was"
