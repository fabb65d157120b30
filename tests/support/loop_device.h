// Loop devices that go away by themselves.
#pragma once

#include <string>

namespace umbra::test {

// A block device over a file. It detaches at its last close: when this is gone and nothing that was
// mounted from it is mounted any more.
class LoopDevice {
   public:
    enum class Access { kCached, kDirect };

    // Throws std::runtime_error saying which step failed; also when the file cannot be accessed
    // directly (past the page cache) though it should be.
    explicit LoopDevice(const std::string& file, Access access = Access::kCached);
    LoopDevice(const LoopDevice&) = delete;
    LoopDevice& operator=(const LoopDevice&) = delete;
    ~LoopDevice();

    // "/dev/loopN"
    const std::string& node() const { return node_; }
    int descriptor() const { return descriptor_; }

   private:
    bool attach(int number, int file, const std::string& name, Access access);

    int descriptor_ = -1;
    std::string node_;
};

}  // namespace umbra::test
