// Acting as the caller where the filesystem decides by who acts: ownership of what is created, and
// whether set-id bits survive a change. Per thread (setfsuid(2), capset(2), a umask of the thread's
// own by unshare(CLONE_FS)).
#pragma once

#include "snapstore/caller.h"

namespace umbra {

// While it lives, new objects belong to the caller and his umask applies. Permission checks stay
// off: the kernel made them already, with the caller's supplementary groups, which are not known
// here.
class CallerScope {
   public:
    explicit CallerScope(const Caller& caller);
    ~CallerScope();
    CallerScope(const CallerScope&) = delete;
    CallerScope& operator=(const CallerScope&) = delete;

   private:
    mode_t umask_before_;
    bool switched_user_ = false;
    bool switched_group_ = false;
};

// While it lives, changes by an ordinary caller of the file behind `fd` (O_PATH is enough) clear
// set-user-ID and set-group-ID bits as they would for a member of the file's group: set-group-ID
// only together with the group's right to execute. (From a caller outside the group the kernel
// takes set-group-ID also where it means nothing; which groups he is in is not known here.)
class ClearSetIdScope {
   public:
    ClearSetIdScope(bool active, int fd);
    ~ClearSetIdScope();
    ClearSetIdScope(const ClearSetIdScope&) = delete;
    ClearSetIdScope& operator=(const ClearSetIdScope&) = delete;

   private:
    bool active_ = false;
};

// While it lives, the thread acts as one who may not set set-group-ID on files of other groups than
// `group`.
class OtherGroupScope {
   public:
    OtherGroupScope(bool active, gid_t group);
    ~OtherGroupScope();
    OtherGroupScope(const OtherGroupScope&) = delete;
    OtherGroupScope& operator=(const OtherGroupScope&) = delete;

   private:
    bool active_;
};

}  // namespace umbra
