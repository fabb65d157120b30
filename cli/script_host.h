// The shares of this machine, as scripts act upon them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/script_writers.h"
#include "fuse/share_path.h"
#include "restore/script_host.h"

namespace umbra {

class ShareScriptHost : public ScriptHost {
   public:
    // With `as_lines` results are JSON, an object a line.
    explicit ShareScriptHost(bool as_lines) : as_lines_(as_lines) {}

    Result<ScriptShare> find_share(const std::string& path) override;
    Result<ScriptShare> find_volume(const std::string& uuid) override;
    Result<std::vector<ScriptShare>> shares() override;
    Result<ScriptSnapshot> find_snapshot(const std::string& path) override;
    Result<std::vector<ScriptSnapshot>> snapshots(const ScriptShare& share) override;

    Result<std::vector<ScriptSnapshot>> create(const std::vector<ScriptShare>& shares,
                                               const ScriptWriters& writers) override;
    Result<void> remove(const ScriptSnapshot& snapshot) override;

    Result<std::vector<ScriptWriter>> writers(const ScriptShare& share) override;
    Result<std::vector<std::string>> involved(const std::vector<ScriptRestore>& restores,
                                              const ScriptWriters& writers) override;
    Result<void> begin_restores(const std::vector<ScriptRestore>& restores,
                                const ScriptWriters& writers) override;
    Result<void> end_restores() override;
    Result<ScriptRestored> restore(const ScriptRestore& restore,
                                   const ScriptWriters& writers) override;
    Result<ScriptRestored> simulate(const ScriptRestore& restore) override;
    Result<void> check(const ScriptRestore& restore) override;

    Result<std::vector<ScriptExposure>> exposures() override;
    Result<void> check_mountpoint(const std::string& path) override;
    Result<void> expose(const ScriptSnapshot& snapshot, const std::string& path) override;
    Result<void> unexpose(const std::string& mountpoint) override;

    Result<void> check_program(const std::string& file) override;
    Result<void> exec(const std::vector<std::string>& command,
                      const std::vector<std::string>& environment) override;

    bool interrupted() override;
    void say(const std::string& text, nlohmann::json event) override;
    void note(const std::string& text) override;

   private:
    bool as_lines_;
    std::unique_ptr<ScriptRestores> restores_;  // between begin_restores() and end_restores()
};

}  // namespace umbra
