// The definitions of a volume's writers, SHARE/.umbra/writers.d/NAME.toml, and how the writers
// ended the last time (docs/format.md, "Writers"). What is in them is the business of who runs
// them; here is that nobody but root can have put them there: their commands run as root.
#pragma once

#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "snapstore/result.h"
#include "snapstore/unique_fd.h"

namespace umbra {

struct WriterFile {
    std::string name;  // of the writer
    std::string text;
};

// Thread-safe.
class WriterFiles {
   public:
    // control_directory: descriptor of SHARE/.umbra, borrowed.
    explicit WriterFiles(int control_directory) : control_directory_(control_directory) {}

    // By name. kRefused naming the file where one is not root's alone: another owner, or a mode
    // that lets others write or read.
    Result<std::vector<WriterFile>> definitions();
    // Names alone; also of those that would be refused.
    Result<std::vector<std::string>> names();
    // Durable on return; replaces one of the same name.
    Result<void> put(const WriterFile& definition);
    // kNotFound where there is no such writer.
    Result<void> remove(const std::string& name);

    // Text of who runs the writers; "": none was ever run.
    Result<std::string> last_reports();
    // Replaces it with what `change` makes of it, in one step for whoever else does so. `change`
    // is called with the lock held: it must not call anything here.
    Result<void> change_last_reports(
        const std::function<std::string(const std::string& before)>& change);

   private:
    Result<UniqueFd> directory(bool make) const;
    Result<std::string> last_reports_locked() const;

    int control_directory_;
    std::mutex mutex_;
};

// 1 to 64 of a-z, 0-9, '-' and '_', beginning with a letter or digit: kUsage otherwise.
Result<void> check_writer_name(const std::string& name);

}  // namespace umbra
