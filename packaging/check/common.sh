# What the checks of the package share; they are run inside the tree that scripts/package makes.

fail() {
    echo "check: $*" >&2
    exit 1
}

# wait_for SECONDS WHAT COMMAND...: until the command succeeds.
wait_for() {
    seconds=$1 what=$2
    shift 2
    attempt=0
    until "$@" >/dev/null 2>&1; do
        attempt=$((attempt + 1))
        [ "$attempt" -lt $((seconds * 10)) ] || fail "after $seconds s still not: $what"
        sleep 0.1
    done
}

expect_text() {
    [ "$(cat "$1")" = "$2" ] || fail "$1 holds '$(cat "$1")', and not '$2'"
}

is_mounted() { findmnt -n -t fuse.umbra "$1" >/dev/null; }

# make_disk FILE: an ext4 filesystem in a file.
make_disk() {
    truncate -s 128M "$1"
    mkfs.ext4 -q "$1"
}
