// Where something had to be left out the program ends with 77, which ctest shows as skipped.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include "tests/support/skip.h"

int main(int argc, char** argv) {
    constexpr int kSkipped = 77;
    doctest::Context context(argc, argv);
    const int result = context.run();
    if (context.shouldExit() || result != 0) return result;
    return umbra::test::skip_count() > 0 ? kSkipped : 0;
}
