#include "snapstore/preserve_ahead.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstring>

#include "snapstore/preserver.h"

namespace umbra {

namespace {

constexpr int kDeepest = 32;  // directories in directories
// Space is scarce when less than this part of the limit is left. An area that evicts is nearly full
// most of the time.
constexpr std::uint64_t kScarcePart = 128;

bool is_dot(const char* name) {
    return std::strcmp(name, ".") == 0 || std::strcmp(name, "..") == 0;
}

// Calls visit(name, d_type) for each name from `continue_at` on, which follows what was visited,
// until it returns false. True: that was all of the directory.
template <typename Visit>
Result<bool> for_each_name(int directory, std::int64_t& continue_at, Visit&& visit) {
    if (lseek(directory, continue_at, SEEK_SET) < 0) return errno_only(errno);
    alignas(struct dirent64) std::array<char, 4096> buffer{};
    for (;;) {
        const ssize_t bytes = getdents64(directory, buffer.data(), buffer.size());
        if (bytes < 0) return errno_only(errno);
        if (bytes == 0) return true;
        for (ssize_t at = 0; at < bytes;) {
            const char* entry = buffer.data() + at;
            std::uint16_t length = 0;
            std::int64_t next = 0;
            std::memcpy(&length, entry + offsetof(struct dirent64, d_reclen), sizeof length);
            std::memcpy(&next, entry + offsetof(struct dirent64, d_off), sizeof next);
            const char* name = entry + offsetof(struct dirent64, d_name);
            const auto type = static_cast<unsigned char>(entry[offsetof(struct dirent64, d_type)]);
            if (!is_dot(name)) {
                UMBRA_ASSIGN(bool more, visit(name, type));
                if (!more) return false;
            }
            continue_at = next;
            at += length;
        }
    }
}

}  // namespace

void Preserver::note_neighbourhood(Neighbours kind, ObjectId directory) {
    if (ahead_) return;
    const Neighbourhood found{kind, directory};
    for (const auto& known : neighbourhoods_)
        if (known == found) return;
    neighbourhoods_.push_back(found);
}

// Whatever fails here fails again where it matters, or was not needed.
void Preserver::preserve_ahead() {
    const auto limit = core_.space.limit_bytes();
    if (limit && core_.space.used() >= *limit - *limit / kScarcePart) return;
    ahead_ = true;
    for (const auto& where : neighbourhoods_) static_cast<void>(ahead_beside(where));
    ahead_ = false;
}

// First in the directory itself. Once that is done, below its parent, if that has happened to
// another directory there; and so on upwards.
Result<void> Preserver::ahead_beside(Neighbourhood where) {
    UMBRA_ASSIGN(bool finished, advance(where, Reach::kDirectory, [&](AheadProgress& progress) {
                     ahead_budget_ = neighbours_of_run(progress.runs);
                     return names_ahead(where, progress);
                 }));
    while (finished && where.directory != core_.mount.root_id) {
        UMBRA_ASSIGN(auto parent, core_.live.lookup_parent(where.directory));
        where.directory = parent.id;
        UMBRA_ASSIGN(finished,
                     advance(where, Reach::kBelow, [&](AheadProgress& progress) -> Result<bool> {
                         if (progress.runs == 0) return false;
                         ahead_budget_ = neighbours_of_run(progress.runs - 1);
                         return directories_ahead(where, progress, 0);
                     }));
    }
    return {};
}

// Calls `run`, which says whether nothing is left, unless that is so already or somebody else is at
// it. What fails is not tried again before the next snapshot. True: all is preserved there.
Result<bool> Preserver::advance(const Neighbourhood& where, Reach reach,
                                const std::function<Result<bool>(AheadProgress&)>& run) {
    const auto progress_in = [&](ObjectState& state) -> AheadProgress& {
        auto& all = reach == Reach::kDirectory ? state.neighbours_ahead : state.below_ahead;
        return all[static_cast<std::size_t>(where.kind)];
    };
    AheadProgress progress;
    {
        UMBRA_ASSIGN(auto locked, lock(where.directory));
        AheadProgress& known = progress_in(*locked.state);
        if (locked.state->born_after) return true;
        if (known.done) return known.passed < kMostNeighbours;
        if (known.running) return false;
        known.running = true;
        progress = known;
    }
    const auto finished = run(progress);
    if (!finished) progress.passed = kMostNeighbours;
    ++progress.runs;
    progress.running = false;
    progress.done = (finished && *finished) || progress.passed >= kMostNeighbours;
    UMBRA_ASSIGN(auto locked, lock(where.directory));
    progress_in(*locked.state) = progress;
    return finished && *finished;
}

Result<bool> Preserver::names_ahead(const Neighbourhood& where, AheadProgress& progress) {
    UMBRA_ASSIGN(auto directory,
                 core_.mount.open_object(where.directory, O_RDONLY | O_DIRECTORY | O_NOATIME));
    const auto visit = [&](const char* name, unsigned char) -> Result<bool> {
        if (core_.live.hidden(where.directory, name)) return true;
        if (ahead_budget_ == 0 || progress.passed >= kMostNeighbours) return false;
        UMBRA_TRY(neighbour(where, directory.get(), name));
        --ahead_budget_;
        ++progress.passed;
        return true;
    };
    UMBRA_ASSIGN(bool all, for_each_name(directory.get(), progress.continue_at, visit));
    if (all && where.kind == Neighbours::kNames) {
        UMBRA_TRY(every_name_recorded(where.directory));
        if (ahead_budget_ > 0) --ahead_budget_;
    }
    return all;
}

// In the directories of a directory and all below them. Looking for them is work, too.
Result<bool> Preserver::directories_ahead(const Neighbourhood& where, AheadProgress& progress,
                                          int depth) {
    constexpr unsigned kLooksForOne = 8;
    UMBRA_ASSIGN(auto directory,
                 core_.mount.open_object(where.directory, O_RDONLY | O_DIRECTORY | O_NOATIME));
    unsigned looks = 0;
    return for_each_name(directory.get(), progress.continue_at,
                         [&](const char* name, unsigned char type) -> Result<bool> {
                             if (ahead_budget_ == 0) return false;
                             if (++looks % kLooksForOne == 0) --ahead_budget_;
                             if (type != DT_DIR || core_.live.hidden(where.directory, name))
                                 return true;
                             UMBRA_TRY(directory_ahead(where, directory.get(), name, depth));
                             return ahead_budget_ > 0;  // otherwise perhaps not done there
                         });
}

Result<void> Preserver::directory_ahead(const Neighbourhood& where, int parent_fd, const char* name,
                                        int depth) {
    UniqueFd directory(openat(parent_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!directory.valid()) return {};  // gone meanwhile
    auto id = core_.mount.codec.identify(directory.get());
    if (!id) return {};  // another filesystem's
    const Neighbourhood inside{where.kind, *id};
    UMBRA_TRY(advance(inside, Reach::kDirectory,
                      [&](AheadProgress& progress) { return names_ahead(inside, progress); }));
    if (depth >= kDeepest || ahead_budget_ == 0) return {};
    UMBRA_TRY(advance(inside, Reach::kBelow, [&](AheadProgress& progress) {
        return directories_ahead(inside, progress, depth + 1);
    }));
    return {};
}

// An attributes record needs no look at the name's: what has changed since the snapshot has one.
Result<void> Preserver::neighbour(const Neighbourhood& where, int directory_fd,
                                  const std::string& name) {
    if (where.kind == Neighbours::kNames) {
        UMBRA_ASSIGN(auto locked, lock(where.directory));
        UMBRA_ASSIGN(auto known, core_.index->entry(where.directory, name, newest_));
        if (known) return {};
        return append_entry(*locked.state, where.directory, directory_fd, name);
    }
    UniqueFd object(openat(directory_fd, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!object.valid()) return errno == ENOENT ? Result<void>{} : errno_only(errno);
    auto id = core_.mount.codec.identify(object.get());
    if (!id) return {};  // another filesystem's
    return attributes(*id, object.get(), {where.directory, name});
}

// Every name that was there at the snapshot has been read since, or has a record from before it
// changed: a record never follows the change it is for.
Result<void> Preserver::every_name_recorded(ObjectId directory) {
    UMBRA_ASSIGN(auto locked, lock(directory));
    UMBRA_TRY(append_entry_record(*locked.state, directory, {kEveryOtherName, {}, 0}));
    locked.state->every_name_recorded = true;
    return {};
}

}  // namespace umbra
