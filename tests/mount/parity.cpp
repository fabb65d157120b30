#include "tests/mount/parity.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "tests/support/scratch.h"
#include "tests/support/tree.h"

namespace umbra::test {

const NamedCaller kRoot{"root", {0, 0, {}, 022}};
const NamedCaller kOwner{"owner", {kOwnerId, kOwnerId, {kSharedGroup}, 022}};
const NamedCaller kMember{"member", {kMemberId, kMemberId, {kSharedGroup}, 022}};
const NamedCaller kOther{"other", {kOtherId, kOtherId, {}, 022}};

namespace {

namespace fs = std::filesystem;

// Times before an action; a later one means "changed by it".
constexpr timespec kOldAccess{900'000'000, 111'111'111};
constexpr timespec kOldChange{1'000'000'000, 123'456'789};
constexpr time_t kNow = 1'600'000'000;

// Before the notes of an action that threw or crashed.
const std::string kFailed = "FAILED: ";

std::string state_name(State state) {
    switch (state) {
        case State::NoSnapshot:
            return "no snapshot";
        case State::SnapshotJustTaken:
            return "snapshot just taken";
        case State::AlreadyPreserved:
            return "already preserved";
    }
    return "";
}

// One case with one caller.
struct Run {
    const ParityCase* parity_case;
    NamedCaller caller;
    std::string directory;
};

// One of the two sides.
struct Side {
    fs::path group;
    std::map<std::string, Tree> before;
    std::map<std::string, std::string> notes;
    std::map<std::string, Tree> after;
};

void enter(const fs::path& directory) {
    if (::chdir(directory.c_str()) != 0) {
        throw std::runtime_error("chdir " + directory.string() + ": " + std::strerror(errno));
    }
}

void set_up(const fs::path& group, const std::vector<Run>& runs) {
    text_as({0, 0, {}, 0}, [&]() -> std::string {
        make::directory(group.string(), 0755);
        for (const auto& run : runs) {
            make::directory(group / run.directory, 0775);
            enter(group / run.directory);
            try {
                run.parity_case->setup();
            } catch (const std::exception& error) {
                throw std::runtime_error("setting up '" + run.parity_case->name +
                                         "': " + error.what());
            }
        }
        return "";
    });
}

// The directory after what is in it, because listing and warming change it.
void for_each_below(const fs::path& root, const std::function<void(const fs::path&)>& visit) {
    std::vector<fs::path> paths{root};
    for (const auto& entry : fs::recursive_directory_iterator(root)) paths.push_back(entry.path());
    std::for_each(paths.rbegin(), paths.rend(), visit);
}

// Files with the immutable or append-only flag refuse; both sides alike.
void set_old_times(const fs::path& group) {
    for_each_below(group, [](const fs::path& path) {
        const timespec times[2] = {kOldAccess, kOldChange};
        ::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW);
    });
}

void rewrite_data(const fs::path& path) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return;
    std::vector<char> buffer(1 << 20);
    int64_t end = 0;
    for (int64_t at = ::lseek(fd, 0, SEEK_DATA); at >= 0; at = ::lseek(fd, end, SEEK_DATA)) {
        end = ::lseek(fd, at, SEEK_HOLE);
        while (at < end) {
            const auto wanted = std::min<int64_t>(end - at, static_cast<int64_t>(buffer.size()));
            const ssize_t count = ::pread(fd, buffer.data(), static_cast<size_t>(wanted), at);
            if (count <= 0 ||
                ::pwrite(fd, buffer.data(), static_cast<size_t>(count), at) != count) {
                ::close(fd);
                throw std::runtime_error("rewriting " + path.string() + " failed");
            }
            at += count;
        }
    }
    ::close(fd);
}

// Changes everything and puts it back, so that its records exist before the action.
void change_and_restore(const fs::path& group) {
    for_each_below(group, [](const fs::path& path) {
        struct stat status {};
        if (::lstat(path.c_str(), &status) != 0) throw std::runtime_error("stat " + path.string());
        // Writing and changing the owner take a capability away, which only the action may.
        const bool has_capability =
            ::lgetxattr(path.c_str(), "security.capability", nullptr, 0) >= 0;
        if (S_ISREG(status.st_mode) && !has_capability) rewrite_data(path);
        if (S_ISDIR(status.st_mode)) {
            const fs::path extra = path / "preserving";
            if (::mkdir(extra.c_str(), 0700) == 0 && ::rmdir(extra.c_str()) != 0) {
                throw std::runtime_error("rmdir " + extra.string());
            }
        }
        if (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode)) {
            ::lsetxattr(path.c_str(), "user.preserving", "x", 1, 0);
            ::lremovexattr(path.c_str(), "user.preserving");
        }
        if (has_capability) return;
        ::lchown(path.c_str(), kForeignGroup, kForeignGroup);
        ::lchown(path.c_str(), status.st_uid, status.st_gid);
        // The set-id bits went with the owner.
        if (!S_ISLNK(status.st_mode)) ::chmod(path.c_str(), status.st_mode & 07777);
    });
}

// Every action of one caller in one child.
void act_as(const NamedCaller& caller, Side& side, const std::vector<Run>& runs,
            const std::string& outside) {
    std::vector<std::function<std::string()>> actions;
    std::vector<std::string> directories;
    for (const auto& run : runs) {
        if (run.caller.name != caller.name) continue;
        directories.push_back(run.directory);
        actions.push_back([&side, run, outside] {
            enter(side.group / run.directory);
            Record record(outside);
            run.parity_case->action(record);
            return record.notes();
        });
    }
    const auto answers = answers_as(caller.caller, actions);
    for (size_t i = 0; i < answers.size(); ++i) {
        side.notes[directories[i]] = (answers[i].failed ? kFailed : "") + answers[i].text;
    }
}

void act(Side& side, const std::vector<Run>& runs, const std::string& outside) {
    CaptureOptions only_status;
    only_status.contents = only_status.xattrs = false;
    for (const auto& run : runs) {
        side.before[run.directory] = capture(side.group / run.directory, only_status);
    }
    // So that the clock of file times has moved on.
    std::this_thread::sleep_for(std::chrono::milliseconds(12));
    std::map<std::string, NamedCaller> callers;
    for (const auto& run : runs) callers[run.caller.name] = run.caller;
    for (const auto& [name, caller] : callers) act_as(caller, side, runs, outside);
    CaptureOptions everything;
    everything.holes = true;
    for (const auto& run : runs) {
        side.after[run.directory] = capture(side.group / run.directory, everything);
    }
}

std::string time_text(const timespec& time) {
    if (time.tv_sec > kNow) return "now";
    return std::to_string(time.tv_sec) + "." + std::to_string(time.tv_nsec);
}

// One short number for a whole file's contents.
uint32_t fold(const std::vector<uint64_t>& blocks) {
    uint64_t folded = 0;
    for (const auto block : blocks) folded = folded * 0x9E3779B97F4A7C15ull + block;
    return static_cast<uint32_t>(folded >> 32);
}

// A line for each path, with nothing in it that may differ between the sides.
std::map<std::string, std::string> described(const Tree& before, const Tree& after) {
    std::map<uint64_t, timespec> old_changes;
    for (const auto& [path, node] : before.nodes) old_changes[node.inode] = node.ctime;
    std::map<std::string, std::string> lines;
    for (const auto& [path, node] : after.nodes) {
        const auto old = old_changes.find(node.inode);
        const bool same = old != old_changes.end() && old->second.tv_sec == node.ctime.tv_sec &&
                          old->second.tv_nsec == node.ctime.tv_nsec;
        std::ostringstream line;
        line << "mode " << std::oct << node.mode << std::dec << " uid " << node.uid << " gid "
             << node.gid << " nlink " << node.nlink << " size " << node.size << " rdev "
             << node.rdev << " atime " << time_text(node.atime) << " mtime "
             << time_text(node.mtime) << " ctime " << (same ? "same" : "changed") << " first link '"
             << node.first_link << "'";
        if (!node.target.empty()) line << " target '" << node.target << "'";
        for (const auto& [name, value] : node.xattrs) {
            line << " " << name << "=" << std::hex;
            for (const unsigned char byte : value) line << (byte < 16 ? "0" : "") << int{byte};
            line << std::dec;
        }
        if (!node.blocks.empty()) line << " contents " << std::hex << fold(node.blocks) << std::dec;
        if (!node.error.empty()) line << " ERROR " << node.error;
        if (!node.hole_lies.empty()) line << " LIE " << node.hole_lies;
        lines[path] = line.str();
    }
    return lines;
}

std::string compare_sides(const Run& run, const Side& plain, const Side& share) {
    std::string text;
    const auto& plain_notes = plain.notes.at(run.directory);
    const auto& share_notes = share.notes.at(run.directory);
    if (plain_notes.rfind(kFailed, 0) == 0) text += "  plain: " + plain_notes + "\n";
    if (plain_notes != share_notes) {
        std::istringstream a(plain_notes), b(share_notes);
        for (std::string left, right; bool(a) || bool(b);) {
            left = std::getline(a, left) ? left : "(nothing)";
            right = std::getline(b, right) ? right : "(nothing)";
            if (left != right) text += "  plain: " + left + "\n  share: " + right + "\n";
        }
    }
    const auto a = described(plain.before.at(run.directory), plain.after.at(run.directory));
    const auto b = described(share.before.at(run.directory), share.after.at(run.directory));
    for (const auto& [path, line] : a) {
        const auto other = b.find(path);
        if (other == b.end()) {
            text += "  " + path + " is missing on the share; plain: " + line + "\n";
        } else if (other->second != line) {
            text += "  " + path + "\n    plain: " + line + "\n    share: " + other->second + "\n";
        }
    }
    for (const auto& [path, line] : b) {
        if (a.count(path) == 0) text += "  " + path + " is only on the share: " + line + "\n";
    }
    return text;
}

std::vector<Run> runs_on(const std::vector<ParityCase>& cases, FilesystemType type) {
    std::vector<Run> runs;
    for (const auto& parity_case : cases) {
        if (parity_case.filesystems.count(type) == 0) continue;
        for (const auto& caller : parity_case.callers) {
            runs.push_back({&parity_case, caller, std::to_string(runs.size()) + "-" + caller.name});
        }
    }
    return runs;
}

// What `git` calls a slug, so that titles may have spaces.
std::string directory_name(std::string title, State state) {
    std::replace(title.begin(), title.end(), ' ', '-');
    return title + "-" + std::to_string(static_cast<int>(state));
}

void prepare(Side& side, const std::vector<Run>& runs) {
    set_up(side.group, runs);
    set_old_times(side.group);
}

void run_state(Pair& pair, State state, const std::vector<Run>& runs, const std::string& title) {
    const std::string name = directory_name(title, state);
    Side plain, share;
    plain.group = pair.plain() / name;
    share.group = pair.share() / name;
    prepare(plain, runs);
    prepare(share, runs);

    std::string token;
    Tree picture;
    if (state != State::NoSnapshot) {
        picture = capture(share.group);
        token = pair.umbra().create_snapshot();
    }
    if (state == State::AlreadyPreserved) {
        for (Side* side : {&plain, &share}) {
            change_and_restore(side->group);
            set_old_times(side->group);
        }
    }
    act(plain, runs, pair.outside().string());
    act(share, runs, pair.outside().string());

    for (const auto& run : runs) {
        const std::string difference = compare_sides(run, plain, share);
        const std::string where = title + ": " + run.parity_case->name + " (" + run.caller.name +
                                  ", " + to_string(pair.type()) + ", " + state_name(state) + ")";
        CHECK_MESSAGE(difference.empty(), where << "\n" << difference);
    }
    if (!token.empty()) {
        const std::string difference =
            differences(picture, capture(pair.umbra().snapshot_path(token) / name));
        CHECK_MESSAGE(difference == kNoDifferences,
                      title << ": the snapshot changed (" << to_string(pair.type()) << ", "
                            << state_name(state) << ")" << difference);
    }
    remove_tree(plain.group);
    remove_tree(share.group);
    CHECK_MESSAGE(!fs::exists(share.group), "the files of the group could not be deleted");
    if (!token.empty()) pair.umbra().delete_snapshot(token);
}

}  // namespace

long Record::operator()(const std::string& what, long result) {
    const int error = errno;
    notes_ += what + " = " + (result == -1 ? errno_name(error) : std::to_string(result)) + "\n";
    return result;
}

int Record::fd(const std::string& what, int descriptor) {
    const int error = errno;
    notes_ += what + " = " + (descriptor == -1 ? errno_name(error) : "descriptor") + "\n";
    return descriptor;
}

void Record::text(const std::string& what, const std::string& value) {
    notes_ += what + " = '" + value + "'\n";
}

void Record::stat(const std::string& name) {
    struct stat status {};
    note_status("stat " + name, ::lstat(name.c_str(), &status), status);
}

void Record::fstat(const std::string& what, int descriptor) {
    struct stat status {};
    note_status("fstat " + what, ::fstat(descriptor, &status), status);
}

void Record::note_status(const std::string& what, int result, const struct stat& status) {
    if (result != 0) {
        (*this)(what, result);
        return;
    }
    std::ostringstream line;
    line << "mode " << std::oct << status.st_mode << std::dec << " uid " << status.st_uid << " gid "
         << status.st_gid << " nlink " << status.st_nlink << " size " << status.st_size;
    text(what, line.str());
}

void Record::contents(const std::string& name) {
    const std::string all = contents_of(name);
    if (all.size() <= 64) {
        text("contents of " + name, all);
    } else {
        text("contents of " + name, std::to_string(all.size()) + " bytes, hash " +
                                        std::to_string(std::hash<std::string>()(all)));
    }
}

ParityCase& ParityCase::as(std::vector<NamedCaller> chosen) {
    callers = std::move(chosen);
    return *this;
}

ParityCase& ParityCase::on(std::set<FilesystemType> chosen) {
    filesystems = std::move(chosen);
    return *this;
}

ParityCase& Parity::add(const std::string& name, std::function<void()> setup,
                        std::function<void(Record&)> action) {
    const auto& types = all_filesystem_types();
    cases_.push_back({name,
                      std::move(setup),
                      std::move(action),
                      {kRoot, kOwner, kMember, kOther},
                      {types.begin(), types.end()}});
    return cases_.back();
}

void Parity::run(FilesystemType type, const std::string& title) const {
    const std::vector<Run> runs = runs_on(cases_, type);
    if (runs.empty()) return;
    Pair& pair = shared_pair(type);
    pair.delete_all_snapshots();
    for (const auto state :
         {State::NoSnapshot, State::SnapshotJustTaken, State::AlreadyPreserved}) {
        run_state(pair, state, runs, title);
    }
}

int in_child(const std::function<int()>& function) {
    const pid_t child = ::fork();
    if (child < 0) throw std::runtime_error("fork failed");
    if (child == 0) ::_exit(function());
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

}  // namespace umbra::test
