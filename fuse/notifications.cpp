#include "fuse/notifications.h"

#include <string>

namespace umbra {

namespace {

void drop_name(fuse_session* session, const std::string& name) {
    fuse_lowlevel_notify_inval_entry(session, NodeId::snapshots_directory().value(), name.c_str(),
                                     name.size());
}

void drop_attributes(fuse_session* session, NodeId node) {
    // A negative offset means: attributes only, keep the pages.
    fuse_lowlevel_notify_inval_inode(session, node.value(), -1, 0);
}

}  // namespace

void Notifications::disconnect() {
    session_ = nullptr;
    thread_.stop();
    pages_thread_.stop();
}

void Notifications::snapshot_changed(const Snapshot& snapshot, bool created) {
    thread_.add([this, token = snapshot.token, label = snapshot.label, created] {
        fuse_session* session = session_;
        if (session == nullptr) return;
        if (!created) {
            drop_name(session, token);
            if (!label.empty()) drop_name(session, label);
        }
        drop_attributes(session, NodeId::snapshots_directory());
    });
}

void Notifications::view_changed(const std::vector<Snapshot>& snapshots) {
    thread_.add([this, snapshots] {
        for (const auto& snapshot : snapshots) {
            fuse_session* session = session_;
            if (session == nullptr) return;
            drop_name(session, snapshot.token);
            if (!snapshot.label.empty()) drop_name(session, snapshot.label);
        }
    });
}

void Notifications::attributes_changed(NodeId node) {
    thread_.add([this, node] { forget_attributes(node); });
}

void Notifications::forget_attributes(NodeId node) {
    if (fuse_session* session = session_) drop_attributes(session, node);
}

void Notifications::drop_pages(NodeId node, off_t offset, std::size_t size,
                               const std::function<void()>& done) {
    const bool waits = ++waiting_ <= kMostWaiting;
    const auto answer = [this, done] {
        done();
        --waiting_;
    };
    if (!waits) answer();
    const bool added = pages_thread_.add([this, node, offset, size, waits, answer] {
        if (fuse_session* session = session_)
            fuse_lowlevel_notify_inval_inode(session, node.value(), offset,
                                             static_cast<off_t>(size));
        if (waits) answer();
    });
    if (!added && waits) answer();
}

}  // namespace umbra
