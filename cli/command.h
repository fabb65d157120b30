// How a command looks: add_NAME_command() adds it with its options to the parser, and when it was
// chosen leaves in `chosen` what to run. Each command is a file: options, parser, run.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "cli/exit_code.h"
#include "snapstore/result.h"

namespace umbra {

// Runs the chosen command; its error becomes the one line on stderr and the exit code.
using Runner = std::function<Result<ExitCode>()>;

void add_init_command(CLI::App& parent, Runner& chosen);
void add_mount_command(CLI::App& parent, Runner& chosen);
void add_umount_command(CLI::App& parent, Runner& chosen);
void add_restart_command(CLI::App& parent, Runner& chosen);
void add_status_command(CLI::App& parent, Runner& chosen);
void add_snapshot_create_command(CLI::App& parent, Runner& chosen);
void add_snapshot_list_command(CLI::App& parent, Runner& chosen);
void add_snapshot_delete_command(CLI::App& parent, Runner& chosen);
void add_snapshot_hold_command(CLI::App& parent, Runner& chosen);
void add_snapshot_release_command(CLI::App& parent, Runner& chosen);
void add_snapshot_diff_command(CLI::App& parent, Runner& chosen);
void add_versions_command(CLI::App& parent, Runner& chosen);
void add_storage_show_command(CLI::App& parent, Runner& chosen);
void add_events_command(CLI::App& parent, Runner& chosen);
void add_set_command(CLI::App& parent, Runner& chosen);
void add_writers_list_command(CLI::App& parent, Runner& chosen);
void add_writers_add_command(CLI::App& parent, Runner& chosen);
void add_writers_remove_command(CLI::App& parent, Runner& chosen);
void add_writers_check_command(CLI::App& parent, Runner& chosen);
void add_share_samba_command(CLI::App& parent, Runner& chosen);
void add_share_remote_snapshot_commands(CLI::App& parent, Runner& chosen);
void add_doctor_command(CLI::App& parent, Runner& chosen);
void add_share_nfs_command(CLI::App& parent, Runner& chosen);
void add_storage_resize_command(CLI::App& parent, Runner& chosen);
void add_storage_scrub_command(CLI::App& parent, Runner& chosen);
void add_storage_rebuild_index_command(CLI::App& parent, Runner& chosen);
// Restores by itself, or by the subcommands that add_restore_job_commands adds to it.
CLI::App* add_restore_command(CLI::App& parent, Runner& chosen);
void add_restore_job_commands(CLI::App& restore, Runner& chosen);
// Adds `run`.
void add_restore_run_command(CLI::App& restore, Runner& chosen);
void add_revert_command(CLI::App& parent, Runner& chosen);

}  // namespace umbra
