// Direct writes that nobody waits for (io_submit), beside readers of the page cache. Linux does not
// drop FUSE's pages after such writes; the daemon makes it.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "snapstore/unique_fd.h"
#include "tests/mount/make.h"
#include "tests/support/ram_image.h"
#include "tests/support/skip.h"
#include "tests/support/umbra_mount.h"

namespace umbra::test {
namespace {

constexpr std::size_t kPiece = 65536;

// Memory that direct transfers take.
class Aligned {
   public:
    explicit Aligned(std::size_t size)
        : size_(size),
          data_(static_cast<char*>(
              ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
        if (data_ == MAP_FAILED) throw std::runtime_error("mmap");
    }
    ~Aligned() { ::munmap(data_, size_); }
    Aligned(const Aligned&) = delete;
    Aligned& operator=(const Aligned&) = delete;

    void fill(char what) { std::memset(data_, what, size_); }
    char* at(std::size_t offset) { return data_ + offset; }

   private:
    std::size_t size_;
    char* data_;
};

// Writes under way.
class Submitted {
   public:
    explicit Submitted(unsigned most) {
        if (::syscall(SYS_io_setup, most, &context_) != 0) throw std::runtime_error("io_setup");
    }
    ~Submitted() { ::syscall(SYS_io_destroy, context_); }
    Submitted(const Submitted&) = delete;
    Submitted& operator=(const Submitted&) = delete;

    void write(int fd, char* data, std::size_t size, std::size_t offset) {
        struct iocb block {};
        block.aio_fildes = static_cast<unsigned>(fd);
        block.aio_lio_opcode = IOCB_CMD_PWRITE;
        block.aio_buf = reinterpret_cast<std::uintptr_t>(data);
        block.aio_nbytes = size;
        block.aio_offset = static_cast<std::int64_t>(offset);
        struct iocb* blocks[] = {&block};
        REQUIRE(::syscall(SYS_io_submit, context_, 1, blocks) == 1);
        ++under_way_;
    }
    // Waits for all of them; each is to have written `size` bytes.
    void wait(std::size_t size) {
        for (; under_way_ > 0; --under_way_) {
            struct io_event event {};
            REQUIRE(::syscall(SYS_io_getevents, context_, 1, 1, &event, nullptr) == 1);
            REQUIRE(event.res == static_cast<std::int64_t>(size));
        }
    }

   private:
    aio_context_t context_ = 0;
    int under_way_ = 0;
};

// Nobody writes to the filesystem until this is gone; reading goes on.
class Frozen {
   public:
    explicit Frozen(const std::filesystem::path& filesystem)
        : root_(::open(filesystem.c_str(), O_RDONLY | O_CLOEXEC)) {
        if (::ioctl(root_.get(), FIFREEZE, 0) != 0) throw std::runtime_error("FIFREEZE");
    }
    ~Frozen() { ::ioctl(root_.get(), FITHAW, 0); }
    Frozen(const Frozen&) = delete;
    Frozen& operator=(const Frozen&) = delete;

   private:
    UniqueFd root_;
};

UniqueFd open_file(const std::filesystem::path& path, int flags) {
    UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, 0644));
    REQUIRE(fd.valid());
    return fd;
}

// What is read at the start of the file through the cache, or '!' when it is not all the same.
char seen_through_cache(int fd, std::size_t size) {
    std::string data(size, '!');
    if (::pread(fd, data.data(), size, 0) != static_cast<ssize_t>(size)) return '!';
    return data.find_first_not_of(data[0]) == std::string::npos ? data[0] : '!';
}

// Does the cache show this at last?
bool comes_to_be_seen(int fd, std::size_t size, char letter) {
    for (int tries = 0; tries < 2000; ++tries) {
        if (seen_through_cache(fd, size) == letter) return true;
        ::usleep(5000);
    }
    return false;
}

struct Share {
    RamImage image{FilesystemType::Ext4};
    UmbraMount mounted;
    std::filesystem::path file;

    explicit Share(std::size_t size)
        : mounted([this] {
              make::directory((image.path() / "share").string(), 0755);
              return image.path() / "share";
          }()),
          file(mounted.path() / "file") {
        make::file(file.string(), std::string(size, 'a'), 0644);
    }
};

// The old contents are read into the cache while a direct write of new ones is under way.
using Read = std::function<char(const std::filesystem::path& file, int direct)>;

void reads_meanwhile(const Read& read) {
    Share share(kPiece);
    const UniqueFd direct = open_file(share.file, O_RDWR | O_DIRECT);
    Aligned data(kPiece);
    data.fill('b');
    Submitted submitted(1);
    {
        const Frozen frozen(share.image.path());
        submitted.write(direct.get(), data.at(0), kPiece, 0);
        CHECK(read(share.file, direct.get()) == 'a');
    }
    submitted.wait(kPiece);
    CHECK(read(share.file, direct.get()) == 'b');
    CHECK(seen_through_cache(open_file(share.file, O_RDONLY).get(), kPiece) == 'b');
}

}  // namespace

TEST_SUITE("asynchronous direct writes") {
    TEST_CASE("what was read while one was under way is read anew") {
        UMBRA_NEEDS_MOUNTS();
        reads_meanwhile([](const std::filesystem::path& file, int) {
            return seen_through_cache(open_file(file, O_RDONLY).get(), kPiece);
        });
    }

    TEST_CASE("through a mapping of the descriptor that is written to, too") {
        UMBRA_NEEDS_MOUNTS();
        reads_meanwhile([](const std::filesystem::path&, int direct) {
            void* memory = ::mmap(nullptr, kPiece, PROT_READ, MAP_SHARED, direct, 0);
            if (memory == MAP_FAILED) return '!';
            const char seen = *static_cast<const volatile char*>(memory);
            ::munmap(memory, kPiece);
            return seen;
        });
    }

    // More writes at once than the kernel lets under way, and readers who wait to be let in with
    // the pages locked that are to be dropped.
    TEST_CASE("many at once and readers do not wait for each other for ever") {
        UMBRA_NEEDS_MOUNTS();
        constexpr std::size_t kPieces = 48;
        constexpr std::size_t kSize = kPieces * kPiece;
        Share share(kSize);
        const UniqueFd direct = open_file(share.file, O_RDWR | O_DIRECT);
        const UniqueFd cached = open_file(share.file, O_RDONLY);
        std::vector<std::jthread> readers;
        for (int i = 0; i < 3; ++i)
            readers.emplace_back([fd = cached.get()](const std::stop_token& stop) {
                while (!stop.stop_requested()) seen_through_cache(fd, kSize);
            });
        Aligned data(kSize);
        Submitted submitted(kPieces);
        std::string wrong;
        for (int round = 0; round < 60; ++round) {
            const char letter = static_cast<char>('b' + round % 20);
            data.fill(letter);
            if (round == 30) share.mounted.create_snapshot();
            for (std::size_t at = 0; at < kSize; at += kPiece)
                submitted.write(direct.get(), data.at(at), kPiece, at);
            submitted.wait(kPiece);
            // So many at once may be answered a moment before the pages are dropped.
            if (comes_to_be_seen(cached.get(), kSize, letter)) continue;
            wrong += letter;
            break;
        }
        CHECK(wrong.empty());
    }
}

}  // namespace umbra::test
