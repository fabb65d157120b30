// The naive model: what a share should hold, kept whole in memory in the simplest way there is.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/tree.h"

namespace umbra::test {

struct NaiveObject;
using NaiveObjectPtr = std::shared_ptr<NaiveObject>;

// A file, directory, symbolic link or special file; a hard-linked one is one object with several
// names.
struct NaiveObject {
    mode_t mode = 0;  // with the type
    uid_t uid = 0;
    gid_t gid = 0;
    dev_t device = 0;
    int links = 0;  // names it has now
    std::string contents;
    std::string target;
    std::map<std::string, std::string> user_xattrs;
    std::map<std::string, NaiveObjectPtr> children;

    // An ACL was set or inherited here: its permission bits are what the filesystem makes of them.
    bool has_acl = false;
    // Stored to through a mapping, not yet handed over: its times change when the kernel does that.
    bool stored_through_mapping = false;

    bool is_directory() const { return S_ISDIR(mode); }
    bool is_regular() const { return S_ISREG(mode); }
};

// A name, whether something has it or not.
struct NaivePlace {
    NaiveObjectPtr directory;
    std::string directory_path;  // relative to the root, "" for the root itself
    std::string name;
    NaiveObjectPtr object;  // null: nothing has this name

    std::string path() const { return directory_path.empty() ? name : directory_path + "/" + name; }
};

class NaiveTree {
   public:
    NaiveTree();

    const NaiveObjectPtr& root() const { return root_; }

    void add_name(const NaiveObjectPtr& directory, const std::string& name,
                  const NaiveObjectPtr& object);
    void remove_name(const NaiveObjectPtr& directory, const std::string& name);

    // Calls back for every name, directories before what is in them.
    void for_each(const std::function<void(const NaivePlace&)>& visit) const;
    size_t names() const { return names_; }
    uint64_t bytes() const;
    // Is `inner` the directory `outer` or somewhere below it?
    static bool within(const NaiveObjectPtr& outer, const NaiveObjectPtr& inner);

    // As a picture to compare with one that capture() takes: names, types, modes, owners, sizes,
    // targets, devices, user xattrs, hard-link groups and contents. Times, everything about the
    // size and link count of directories and what ACLs have to do with are taken from `live`, the
    // picture of the mount at this moment.
    Tree picture(const Tree& live) const;

   private:
    NaiveObjectPtr root_;
    size_t names_ = 0;
};

// Where two byte strings differ first, and what may explain it, for messages.
std::string describe_bytes(const std::string& expected, const std::string& actual);

}  // namespace umbra::test
