#!/bin/bash
# rsync -aHAX, into the mount in place and beside it, and out of snapshots: each snapshot is the
# version that was current when it was taken. On ext4, XFS and btrfs.
# shellcheck disable=SC2154  # $work, $image and $share come from lib/share.sh
set -euo pipefail
# shellcheck source=tests/programs/lib/share.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/share.sh"
need rsync setfacl setfattr

copy() { rsync -aHAX --numeric-ids --delete "$@"; }

# Fails when rsync would have to change anything, contents included, to make B of A.
in_sync() {
    local changes
    changes=$(rsync -aHAX --numeric-ids --delete --checksum --dry-run --itemize-changes "$1/" "$2/")
    [[ -z $changes ]] || fail "$3: $2 is not $1: $(head -n 10 <<<"$changes")"
}

# Version NUMBER of a tree: from one to the next files grow, shrink, change inside, move, change
# their links and attributes, come and go.
make_version() {
    local folder=$1 number=$2 i
    mkdir -p "$folder"/{sources,many,links}
    cp "${UMBRA_SOURCE_DIR:?}"/snapstore/*.cpp "$folder/sources/"
    for ((i = number * 10; i < number * 10 + 60; ++i)); do
        printf 'file %d of version %d\n%*s' "$i" "$((i % 3 == 0 ? number : 0))" $((i * 37 % 5000)) '' \
            >"$folder/many/$i"
    done
    # The same name with other contents: a database whose pages change in the middle.
    head -c 2000000 /dev/zero | tr '\0' 'd' >"$folder/database"
    printf 'version %d' "$number" | dd of="$folder/database" bs=1 seek=$((number * 500000)) conv=notrunc status=none
    truncate -s $((4000000 - number * 900000)) "$folder/sparse"
    printf 'x%.0s' {1..100} | dd of="$folder/sparse" bs=1 seek=$((number * 300000)) conv=notrunc status=none
    ln "$folder/database" "$folder/links/database-$number"
    ln "$folder/many/$((number * 10))" "$folder/links/one"
    ln -s "target-$number" "$folder/links/symbolic"
    setfattr -n user.version -v "$number" "$folder/database"
    setfacl -m "u:$((1000 + number)):rw" "$folder/sparse"
    chmod "75$number" "$folder/sources"
    chown "$((500 + number)):7" "$folder/many"
    find "$folder" -exec touch -h -d "2024-03-0$number 12:00:00.$number" '{}' +
}

run() {
    local type=$1 number places=()
    make_image "$type"
    make_share data
    mkdir "$share/beside" "$share/inside"
    start_snapshots
    for number in 1 2 3; do
        make_version "$image/version-$number" "$number"
        copy "$image/version-$number/" "$share/beside/"
        # Writes into the existing files instead of replacing them.
        copy --inplace --no-whole-file "$image/version-$number/" "$share/inside/"
        places+=("$(take_snapshot)")
        in_sync "$image/version-$number" "$share/beside" "$type, live"
        in_sync "$image/version-$number" "$share/inside" "$type, live and in place"
    done
    stop_snapshots
    rm -rf "$share/beside" "$share/inside"
    for number in 1 2 3; do
        in_sync "$image/version-$number" "${places[number - 1]}/beside" "$type, snapshot $number"
        in_sync "$image/version-$number" "${places[number - 1]}/inside" "$type, snapshot $number in place"
        copy "${places[number - 1]}/beside/" "$image/out/"
        same_tree "$image/version-$number" "$image/out" "$type, copied out of snapshot $number"
        rm -rf "$image/out"
    done
    end_share
    rm -rf "$image"/version-*
    echo "$type: three versions, each in its snapshot"
}

run ext4
run xfs
run btrfs
