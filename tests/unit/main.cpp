#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "tests/unit/killed_writer.h"
#include "tests/unit/random_workload.h"

int main(int argc, char** argv) {
    // Some tests run this program again as a process that is to end uncleanly.
    if (argc > 1 && std::string(argv[1]) == umbra::test::kUncleanChildArgument)
        return umbra::test::run_unclean_child(std::vector<std::string>(argv + 2, argv + argc));
    if (argc > 1 && std::string(argv[1]) == umbra::test::kKilledWriterArgument)
        return umbra::test::run_killed_writer(std::vector<std::string>(argv + 2, argv + argc));
    return doctest::Context(argc, argv).run();
}
