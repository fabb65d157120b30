// umbra: parses the command line, runs one command, turns its error into one line and an exit code.
#include <exception>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/mount_helper.h"
#include "cli/output.h"

namespace umbra {

namespace {

void add_snapshot_commands(CLI::App& parent, Runner& chosen) {
    CLI::App* snapshot =
        parent.add_subcommand("snapshot", "Take, list, compare and delete snapshots");
    snapshot->alias("snap")->require_subcommand(1);
    add_snapshot_create_command(*snapshot, chosen);
    add_snapshot_list_command(*snapshot, chosen);
    add_snapshot_delete_command(*snapshot, chosen);
    add_snapshot_hold_command(*snapshot, chosen);
    add_snapshot_release_command(*snapshot, chosen);
    add_snapshot_diff_command(*snapshot, chosen);
}

void add_writers_commands(CLI::App& parent, Runner& chosen) {
    CLI::App* writers = parent.add_subcommand(
        "writers", "Applications that are asked to become consistent around snapshots");
    writers->require_subcommand(1);
    add_writers_list_command(*writers, chosen);
    add_writers_add_command(*writers, chosen);
    add_writers_remove_command(*writers, chosen);
    add_writers_check_command(*writers, chosen);
}

void add_commands(CLI::App& app, Runner& chosen) {
    app.require_subcommand(1);
    app.set_version_flag("--version", "umbra " UMBRA_VERSION, "Print the version and exit");
    app.footer(kRestoreExitStatusHelp);
    add_init_command(app, chosen);
    add_mount_command(app, chosen);
    add_umount_command(app, chosen);
    add_restart_command(app, chosen);
    add_status_command(app, chosen);
    add_snapshot_commands(app, chosen);
    add_versions_command(app, chosen);
    CLI::App* restore = add_restore_command(app, chosen);
    add_restore_job_commands(*restore, chosen);
    add_restore_run_command(*restore, chosen);
    add_revert_command(app, chosen);
    add_events_command(app, chosen);
    add_set_command(app, chosen);
    add_writers_commands(app, chosen);
    CLI::App* share = app.add_subcommand("share", "Serve a share to other machines");
    share->require_subcommand(1);
    add_share_samba_command(*share, chosen);
    add_share_nfs_command(*share, chosen);
    add_share_remote_snapshot_commands(*share, chosen);
    add_doctor_command(app, chosen);
    CLI::App* storage = app.add_subcommand("storage", "Look after the space that history takes");
    storage->require_subcommand(1);
    add_storage_show_command(*storage, chosen);
    add_storage_resize_command(*storage, chosen);
    add_storage_scrub_command(*storage, chosen);
    add_storage_rebuild_index_command(*storage, chosen);
}

// The innermost command that was named, for the hint at its --help.
std::string named_command(const CLI::App& app) {
    std::string name = "umbra";
    for (const CLI::App* at = &app; !at->get_subcommands().empty();) {
        at = at->get_subcommands().front();
        name += " " + at->get_name();
    }
    return name;
}

ExitCode report_parse_error(const CLI::App& app, const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {
        app.exit(error);  // --help or --version: prints it
        return flush_output() ? ExitCode::kDone : ExitCode::kFailed;
    }
    print_error(std::string(error.what()) + "; see '" + named_command(app) + " --help'");
    return ExitCode::kUsage;
}

// The first of them is the program's name.
ExitCode run(const std::vector<std::string>& argv) {
    CLI::App app("Umbra: previous versions for any folder", "umbra");
    Runner chosen;
    add_commands(app, chosen);
    try {
        app.parse(std::vector<std::string>(argv.rbegin(), argv.rend() - 1));
    } catch (const CLI::ParseError& error) {
        return report_parse_error(app, error);
    }
    const auto code = chosen();
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
