// The threads that serve a mount. Each has a libfuse session of its own on a descriptor of its own
// of /dev/fuse, so that they share no lock but the kernel's queue; and unlike libfuse's own loop
// they can be stopped without losing a request: a successor serves on from there.
//
// A session must have seen the kernel's INIT before it takes other requests. The kernel sends one
// for each mount, once; it is kept, and shown to every session that is made.
#pragma once

#include <fuse3/fuse_lowlevel.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "fuse/mount_session.h"
#include "snapstore/result.h"
#include "snapstore/unique_fd.h"

namespace umbra {

class MountContext;

struct SessionCloser {
    void operator()(fuse_session* session) const { fuse_session_destroy(session); }
};
using SessionPointer = std::unique_ptr<fuse_session, SessionCloser>;

// What kernel and daemon have agreed upon for a mount, as bytes of the protocol.
struct Negotiation {
    std::string request;  // INIT as the kernel sent it
    std::string reply;    // our answer
};

// Takes INIT from a new connection and answers it. ENODEV when it has ended already.
Result<Negotiation> negotiate(int device, const MountOptions& options);

// What this program would answer to that INIT.
Result<std::string> answer_to_init(const std::string& request, MountOptions options);

// A session for a connection whose INIT is answered. It owns `device` (a descriptor of its own).
// EPROTO when this program would have answered INIT otherwise.
Result<SessionPointer> resume_session(UniqueFd device, const Negotiation& agreed,
                                      const MountOptions& options, MountContext& context);

// One more descriptor of a connection, with a queue of its own.
Result<UniqueFd> clone_device(int device);

class SessionWorkers {
   public:
    // `device` and `agreed` must outlive it.
    SessionWorkers(int device, const Negotiation& agreed, const MountOptions& options,
                   MountContext& context)
        : device_(device), agreed_(agreed), options_(options), context_(context) {}
    ~SessionWorkers() { stop(); }
    SessionWorkers(const SessionWorkers&) = delete;
    SessionWorkers& operator=(const SessionWorkers&) = delete;

    // Starts the first; the others come as they are needed, options.max_threads at most.
    Result<void> start();

    // Waits until the connection has ended, a worker could not go on, or wake() was called.
    void wait();
    void wake();
    bool ended() const;
    // Why a worker could not go on; no value while all is well.
    std::optional<Error> failure() const;

    // Ends the threads, each when it has done what it has taken; takes no more. Requests wait in
    // the kernel then. What was given to other threads can be answered as long as this lives.
    // start() goes on.
    void stop();

   private:
    struct Worker {
        SessionPointer session;
        UniqueFd reader;  // the session's descriptor once more: stop() puts something else there
        std::atomic<bool> reading = false;
        std::atomic<bool> finished = false;
        std::thread thread;
    };

    Result<void> add_locked();
    void work(Worker& worker);
    void serve(Worker& worker, char* buffer, std::size_t size);
    void process(fuse_session* session, char* buffer, std::size_t size);
    void about_to_serve(bool forgets);
    void end(std::optional<Error> failure);

    const int device_;
    const Negotiation& agreed_;
    const MountOptions options_;
    MountContext& context_;
    UniqueFd nothing_;  // always at its end

    mutable std::mutex mutex_;  // guards all below
    std::condition_variable changed_;
    std::list<Worker> workers_;
    std::size_t idle_ = 0;
    bool stopping_ = false;
    bool woken_ = false;
    bool ended_ = false;
    std::optional<Error> failure_;

    std::list<Worker> retired_;  // stopped; used by stop() alone
};

}  // namespace umbra
