#include "tests/support/skip.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <stdexcept>

#include "tests/support/umbra_mount.h"

namespace umbra::test {

namespace {

int skipped = 0;

bool can_open(const char* path) {
    const int fd = ::open(path, O_RDWR | O_CLOEXEC);
    if (fd >= 0) ::close(fd);
    return fd >= 0;
}

bool runnable(const std::string& program, const std::string& argument) {
    return run({program, argument}).exit_code != 127;
}

std::optional<std::string> missing_for_any_image() {
    if (::geteuid() != 0) return "not root";
    if (!can_open("/dev/loop-control")) return "no loop devices (/dev/loop-control)";
    return std::nullopt;
}

}  // namespace

std::optional<std::string> missing_for_image(FilesystemType type) {
    if (auto reason = missing_for_any_image()) return reason;
    const std::string program = "mkfs." + to_string(type);
    if (!runnable(program, "-V")) return "no " + program;
    return std::nullopt;
}

std::optional<std::string> missing_for_mounts() {
    static const std::optional<std::string> answer = []() -> std::optional<std::string> {
        if (auto reason = missing_for_any_image()) return reason;
        if (!can_open("/dev/fuse")) return "no FUSE (/dev/fuse)";
        for (const auto type : all_filesystem_types()) {
            if (auto reason = missing_for_image(type)) return reason;
        }
        if (!runnable(umbra_binary(), "--help")) return "no umbra program; set UMBRA_BIN";
        return std::nullopt;
    }();
    return answer;
}

void report_skip(const std::string& reason) {
    const char* ci = std::getenv("CI");
    if (ci != nullptr && std::string(ci) == "true") {
        throw std::runtime_error("must not be skipped in CI: " + reason);
    }
    ++skipped;
    std::fprintf(stderr, "SKIPPED: %s\n", reason.c_str());
}

int skip_count() { return skipped; }

}  // namespace umbra::test
