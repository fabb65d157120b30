// Copying from a snapshot into the live tree without moving what need not move: where the live (or
// limbo) object still is what the file was, its blocks are shared if the filesystem can (XFS,
// btrfs), and only what has a record is read and written. This is what makes a restore of a large
// file with a small change cheap.
#pragma once

#include <cstddef>
#include <cstdint>

#include "snapstore/live_tree.h"
#include "snapstore/past_tree.h"

namespace umbra {

struct CopiedRange {
    std::uint64_t in_offset = 0;
    std::uint64_t out_offset = 0;
    std::size_t length = 0;
};

// Copies a part of a file of a snapshot to an open live file, as copy_file_range(2); returns how
// many bytes, less than asked for at the end of the file, or when there is much. What it has
// returned was in the snapshot: a writer that changes the live object meanwhile is noticed, and
// what it preserved is copied instead. `after` is called as LiveTree::copy_range does.
//
// Any thread, no lock held. Errors: those of PastTree::read and LiveTree::write; EXDEV where the
// file is copied to its own live object, which read and write do.
Result<std::size_t> copy_from_past(PastTree past, const PastFile& in, LiveTree& live, OpenFile& out,
                                   const CopiedRange& range, const Caller& caller,
                                   const LiveTree::After& after = {});

}  // namespace umbra
