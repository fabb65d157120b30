#!/bin/bash
# SQLite, with its log beside the database (WAL) and with a rollback journal, while snapshots are
# taken: the live database and the one in every snapshot are whole, and a snapshot has every
# transaction that was committed before it was asked for.
# shellcheck disable=SC2154  # $work, $image and $share come from lib/share.sh
set -euo pipefail
# shellcheck source=tests/programs/lib/share.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/share.sh"
need sqlite3 stdbuf

readonly SNAPSHOTS=8
readonly TRANSACTIONS_BETWEEN=10

# Statements, until the file $work/enough is there. Money moves between accounts; each transaction
# changes three tables together.
write_transactions() {
    local mode=$1 number
    cat <<SQL
PRAGMA journal_mode = $mode;
PRAGMA synchronous = FULL;
SQL
    for ((number = 1; ; ++number)); do
        [[ ! -e $work/enough ]] || break
        cat <<SQL
BEGIN IMMEDIATE;
UPDATE account SET balance = balance - 7 WHERE id = $((number % 50 + 1));
UPDATE account SET balance = balance + 7 WHERE id = $((number * 7 % 50 + 1));
INSERT INTO transfer VALUES ($number, hex(randomblob(400 + $number * 13 % 2000)));
UPDATE counter SET value = $number;
COMMIT;
SELECT 'committed', $number;
SQL
    done
}

create_database() {
    sqlite3 "$1" >/dev/null <<SQL
PRAGMA journal_mode = $2;
CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER);
CREATE TABLE transfer (id INTEGER PRIMARY KEY, memo TEXT);
CREATE TABLE counter (value INTEGER);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50)
INSERT INTO account SELECT i, 1000 FROM n;
INSERT INTO counter VALUES (0);
SQL
}

# Prints the number of transactions in a database, after making sure that it is whole.
checked_count() {
    local answer
    answer=$(sqlite3 "$1" "PRAGMA integrity_check") || fail "$2: $answer"
    [[ $answer == ok ]] || fail "$2: integrity_check says $answer"
    answer=$(sqlite3 "$1" "SELECT (SELECT sum(balance) FROM account), (SELECT count(*) FROM transfer),
                                  (SELECT max(value) FROM counter)")
    local balance transfers counter
    IFS='|' read -r balance transfers counter <<<"$answer"
    ((balance == 50000)) || fail "$2: the balances add up to $balance"
    ((transfers == counter)) || fail "$2: $transfers transfers, but the counter says $counter"
    echo "$counter"
}

committed() {
    local last
    last=$(sed -n 's/^committed|//p' "$work/progress" | tail -n 1)
    echo "${last:-0}"
}

wait_for_transactions() {
    local wanted=$(($(committed) + TRANSACTIONS_BETWEEN))
    while (($(committed) < wanted)); do
        kill -0 "$writer" 2>/dev/null || fail "sqlite3 ended too early"
        sleep 0.02
    done
}

run_mode() {
    local mode=$1 what=$2 before=() places=() count last=0 i
    create_database "$share/ledger.db" "$mode"
    rm -f "$work/enough" "$work/progress"
    : >"$work/progress"
    write_transactions "$mode" | stdbuf -oL sqlite3 "$share/ledger.db" >"$work/progress" &
    writer=$!
    for ((i = 0; i < SNAPSHOTS; ++i)); do
        wait_for_transactions
        before+=("$(committed)")
        places+=("$(take_snapshot)")
    done
    touch "$work/enough"
    wait "$writer" || fail "$what: sqlite3 ended with an error"

    count=$(checked_count "$share/ledger.db" "$what, live")
    ((count == $(committed))) || fail "$what: the live database has $count transactions of $(committed)"
    for i in "${!places[@]}"; do
        # A snapshot is read-only; what recovers a database writes.
        rm -rf "$work/copy" && mkdir "$work/copy"
        cp "${places[i]}"/ledger.db* "$work/copy/"
        rm -f "$work/copy/ledger.db-shm"
        count=$(checked_count "$work/copy/ledger.db" "$what, in ${places[i]##*/}")
        ((count >= before[i])) ||
            fail "$what: ${places[i]##*/} has $count transactions, ${before[i]} had been committed before"
        ((count >= last)) || fail "$what: ${places[i]##*/} has fewer transactions than an older snapshot"
        last=$count
    done
    echo "$what: $(committed) transactions, ${#places[@]} snapshots, all whole"
}

# One run per way to keep a journal; types and the writeback cache are spread over them.
run() {
    local type=$1 mode=$2
    make_image "$type"
    make_share data "${@:3}"
    run_mode "$mode" "$type, $mode${3:+, ${*:3}}"
    end_share
}

run ext4 wal
run ext4 delete
run xfs wal
run btrfs delete
run ext4 wal -o writeback
