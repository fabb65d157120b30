#include "tests/model/ledger.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <ctime>

#include "tests/support/share.h"

namespace umbra::test {

namespace {

bool before(const timespec& a, const timespec& b) {
    return a.tv_sec != b.tv_sec ? a.tv_sec < b.tv_sec : a.tv_nsec < b.tv_nsec;
}

bool same(const timespec& a, const timespec& b) {
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

std::string seconds(const timespec& time) {
    return std::to_string(time.tv_sec) + "." + std::to_string(time.tv_nsec);
}

timespec now() {
    timespec time{};
    ::clock_gettime(CLOCK_REALTIME, &time);
    return time;
}

}  // namespace

Ledger::Ledger(UmbraMount& mount, Driver& driver, Random& random, bool kernel_owns_times)
    : mount_(mount),
      driver_(driver),
      random_(random),
      kernel_owns_times_(kernel_owns_times),
      earliest_(now()) {
    --earliest_.tv_sec;  // filesystems take times from a coarser clock
}

std::vector<std::string> Ledger::tokens() const {
    std::vector<std::string> found;
    for (const auto& [token, kept] : kept_) found.push_back(token);
    return found;
}

std::vector<std::string> Ledger::listed() const {
    std::vector<std::string> found;
    for (const auto& snapshot : mount_.snapshots()) found.push_back(snapshot.token);
    std::sort(found.begin(), found.end());
    return found;
}

std::string Ledger::create_by_mkdir(std::string label) {
    const auto path = mount_.snapshots_path() / label;
    if (::mkdir(path.c_str(), 0755) != 0) {
        throw Mismatch("mkdir .snapshots/" + label + ": " + std::strerror(errno));
    }
    for (const auto& snapshot : mount_.snapshots()) {
        if (snapshot.label == label) return snapshot.token;
    }
    throw Mismatch("mkdir .snapshots/" + label + " made no snapshot of that label");
}

void Ledger::create() {
    creating_ = driver_.picture_now();
    creating_stored_ = driver_.paths_stored_through_mappings();
    driver_.note("snapshot create");
    const std::string label = "label " + std::to_string(++labels_);
    const std::string token = random_.chance(40)
                                  ? create_by_mkdir(label)
                                  : mount_.create_snapshot(random_.chance(30) ? label : "");
    driver_.note("  is " + token);
    driver_.stores_handed_over();
    if (!kept_.empty() && token <= kept_.rbegin()->first) {
        throw Mismatch("the new token " + token + " is not later than " + kept_.rbegin()->first);
    }
    if (kernel_owns_times_) {
        take_late_ctimes(token, *creating_);
    } else {
        take_late_times(token, *creating_, creating_stored_);
    }
    kept_[token].expected = std::move(*creating_);
    creating_.reset();
}

// Stores through a mapping change a file's times when they are handed over, as at msync, which is
// between the store and now.
void Ledger::take_late_times(const std::string& token, Tree& expected,
                             const std::vector<std::string>& stored) {
    for (const auto& path : stored) {
        struct stat status {};
        const auto found = mount_.snapshot_path(token) / path;
        if (::lstat(found.c_str(), &status) != 0) {
            throw Mismatch(token + "/" + path + ": " + std::strerror(errno));
        }
        TreeNode& node = expected.nodes.at(path);
        const timespec latest = now();
        const auto possible = [&](const timespec& was, const timespec& is) {
            return same(was, is) || (!before(is, earliest_) && !before(latest, is));
        };
        if (!possible(node.mtime, status.st_mtim) || !possible(node.ctime, status.st_ctim) ||
            before(status.st_ctim, node.ctime)) {
            throw Mismatch(token + "/" + path + ": stored to through a mapping; its mtime was " +
                           seconds(node.mtime) + " and is " + seconds(status.st_mtim) +
                           ", its ctime was " + seconds(node.ctime) + " and is " +
                           seconds(status.st_ctim));
        }
        node.mtime = status.st_mtim;
        node.ctime = status.st_ctim;
    }
}

// With -o writeback the kernel owns size and times of files being written. It hands over the mtime
// it has shown, but nobody can set a ctime: that becomes the time of handing over.
void Ledger::take_late_ctimes(const std::string& token, Tree& expected) {
    for (auto& [path, node] : expected.nodes) {
        if (!S_ISREG(node.mode)) continue;
        struct stat status {};
        const auto found = mount_.snapshot_path(token) / path;
        if (::lstat(found.c_str(), &status) != 0)
            throw Mismatch(found.string() + ": " + std::strerror(errno));
        if (before(status.st_ctim, node.ctime) || before(now(), status.st_ctim)) {
            throw Mismatch(token + "/" + path + ": its ctime was " + seconds(node.ctime) +
                           " and is " + seconds(status.st_ctim));
        }
        node.ctime = status.st_ctim;
    }
}

void Ledger::delete_one() {
    if (kept_.empty()) return;
    const auto all = tokens();
    const uint64_t kind = random_.below(3);
    deleting_ = kind == 0 ? all.front() : kind == 1 ? all.back() : random_.one_of(all);
    driver_.note("snapshot delete " + deleting_);
    if (random_.chance(30)) {
        if (::rmdir(mount_.snapshot_path(deleting_).c_str()) != 0) {
            throw Mismatch("rmdir .snapshots/" + deleting_ + ": " + std::strerror(errno));
        }
    } else {
        mount_.delete_snapshot(deleting_);
    }
    kept_.erase(deleting_);
    deleting_.clear();
}

void Ledger::compare_with(const std::string& token, Kept& kept, const std::string& occasion) {
    const Tree found = capture(mount_.snapshot_path(token));
    CompareOptions everything;
    everything.directory_size = true;
    auto lines = compare(kept.expected, found, everything);
    for (const auto& [path, node] : found.nodes) {
        const auto [known, fresh] = kept.inodes.emplace(path, node.inode);
        if (known->second != node.inode) {
            lines.push_back(path + ": inode number was " + std::to_string(known->second) + ", is " +
                            std::to_string(node.inode));
        }
    }
    if (!lines.empty()) {
        throw Mismatch(occasion + ", snapshot " + token + " is not as it was:\n" +
                       join_lines(lines));
    }
}

void Ledger::compare_one() {
    if (kept_.empty()) return;
    const auto kept = std::next(kept_.begin(), static_cast<long>(random_.below(kept_.size())));
    driver_.note("compare " + kept->first);
    compare_with(kept->first, kept->second, "in between");
}

void Ledger::compare_all(const std::string& occasion) {
    driver_.note("compare all, " + occasion);
    // What was read before would be answered by the kernel, whatever has become of it.
    drop_kernel_caches();
    if (listed() != tokens()) {
        std::string text = occasion + ", other snapshots are listed than there should be:";
        for (const auto& token : listed()) text += " " + token;
        text += "; there should be:";
        for (const auto& token : tokens()) text += " " + token;
        throw Mismatch(text);
    }
    for (auto& [token, kept] : kept_) compare_with(token, kept, occasion);
}

void Ledger::recover() {
    const auto found = listed();
    const auto is_listed = [&](const std::string& token) {
        return std::find(found.begin(), found.end(), token) != found.end();
    };
    if (!deleting_.empty() && !is_listed(deleting_)) kept_.erase(deleting_);
    deleting_.clear();
    if (creating_) {
        for (const auto& token : found) {
            if (kept_.count(token) != 0) continue;
            kept_[token].expected = std::move(*creating_);
            driver_.note("the interrupted snapshot was made: " + token);
            break;
        }
        creating_.reset();
    }
}

}  // namespace umbra::test
