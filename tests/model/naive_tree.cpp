#include "tests/model/naive_tree.h"

#include <sys/stat.h>
#include <xxhash.h>

#include <algorithm>
#include <set>

namespace umbra::test {

namespace {

void visit_below(const NaiveObjectPtr& directory, const std::string& path,
                 const std::function<void(const NaivePlace&)>& visit) {
    for (const auto& [name, object] : directory->children) {
        const NaivePlace place{directory, path, name, object};
        visit(place);
        if (object->is_directory()) visit_below(object, place.path(), visit);
    }
}

std::vector<uint64_t> checksums(const std::string& contents) {
    std::vector<uint64_t> blocks;
    constexpr auto kBlock = static_cast<size_t>(kPictureBlock);
    for (size_t at = 0; at < contents.size(); at += kBlock) {
        blocks.push_back(XXH3_64bits(contents.data() + at, std::min(kBlock, contents.size() - at)));
    }
    return blocks;
}

bool is_user_xattr(const std::string& name) { return name.rfind("user.", 0) == 0; }

TreeNode node_of(const NaiveObject& object, const TreeNode* live) {
    TreeNode node;
    if (live != nullptr) node = *live;
    const mode_t permissions = object.has_acl ? node.mode & 07777 : object.mode & 07777;
    node.mode = (object.mode & S_IFMT) | permissions;
    node.uid = object.uid;
    node.gid = object.gid;
    node.rdev = object.device;
    node.target = object.target;
    node.blocks = checksums(object.contents);
    node.error.clear();
    if (object.is_regular()) node.size = static_cast<int64_t>(object.contents.size());
    if (S_ISLNK(object.mode)) node.size = static_cast<int64_t>(object.target.size());
    if (!object.is_directory()) node.nlink = static_cast<uint64_t>(object.links);
    std::erase_if(node.xattrs, [](const auto& xattr) { return is_user_xattr(xattr.first); });
    for (const auto& [name, value] : object.user_xattrs) node.xattrs[name] = value;
    return node;
}

const TreeNode* find(const Tree& tree, const std::string& path) {
    const auto found = tree.nodes.find(path);
    return found == tree.nodes.end() ? nullptr : &found->second;
}

}  // namespace

NaiveTree::NaiveTree() : root_(std::make_shared<NaiveObject>()) { root_->mode = S_IFDIR | 0755; }

void NaiveTree::add_name(const NaiveObjectPtr& directory, const std::string& name,
                         const NaiveObjectPtr& object) {
    directory->children[name] = object;
    ++object->links;
    ++names_;
}

void NaiveTree::remove_name(const NaiveObjectPtr& directory, const std::string& name) {
    const auto found = directory->children.find(name);
    if (found == directory->children.end()) return;
    --found->second->links;
    directory->children.erase(found);
    --names_;
}

void NaiveTree::for_each(const std::function<void(const NaivePlace&)>& visit) const {
    visit_below(root_, "", visit);
}

uint64_t NaiveTree::bytes() const {
    uint64_t sum = 0;
    std::set<const NaiveObject*> counted;
    for_each([&](const NaivePlace& place) {
        if (counted.insert(place.object.get()).second) sum += place.object->contents.size();
    });
    return sum;
}

bool NaiveTree::within(const NaiveObjectPtr& outer, const NaiveObjectPtr& inner) {
    if (outer == inner) return true;
    return std::any_of(outer->children.begin(), outer->children.end(), [&](const auto& child) {
        return child.second->is_directory() && within(child.second, inner);
    });
}

Tree NaiveTree::picture(const Tree& live) const {
    Tree tree;
    tree.nodes["."] = node_of(*root_, find(live, "."));
    std::map<const NaiveObject*, std::string> first;
    for_each([&](const NaivePlace& place) {
        tree.nodes[place.path()] = node_of(*place.object, find(live, place.path()));
    });
    // In the order of paths, as capture() does it; that is not the order of walking.
    std::map<std::string, const NaiveObject*> objects;
    for_each([&](const NaivePlace& place) { objects[place.path()] = place.object.get(); });
    for (const auto& [path, object] : objects) {
        auto& node = tree.nodes[path];
        node.first_link = object->is_directory() ? "" : first.emplace(object, path).first->second;
    }
    return tree;
}

std::string describe_bytes(const std::string& expected, const std::string& actual) {
    std::string text = "expected " + std::to_string(expected.size()) + " bytes, got " +
                       std::to_string(actual.size());
    const size_t common = std::min(expected.size(), actual.size());
    size_t at = 0;
    while (at < common && expected[at] == actual[at]) ++at;
    if (at == common) return text;
    size_t end = common;
    while (end > at && expected[end - 1] == actual[end - 1]) --end;
    const bool zero =
        std::all_of(actual.begin() + static_cast<long>(at), actual.begin() + static_cast<long>(end),
                    [](char c) { return c == 0; });
    return text + ", they differ from " + std::to_string(at) + " to " + std::to_string(end) +
           (zero ? " (zeros there)" : "");
}

}  // namespace umbra::test
