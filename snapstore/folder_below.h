// The folder of a share whose mount lies over it already: a daemon that goes on after exec(2) must
// not look for it by its path, which leads to the mount that nobody serves yet.
#pragma once

#include <string>

namespace umbra {

// As long as it lives, this thread finds the folder of `share` through `directory`, a descriptor of
// it (borrowed).
class FolderBelow {
   public:
    FolderBelow(const std::string& share, int directory);
    ~FolderBelow();
    FolderBelow(const FolderBelow&) = delete;
    FolderBelow& operator=(const FolderBelow&) = delete;

    // The descriptor for this share; -1: its path leads there.
    static int of(const std::string& share);
};

}  // namespace umbra
