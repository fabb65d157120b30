#include "snapstore/result.h"

#include <cstring>
#include <system_error>

namespace umbra {

std::string Error::text() const {
    return message.empty() ? std::generic_category().message(code) : message;
}

tl::unexpected<Error> errno_error(int code, std::string_view what) {
    std::string message(what);
    message += ": ";
    message += std::generic_category().message(code);
    return tl::make_unexpected(Error{code, ErrorKind::kSystem, std::move(message)});
}

tl::unexpected<Error> error_of(ErrorKind kind, int code, std::string message) {
    return tl::make_unexpected(Error{code, kind, std::move(message)});
}

}  // namespace umbra
