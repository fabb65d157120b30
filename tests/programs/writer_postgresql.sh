#!/bin/bash
# PostgreSQL under load, with the writer that comes with Umbra: the cluster started from a
# restored snapshot is whole and has every transaction that was committed before the snapshot was
# asked for; by crash recovery, from its backup label through the archive, and in place.
# shellcheck disable=SC2154  # $work, $image and $share come from lib/share.sh
set -euo pipefail
# shellcheck source=tests/programs/lib/share.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/share.sh"

# Debian 12's is 15.
bin=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
readonly bin
readonly port=54329 other_port=54330
need setpriv "$bin/postgres" "$bin/initdb" "$bin/pgbench" "$bin/pg_amcheck"
id postgres >/dev/null 2>&1 || skip "no user postgres"
readonly writers=$UMBRA_SOURCE_DIR/packaging/writers

as_postgres() { (become_postgres "$@"); }
become_postgres() {
    cd /
    exec setpriv --reuid postgres --regid "$(id -g postgres)" --init-groups "$@"
}

sql() { as_postgres "$bin/psql" -X -q -A -t -v ON_ERROR_STOP=1 -h "$work/run" -p "$1" -d bench -c "$2"; }

configure() {
    cat >>"$1/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$work/run'
port = $port
shared_buffers = 16MB
max_wal_size = 64MB
archive_mode = on
archive_command = 'cp %p $work/archive/%f.part && mv $work/archive/%f.part $work/archive/%f'
CONF
}

start_server() { # FOLDER PORT [OPTION...]
    as_postgres "$bin/pg_ctl" -D "$1" -w -t 120 -l "$work/run/log.$2" -o "-p $2 ${*:3}" start \
        >/dev/null || fail "$1 does not start: $(tail -n 20 "$work/run/log.$2")"
}

stop_server() { as_postgres "$bin/pg_ctl" -D "$1" -m fast -w stop >/dev/null; }

add_writer() {
    "$umbra" writers add "$share" "$writers/postgresql.toml" --set data=pg --set bin="$bin" --set host="$work/run" \
        --set port=$port "$@"
}

# pgbench's transactions change three tables and add a row to a fourth, all by the same amount.
check_cluster() { # PORT LEAST_TRANSACTIONS WHAT
    local answer count
    answer=$(sql "$1" "SELECT (SELECT sum(abalance) FROM pgbench_accounts) =
                              (SELECT sum(bbalance) FROM pgbench_branches)
                          AND (SELECT sum(bbalance) FROM pgbench_branches) =
                              (SELECT sum(tbalance) FROM pgbench_tellers)
                          AND (SELECT sum(tbalance) FROM pgbench_tellers) =
                              (SELECT coalesce(sum(delta), 0) FROM pgbench_history)")
    [[ $answer == t ]] || fail "$3: the balances do not agree"
    count=$(sql "$1" "SELECT count(*) FROM pgbench_history")
    ((count >= $2)) || fail "$3: $count transactions, and $2 were committed before the snapshot"
    as_postgres "$bin/pg_amcheck" -h "$work/run" -p "$1" --install-missing --heapallindexed bench \
        >"$work/run/amcheck" 2>&1 || fail "$3: pg_amcheck: $(tail -n 5 "$work/run/amcheck")"
    echo "$3: $count transactions, all whole"
}

# The value of a line "NAME VALUE" that the writer keeps with a snapshot.
kept() {
    "$umbra" writers list "$share" --from "$1" --json | python3 -c "
import json, sys
for line in json.load(sys.stdin)[0]['document'].splitlines():
    name, _, value = line.partition(' ')
    if name == '$2': print(value)"
}

make_image ext4
make_share data
chmod 755 "$work" "$image" "$share"
mkdir "$work/run" "$work/archive" "$share/pg"
chown postgres: "$work/run" "$work/archive" "$share/pg"
chmod 700 "$share/pg"
as_postgres "$bin/initdb" -D "$share/pg" -A trust -N --data-checksums >/dev/null
configure "$share/pg"
start_server "$share/pg" $port
as_postgres "$bin/createdb" -h "$work/run" -p $port bench
as_postgres "$bin/pgbench" -h "$work/run" -p $port -q -i -s 2 bench 2>/dev/null
add_writer

become_postgres "$bin/pgbench" -h "$work/run" -p $port -n -c 4 -j 1 -T 600 bench \
    >"$work/run/bench" 2>&1 &
load=$!
tokens=() committed=()
for _ in 1 2 3; do
    sleep 2
    committed+=("$(sql $port 'SELECT count(*) FROM pgbench_history')")
    tokens+=("$("$umbra" snapshot create "$share")")
done
kill -0 "$load" || fail "pgbench has ended: $(cat "$work/run/bench")"
state=$("$umbra" snapshot list "$share" --json | python3 -c '
import json, sys
print({writer["state"] for snapshot in json.load(sys.stdin) for writer in snapshot["writers"]})')
[[ $state == "{'stable'}" ]] || fail "the writer's states are $state"

# The backup ends with who asked for it, however that ends.
UMBRA_TEST_STOP_AT_STEP=4 "$umbra" snapshot create "$share" &
asked=$!
until [[ $(awk '{ print $3 }' /proc/$asked/stat) == T ]]; do sleep 0.05; done
backups="SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_backup_start%'"
(($(sql $port "$backups") == 1)) || fail "no backup is under way"
{ kill -KILL $asked && wait $asked; } 2>/dev/null || true
for _ in {1..200}; do
    (($(sql $port "$backups") > 0)) || break
    sleep 0.1
done
(($(sql $port "$backups") == 0)) || fail "the backup of a killed command goes on"

# By crash recovery: the snapshot is one moment.
"$umbra" restore "$share/pg" --from "${tokens[0]}" --to "$work/crash" >/dev/null
start_server "$work/crash/pg" $other_port -c archive_mode=off
check_cluster $other_port "${committed[0]}" "recovered as after a crash"
stop_server "$work/crash/pg"

# From the label, through the archive, to the end of the backup.
add_writer --set restore_command="cp $work/archive/%f %p"
stop=$(sql $port "SELECT pg_walfile_name('$(kept "${tokens[1]}" stop)')")
for _ in {1..300}; do
    [[ ! -e $work/archive/$stop ]] || break
    sleep 0.1
done
"$umbra" restore "$share/pg" --from "${tokens[1]}" --to "$work/label" >/dev/null
kept "${tokens[1]}" backup_label | base64 -d >"$work/run/label"
grep -q '^START WAL LOCATION' "$work/run/label" || fail "no label is kept with the snapshot"
cmp "$work/run/label" "$work/label/pg/backup_label" || fail "the label was not put in its place"
start_server "$work/label/pg" $other_port -c archive_mode=off
for _ in {1..300}; do
    [[ $(sql $other_port 'SELECT pg_is_in_recovery()') == t ]] || break
    sleep 0.1
done
[[ -e $work/label/pg/backup_label.old ]] || fail "the label was not used"
check_cluster $other_port "${committed[1]}" "recovered from the label"
stop_server "$work/label/pg"

# In place: stopped before, started after.
kill "$load" 2>/dev/null || true
wait "$load" || true
add_writer
later=$(sql $port 'SELECT count(*) FROM pgbench_history')
"$umbra" restore "$share/pg" --from "${tokens[2]}" --method mirror >/dev/null
check_cluster $port "${committed[2]}" "restored in place"
(($(sql $port 'SELECT count(*) FROM pgbench_history') < later)) || fail "nothing was taken back"
stop_server "$share/pg"
