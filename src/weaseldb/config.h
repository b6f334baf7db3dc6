/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config: the server's settings, from defaults, a TOML file and the command line.
 *
 *   config_init(&config);
 *   config_load_file(&config, path, &report);      each: ERR_INVALID when something was wrong
 *   config_set(&config, "http.port=9000", &report);
 *   config_check(&config, &report);
 *
 * Each mistake is reported in words with its place: file, line, key, the offending value and what
 * is allowed. Whatever was right is taken all the same, so that all mistakes are found at once.
 *
 * ERR_MEMORY is no mistake of whoever wrote the settings, but reported likewise.
 *
 * Runs on: one thread. Blocks: while it reads the file.
 */
#ifndef WEASELDB_CONFIG_H
#define WEASELDB_CONFIG_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { CONFIG_STRING_BYTES = 128, CONFIG_FILE_BYTES_MAX = 1 << 20 };

enum config_durability { CONFIG_DURABILITY_SYNC, CONFIG_DURABILITY_NONE };

/* Integers as in the file; the index of the choice for keys that take one of several words.
 * Meanings, defaults and ranges: config_keys.c. */
struct config {
    struct {
        int64_t accept_threads;
        int64_t network_threads;
        char bind_address[CONFIG_STRING_BYTES];
        int64_t port;
        char unix_socket[CONFIG_STRING_BYTES];
        int64_t keepalive_timeout_sec;
        int64_t request_timeout_sec;
        int64_t write_timeout_sec;
        int64_t body_bytes_per_sec_min;
        int64_t drain_timeout_sec;
        int64_t max_connections;
        int64_t max_header_bytes;
        int64_t max_body_bytes;
        int64_t memory_limit_bytes;
        int64_t stream_buffer_bytes;
    } http;
    struct {
        int64_t ring_buffer_size;
        int64_t threads;
    } commit_status; /* [http.pipelines.commit_status] */
    struct {
        int64_t max_key_bytes;
        int64_t max_value_bytes;
        int64_t max_operations;
        int64_t max_preconditions;
        int64_t max_batch_transactions;
        int64_t conflict_window_sec;
        int64_t conflict_window_bytes;
        int64_t request_id_window_sec;
        int64_t request_id_window_count;
    } commit;
    struct {
        char directory[CONFIG_STRING_BYTES];
        int64_t durability; /* enum config_durability */
        int64_t segment_bytes;
    } log;
    struct {
        int64_t max_age_hours;
        int64_t max_bytes;
        int64_t max_policies;
    } retention;
    struct {
        int64_t progress_interval_sec;
        int64_t max_subscribers;
        int64_t shared_bytes;
    } subscribe;
    struct {
        int64_t level;  /* enum log_level */
        int64_t format; /* enum log_format */
        int64_t access_log;
    } logging;
};

/* Takes one mistake, in words, without a line end. */
struct config_report {
    void (*mistake)(void *context, const char *text);
    void *context;
};

/* The defaults; those that depend on the machine are worked out now. */
void config_init(struct config *config);

enum err config_load_file(struct config *config, const char *path,
                          const struct config_report *report) WARN_UNUSED;

/* The same from memory; `name` stands for the file in reports. */
enum err config_load_text(struct config *config, const char *name, const char *text, size_t size,
                          const struct config_report *report) WARN_UNUSED;

/* `assignment` is KEY=VALUE; the value is TOML, or plain text for a key that takes a string. */
enum err config_set(struct config *config, const char *assignment,
                    const struct config_report *report) WARN_UNUSED;

/* What must hold between settings. */
enum err config_check(const struct config *config, const struct config_report *report) WARN_UNUSED;

/* The most that one transaction takes in the log, whatever its body: from max_body_bytes and
 * max_operations. */
uint64_t config_record_bytes_max(const struct config *config);

/* As TOML that config_load_file() reads back to the same settings. */
void config_print(const struct config *config, FILE *out);

/* The reference: docs/configuration.md, and configs/weaseldb.toml with every key at its default. */
void config_print_markdown(FILE *out);
void config_print_commented(FILE *out);

/* Calls back for each key whose value differs; `live`: the change takes effect without a restart.
 */
void config_compare(const struct config *before, const struct config *after,
                    void (*changed)(void *context, const char *key, bool live), void *context);

/* Takes over the values of the live keys; the others stay in force until a restart. */
void config_take_live(struct config *config, const struct config *after);

#endif
