// What the NFS tests share: a mounted share that nfs-ganesha exports with the block that
// `umbra share nfs` prints.
#pragma once

#include <sys/types.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/ganesha.h"
#include "tests/support/share.h"
#include "tests/support/skip.h"

#define UMBRA_NEEDS_NFS() \
    UMBRA_NEEDS_MOUNTS(); \
    UMBRA_SKIP_IF(::umbra::test::missing_for_nfs())

namespace umbra::test {

class NfsShare {
   public:
    explicit NfsShare(FilesystemType type = FilesystemType::Ext4);

    Share& share() { return share_; }
    Ganesha& server() { return server_; }
    UmbraMount& mount() { return share_.mount(); }
    std::filesystem::path path(const std::string& inside) const { return share_.path(inside); }

    // Mounts what was unmounted, with the device number that it had: Ganesha takes that into
    // handles. Throws where another mount of this machine has it, and keeps it.
    void mount_as_before();

   private:
    // Small filesystems, for the device numbers that they take.
    class Placeholder;
    using Placeholders = std::vector<std::unique_ptr<Placeholder>>;
    NfsShare(FilesystemType type, Placeholders below);

    Share share_;
    dev_t device_;
    Ganesha server_;
};

// A client that has a file open and reads it no faster than it is asked to.
class SlowReader {
   public:
    SlowReader(const Ganesha& server, const std::filesystem::path& file);
    SlowReader(const SlowReader&) = delete;
    SlowReader& operator=(const SlowReader&) = delete;
    ~SlowReader();

    // The next bytes, fewer at the end.
    std::string read(std::size_t size);
    // Reads what is left, adds it to `text`, and returns the client's exit code.
    int finish(std::string& text);

   private:
    FILE* output_;
};

}  // namespace umbra::test
