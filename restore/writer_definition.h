// A writer: an application that is asked to become consistent around a snapshot or a restore, as
// SHARE/.umbra/writers.d/NAME.toml describes it (docs/writers.md, docs/format.md "Writers").
#pragma once

#include <array>
#include <chrono>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "snapstore/result.h"

namespace umbra {

// What a writer is asked to do, in this order.
enum class WriterStep {
    kIdentify,
    kPrepare,
    kFreeze,
    kThaw,
    kPostSnapshot,
    kPreRestore,
    kPostRestore,
};
inline constexpr std::size_t kWriterSteps = 7;

// "identify", "prepare", "freeze", "thaw", "post-snapshot", "pre-restore", "post-restore".
const char* writer_step_name(WriterStep step);

// Files of a writer that restore as a unit.
struct WriterComponent {
    std::string name;
    std::vector<std::string> paths;  // relative to the share; "": all of it
    // As those of a restore (ComponentSpec).
    std::vector<std::string> include;
    std::vector<std::string> exclude;
};

struct WriterDefinition {
    std::string name;
    std::string description;
    std::string user;  // whose identity the commands run with; "": root
    // Writers freeze in ascending order (then by name), and thaw in descending.
    std::int64_t order = 0;
    std::map<std::string, std::string> settings;     // UMBRA_SETTING_NAME in the environment
    std::map<std::string, std::string> environment;  // besides what every command gets
    // Arguments; empty: nothing to do at this step.
    std::array<std::vector<std::string>, kWriterSteps> commands{};
    // The freeze command goes on until the thaw: it prints a line "frozen" once the application is,
    // and ends when its input ends.
    bool freeze_stays = false;
    std::array<std::chrono::seconds, kWriterSteps> limits{};  // of each step's command
    // From the last freeze until the cut is done; the freeze's limit holds from its beginning until
    // the thaw.
    std::chrono::seconds cut_limit{10};
    std::vector<WriterComponent> components;

    const std::vector<std::string>& command(WriterStep step) const {
        return commands[static_cast<std::size_t>(step)];
    }
    std::chrono::seconds limit(WriterStep step) const {
        return limits[static_cast<std::size_t>(step)];
    }
};

// `where` names the text in messages. kRefused for a newer format, kUsage for what is no
// definition, naming what is wrong; nothing in it is trusted.
Result<WriterDefinition> parse_writer_definition(const std::string& text, const std::string& where);

// The definition with some of its [settings] changed; kUsage naming a setting that it does not
// have.
Result<std::string> set_in_writer_definition(
    const std::string& text, const std::vector<std::pair<std::string, std::string>>& settings,
    const std::string& where);

// In the order they freeze.
void sort_writers(std::vector<WriterDefinition>& definitions);

// Is one of the paths the other, or in it? Both relative to the share; "" is all of it.
bool paths_overlap(std::string_view a, std::string_view b);

}  // namespace umbra
