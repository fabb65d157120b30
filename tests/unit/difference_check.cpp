#include "tests/unit/difference_check.h"

#include <set>
#include <tuple>

namespace umbra::test {

namespace {

std::string parent_path(const std::string& path) {
    auto slash = path.rfind('/');
    return slash == std::string::npos ? "" : path.substr(0, slash);
}
std::string last_name(const std::string& path) {
    auto slash = path.rfind('/');
    return slash == std::string::npos ? path : path.substr(slash + 1);
}

bool same_metadata(const PictureNode& a, const PictureNode& b) {
    bool same = a.mode == b.mode && a.uid == b.uid && a.gid == b.gid && a.device == b.device &&
                a.extended == b.extended;
    return same && (S_ISDIR(a.mode) || (a.size == b.size && a.mtime == b.mtime));
}

bool several_names(const PictureNode& node) { return !S_ISDIR(node.mode) && node.links > 1; }

using Name = std::tuple<std::uint64_t, std::string, std::uint64_t>;  // parent's inode, name, inode
std::map<Name, std::string> names_of(const Picture& picture) {
    std::map<Name, std::string> names;
    for (const auto& [path, node] : picture)
        if (!path.empty())
            names[{picture.at(parent_path(path)).inode, last_name(path), node.inode}] = path;
    return names;
}

}  // namespace

std::string describe(const Difference& difference) {
    static const char* const kKinds[] = {"added",    "removed", "modified",
                                         "metadata", "renamed", "type changed"};
    std::string text =
        std::string(kKinds[static_cast<int>(difference.kind)]) + " '" + difference.path + "'";
    if (!difference.old_path.empty()) text += " from '" + difference.old_path + "'";
    return text + (difference.content_changed ? " (content)" : "");
}

std::string check_difference(const Picture& from, const Picture& to,
                             const std::vector<Difference>& found) {
    std::string wrong;
    std::set<std::uint64_t> left_out;  // inodes of several names
    for (const auto* picture : {&from, &to})
        for (const auto& [path, node] : *picture)
            if (several_names(node)) left_out.insert(node.inode);

    // Names of one tree that the other does not have for the same object.
    auto before = names_of(from), after = names_of(to);
    std::map<std::uint64_t, std::string> removed, added;
    for (const auto& [name, path] : before)
        if (after.count(name) == 0) removed[std::get<2>(name)] = path;
    for (const auto& [name, path] : after)
        if (before.count(name) == 0) added[std::get<2>(name)] = path;

    std::map<std::string, Difference> by_path;
    std::string last;
    for (const auto& difference : found) {
        if (!last.empty() && difference.path <= last)
            wrong += "not sorted: " + describe(difference) + "\n";
        last = difference.path;
        by_path[difference.path] = difference;
    }
    auto expect = [&](const std::string& path, DifferenceKind kind, const std::string& old_path,
                      bool content, const char* what) {
        auto it = by_path.find(path);
        if (it == by_path.end()) {
            wrong += std::string("not told: ") + what + " '" + path + "'\n";
            return;
        }
        if (it->second.kind != kind || it->second.old_path != old_path ||
            (content && !it->second.content_changed))
            wrong += "told as " + describe(it->second) + ", but it is " + what + " from '" +
                     old_path + "'\n";
        by_path.erase(it);
    };
    std::set<std::string> skipped;  // paths of objects left out: whatever is said about them
    for (const auto* picture : {&from, &to})
        for (const auto& [path, node] : *picture)
            if (left_out.count(node.inode) != 0) skipped.insert(path);

    std::map<std::string, std::uint64_t> gone;
    for (const auto& [inode, old_path] : removed) {
        auto now = added.find(inode);
        if (now == added.end()) {
            gone[old_path] = inode;
            continue;
        }
        std::string path = now->second;
        added.erase(now);
        if (skipped.count(path) != 0 || left_out.count(inode) != 0) continue;
        expect(path, DifferenceKind::kRenamed, old_path,
               from.at(old_path).content != to.at(path).content, "renamed");
    }
    for (const auto& [inode, path] : added) {
        auto replaced = gone.find(path);
        bool was_there = replaced != gone.end();
        std::string target = path;
        if (was_there) gone.erase(replaced);
        if (skipped.count(path) != 0) continue;
        if (!was_there)
            expect(path, DifferenceKind::kAdded, "", false, "added");
        else if ((from.at(target).mode & S_IFMT) == (to.at(target).mode & S_IFMT))
            expect(path, DifferenceKind::kModified, "", true, "modified (replaced)");
        else
            expect(path, DifferenceKind::kTypeChanged, "", true, "type changed");
    }
    std::set<std::string> renamed_to;
    for (const auto& difference : found)
        if (difference.kind == DifferenceKind::kRenamed) renamed_to.insert(difference.path);
    // Renamed folders may bring a changed object to the path of a removed one: that is told once.
    std::set<std::string> kept, brought;
    for (const auto& [name, path] : after)
        if (before.count(name) != 0) kept.insert(path);
    for (const auto& [path, inode] : gone) {
        if (skipped.count(path) != 0 || renamed_to.count(path) != 0) continue;
        auto it = by_path.find(path);
        if (kept.count(path) == 0 || it == by_path.end() ||
            it->second.kind == DifferenceKind::kRemoved) {
            expect(path, DifferenceKind::kRemoved, "", false, "removed");
            continue;
        }
        bool same_type = (from.at(path).mode & S_IFMT) == (to.at(path).mode & S_IFMT);
        expect(path, same_type ? DifferenceKind::kModified : DifferenceKind::kTypeChanged, "", true,
               "modified (brought)");
        brought.insert(path);
    }

    // Objects that kept their names.
    for (const auto& [name, old_path] : before) {
        auto still = after.find(name);
        if (still == after.end() || skipped.count(still->second) != 0 ||
            brought.count(still->second) != 0)
            continue;
        const PictureNode& a = from.at(old_path);
        const PictureNode& b = to.at(still->second);
        if (a.content != b.content)
            expect(still->second, DifferenceKind::kModified, "", true, "modified");
        else if (!same_metadata(a, b)) {
            auto it = by_path.find(still->second);
            // Rewritten with the same bytes counts as modified.
            bool rewritten = it != by_path.end() && it->second.kind == DifferenceKind::kModified;
            if (rewritten)
                by_path.erase(it);
            else
                expect(still->second, DifferenceKind::kMetadata, "", false, "metadata");
        } else if (auto it = by_path.find(still->second);
                   it != by_path.end() && it->second.kind == DifferenceKind::kModified) {
            by_path.erase(it);
        }
    }
    by_path.erase("");  // the root's own attributes
    for (const auto& [path, difference] : by_path)
        if (skipped.count(path) == 0 && skipped.count(difference.old_path) == 0)
            wrong += "told, but it is not so: " + describe(difference) + "\n";
    return wrong;
}

std::string check_versions(const std::map<Epoch, Picture>& snapshots, const Picture& now,
                           const std::string& path, const std::vector<Version>& found) {
    std::string wrong;
    auto at = [&](Epoch epoch) -> const PictureNode* {
        const Picture& picture = snapshots.at(epoch);
        auto it = picture.find(path);
        return it == picture.end() ? nullptr : &it->second;
    };
    auto equal = [](const PictureNode& a, const PictureNode& b) {
        return a.inode == b.inode && a.mode == b.mode && a.uid == b.uid && a.gid == b.gid &&
               a.size == b.size && a.mtime == b.mtime && a.content == b.content &&
               a.extended == b.extended;
    };
    std::set<Epoch> covered;
    Epoch above = UINT64_MAX;
    for (const auto& version : found) {
        if (version.first.epoch > version.last.epoch || version.last.epoch >= above) {
            wrong += "versions are not newest first\n";
            return wrong;
        }
        above = version.first.epoch;
        for (const auto& [epoch, picture] : snapshots) {
            if (epoch < version.first.epoch || epoch > version.last.epoch) continue;
            covered.insert(epoch);
            const PictureNode* node = at(epoch);
            const PictureNode* last = at(version.last.epoch);
            if (node == nullptr || last == nullptr || !equal(*node, *last))
                wrong += "'" + path + "' differs within the version of " +
                         std::to_string(version.first.epoch) + " to " +
                         std::to_string(version.last.epoch) + "\n";
        }
        if (version.live) {
            auto live = now.find(path);
            if (live == now.end() || at(version.last.epoch) == nullptr ||
                !equal(live->second, *at(version.last.epoch)))
                wrong += "'" + path + "' is no longer as in snapshot " +
                         std::to_string(version.last.epoch) + "\n";
        }
    }
    for (const auto& [epoch, picture] : snapshots)
        if (covered.count(epoch) != (at(epoch) != nullptr ? 1 : 0))
            wrong += "'" + path + "' in snapshot " + std::to_string(epoch) +
                     " is in the wrong number of versions\n";
    return wrong;
}

}  // namespace umbra::test
