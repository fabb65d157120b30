// Loads that read and write the contents of files. With several threads each has a file of its own:
// FILE.0, FILE.1, ...; one thread uses FILE.0.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <exception>
#include <functional>
#include <thread>

#include "bench/workload.h"
#include "snapstore/unique_fd.h"

namespace umbra::bench {

namespace {

using Moment = std::chrono::steady_clock::time_point;

// Positions of one thread's operations, in bytes.
using Positions = std::vector<std::uint64_t>;

std::string file_of(const std::string& base, std::size_t thread) {
    return base + "." + std::to_string(thread);
}

Positions sequential(std::uint64_t file_bytes, std::uint64_t block) {
    Positions positions;
    for (std::uint64_t position = 0; position + block <= file_bytes; position += block)
        positions.push_back(position);
    return positions;
}

// Each stride once, at its start, in random order.
Positions scattered(std::uint64_t file_bytes, std::uint64_t stride, std::uint64_t seed) {
    Positions positions = shuffled(file_bytes / stride, seed);
    for (auto& position : positions) position *= stride;
    return positions;
}

using Operation = std::function<bool(int file, char* buffer, std::uint64_t position)>;

// One thread's part, timed from the moment all threads are ready. Closing is timed apart: with a
// writeback cache it is where the waiting is.
class Worker {
   public:
    Worker(std::string path, int flags, std::uint64_t block, Positions positions,
           Operation operation)
        : path_(std::move(path)),
          file_(::open(path_.c_str(), flags | O_CLOEXEC, 0644)),
          buffer_(block, 'y'),
          positions_(std::move(positions)),
          operation_(std::move(operation)) {
        if (!file_.valid()) fail("open " + path_);
    }

    void run() {
        began_ = std::chrono::steady_clock::now();
        try {
            for (const std::uint64_t position : positions_) {
                if (!operation_(file_.get(), buffer_.data(), position)) fail(path_);
            }
        } catch (...) {
            failure_ = std::current_exception();
        }
        ended_ = std::chrono::steady_clock::now();
    }
    Moment began() const { return began_; }
    Moment ended() const { return ended_; }
    void close() { file_ = UniqueFd(); }
    void rethrow() const {
        if (failure_) std::rethrow_exception(failure_);
    }
    std::size_t operations() const { return positions_.size(); }

   private:
    std::string path_;
    UniqueFd file_;
    std::string buffer_;
    Positions positions_;
    Operation operation_;
    Moment began_, ended_;
    std::exception_ptr failure_;
};

double seconds_between(Moment began, Moment ended) {
    return std::chrono::duration<double>(ended - began).count();
}

// By the clocks of the workers: on a busy machine this thread may wake up long after them.
Report time_all(std::vector<Worker>& workers) {
    std::barrier start(static_cast<std::ptrdiff_t>(workers.size()));
    std::vector<std::thread> threads;
    for (auto& worker : workers) {
        threads.emplace_back([&] {
            start.arrive_and_wait();
            worker.run();
        });
    }
    for (auto& thread : threads) thread.join();
    Moment began = workers.front().began(), ended = workers.front().ended();
    double operations = 0;
    for (auto& worker : workers) {
        worker.rethrow();
        began = std::min(began, worker.began());
        ended = std::max(ended, worker.ended());
        operations += static_cast<double>(worker.operations());
    }
    const Stopwatch closing;
    for (auto& worker : workers) worker.close();
    const double seconds = seconds_between(began, ended);
    return {{"seconds", seconds},
            {"seconds_with_close", seconds + closing.seconds()},
            {"operations", operations}};
}

Operation write_block(std::uint64_t block) {
    return [block](int file, char* buffer, std::uint64_t position) {
        return ::pwrite(file, buffer, block, static_cast<off_t>(position)) ==
               static_cast<ssize_t>(block);
    };
}

Operation read_block(std::uint64_t block) {
    return [block](int file, char* buffer, std::uint64_t position) {
        return ::pread(file, buffer, block, static_cast<off_t>(position)) ==
               static_cast<ssize_t>(block);
    };
}

struct Plan {
    std::string base;
    std::uint64_t total_bytes;
    std::uint64_t block;
    std::uint64_t threads;

    explicit Plan(const Arguments& arguments)
        : base(arguments[0]),
          total_bytes(to_number(arguments[1])),
          block(to_number(arguments[2])),
          threads(to_number(arguments[3])) {}
    std::uint64_t bytes_each() const { return total_bytes / threads; }
};

Report run_plan(const Plan& plan, int flags, const Operation& operation,
                const std::function<Positions(std::uint64_t thread)>& positions) {
    std::vector<Worker> workers;
    for (std::uint64_t thread = 0; thread < plan.threads; ++thread) {
        workers.emplace_back(file_of(plan.base, thread), flags, plan.block, positions(thread),
                             operation);
    }
    return time_all(workers);
}

Report write_new(const Arguments& arguments) {
    const Plan plan(arguments);
    return run_plan(plan, O_WRONLY | O_CREAT | O_EXCL, write_block(plan.block),
                    [&](std::uint64_t) { return sequential(plan.bytes_each(), plan.block); });
}

Report rewrite(const Arguments& arguments) {
    const Plan plan(arguments);
    return run_plan(plan, O_WRONLY, write_block(plan.block),
                    [&](std::uint64_t) { return sequential(plan.bytes_each(), plan.block); });
}

Report read_all(const Arguments& arguments) {
    const Plan plan(arguments);
    return run_plan(plan, O_RDONLY, read_block(plan.block),
                    [&](std::uint64_t) { return sequential(plan.bytes_each(), plan.block); });
}

Report random_rewrite(const Arguments& arguments) {
    const Plan plan(arguments);
    const std::uint64_t stride = to_number(arguments[4]), seed = to_number(arguments[5]);
    return run_plan(plan, O_WRONLY, write_block(plan.block), [&](std::uint64_t thread) {
        return scattered(plan.bytes_each(), stride, seed + thread);
    });
}

Report random_read(const Arguments& arguments) {
    const Plan plan(arguments);
    const std::uint64_t stride = to_number(arguments[4]), seed = to_number(arguments[5]);
    return run_plan(plan, O_RDONLY, read_block(plan.block), [&](std::uint64_t thread) {
        return scattered(plan.bytes_each(), stride, seed + thread);
    });
}

}  // namespace

std::vector<Load> file_data_loads() {
    return {{"write-new", "FILE TOTAL-BYTES BLOCK THREADS", 4, write_new},
            {"rewrite", "FILE TOTAL-BYTES BLOCK THREADS", 4, rewrite},
            {"read", "FILE TOTAL-BYTES BLOCK THREADS", 4, read_all},
            {"random-rewrite", "FILE TOTAL-BYTES BLOCK THREADS STRIDE SEED", 6, random_rewrite},
            {"random-read", "FILE TOTAL-BYTES BLOCK THREADS STRIDE SEED", 6, random_read}};
}

}  // namespace umbra::bench
