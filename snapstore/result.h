// Errors as values. Every fallible function of Umbra returns Result<T>; the errno inside is what a
// system call reported (or the closest one for our own findings) and is never lost on the way up.
#pragma once

#include <cerrno>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

namespace umbra {

// What kind of failure it was, where an errno alone does not tell callers how to react. The exit
// code of the command line follows from it (cli/exit_code.h).
enum class ErrorKind {
    kSystem,      // errno says it all
    kUsage,       // the request itself is malformed
    kNotFound,    // no such share, snapshot or path
    kRefused,     // permission, hold or policy
    kDiffArea,    // diff area missing, full or damaged
    kNeedsSpace,  // internal: the diff area is at its limit, evict and try again
};

struct Error {
    int code = EIO;  // an errno value
    ErrorKind kind = ErrorKind::kSystem;
    std::string message;  // may be empty on hot paths (for example ENOENT of a lookup)

    // The message, or strerror(code) where there is none.
    std::string text() const;
};

template <typename T>
using Result = tl::expected<T, Error>;

// An error from an errno value without a message: cheap, for hot paths.
inline tl::unexpected<Error> errno_only(int code) {
    return tl::make_unexpected(Error{code, ErrorKind::kSystem, {}});
}

// An error from an errno value: "WHAT: strerror(code)".
tl::unexpected<Error> errno_error(int code, std::string_view what);

// An error of ours with a whole sentence as its message.
tl::unexpected<Error> error_of(ErrorKind kind, int code, std::string message);

// The errno of the failed Result, ready to be returned from another function.
template <typename T>
tl::unexpected<Error> forward_error(Result<T>&& failed) {
    return tl::make_unexpected(std::move(failed.error()));
}
template <typename T>
tl::unexpected<Error> forward_error(Result<T>& failed) {
    return tl::make_unexpected(std::move(failed.error()));
}

}  // namespace umbra

// Evaluates an expression of type Result<...>; returns its error from the enclosing function.
#define UMBRA_TRY(expression)                                        \
    do {                                                             \
        if (auto umbra_try_result = (expression); !umbra_try_result) \
            return ::umbra::forward_error(umbra_try_result);         \
    } while (false)

#define UMBRA_CONCATENATE_(a, b) a##b
#define UMBRA_CONCATENATE(a, b) UMBRA_CONCATENATE_(a, b)
#define UMBRA_ASSIGN_(temporary, target, expression)          \
    auto temporary = (expression);                            \
    if (!temporary) return ::umbra::forward_error(temporary); \
    target = std::move(*temporary)

// target = value of the expression, or returns its error from the enclosing function.
#define UMBRA_ASSIGN(target, expression) \
    UMBRA_ASSIGN_(UMBRA_CONCATENATE(umbra_result_, __LINE__), target, expression)
