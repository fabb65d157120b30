// Lets a test stop a restore at a step, to end it or the daemon there.
#pragma once

#include <functional>

namespace umbra {

// With UMBRA_TEST_STOP_AT_STEP=N in the environment the process stops itself (SIGSTOP) before step
// N (counted from 1) of a restore; with UMBRA_TEST_STEPS=FILE it appends the name of each step
// there. Empty without either.
std::function<void(const char*)> test_steps();

}  // namespace umbra
