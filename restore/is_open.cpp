#include "restore/is_open.h"

#include <fcntl.h>
#include <signal.h>

#include <cerrno>

#include "snapstore/proc_path.h"
#include "snapstore/unique_fd.h"

namespace umbra {

bool is_open_elsewhere(int object, bool at_all) {
    const UniqueFd file(::open(ProcPath(object).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    // Somebody has a lease on it that even looking breaks: he has it open for writing.
    if (!file.valid()) return errno == EWOULDBLOCK;
    // Whoever opens it while the lease is held waits, and we are told by a signal: by one that is
    // ignored unless somebody asks for it.
    ::fcntl(file.get(), F_SETSIG, SIGURG);
    if (::fcntl(file.get(), F_SETLEASE, at_all ? F_WRLCK : F_RDLCK) == 0) {
        ::fcntl(file.get(), F_SETLEASE, F_UNLCK);
        return false;
    }
    return errno == EAGAIN;
}

}  // namespace umbra
