#include <doctest/doctest.h>

#include <cerrno>

#include "cli/exit_code.h"

using namespace umbra;

namespace {

int code_of(ErrorKind kind, int error = EIO) {
    return static_cast<int>(exit_code_of(Error{error, kind, "why"}));
}

}  // namespace

TEST_SUITE("exit code") {
    TEST_CASE("the numbers are the contract with scripts") {
        CHECK(static_cast<int>(ExitCode::kDone) == 0);
        CHECK(static_cast<int>(ExitCode::kFailed) == 1);
        CHECK(static_cast<int>(ExitCode::kUsage) == 2);
        CHECK(static_cast<int>(ExitCode::kNotFound) == 3);
        CHECK(static_cast<int>(ExitCode::kRefused) == 4);
        CHECK(static_cast<int>(ExitCode::kDiffArea) == 5);
        CHECK(static_cast<int>(ExitCode::kRestoreIncomplete) == 6);
    }

    TEST_CASE("every kind of error has its code") {
        CHECK(code_of(ErrorKind::kSystem) == 1);
        CHECK(code_of(ErrorKind::kUsage) == 2);
        CHECK(code_of(ErrorKind::kNotFound) == 3);
        CHECK(code_of(ErrorKind::kRefused) == 4);
        CHECK(code_of(ErrorKind::kDiffArea) == 5);
        CHECK(code_of(ErrorKind::kNeedsSpace) == 5);
    }

    TEST_CASE(
        "a permission that the kernel denies is a refusal, other system errors are failures") {
        CHECK(code_of(ErrorKind::kSystem, EPERM) == 4);
        CHECK(code_of(ErrorKind::kSystem, EACCES) == 4);
        CHECK(code_of(ErrorKind::kSystem, EBUSY) == 1);
        CHECK(code_of(ErrorKind::kSystem, ENOENT) == 1);
    }
}
