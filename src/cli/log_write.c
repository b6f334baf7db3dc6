/* SPDX-License-Identifier: Apache-2.0 */
/* Written as it is read, operation by operation, so that memory does not grow with a transaction.
 */
#include "cli/log_write.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>

enum { TEXT_VALUE_BYTES_MAX = 200 };

/* ---- text ---- */

static void put_quoted(struct bytes bytes, size_t bytes_max)
{
    (void)putchar('"');
    for (size_t i = 0; i < bytes.size && i < bytes_max; i++) {
        unsigned char byte = (unsigned char)bytes.data[i];
        if (byte == '"' || byte == '\\') {
            (void)putchar('\\');
            (void)putchar(byte);
        } else if (byte < 0x20 || byte > 0x7e) {
            (void)printf("\\x%02x", byte);
        } else {
            (void)putchar(byte);
        }
    }
    (void)putchar('"');
    if (bytes.size > bytes_max) {
        (void)printf("... (%zu bytes)", bytes.size);
    }
}

static void text_operation(const struct txn_operation *operation, bool keys_only)
{
    switch (operation->type) {
    case TXN_WRITE:
        (void)fputs("    write ", stdout);
        put_quoted(operation->key, SIZE_MAX);
        if (keys_only) {
            (void)printf(" (%zu bytes)", operation->value.size);
        } else {
            (void)fputs(" = ", stdout);
            put_quoted(operation->value, TEXT_VALUE_BYTES_MAX);
        }
        break;
    case TXN_DELETE:
        (void)fputs("    delete ", stdout);
        put_quoted(operation->key, SIZE_MAX);
        break;
    case TXN_RANGE_DELETE:
        (void)fputs("    range_delete ", stdout);
        put_quoted(operation->key, SIZE_MAX);
        (void)fputs(" to ", stdout);
        put_quoted(operation->value, SIZE_MAX);
        break;
    }
    (void)putchar('\n');
}

void log_write_text(const struct log_write *what)
{
    if (what->record->type == LOG_RECORD_COMMIT) {
        (void)printf("  commit %" PRIu64 " ", what->record->version);
    } else {
        (void)printf("  fence after %" PRIu64 " ", what->before);
    }
    put_quoted(what->record->request_id, SIZE_MAX);
    (void)putchar('\n');
    struct bytes rest = what->operations;
    struct txn_operation operation;
    while (rest.size > 0 && log_operation_decode(&rest, &operation)) {
        text_operation(&operation, what->keys_only);
    }
}

/* ---- JSON ---- */

/* Request ids are visible ASCII; whatever else might stand there stays valid JSON. */
static void put_json_string(struct bytes bytes)
{
    (void)putchar('"');
    for (size_t i = 0; i < bytes.size; i++) {
        unsigned char byte = (unsigned char)bytes.data[i];
        if (byte < 0x20 || byte > 0x7e || byte == '"' || byte == '\\') {
            (void)printf("\\u%04x", byte);
        } else {
            (void)putchar(byte);
        }
    }
    (void)putchar('"');
}

static void put_base64(struct bytes bytes)
{
    static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *in = (const unsigned char *)bytes.data;
    (void)putchar('"');
    for (size_t i = 0; i < bytes.size; i += 3) {
        size_t rest = bytes.size - i;
        uint32_t group = (uint32_t)in[i] << 16 | (rest > 1 ? (uint32_t)in[i + 1] << 8 : 0) |
                         (rest > 2 ? in[i + 2] : 0);
        char digits[4] = {DIGITS[group >> 18], DIGITS[group >> 12 & 63], '=', '='};
        if (rest > 1) {
            digits[2] = DIGITS[group >> 6 & 63];
        }
        if (rest > 2) {
            digits[3] = DIGITS[group & 63];
        }
        (void)fwrite(digits, 1, sizeof digits, stdout);
    }
    (void)putchar('"');
}

static void put_field(const char *name, struct bytes bytes)
{
    (void)printf(",\"%s\":", name);
    put_base64(bytes);
}

static void json_operation(const struct txn_operation *operation, bool keys_only)
{
    switch (operation->type) {
    case TXN_WRITE:
        (void)fputs("{\"type\":\"write\"", stdout);
        put_field("key", operation->key);
        if (keys_only) {
            (void)printf(",\"value_bytes\":%zu", operation->value.size);
        } else {
            put_field("value", operation->value);
        }
        break;
    case TXN_DELETE:
        (void)fputs("{\"type\":\"delete\"", stdout);
        put_field("key", operation->key);
        break;
    case TXN_RANGE_DELETE:
        (void)fputs("{\"type\":\"range_delete\"", stdout);
        put_field("begin", operation->key);
        put_field("end", operation->value);
        break;
    }
    (void)putchar('}');
}

void log_write_json(const struct log_write *what)
{
    const struct log_record *record = what->record;
    bool is_commit = record->type == LOG_RECORD_COMMIT;
    char time[CLOCK_RFC3339_BYTES];
    clock_rfc3339(what->batch->timestamp_us * 1000, time);
    if (is_commit) {
        (void)printf("{\"type\":\"commit\",\"version\":%" PRIu64 ",", record->version);
    } else {
        (void)fputs("{\"type\":\"fence\",", stdout);
    }
    (void)printf("\"prev_version\":%" PRIu64 ",\"request_id\":", what->before);
    put_json_string(record->request_id);
    (void)printf(",\"timestamp\":\"%.*s\",\"batch\":%" PRIu64, CLOCK_RFC3339_BYTES, time,
                 what->batch->number);
    if (is_commit) {
        (void)printf(",\"payload_hash\":\"%016" PRIx64 "\",\"operations\":[", record->payload_hash);
        struct bytes rest = what->operations;
        struct txn_operation operation;
        bool is_first = true;
        while (rest.size > 0 && log_operation_decode(&rest, &operation)) {
            if (!is_first) {
                (void)putchar(',');
            }
            is_first = false;
            json_operation(&operation, what->keys_only);
        }
        (void)putchar(']');
    }
    (void)fputs("}\n", stdout);
}
