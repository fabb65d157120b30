#include "tests/fault/known_history.h"

#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdio>
#include <set>
#include <stdexcept>

#include "tests/support/share.h"

namespace umbra::test {

namespace {

namespace fs = std::filesystem;

constexpr const char* kDamaged = "Input/output error";

void must(bool fine, const std::string& what) {
    if (!fine) throw std::runtime_error(what + " failed");
}

CompareOptions everything() {
    CompareOptions options;
    options.directory_size = true;
    return options;
}

// The tree without the names that answer EIO and all below them.
Tree without_damaged(const Tree& tree, const std::set<std::string>& damaged) {
    Tree rest;
    for (const auto& [path, node] : tree.nodes) {
        bool hit = damaged.count(".") != 0;
        for (size_t slash = path.find('/'); !hit && slash != std::string::npos;
             slash = path.find('/', slash + 1)) {
            hit = damaged.count(path.substr(0, slash)) != 0;
        }
        if (!hit && damaged.count(path) == 0) rest.nodes[path] = node;
    }
    return rest;
}

}  // namespace

void KnownHistory::change() {
    ++round_;
    const fs::path root = mount_.path();
    const fs::path deep = root / "some" / "where";
    fs::create_directories(deep);
    const std::string number = std::to_string(round_);
    // Overwritten in part, rewritten, born, removed, renamed, relabelled.
    for (int file = 0; file < 4; ++file) {
        const fs::path path = deep / ("file" + std::to_string(file));
        if (!fs::exists(path)) write_file(path, random_.bytes(200'000));
        std::string contents = contents_of(path);
        const std::string bytes = random_.bytes(30'000);
        contents.replace(random_.below(150'000), bytes.size(), bytes);
        if (file % 2 == 0) write_file(path, contents);
        must(::truncate(path.c_str(), static_cast<off_t>(random_.between(100'000, 200'000))) == 0,
             "truncate");
        must(::truncate(path.c_str(), 200'000) == 0, "truncate");
    }
    write_file(root / ("born in " + number), random_.bytes(1 + random_.below(60'000)));
    if (round_ > 1) {
        const fs::path older = root / ("born in " + std::to_string(round_ - 1));
        if (round_ % 2 == 0) {
            must(::unlink(older.c_str()) == 0, "unlink");
        } else {
            must(::rename(older.c_str(), (deep / ("moved in " + number)).c_str()) == 0, "rename");
        }
    }
    must(::symlink(number.c_str(), (root / ("link " + number)).c_str()) == 0, "symlink");
    must(::chmod(deep.c_str(), static_cast<mode_t>(0700 + round_ % 8)) == 0, "chmod");
    must(::setxattr(deep.c_str(), "user.round", number.data(), number.size(), 0) == 0, "setxattr");
}

void KnownHistory::grow(int count) {
    for (int i = 0; i < count; ++i) {
        change();
        const Tree live = capture(mount_.path());
        expected_[mount_.create_snapshot()] = live;
    }
    change();
}

size_t KnownHistory::names() const {
    size_t sum = 0;
    for (const auto& [token, tree] : expected_) sum += tree.nodes.size();
    return sum;
}

std::string KnownHistory::flaws() {
    std::string text;
    if (mount_.snapshots().size() != expected_.size()) {
        text = std::to_string(mount_.snapshots().size()) + " snapshots, expected " +
               std::to_string(expected_.size()) + "\n";
    }
    for (const auto& [token, tree] : expected_) {
        const auto lines = compare(tree, capture(mount_.snapshot_path(token)), everything());
        if (!lines.empty()) text += token + ":\n" + join_lines(lines, 10);
    }
    return text;
}

std::string KnownHistory::wrong(size_t& damaged) {
    std::string text;
    damaged = 0;
    for (const auto& [token, tree] : expected_) {
        std::set<std::string> hit;
        Tree found;
        try {
            found = capture(mount_.snapshot_path(token));
        } catch (const std::exception& error) {
            if (std::string(error.what()).find(kDamaged) == std::string::npos) text += error.what();
            damaged += tree.nodes.size();
            continue;
        }
        for (const auto& [path, node] : found.nodes) {
            if (node.error.find(kDamaged) != std::string::npos) hit.insert(path);
        }
        damaged += hit.size();
        const auto lines =
            compare(without_damaged(tree, hit), without_damaged(found, hit), everything());
        if (!lines.empty()) text += token + ":\n" + join_lines(lines, 10);
    }
    return text;
}

}  // namespace umbra::test
