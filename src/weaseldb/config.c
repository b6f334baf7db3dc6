/* SPDX-License-Identifier: Apache-2.0 */
/* Loading, setting, checking and printing settings, all by the table of config_keys.c. */
#include "weaseldb/config.h"

#include "base/check.h"
#include "base/thread.h"
#include "weaseldb/config_keys.h"
#include "weaseldb/toml.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_BYTES = 512 };

/* One source of settings: a file, or the command line. */
struct source {
    struct config *config;
    const char *name; /* of the file; NULL: `--set` */
    const struct config_report *report;
    bool good;
};

static void mistake(const struct config_report *report, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void mistake(const struct config_report *report, const char *format, ...)
{
    char text[2 * TEXT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    report->mistake(report->context, text);
}

/* "weaseldb.toml:12:8: " or "--set: ", in front of a mistake. */
static void place(char *out, size_t room, const struct source *source, unsigned line,
                  unsigned column)
{
    if (source->name == NULL) {
        (void)snprintf(out, room, "--set");
    } else {
        (void)snprintf(out, room, "%s:%u:%u", source->name, line, column);
    }
}

void config_init(struct config *config)
{
    memset(config, 0, sizeof *config);
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        const struct config_key *key = &CONFIG_KEYS[i];
        if (key->type == CONFIG_STRING) {
            (void)snprintf(config_string(config, key), CONFIG_STRING_BYTES, "%s",
                           key->initial_string);
        } else if (key->cores) {
            unsigned cores = thread_usable_cores();
            *config_number(config, key) = cores > key->maximum ? key->maximum : cores;
        } else {
            *config_number(config, key) = key->initial;
        }
    }
}

/* Takes the value if `key` allows it. */
static bool take(struct config *config, const struct config_key *key,
                 const struct toml_value *value)
{
    switch (key->type) {
    case CONFIG_INTEGER:
        if (value->type != TOML_INTEGER || value->integer < key->minimum ||
            value->integer > key->maximum) {
            return false;
        }
        *config_number(config, key) = value->integer;
        return true;
    case CONFIG_BOOLEAN:
        if (value->type != TOML_BOOLEAN) {
            return false;
        }
        *config_number(config, key) = value->boolean;
        return true;
    case CONFIG_STRING:
        if (value->type != TOML_STRING || strlen(value->string) > (size_t)key->maximum) {
            return false;
        }
        (void)snprintf(config_string(config, key), CONFIG_STRING_BYTES, "%s", value->string);
        return true;
    case CONFIG_CHOICE:
        for (size_t i = 0; value->type == TOML_STRING && key->choices[i] != NULL; i++) {
            if (strcmp(key->choices[i], value->string) == 0) {
                *config_number(config, key) = (int64_t)i;
                return true;
            }
        }
        return false;
    }
    return false;
}

static void on_value(void *context, const struct toml_value *value)
{
    struct source *source = context;
    char where[TEXT_BYTES];
    const struct config_key *key = config_key_find(value->key);
    place(where, sizeof where, source, value->line, value->column);
    if (key == NULL) {
        const struct config_key *nearest = config_key_nearest(value->key);
        source->good = false;
        if (nearest != NULL) {
            mistake(source->report, "%s: %.100s: there is no such key; did you mean %s?", where,
                    value->key, nearest->name);
        } else {
            mistake(source->report, "%s: %.100s: there is no such key", where, value->key);
        }
    } else if (!take(source->config, key, value)) {
        char allowed[TEXT_BYTES];
        config_key_allowed(key, allowed, sizeof allowed);
        source->good = false;
        mistake(source->report, "%s: %s = %.100s: must be %s", where, key->name, value->text,
                allowed);
    }
}

static void on_error(void *context, const char *message, unsigned line, unsigned column)
{
    struct source *source = context;
    char where[TEXT_BYTES];
    source->good = false;
    place(where, sizeof where, source, line, column);
    mistake(source->report, "%s: not valid TOML: %.200s", where, message);
}

static bool load(struct config *config, const char *name, const char *text, size_t size,
                 const struct config_report *report)
{
    struct source source = {config, name, report, true};
    const struct toml_visitor visitor = {on_value, on_error, &source};
    if (!toml_visit(text, size, &visitor)) {
        mistake(report, "%s: cannot be read: out of memory", name == NULL ? "--set" : name);
        return false;
    }
    return source.good;
}

bool config_load_text(struct config *config, const char *name, const char *text, size_t size,
                      const struct config_report *report)
{
    return load(config, name, text, size, report);
}

bool config_load_file(struct config *config, const char *path, const struct config_report *report)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        mistake(report, "%s: cannot be read: %s", path, strerror(errno));
        return false;
    }
    char *text = malloc(CONFIG_FILE_BYTES_MAX + 1);
    size_t size = text == NULL ? 0 : fread(text, 1, CONFIG_FILE_BYTES_MAX + 1, file);
    bool good = false;
    if (text == NULL || ferror(file)) {
        mistake(report, "%s: cannot be read: %s", path, strerror(errno));
    } else if (size > CONFIG_FILE_BYTES_MAX) {
        mistake(report, "%s: larger than %d bytes", path, (int)CONFIG_FILE_BYTES_MAX);
    } else {
        good = load(config, path, text, size, report);
    }
    free(text);
    (void)fclose(file);
    return good;
}

bool config_set(struct config *config, const char *assignment, const struct config_report *report)
{
    const char *equals = strchr(assignment, '=');
    char name[TEXT_BYTES];
    if (equals == NULL || equals == assignment || equals - assignment >= TEXT_BYTES) {
        mistake(report, "--set %.100s: must be KEY=VALUE, such as http.port=9000", assignment);
        return false;
    }
    (void)snprintf(name, sizeof name, "%.*s", (int)(equals - assignment), assignment);
    const char *text = equals + 1;
    const struct config_key *key = config_key_find(name);
    bool is_text = key != NULL && (key->type == CONFIG_STRING || key->type == CONFIG_CHOICE) &&
                   text[0] != '"' && text[0] != '\'';
    if (key == NULL || is_text) {
        /* Plain text for a key that takes a string; and an unknown key, which needs no value. */
        struct source source = {config, NULL, report, true};
        on_value(&source, &(struct toml_value){
                              .key = name, .type = TOML_STRING, .string = text, .text = text});
        return source.good;
    }
    char line[2 * TEXT_BYTES];
    if ((size_t)snprintf(line, sizeof line, "%s = %s", name, text) >= sizeof line) {
        mistake(report, "--set %.100s: the value is too long", name);
        return false;
    }
    return load(config, NULL, line, strlen(line), report);
}

enum { RETAINED_SEGMENTS_MIN = 3 }; /* the one written, the one prepared, one to look back into */

static bool check_retention(const struct config *config, const struct config_report *report)
{
    bool good = true;
    int64_t age_sec = config->retention.max_age_hours * 3600;
    int64_t window_sec = config->commit.request_id_window_sec > config->commit.conflict_window_sec
                             ? config->commit.request_id_window_sec
                             : config->commit.conflict_window_sec;
    if (age_sec > 0 && age_sec < window_sec) {
        mistake(report,
                "retention.max_age_hours = %" PRId64
                ": must be 0 or at least as long as commit.request_id_window_sec = %" PRId64
                " and commit.conflict_window_sec = %" PRId64 ", which a restart reads from the log",
                config->retention.max_age_hours, config->commit.request_id_window_sec,
                config->commit.conflict_window_sec);
        good = false;
    }
    int64_t bytes_min = RETAINED_SEGMENTS_MIN * config->log.segment_bytes;
    if (config->retention.max_bytes > 0 && config->retention.max_bytes < bytes_min) {
        mistake(report,
                "retention.max_bytes = %" PRId64 ": must be 0 or at least %" PRId64
                ", %d times log.segment_bytes: the segment being written, the one prepared, and "
                "one more",
                config->retention.max_bytes, bytes_min, RETAINED_SEGMENTS_MIN);
        good = false;
    }
    return good;
}

enum { LOG_OVERHEAD_BYTES = 8192 }; /* more than a segment's and a batch's headers take */

bool config_check(const struct config *config, const struct config_report *report)
{
    bool good = true;
    /* While a body of JSON is read, it takes up to 4.6 times its size; one that could never be read
     * must be 413, not 503 each time. */
    if (config->http.max_body_bytes > config->http.memory_limit_bytes / 8) {
        mistake(report,
                "http.max_body_bytes = %" PRId64
                ": must be at most an eighth of http.memory_limit_bytes "
                "= %" PRId64 ", or no such body could ever be taken",
                config->http.max_body_bytes, config->http.memory_limit_bytes);
        good = false;
    }
    int64_t ring = config->commit_status.ring_buffer_size;
    if ((ring & (ring - 1)) != 0) {
        mistake(report,
                "http.pipelines.commit_status.ring_buffer_size = %" PRId64
                ": must be a power of two",
                ring);
        good = false;
    }
    /* A transaction takes less in the log than in any body, but for some bytes an operation. */
    int64_t record_bytes_max = config->http.max_body_bytes + 16 * config->commit.max_operations;
    if (config->log.segment_bytes < record_bytes_max + LOG_OVERHEAD_BYTES) {
        mistake(
            report,
            "log.segment_bytes = %" PRId64 ": must be at least %" PRId64
            ", or the largest transaction would not fit (http.max_body_bytes, 16 bytes for each "
            "of commit.max_operations, and %d)",
            config->log.segment_bytes, record_bytes_max + LOG_OVERHEAD_BYTES, LOG_OVERHEAD_BYTES);
        good = false;
    }
    return check_retention(config, report) && good;
}

static void print_string(FILE *out, const char *string)
{
    (void)fputc('"', out);
    for (const char *c = string; *c != '\0'; c++) {
        unsigned char byte = (unsigned char)*c;
        if (byte == '"' || byte == '\\') {
            (void)fprintf(out, "\\%c", byte);
        } else if (byte < 0x20 || byte == 0x7f) {
            (void)fprintf(out, "\\u%04X", byte);
        } else {
            (void)fputc(byte, out);
        }
    }
    (void)fputc('"', out);
}

static void print_value(FILE *out, struct config *config, const struct config_key *key)
{
    switch (key->type) {
    case CONFIG_INTEGER:
        (void)fprintf(out, "%" PRId64, *config_number(config, key));
        return;
    case CONFIG_BOOLEAN:
        (void)fputs(*config_number(config, key) != 0 ? "true" : "false", out);
        return;
    case CONFIG_STRING:
        print_string(out, config_string(config, key));
        return;
    case CONFIG_CHOICE:
        print_string(out, key->choices[*config_number(config, key)]);
        return;
    }
}

/* The length of the table's name in "http.port". */
static int table_size(const struct config_key *key)
{
    return (int)(strrchr(key->name, '.') - key->name);
}

/* Writes "[table]" when `key` is the first of its table. */
static void print_table(FILE *out, const struct config_key *key)
{
    int size = table_size(key);
    if (key == CONFIG_KEYS || table_size(key - 1) != size ||
        memcmp(key[-1].name, key->name, (size_t)size) != 0) {
        (void)fprintf(out, "%s[%.*s]\n", key == CONFIG_KEYS ? "" : "\n", size, key->name);
    }
}

void config_print(const struct config *config, FILE *out)
{
    struct config copy = *config;
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        const struct config_key *key = &CONFIG_KEYS[i];
        print_table(out, key);
        (void)fprintf(out, "%s = ", key->name + table_size(key) + 1);
        print_value(out, &copy, key);
        (void)fputc('\n', out);
    }
}

static void print_default(FILE *out, struct config *defaults, const struct config_key *key)
{
    if (key->cores) {
        (void)fputs("the number of usable cores", out);
    } else {
        print_value(out, defaults, key);
    }
}

void config_print_commented(FILE *out)
{
    struct config defaults;
    config_init(&defaults);
    (void)fputs("# Every setting of weaseldb, each at its default and commented out.\n"
                "# weaseldb --config FILE --check-config says whether a file is right.\n\n",
                out);
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        const struct config_key *key = &CONFIG_KEYS[i];
        char allowed[TEXT_BYTES];
        config_key_allowed(key, allowed, sizeof allowed);
        print_table(out, key);
        (void)fprintf(out, "\n# %s\n# Allowed: %s. Takes effect: %s.\n", key->help, allowed,
                      key->live ? "on SIGHUP" : "at the next start");
        (void)fprintf(out, "# %s = ", key->name + table_size(key) + 1);
        if (key->cores) {
            (void)fputs("2  # the default is the number of usable cores", out);
        } else {
            print_value(out, &defaults, key);
        }
        (void)fputc('\n', out);
    }
}

void config_print_markdown(FILE *out)
{
    struct config defaults;
    config_init(&defaults);
    (void)fputs("# Configuration\n\n"
                "`weaseldb --config FILE` reads TOML; `--set KEY=VALUE` (repeatable) wins over the "
                "file; without "
                "either the\ndefaults hold. `--check-config` says whether all is right, "
                "`--print-config` shows "
                "what is in force. An unknown\nkey, a wrong type or a value out of range stops the "
                "start, with "
                "file, line, key, value and what is allowed.\n\n"
                "On SIGHUP the file is read again: keys marked *live* take effect, for others a "
                "log line says "
                "that they need a\nrestart; a file with a mistake changes nothing.\n\n"
                "This page is made from the table in `src/weaseldb/config_keys.c`, as is "
                "[configs/weaseldb.toml](../configs/weaseldb.toml).\n",
                out);
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        const struct config_key *key = &CONFIG_KEYS[i];
        char allowed[TEXT_BYTES];
        int size = table_size(key);
        if (i == 0 || strncmp(CONFIG_KEYS[i - 1].name, key->name, (size_t)size + 1) != 0) {
            (void)fprintf(out,
                          "\n## [%.*s]\n\n| key | default | allowed | live | meaning |\n"
                          "| --- | --- | --- | --- | --- |\n",
                          size, key->name);
        }
        config_key_allowed(key, allowed, sizeof allowed);
        (void)fprintf(out, "| `%s` | ", key->name + size + 1);
        print_default(out, &defaults, key);
        (void)fprintf(out, " | %s | %s | %s |\n", allowed, key->live ? "live" : "", key->help);
    }
}

void config_compare(const struct config *before, const struct config *after,
                    void (*changed)(void *context, const char *key, bool live), void *context)
{
    struct config old = *before;
    struct config new = *after;
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        const struct config_key *key = &CONFIG_KEYS[i];
        bool same = key->type == CONFIG_STRING
                        ? strcmp(config_string(&old, key), config_string(&new, key)) == 0
                        : *config_number(&old, key) == *config_number(&new, key);
        if (!same) {
            changed(context, key->name, key->live);
        }
    }
}

void config_take_live(struct config *config, const struct config *after)
{
    struct config new = *after;
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        const struct config_key *key = &CONFIG_KEYS[i];
        if (!key->live) {
            continue;
        }
        CHECK(key->type != CONFIG_STRING); /* none is live: others may hold a pointer to it */
        *config_number(config, key) = *config_number(&new, key);
    }
}
