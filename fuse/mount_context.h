// What the handlers of one mount share: the volume, the nodes the kernel knows, the files it holds
// open, and the translations between node ids and objects.
#pragma once

#include <fuse3/fuse_lowlevel.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

#include "fuse/delayed_answers.h"
#include "fuse/mount_session.h"
#include "fuse/node_id.h"
#include "fuse/node_table.h"
#include "fuse/notifications.h"
#include "fuse/open_directories.h"
#include "fuse/open_files.h"
#include "fuse/recent_listings.h"
#include "fuse/reconnections.h"
#include "fuse/reply.h"
#include "fuse/request_counters.h"
#include "fuse/task_thread.h"
#include "fuse/view_nodes.h"
#include "snapstore/volume.h"

namespace umbra {

// An object inside a snapshot.
struct PastObject {
    Epoch epoch = 0;
    ObjectId id;
};

// Every method may be called from any thread.
class MountContext {
   public:
    MountContext(Volume& volume, MountOptions options, NodeNumbering numbering);
    MountContext(const MountContext&) = delete;
    MountContext& operator=(const MountContext&) = delete;

    Volume& volume() { return volume_; }
    LiveTree& live() { return volume_.live(); }
    const MountOptions& options() const { return options_; }
    const NodeNumbering& numbering() const { return numbering_; }
    NodeTable& nodes() { return nodes_; }
    ViewNodes& view_nodes() { return view_nodes_; }
    OpenFiles& open_files() { return open_files_; }
    OpenDirectories& open_directories() { return open_directories_; }
    RequestCounters& counters() { return counters_; }
    DelayedAnswers& delayed_answers() { return delayed_answers_; }
    Notifications& notifications() { return notifications_; }
    // Creates and deletes snapshots asked for through the mount: a worker thread must not (the
    // flush before a cut needs free workers).
    TaskThread& snapshot_thread() { return snapshot_thread_; }

    // Is this request the fsync by which hand_over_dirty_pages() makes the kernel write? The disk
    // need not be waited for then.
    bool from_flush(const Request& request) const {
        return fuse_req_ctx(request.raw())->pid == flushing_thread_.load();
    }

    // Are dirty pages being handed over? A snapshot waits for them: nobody slows them.
    bool flushing() const { return flushing_thread_.load() != 0; }

    Reconnections& reconnections() { return reconnections_; }
    RecentListings& recent_listings() { return recent_listings_; }

    // --- from nodes to objects. Nodes that the kernel has forgotten, or had before a restart, are
    // found again by their inode number; ESTALE where nothing in the share has it
    // -------------------------------
    Result<ObjectId> live_object(NodeId node) const;
    Result<PastObject> past_object(NodeId node) const;
    // 0 when the node's snapshot does not exist (any more).
    Epoch epoch_of(NodeId node) const;

    // --- from what the store found to what the kernel is to know ---------------------------------
    Result<NodeEntry> live_entry(const Entry& entry) const;
    Result<NodeEntry> past_entry(Epoch epoch, const PastEntry& entry) const;
    // The same for what was found in this directory of a snapshot, or in a folder's .snapshots.
    Result<NodeEntry> past_entry_in(NodeId directory, Epoch epoch, const PastEntry& entry);
    // As a live object is to be shown: link count 0 while it waits in limbo.
    struct stat shown_live(NodeId node, struct stat status) const;
    struct stat shown_past(NodeId node, struct stat status) const;
    // Remembers what an unlink or a rename did to a node.
    void note_removed(Removed removed);

   private:
    friend class FlushScope;

    Volume& volume_;
    const MountOptions options_;
    const NodeNumbering numbering_;
    NodeTable nodes_;
    ViewNodes view_nodes_{[this](NodeId node) { return nodes_.find(node).has_value(); }};
    OpenFiles open_files_;
    OpenDirectories open_directories_;
    RequestCounters counters_;
    Notifications notifications_;
    Reconnections reconnections_;
    RecentListings recent_listings_;
    TaskThread snapshot_thread_;
    DelayedAnswers delayed_answers_;
    std::atomic<pid_t> flushing_thread_ = 0;
};

// Marks the calling thread, as long as it lives, as the one that hands over dirty pages.
class FlushScope {
   public:
    explicit FlushScope(MountContext& context) : context_(context) {
        context_.flushing_thread_ = ::gettid();
    }
    ~FlushScope() { context_.flushing_thread_ = 0; }
    FlushScope(const FlushScope&) = delete;
    FlushScope& operator=(const FlushScope&) = delete;

   private:
    MountContext& context_;
};

}  // namespace umbra
