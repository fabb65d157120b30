// While it lives, signals that ask to stop wait to be asked for, so that nothing is left half done.
#pragma once

#include <signal.h>

namespace umbra {

class PatientSignals {
   public:
    PatientSignals();
    ~PatientSignals();
    PatientSignals(const PatientSignals&) = delete;
    PatientSignals& operator=(const PatientSignals&) = delete;

    static bool asked_to_stop();

   private:
    sigset_t watched_;
    sigset_t before_;
};

}  // namespace umbra
