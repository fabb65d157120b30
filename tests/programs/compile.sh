#!/bin/bash
# A compile of a part of Umbra's own sources on a mount while snapshots are taken: what comes out is,
# byte for byte, what a compile outside makes, and every snapshot has the sources as they are.
# shellcheck disable=SC2154  # $work, $image and $share come from lib/share.sh
set -euo pipefail
# shellcheck source=tests/programs/lib/share.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/share.sh"
need g++ make ar

readonly SOURCES=(token size_limit volume_files keys log_format)

copy_sources() {
    mkdir -p "$1/snapstore"
    cp "${UMBRA_SOURCE_DIR:?}"/snapstore/*.h "$1/snapstore/"
    local name
    for name in "${SOURCES[@]}"; do
        cp "${UMBRA_SOURCE_DIR:?}/snapstore/$name.cpp" "$1/snapstore/"
    done
    cat >"$1/Makefile" <<'MAKEFILE'
objects := $(patsubst snapstore/%.cpp,objects/%.o,$(wildcard snapstore/*.cpp))
library.a: $(objects)
	ar rcD $@ $(sort $^)
objects/%.o: snapstore/%.cpp | objects
	g++ -std=c++20 -O1 -D_FILE_OFFSET_BITS=64 -I. -MMD -c $< -o $@
objects:
	mkdir -p $@
clean:
	rm -rf objects library.a
-include objects/*.d
MAKEFILE
}

build() { make --silent -C "$1" --jobs 2; }

same_results() {
    local file
    for file in library.a "${SOURCES[@]/#/objects/}"; do
        [[ $file == library.a ]] || file=$file.o
        cmp "$1/$file" "$2/$file" || fail "$file differs between $1 and $2"
    done
}

make_image ext4
make_share data
copy_sources "$work/outside"
copy_sources "$share/inside"
build "$work/outside"

start_snapshots
build "$share/inside"
built=$(take_snapshot)
# Again, over files that a snapshot has: one source is newer, then everything.
touch "$share/inside/snapstore/keys.cpp"
build "$share/inside"
make --silent -C "$share/inside" clean
build "$share/inside"
stop_snapshots
at_end=$(take_snapshot)

same_results "$work/outside" "$share/inside"
same_results "$work/outside" "$built/inside"
same_results "$work/outside" "$at_end/inside"
make --silent -C "$share/inside" --question || fail "make would build something again"

snapshots=0
for place in "$share"/.snapshots/*/; do
    diff -r "$work/outside/snapstore" "$place/inside/snapstore" || fail "the sources in $place have changed"
    snapshots=$((snapshots + 1))
done
((snapshots >= 3)) || fail "only $snapshots snapshots were taken meanwhile"
echo "the same objects inside and outside; $snapshots snapshots with the same sources"
