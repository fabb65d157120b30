// Runs a restore script, line by line. The first line that fails ends it; whatever a line has begun
// and another one should have ended is ended then, as it is at the end of every script: writers are
// told what became of a restore, volatile snapshots go.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "restore/script_aliases.h"
#include "restore/script_host.h"
#include "restore/script_metadata.h"
#include "restore/script_parser.h"

namespace umbra {

struct ScriptFailure {
    std::size_t line = 0;
    std::string verb;
    Error error;
    bool incomplete = false;  // a restore that did not restore everything
};

// Not thread-safe; runs one script.
class ScriptRunner {
   public:
    enum class Mode {
        kRun,
        kCheck,  // resolves everything, changes nothing, goes on after failures
    };
    ScriptRunner(ScriptHost& host, Mode mode) : host_(host), checking_(mode == Mode::kCheck) {}

    // What the caller gives; a reset keeps it.
    void set_alias(const std::string& name, const std::string& value);
    // The script must have no problems. Empty: all went well.
    std::vector<ScriptFailure> run(const Script& script);

   private:
    enum class Context { kClientAccessible, kPersistent, kVolatile };
    enum class Session { kNone, kBegun, kSimulated };
    struct Volume {
        ScriptShare share;
        std::string alias;
    };
    struct Created {
        ScriptSnapshot snapshot;
        std::string alias;
        std::string set;
        bool goes = false;  // with the script: a volatile one
    };

    Result<void> execute(const ScriptStatement& statement, const Script& script, std::size_t i);
    Result<void> execute_snapshots(const ScriptStatement& statement);
    Result<void> execute_restores(const ScriptStatement& statement, const Script& script,
                                  std::size_t i);
    void finish(std::vector<ScriptFailure>& failures);
    Result<void> end_all();
    Result<void> drop_volatile();
    Result<void> unexpose_all_of(const ScriptSnapshot& snapshot);

    // script_runner.cpp: what lines set and name
    Result<void> reset();
    Result<void> set_context(const ScriptStatement& statement, Context context);
    Result<void> set_metadata(const ScriptStatement& statement);
    Result<void> add_alias(const ScriptStatement& statement);
    Result<void> exec(const ScriptStatement& statement);
    Result<std::string> text_of(const ScriptWord& word) const;
    Result<std::vector<std::string>> texts_of(const ScriptStatement& statement,
                                              std::string_view option) const;
    Result<ScriptSnapshot> snapshot_of(const ScriptWord& word);
    Result<ScriptSnapshot> listed(const ScriptShare& share, const std::string& name);
    Result<ScriptShare> share_of(const ScriptWord& word);
    void know(const ScriptShare& share);
    Result<std::vector<ScriptShare>> known_or_all();
    Result<std::vector<ScriptSnapshot>> set_of(const ScriptWord& word);

    // script_snapshots.cpp
    Result<void> show_added();
    Result<void> add_volume(const ScriptStatement& statement);
    Result<void> create();
    Result<void> name_created(const std::vector<ScriptSnapshot>& made);
    Result<void> begin_backup();
    Result<void> end_backup();
    Result<void> verify_writers();
    Result<void> load_metadata(const ScriptStatement& statement);
    void take_loaded(std::vector<Created> loaded, const std::string& set);
    Result<void> save_metadata();

    // script_shadows.cpp
    Result<void> expose(const ScriptStatement& statement);
    Result<void> unexpose(const ScriptStatement& statement);
    Result<ScriptExposure> exposure_at(const std::string& path);
    Result<void> remove_all(const std::vector<ScriptSnapshot>& snapshots);
    Result<void> remove_every(const std::vector<ScriptShare>& shares);
    Result<void> remove_oldest(const ScriptStatement& statement);
    Result<void> remove_exposed(const ScriptStatement& statement);
    Result<void> show_snapshots(const std::vector<ScriptSnapshot>& snapshots);
    Result<void> show_every_snapshot();
    Result<void> show_writers();
    void show_providers();

    // script_restores.cpp
    Result<ScriptRestore> restore_of(const ScriptStatement& statement);
    Result<ScriptRestore> revert_of(const ScriptStatement& statement);
    Result<std::vector<ScriptRestore>> announced(const Script& script, std::size_t i);
    Result<void> begin_restore(const Script& script, std::size_t i);
    Result<void> simulate_restore(const Script& script, std::size_t i);
    Result<void> end_restore();
    Result<void> run_restore(const ScriptRestore& restore);

    ScriptHost& host_;
    bool checking_;
    bool left_ = false;        // by `exit`
    bool incomplete_ = false;  // the line that fails is a restore that is not whole
    bool verbose_ = false;
    Context context_ = Context::kClientAccessible;
    ScriptWriters writers_;
    std::vector<std::string> verify_;
    std::string metadata_file_;
    ScriptMetadata metadata_;         // of the last set
    std::vector<Volume> volumes_;     // of the next set
    std::vector<ScriptShare> known_;  // that the script has named
    std::vector<Created> created_;    // or loaded
    bool loaded_ = false;
    bool backup_ = false;
    bool backup_has_set_ = false;
    Session restore_ = Session::kNone;
    ScriptAliases aliases_;
    ScriptAliases given_;
    std::map<std::string, std::vector<Created>> foreseen_;  // in metadata files, when checking
};

}  // namespace umbra
