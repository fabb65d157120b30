// How a command looks: add_NAME_command() adds it with its options to its parent, and says what to
// run when it was chosen. Each command is a file: options, parser, run.
#pragma once

#include "cli/arguments.h"

namespace umbra {

void add_init_command(Command parent);
void add_mount_command(Command parent);
void add_umount_command(Command parent);
void add_restart_command(Command parent);
void add_status_command(Command parent);
void add_snapshot_create_command(Command parent);
void add_snapshot_list_command(Command parent);
void add_snapshot_delete_command(Command parent);
void add_snapshot_hold_command(Command parent);
void add_snapshot_release_command(Command parent);
void add_snapshot_diff_command(Command parent);
void add_versions_command(Command parent);
void add_storage_show_command(Command parent);
void add_events_command(Command parent);
void add_set_command(Command parent);
void add_writers_list_command(Command parent);
void add_writers_add_command(Command parent);
void add_writers_remove_command(Command parent);
void add_writers_check_command(Command parent);
void add_share_samba_command(Command parent);
void add_share_remote_snapshot_commands(Command parent);
void add_doctor_command(Command parent);
void add_share_nfs_command(Command parent);
void add_storage_resize_command(Command parent);
void add_storage_scrub_command(Command parent);
void add_storage_rebuild_index_command(Command parent);
// Restores by itself, or by the subcommands that add_restore_job_commands adds to it.
Command add_restore_command(Command parent);
void add_restore_job_commands(Command restore);
// Adds `run`.
void add_restore_run_command(Command restore);
void add_revert_command(Command parent);

}  // namespace umbra
