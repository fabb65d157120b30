#!/bin/bash
# tar --xattrs --acls, into the mount and out of it and of its snapshots: what comes out is what went
# in, also after the live tree has changed in every way tar knows.
# shellcheck disable=SC2154  # $work, $image and $share come from lib/share.sh
set -euo pipefail
# shellcheck source=tests/programs/lib/share.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/share.sh"
need tar setfacl setfattr getfattr setcap

pack() { tar --create --xattrs --xattrs-include='*' --acls --numeric-owner --sparse --file "$2" -C "$1" .; }
unpack() {
    mkdir "$2"
    tar --extract --xattrs --xattrs-include='*' --acls --numeric-owner --preserve-permissions --file "$1" -C "$2"
}

# One of everything that tar can carry.
make_tree() {
    local folder=$1
    mkdir -p "$folder"/{documents/deep/er,private,shared}
    cp -R "${UMBRA_SOURCE_DIR:?}/snapstore" "$folder/documents/"
    echo "first" >"$folder/documents/deep/er/file with blanks"
    printf 'bytes' >"$folder/documents/"$'not utf-8 \xff\xfe'
    head -c 300000 /dev/urandom >"$folder/private/random"
    truncate -s 3M "$folder/private/sparse"
    printf 'island' | dd of="$folder/private/sparse" bs=1 seek=2000000 conv=notrunc status=none
    ln "$folder/private/random" "$folder/shared/hard link"
    ln -s ../private/random "$folder/shared/symbolic link"
    ln -s /does/not/exist "$folder/shared/dangling"
    mkfifo -m 600 "$folder/shared/fifo"
    mknod -m 640 "$folder/shared/device" c 1 3
    chown 1234:2345 "$folder/private" "$folder/private/sparse"
    chmod 2770 "$folder/private"
    chmod 1777 "$folder/shared"
    touch -d '2001-02-03 04:05:06.123456789 UTC' "$folder/private/random" "$folder/documents/deep"
    setfattr -n user.comment -v "hello" "$folder/private/random"
    setfattr -n user.long -v "$(printf 'x%.0s' {1..1500})" "$folder/documents/deep"
    setfattr -n trusted.secret -v "root only" "$folder/private/sparse"
    cp /bin/true "$folder/private/true" && setcap cap_net_raw+ep "$folder/private/true"
    setfacl -m u:1234:r--,g:2345:rw- "$folder/private/random"
    setfacl -d -m u:1234:rwx "$folder/private"
}

change_tree() {
    local folder=$1
    echo "second" >>"$folder/documents/deep/er/file with blanks"
    rm -r "$folder/documents/snapstore"
    mv "$folder/private/random" "$folder/documents/moved"
    dd if=/dev/urandom of="$folder/private/sparse" bs=4096 count=3 seek=5 conv=notrunc status=none
    truncate -s 1M "$folder/private/sparse"
    setfattr -x trusted.secret "$folder/private/sparse"
    setfacl -b "$folder/documents/moved"
    setfacl -k "$folder/private"
    setcap -r "$folder/private/true"
    chmod 0 "$folder/private/true"
    chown 0:0 "$folder/private"
    rm "$folder/shared/fifo" "$folder/shared/symbolic link"
    mkdir "$folder/shared/fifo"
    ln -sfn elsewhere "$folder/shared/dangling"
    touch -d '2020-01-01' "$folder/documents/deep"
}

make_image ext4
make_share data
make_tree "$image/original"
pack "$image/original" "$work/original.tar"

# Into the mount: the live tree, and its snapshot, are the original.
unpack "$work/original.tar" "$share/tree"
before=$(take_snapshot)
same_tree "$image/original" "$share/tree" "unpacked into the mount"
same_tree "$image/original" "$before/tree" "in its snapshot"

# Out of it again.
pack "$share/tree" "$work/live.tar"
unpack "$work/live.tar" "$image/from-live"
same_tree "$image/original" "$image/from-live" "packed from the mount"

# The live tree changes; the snapshot does not, and packs to the same.
change_tree "$share/tree"
change_tree "$image/from-live"
after=$(take_snapshot)
same_tree "$image/original" "$before/tree" "in the snapshot, after the changes"
pack "$before/tree" "$work/before.tar"
unpack "$work/before.tar" "$image/from-before"
same_tree "$image/original" "$image/from-before" "packed from the snapshot"
rm -rf "$share/tree"
pack "$after/tree" "$work/after.tar"
unpack "$work/after.tar" "$image/from-after"
[[ $(cat "$image/from-after/documents/deep/er/file with blanks") == $'first\nsecond' ]] ||
    fail "the later snapshot does not have the change"
same_tree "$after/tree" "$image/from-after" "packed from the later snapshot"
[[ ! -e $share/tree ]] || fail "the live tree is still there"
echo "round trips through the mount and two snapshots gave the same trees"
