// Tells the kernel about changes that it cannot know of: snapshots that come and go, and attributes
// that follow from another object's.
//
// Sent by a thread of its own: the kernel takes the directory's inode lock to drop a name, and a
// request under way (mkdir in .snapshots) may hold that lock until it is answered.
#pragma once

#include <fuse3/fuse_lowlevel.h>

#include <atomic>
#include <cstddef>
#include <functional>
#include <vector>

#include "fuse/node_id.h"
#include "fuse/task_thread.h"
#include "snapstore/catalog.h"

namespace umbra {

// Every method may be called from any thread and returns soon. Nothing is sent before connect()
// and after disconnect().
class Notifications {
   public:
    void connect(fuse_session* session) { session_ = session; }
    // After it has returned nothing more is sent.
    void disconnect();

    // All has been sent.
    bool idle() const { return thread_.idle() && pages_thread_.idle(); }

    // .snapshots has one entry more or less.
    void snapshot_changed(const Snapshot& snapshot, bool created);
    // What the kernel knows below these snapshots is to be asked for again.
    void view_changed(const std::vector<Snapshot>& snapshots);
    // The kernel's copy of the attributes is outdated.
    void attributes_changed(NodeId node);
    // The same at once, before a request that changed them is answered: the kernel needs no lock
    // for it that a request may hold. Not from a thread that may outlive the session.
    void forget_attributes(NodeId node);
    // The kernel drops its pages of these bytes, which are outdated. `done` answers the write that
    // outdated them: after that, or before it when several such answers wait already.
    void drop_pages(NodeId node, off_t offset, std::size_t size, const std::function<void()>& done);

   private:
    std::atomic<fuse_session*> session_ = nullptr;
    TaskThread thread_;

    // To drop a page the kernel waits for whoever is reading it. That reader may be waiting, with
    // the page locked, to be let in: the kernel has 12 requests of this kind under way at most
    // (max_background: read-ahead and asynchronous transfers). So fewer than those may wait here.
    static constexpr int kMostWaiting = 4;
    std::atomic<int> waiting_ = 0;
    TaskThread pages_thread_;  // not behind what waits for a directory's lock
};

}  // namespace umbra
