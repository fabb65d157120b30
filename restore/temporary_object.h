// A new object that nobody sees until it is complete and takes its place in one step.
#pragma once

#include <sys/stat.h>

#include <string>

#include "snapstore/result.h"
#include "snapstore/unique_fd.h"

namespace umbra {

// The folder's descriptor is borrowed and must outlive the object. Unless put in place, nothing of
// it is left after the destructor.
class TemporaryObject {
   public:
    // An empty regular file open for writing; without a name where the filesystem can do that.
    static Result<TemporaryObject> make_file(int folder);
    static Result<TemporaryObject> make_symlink(int folder, const std::string& target);
    // A fifo, socket or device.
    static Result<TemporaryObject> make_special(int folder, mode_t type, dev_t device);
    // One more name of an object held by a descriptor (O_PATH is enough).
    static Result<TemporaryObject> make_link(int folder, int object);

    TemporaryObject(TemporaryObject&& other) noexcept;
    TemporaryObject& operator=(TemporaryObject&&) = delete;
    ~TemporaryObject();

    // Files: open for writing; others: O_PATH.
    int descriptor() const { return object_.get(); }

    // Gives it its final name. With `replace` it takes the place of what has that name, in one
    // step; without, EEXIST when something has it.
    Result<void> put_in_place(const std::string& name, bool replace);

   private:
    explicit TemporaryObject(int folder) : folder_(folder) {}
    Result<void> hold_named();

    int folder_;
    UniqueFd object_;
    std::string name_;  // empty: it has none
};

}  // namespace umbra
