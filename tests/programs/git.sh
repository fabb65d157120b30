#!/bin/bash
# git: clones, commits and repacks on a mount while snapshots are taken. The clone, and the clone in
# every snapshot since it was made, passes git fsck and has a commit that was made before.
# shellcheck disable=SC2154  # $work, $image and $share come from lib/share.sh
set -euo pipefail
# shellcheck source=tests/programs/lib/share.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/share.sh"
need git

export GIT_CONFIG_GLOBAL=$work/gitconfig GIT_CONFIG_SYSTEM=/dev/null
git config --global user.name Tester
git config --global user.email tester@example.org
git config --global safe.directory '*'
git config --global init.defaultBranch main
git config --global core.fsync all
git config --global gc.auto 0

# A repository of Umbra's own sources in a few commits, outside of the share.
make_origin() {
    local part
    git init -q "$1"
    for part in snapstore fuse cli restore tests/mount tests/support; do
        mkdir -p "$1/$part"
        cp "${UMBRA_SOURCE_DIR:?}/$part"/*.cpp "${UMBRA_SOURCE_DIR:?}/$part"/*.h "$1/$part/" 2>/dev/null || true
        git -C "$1" add -A
        git -C "$1" commit -q --allow-empty -m "add $part"
    done
}

fsck() {
    git --no-optional-locks -C "$1" fsck --full --strict --no-progress >"$work/fsck" 2>&1 ||
        fail "git fsck in $1: $(tail -n 5 "$work/fsck")"
}

commits() { git --no-optional-locks -C "$1" rev-list --count HEAD; }

make_image ext4
make_share data
make_origin "$work/origin"

start_snapshots
git clone -q --no-local "$work/origin" "$share/clone"
place_after_clone=$(take_snapshot)
for number in {1..15}; do
    echo "line $number" >>"$share/clone/notes.txt"
    git -C "$share/clone" mv -k "snapstore/token.cpp" "snapstore/renamed.cpp" || true
    git -C "$share/clone" add -A
    git -C "$share/clone" commit -q -m "change $number"
    if ((number == 8)); then
        git -C "$share/clone" gc -q --prune=now
    fi
done
stop_snapshots
place_at_end=$(take_snapshot)

fsck "$share/clone"
[[ -z $(git -C "$share/clone" status --porcelain) ]] || fail "the clone has changes that were not made"
at_clone=$(commits "$work/origin")
[[ $(commits "$place_after_clone/clone") -ge $at_clone ]] || fail "commits are missing after the clone"
[[ $(commits "$place_at_end/clone") -eq $((at_clone + 15)) ]] || fail "commits are missing at the end"

checked=0
last=0
for place in "$share"/.snapshots/*/; do
    # Those before the clone was whole show half of it, as they should.
    [[ ${place%/} > $place_after_clone || ${place%/} == "$place_after_clone" ]] || continue
    fsck "$place/clone"
    count=$(commits "$place/clone")
    ((count >= last)) || fail "$place has fewer commits than an older snapshot"
    last=$count
    checked=$((checked + 1))
done
((checked >= 3)) || fail "only $checked snapshots were taken while git worked"
echo "git fsck is clean live and in $checked snapshots"
