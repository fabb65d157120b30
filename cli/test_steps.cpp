#include "cli/test_steps.h"

#include <signal.h>
#include <stdlib.h>

#include <fstream>
#include <memory>
#include <string>

namespace umbra {

std::function<void(const char*)> test_steps() {
    const char* stop = ::getenv("UMBRA_TEST_STOP_AT_STEP");
    const char* file = ::getenv("UMBRA_TEST_STEPS");
    if (stop == nullptr && file == nullptr) return {};
    const long at = stop == nullptr ? 0 : ::strtol(stop, nullptr, 10);
    const std::string name = file == nullptr ? "" : file;
    return [at, name, count = std::make_shared<long>(0)](const char* step) {
        ++*count;
        if (!name.empty()) std::ofstream(name, std::ios::app) << step << "\n";
        if (*count == at) ::raise(SIGSTOP);
    };
}

}  // namespace umbra
