// Acting as the caller where the filesystem decides by who acts: ownership of what is created,
// whether set-id bits survive a change, and whose limits of space hold. Per thread (setfsuid(2),
// capset(2), a umask of the thread's own by unshare(CLONE_FS)).
#pragma once

#include "snapstore/caller.h"

namespace umbra {

// While it lives, new objects belong to the caller and his umask applies; quotas hold for him, and
// room that is kept for root is not his. Permission checks stay off: the kernel made them already,
// with the caller's supplementary groups, which are not known here.
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

// While it lives, quotas hold for an ordinary caller's change of what exists, and room that is kept
// for root is not his. Costs some microseconds: for filesystems where there is something to keep
// (root_reserve.h). Scopes below may be made inside of it.
class OrdinaryRoomScope {
   public:
    OrdinaryRoomScope(bool active, const Caller& caller);
    ~OrdinaryRoomScope();
    OrdinaryRoomScope(const OrdinaryRoomScope&) = delete;
    OrdinaryRoomScope& operator=(const OrdinaryRoomScope&) = delete;

   private:
    bool active_;
};

// While it lives, the thread is bound by limits of resources, which root's thread is not: some
// flags of files, too, are only for who may exceed these (chattr +j).
class BoundScope {
   public:
    explicit BoundScope(bool active);
    ~BoundScope();
    BoundScope(const BoundScope&) = delete;
    BoundScope& operator=(const BoundScope&) = delete;

   private:
    bool active_;
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
