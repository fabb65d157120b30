// A process that works on a share and is killed at once: what it left behind is what a killed
// daemon leaves. Its entry is in main.cpp; test_deferred_writes.cpp starts it.
#pragma once

#include <string>
#include <vector>

namespace umbra::test {

inline constexpr const char* kKilledWriterArgument = "--killed-writer";
// Arguments: share, deed. Does not return when all went well.
int run_killed_writer(const std::vector<std::string>& arguments);

}  // namespace umbra::test
