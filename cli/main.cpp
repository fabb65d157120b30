// umbra: parses the command line, runs one command, turns its error into one line and an exit code.
#include <exception>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/mount_helper.h"
#include "cli/output.h"

namespace umbra {

namespace {

void add_snapshot_commands(Command parent) {
    Command snapshot =
        parent.add_subcommand("snapshot", "Take, list, compare and delete snapshots");
    snapshot.alias("snap");
    snapshot.require_subcommand();
    add_snapshot_create_command(snapshot);
    add_snapshot_list_command(snapshot);
    add_snapshot_delete_command(snapshot);
    add_snapshot_hold_command(snapshot);
    add_snapshot_release_command(snapshot);
    add_snapshot_diff_command(snapshot);
}

void add_writers_commands(Command parent) {
    Command writers = parent.add_subcommand(
        "writers", "Applications that are asked to become consistent around snapshots");
    writers.require_subcommand();
    add_writers_list_command(writers);
    add_writers_add_command(writers);
    add_writers_remove_command(writers);
    add_writers_check_command(writers);
}

void add_commands(Command app) {
    app.require_subcommand();
    app.footer(kRestoreExitStatusHelp);
    add_init_command(app);
    add_mount_command(app);
    add_umount_command(app);
    add_restart_command(app);
    add_status_command(app);
    add_snapshot_commands(app);
    add_versions_command(app);
    Command restore = add_restore_command(app);
    add_restore_job_commands(restore);
    add_restore_run_command(restore);
    add_revert_command(app);
    add_events_command(app);
    add_set_command(app);
    add_writers_commands(app);
    Command share = app.add_subcommand("share", "Serve a share to other machines");
    share.require_subcommand();
    add_share_samba_command(share);
    add_share_nfs_command(share);
    add_share_remote_snapshot_commands(share);
    add_doctor_command(app);
    Command storage = app.add_subcommand("storage", "Look after the space that history takes");
    storage.require_subcommand();
    add_storage_show_command(storage);
    add_storage_resize_command(storage);
    add_storage_scrub_command(storage);
    add_storage_rebuild_index_command(storage);
}

// The first of them is the program's name.
ExitCode run(const std::vector<std::string>& argv) {
    CommandLine line("Umbra: previous versions for any folder", "umbra", "umbra " UMBRA_VERSION);
    add_commands(line.root());
    auto chosen = line.parse({argv.begin() + 1, argv.end()});
    const Result<ExitCode> code = chosen ? (*chosen)() : Result<ExitCode>(forward_error(chosen));
    if (!code) {
        print_error(code.error().text());
        return exit_code_of(code.error());
    }
    if (!flush_output()) {
        print_error("cannot write the result to stdout");
        return ExitCode::kFailed;
    }
    return *code;
}

// As mount(8) wants it.
int run_helper(std::vector<std::string> arguments) {
    if (arguments.empty()) return kMountDone;
    arguments.insert(arguments.begin(), "umbra");
    const ExitCode code = run(arguments);
    if (code == ExitCode::kDone) return kMountDone;
    return code == ExitCode::kUsage ? kMountUsage : kMountFailed;
}

int run_as_called(const std::vector<std::string>& argv) {
    const auto helper = helper_call(argv);
    if (!helper) {
        print_error(helper.error().text());
        return kMountUsage;
    }
    return *helper ? run_helper((*helper)->arguments) : static_cast<int>(run(argv));
}

}  // namespace

}  // namespace umbra

int main(int argc, char** argv) {
    try {
        return umbra::run_as_called({argv, argv + argc});
    } catch (const std::exception& error) {
        // Ours do not throw: memory has run out, or a daemon of another version answered strangely.
        umbra::print_error(error.what());
        return static_cast<int>(umbra::ExitCode::kFailed);
    }
}
