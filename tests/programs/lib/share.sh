# shellcheck shell=bash
# For the tests in this folder: a filesystem in memory with a share mounted in it, snapshots taken
# meanwhile, and trees compared. Source it first. It makes the folder $work, which goes away at the
# end of the test, with all that was mounted or started in it, however the test ends.

umbra=${UMBRA_BIN:-umbra}

skip() {
    echo "SKIPPED: $*"
    exit 77
}

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# need PROGRAM...: the test is skipped where one of them is missing.
need() {
    local program
    ((EUID == 0)) || skip "not root"
    [[ -c /dev/fuse ]] || skip "no FUSE (/dev/fuse)"
    [[ -c /dev/loop-control ]] || skip "no loop devices (/dev/loop-control)"
    for program in "$umbra" "$@"; do
        command -v "$program" >/dev/null || skip "no program $program"
    done
}

mounts_in_work() {
    awk -v work="$work/" 'index($5 "/", work) == 1 { print $5 }' /proc/self/mountinfo | tac
}

# Daemons have the share's path on their command line.
processes_of_work() {
    local file
    for file in /proc/[0-9]*/cmdline; do
        [[ $file != "/proc/$$/cmdline" ]] || continue
        if tr '\0' '\n' 2>/dev/null <"$file" | grep -qF "$work/"; then
            basename "$(dirname "$file")"
        fi
    done
}

remove_work() {
    local place round pid
    for round in {1..8}; do
        [[ -n $(mounts_in_work) ]] || break
        for place in $(mounts_in_work); do
            umount "$place" 2>/dev/null || ((round < 4)) || umount --lazy "$place" 2>/dev/null
        done
    done
    for pid in $(processes_of_work); do
        kill -KILL "$pid" 2>/dev/null
    done
    rm -rf --one-file-system "$work"
}

finish() {
    local status=$?
    trap - EXIT
    set +e
    end_snapshots_loop
    [[ -z ${share:-} ]] || "$umbra" umount "$share" 2>/dev/null
    remove_work
    kill "$janitor" 2>/dev/null
    exit "$status"
}

# When the test itself is killed it cannot clean up: this does, a second later.
start_janitor() {
    (
        trap '' INT TERM HUP
        tail --pid=$$ -f /dev/null &
        trap 'kill $!; exit' TERM
        wait $!
        remove_work
    ) </dev/null >/dev/null 2>&1 &
    janitor=$!
}

work=$(mktemp -d /dev/shm/umbra-programs.XXXXXX)
snapshots_loop=
share=
start_janitor
trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# make_image ext4|xfs|btrfs: a filesystem of that type in memory, mounted at $image.
make_image() {
    local type=$1 file
    command -v "mkfs.$type" >/dev/null || skip "no mkfs.$type"
    image=$work/$type
    file=$work/$type.img
    mkdir "$image"
    truncate -s 1G "$file"
    case $type in
        ext4) mkfs.ext4 -q -F -E lazy_itable_init=1,lazy_journal_init=1,nodiscard "$file" ;;
        xfs) mkfs.xfs -q -f -K "$file" ;;
        btrfs) mkfs.btrfs -q -f -K "$file" >/dev/null 2>&1 ;;
    esac
    mount -o loop "$file" "$image"
}

# make_share NAME [MOUNT OPTION...]: a new folder $share in the image, initialised and mounted.
make_share() {
    share=$image/$1
    mkdir "$share"
    "$umbra" init "$share" --max-size 90%
    "$umbra" mount "$share" "${@:2}"
}

# Ends what make_share and make_image began, so that a test can begin anew.
end_share() {
    "$umbra" umount "$share"
    share=
    umount "$image"
    rm -f "$image.img"
    rmdir "$image"
}

# take_snapshot: prints where it is seen.
take_snapshot() {
    local token
    token=$("$umbra" snapshot create "$share")
    [[ -d $share/.snapshots/$token ]] || fail "no folder $share/.snapshots/$token"
    echo "$share/.snapshots/$token"
}

# Takes snapshots, one after the other, until stop_snapshots.
start_snapshots() {
    (
        # Stops between two snapshots, never within one.
        trap 'exit 0' TERM
        while true; do
            "$umbra" snapshot create "$share" >>"$work/tokens"
            sleep 0.1
        done
    ) &
    snapshots_loop=$!
}

end_snapshots_loop() {
    [[ -n $snapshots_loop ]] || return 0
    kill "$snapshots_loop" 2>/dev/null || true
    local status=0
    wait "$snapshots_loop" || status=$?
    snapshots_loop=
    return "$status"
}

stop_snapshots() {
    end_snapshots_loop || fail "taking snapshots in the background failed"
}

# Everything that can be seen of a folder: paths, types, modes, owners, times, sizes, which names
# are one file, link targets, xattrs with ACLs, and contents.
describe() {
    (
        cd "$1" || exit 1
        # The first name of each group of hard links stands for the group.
        find . -mindepth 1 -printf '%P\t%y %m %U:%G %T@ %n %l\t%i\n' | sort |
            awk -F '\t' '{ if (!($3 in first)) first[$3] = $1; print $1 "\t" $2 "\t= " first[$3] }'
        find . -type f -printf '%P\t%s\n' | sort
        find . -type f -print0 | sort -z | xargs -0 -r sha256sum
        find . -mindepth 1 -print0 | sort -z | xargs -0 -r getfattr -h -d -m - -e hex --
    )
}

# same_tree A B WHAT: fails with the differences when the folders are not the same.
same_tree() {
    diff <(describe "$1") <(describe "$2") >"$work/differences" ||
        fail "$3: $1 and $2 differ: $(head -n 20 "$work/differences")"
}
