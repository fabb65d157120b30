// The exit codes of the command line: a contract with scripts. docs/man/umbra.8 lists them. Numbers
// are never used for anything else.
#pragma once

#include <cerrno>

#include "snapstore/result.h"

namespace umbra {

enum class ExitCode : int {
    kDone = 0,
    kFailed = 1,
    kUsage = 2,
    kNotFound = 3,           // no such share, snapshot or path
    kRefused = 4,            // permission, hold or policy
    kDiffArea = 5,           // diff area missing, full or damaged
    kRestoreIncomplete = 6,  // some files could not be restored
};

// What a command that failed with this error exits with.
inline ExitCode exit_code_of(const Error& error) {
    switch (error.kind) {
        case ErrorKind::kUsage:
            return ExitCode::kUsage;
        case ErrorKind::kNotFound:
            return ExitCode::kNotFound;
        case ErrorKind::kRefused:
            return ExitCode::kRefused;
        case ErrorKind::kDiffArea:
        case ErrorKind::kNeedsSpace:
            return ExitCode::kDiffArea;
        case ErrorKind::kSystem:
            break;
    }
    return error.code == EPERM || error.code == EACCES ? ExitCode::kRefused : ExitCode::kFailed;
}

// The last part of every command's --help.
inline constexpr const char* kExitStatusHelp =
    "Exit status: 0 done, 1 failed, 2 usage, 3 no such share, snapshot or path,\n"
    "4 refused (permission, hold, policy), 5 diff area missing, full or damaged";
inline constexpr const char* kRestoreExitStatusHelp =
    "Exit status: 0 done, 1 failed, 2 usage, 3 no such share, snapshot or path,\n"
    "4 refused (permission, hold, policy), 5 diff area missing, full or damaged,\n"
    "6 some files could not be restored (each is named)";

}  // namespace umbra
