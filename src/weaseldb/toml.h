/* SPDX-License-Identifier: Apache-2.0 */
/*
 * toml: reads TOML text value by value. A C face for toml++; no maintained C parser is packaged.
 *
 * Runs on: any thread. Blocks: never. Allocates while it runs; nothing remains.
 */
#ifndef WEASELDB_TOML_H
#define WEASELDB_TOML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum toml_type {
    TOML_INTEGER,
    TOML_BOOLEAN,
    TOML_STRING,
    TOML_OTHER, /* floats, dates, arrays: no key here takes one */
};

/* One value. Everything lives during the call only. */
struct toml_value {
    const char *key; /* dotted: "http.port" */
    enum toml_type type;
    int64_t integer;
    bool boolean;
    const char *string; /* NUL-terminated; may hold further NULs, which end it here */
    const char *text;   /* the value in words, for messages: 8080, "abc", an array, a date */
    unsigned line;
    unsigned column;
};

struct toml_visitor {
    void (*value)(void *context, const struct toml_value *value);
    /* The text is not TOML; called instead of any `value`. */
    void (*error)(void *context, const char *message, unsigned line, unsigned column);
    void *context;
};

/* Visits every value of `size` bytes of text, in the order of their places. False: out of memory,
 * perhaps after some of them. */
bool toml_visit(const char *text, size_t size, const struct toml_visitor *visitor);

#ifdef __cplusplus
}
#endif

#endif
