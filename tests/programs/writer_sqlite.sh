#!/bin/bash
# SQLite with the writer that comes with Umbra, while transactions go on: nobody writes during the
# cut, every snapshot is whole, and whoever dies, the lock goes.
# shellcheck disable=SC2154  # $work, $image and $share come from lib/share.sh
set -euo pipefail
# shellcheck source=tests/programs/lib/share.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/share.sh"
need sqlite3 setpriv python3

# As the application that the database is of: what root makes beside it, if only for a moment, is
# not the writer's to use.
as_owner() {
    setpriv --reuid=nobody --regid=nogroup --clear-groups sqlite3 -cmd ".timeout 60000" "$@"
}

write_transactions() {
    local number
    for ((number = 1; ; ++number)); do
        as_owner "$1" "BEGIN IMMEDIATE;
            UPDATE account SET balance = balance - 7 WHERE id = $((number % 50 + 1));
            UPDATE account SET balance = balance + 7 WHERE id = $((number * 7 % 50 + 1));
            INSERT INTO transfer VALUES (NULL); COMMIT;"
    done
}

count() { as_owner "$database" "SELECT count(*) FROM transfer"; }

for mode in wal delete; do
    make_image ext4
    make_share data
    # The writer has the rights of the database's owner, who must get there.
    chmod 755 "$work" "$image" "$share"
    database=$share/app/money.db
    mkdir "$share/app"
    sqlite3 "$database" >/dev/null "PRAGMA journal_mode = $mode;
        CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER);
        CREATE TABLE transfer (id INTEGER PRIMARY KEY);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50)
        INSERT INTO account SELECT i, 1000 FROM n;"
    chown -R nobody: "$share/app"
    "$umbra" writers add "$share" "$UMBRA_SOURCE_DIR/packaging/writers/sqlite.toml" \
        --set database=app/money.db
    "$umbra" writers check "$share" >/dev/null
    write_transactions "$database" &
    writing=$!

    for round in 1 2 3 4 5; do
        sleep 0.3
        before=$(count)
        token=$("$umbra" snapshot create "$share")
        "$umbra" restore "$share/app" --from "$token" --to "$work/copy.$mode.$round" --json >/dev/null
        copy=$work/copy.$mode.$round/app/money.db
        [[ $(sqlite3 "$copy" "PRAGMA integrity_check") == ok ]] || fail "$mode: $copy is damaged"
        [[ $(sqlite3 "$copy" "SELECT sum(balance) FROM account") == 50000 ]] ||
            fail "$mode: the balances in $copy do not add up"
        (($(sqlite3 "$copy" "SELECT count(*) FROM transfer") >= before)) ||
            fail "$mode: $copy lacks what was committed"
    done

    # While it is frozen nobody writes; when the command is killed everybody does again.
    UMBRA_TEST_STOP_AT_STEP=3 "$umbra" snapshot create "$share" &
    asked=$!
    until [[ $(awk '{ print $3 }' /proc/$asked/stat) == T ]]; do sleep 0.05; done
    frozen=$(count)
    sleep 0.5
    (($(count) == frozen)) || fail "$mode: there are transactions while it is frozen"
    { kill -KILL $asked && wait $asked; } 2>/dev/null || true
    for _ in {1..200}; do
        (($(count) == frozen)) || break
        sleep 0.1
    done
    (($(count) > frozen)) || fail "$mode: it stays frozen when the command is killed"

    { kill $writing && wait $writing; } 2>/dev/null || true
    sleep 0.2
    sqlite3 "$database" "DELETE FROM transfer; UPDATE account SET balance = 0;"
    "$umbra" restore "$share/app" --from "$token" --method mirror >/dev/null
    [[ $(sqlite3 "$database" "SELECT sum(balance) FROM account") == 50000 ]] ||
        fail "$mode: not restored in place"
    end_share
done
echo "ten snapshots, all whole"
