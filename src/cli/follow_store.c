/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal is a write-ahead log with synchronous=NORMAL: a power failure may take back the last
 * transactions, whole, with their version; the feed brings them again.
 */
#include "cli/follow_store.h"

#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

#include <sqlite3.h>

enum { BUSY_MS = 10000 };

enum statement { BEGIN, COMMIT, WRITE, DELETE, DELETE_RANGE, MOVE, STATEMENTS };

struct follow_store {
    sqlite3 *database;
    sqlite3_stmt *statements[STATEMENTS];
    char *table;
    struct follow_place place; /* as it is in the database */
    bool has_begun;
};

static void say(const struct follow_store *store, struct buffer *out)
{
    const char *text = sqlite3_errmsg(store->database);
    buffer_add(out, bytes_from_string(text));
}

/* Runs SQL made of `format` (%w: the table's name, to stand in double quotes). */
static bool run_sql(struct follow_store *store, const char *format)
{
    char *sql = sqlite3_mprintf(format, store->table);
    CHECK(sql != NULL);
    bool good = sqlite3_exec(store->database, sql, NULL, NULL, NULL) == SQLITE_OK;
    sqlite3_free(sql);
    return good;
}

static bool prepare(struct follow_store *store, sqlite3_stmt **out, const char *format)
{
    char *sql = sqlite3_mprintf(format, store->table);
    CHECK(sql != NULL);
    bool good = sqlite3_prepare_v3(store->database, sql, -1, SQLITE_PREPARE_PERSISTENT, out,
                                   NULL) == SQLITE_OK;
    sqlite3_free(sql);
    return good;
}

/* ---- opening ---- */

static void read_text(sqlite3_stmt *query, int column, char *out, size_t room)
{
    const unsigned char *text = sqlite3_column_text(query, column);
    (void)snprintf(out, room, "%s", text == NULL ? "" : (const char *)text);
}

/* Reads where the table is. *out_found: whether there is such a table in weasel_follow. */
static bool read_place(struct follow_store *store, bool *out_found)
{
    sqlite3_stmt *query;
    if (!prepare(store, &query,
                 "SELECT version, last_version, last_request_id, last_timestamp "
                 "FROM weasel_follow WHERE table_name = '%q'")) {
        return false;
    }
    int result = sqlite3_step(query);
    *out_found = result == SQLITE_ROW;
    if (*out_found) {
        store->place.version = (uint64_t)sqlite3_column_int64(query, 0);
        store->place.last.version = (uint64_t)sqlite3_column_int64(query, 1);
        read_text(query, 2, store->place.last.request_id, sizeof store->place.last.request_id);
        read_text(query, 3, store->place.last.timestamp, sizeof store->place.last.timestamp);
    }
    (void)sqlite3_finalize(query);
    return result == SQLITE_ROW || result == SQLITE_DONE;
}

/* Whether the database has a table of this name. */
static bool look_for_table(struct follow_store *store, bool *out_found)
{
    sqlite3_stmt *query;
    if (!prepare(store, &query, "SELECT 1 FROM sqlite_schema WHERE lower(name) = lower('%q')")) {
        return false;
    }
    int result = sqlite3_step(query);
    *out_found = result == SQLITE_ROW;
    (void)sqlite3_finalize(query);
    return result == SQLITE_ROW || result == SQLITE_DONE;
}

/* Makes what is not there. Within a transaction of its own. */
static enum err make_tables(struct follow_store *store, struct buffer *out_mistake)
{
    bool is_followed;
    bool is_there;
    if (!run_sql(store, "CREATE TABLE IF NOT EXISTS weasel_follow (table_name TEXT PRIMARY KEY, "
                        "version INTEGER NOT NULL, last_version INTEGER NOT NULL, "
                        "last_request_id TEXT NOT NULL, last_timestamp TEXT NOT NULL) "
                        "WITHOUT ROWID") ||
        !read_place(store, &is_followed) || !look_for_table(store, &is_there)) {
        say(store, out_mistake);
        return ERR_SYSTEM;
    }
    if (is_followed != is_there) {
        buffer_add_format(out_mistake,
                          is_there
                              ? "the table \"%s\" is there, but was not made by weasel follow"
                              : "weasel_follow has a row for \"%s\", but the table is gone; delete "
                                "the row to begin anew",
                          store->table);
        return ERR_INVALID;
    }
    if (!is_there &&
        (!run_sql(store, "CREATE TABLE \"%w\" (key BLOB PRIMARY KEY, value BLOB NOT NULL) "
                         "WITHOUT ROWID") ||
         !run_sql(store, "INSERT INTO weasel_follow VALUES ('%q', 0, 0, '', '')"))) {
        say(store, out_mistake);
        return ERR_SYSTEM;
    }
    return OK;
}

static enum err set_up(struct follow_store *store, struct buffer *out_mistake)
{
    static const char *const statements[STATEMENTS] = {
        [BEGIN] = "BEGIN IMMEDIATE",
        [COMMIT] = "COMMIT",
        [WRITE] = "INSERT INTO \"%w\" (key, value) VALUES (?1, ?2) "
                  "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        [DELETE] = "DELETE FROM \"%w\" WHERE key = ?1",
        [DELETE_RANGE] = "DELETE FROM \"%w\" WHERE key >= ?1 AND key < ?2",
        [MOVE] = "UPDATE weasel_follow SET version = ?1, last_version = ?2, "
                 "last_request_id = ?3, last_timestamp = ?4 "
                 "WHERE table_name = '%q' AND version = ?5",
    };
    (void)sqlite3_busy_timeout(store->database, BUSY_MS);
    if (!run_sql(store, "PRAGMA journal_mode = WAL") ||
        !run_sql(store, "PRAGMA synchronous = NORMAL") ||
        !run_sql(store, "PRAGMA cache_size = -65536") ||        /* KiB */
        !run_sql(store, "PRAGMA wal_autocheckpoint = 16384") || /* pages: 64 MiB */
        !run_sql(store, "BEGIN IMMEDIATE")) {
        say(store, out_mistake);
        return ERR_SYSTEM;
    }
    enum err err = make_tables(store, out_mistake);
    if (err != OK) {
        return err;
    }
    if (!run_sql(store, "COMMIT")) {
        say(store, out_mistake);
        return ERR_SYSTEM;
    }
    for (size_t i = 0; i < STATEMENTS; i++) {
        if (!prepare(store, &store->statements[i], statements[i])) {
            say(store, out_mistake);
            return ERR_SYSTEM;
        }
    }
    return OK;
}

enum err follow_store_open(const char *path, const char *table, struct follow_store **out_store,
                           struct follow_place *out_place, struct buffer *out_mistake)
{
    struct follow_store *store = calloc(1, sizeof *store);
    CHECK(store != NULL);
    store->table = strdup(table);
    CHECK(store->table != NULL);
    enum err err = ERR_SYSTEM;
    if (sqlite3_open_v2(path, &store->database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) ==
        SQLITE_OK) {
        err = set_up(store, out_mistake);
    } else {
        say(store, out_mistake);
    }
    if (err != OK) {
        follow_store_close(store);
        return err;
    }
    *out_store = store;
    *out_place = store->place;
    return OK;
}

void follow_store_close(struct follow_store *store)
{
    if (store != NULL) {
        for (size_t i = 0; i < STATEMENTS; i++) {
            (void)sqlite3_finalize(store->statements[i]);
        }
        (void)sqlite3_close(store->database);
        free(store->table);
        free(store);
    }
}

const char *follow_store_mistake(const struct follow_store *store)
{
    return sqlite3_errmsg(store->database);
}

/* ---- transactions ---- */

static enum err step(struct follow_store *store, enum statement which)
{
    sqlite3_stmt *statement = store->statements[which];
    (void)sqlite3_step(statement);
    /* tells the step's error again */
    return sqlite3_reset(statement) == SQLITE_OK ? OK : ERR_SYSTEM;
}

static enum err begin(struct follow_store *store)
{
    if (!store->has_begun) {
        if (step(store, BEGIN) != OK) {
            return ERR_SYSTEM;
        }
        store->has_begun = true;
    }
    return OK;
}

/* The bytes stay with their owner, until the statement has run. */
static void bind(sqlite3_stmt *statement, int number, const struct buffer *bytes)
{
    struct bytes view = buffer_bytes(bytes); /* never NULL, which would be SQL's NULL */
    CHECK(sqlite3_bind_blob64(statement, number, view.data, view.size, SQLITE_STATIC) == SQLITE_OK);
}

enum err follow_store_apply(struct follow_store *store, const struct feed_operation *operation)
{
    static const enum statement which[] = {
        [FEED_WRITE] = WRITE, [FEED_DELETE] = DELETE, [FEED_RANGE_DELETE] = DELETE_RANGE};
    sqlite3_stmt *statement = store->statements[which[operation->type]];
    if (begin(store) != OK) {
        return ERR_SYSTEM;
    }
    bind(statement, 1, &operation->key);
    if (operation->type != FEED_DELETE) {
        bind(statement, 2, &operation->value);
    }
    enum err err = step(store, which[operation->type]);
    (void)sqlite3_clear_bindings(statement);
    return err;
}

enum err follow_store_commit(struct follow_store *store, const struct follow_place *place)
{
    sqlite3_stmt *move = store->statements[MOVE];
    if (begin(store) != OK) {
        return ERR_SYSTEM;
    }
    const struct feed_mark *last = &place->last;
    CHECK(sqlite3_bind_int64(move, 1, (sqlite3_int64)place->version) == SQLITE_OK &&
          sqlite3_bind_int64(move, 2, (sqlite3_int64)last->version) == SQLITE_OK &&
          sqlite3_bind_text(move, 3, last->request_id, -1, SQLITE_STATIC) == SQLITE_OK &&
          sqlite3_bind_text(move, 4, last->timestamp, -1, SQLITE_STATIC) == SQLITE_OK &&
          sqlite3_bind_int64(move, 5, (sqlite3_int64)store->place.version) == SQLITE_OK);
    enum err err = step(store, MOVE);
    if (err == OK && sqlite3_changes(store->database) != 1) {
        err = ERR_INVALID;
    }
    err = err == OK ? step(store, COMMIT) : err;
    if (err == OK) {
        store->has_begun = false;
        store->place = *place;
    }
    return err;
}
