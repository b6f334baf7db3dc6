/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_keys: the table of all settings. The parser, the defaults, the ranges, --print-config,
 * docs/configuration.md and configs/weaseldb.toml all come from it.
 */
#ifndef WEASELDB_CONFIG_KEYS_H
#define WEASELDB_CONFIG_KEYS_H

#include "weaseldb/config.h"

enum config_type { CONFIG_INTEGER, CONFIG_BOOLEAN, CONFIG_STRING, CONFIG_CHOICE };

struct config_key {
    const char *name; /* dotted: "http.port" */
    enum config_type type;
    size_t offset;   /* in struct config: int64_t, or char[CONFIG_STRING_BYTES] */
    bool live;       /* takes effect on SIGHUP; else at the next start */
    bool cores;      /* the default is the number of usable cores; `initial` is not used */
    int64_t initial; /* of an integer, a boolean (0 or 1), a choice (index) */
    int64_t minimum;
    int64_t maximum;            /* of a string: bytes */
    const char *initial_string; /* of a string */
    const char *choices[5];     /* NULL behind the last */
    const char *help;
};

extern const struct config_key CONFIG_KEYS[];
extern const size_t CONFIG_KEY_COUNT;

static inline int64_t *config_number(struct config *config, const struct config_key *key)
{
    return (int64_t *)(void *)((char *)config + key->offset);
}

static inline char *config_string(struct config *config, const struct config_key *key)
{
    return (char *)config + key->offset;
}

/* The key called `name`, or NULL. */
const struct config_key *config_key_find(const char *name);

/* The key whose name is most like `name`, when it is alike at all; else NULL. */
const struct config_key *config_key_nearest(const char *name);

/* What `key` allows, in words: "an integer from 0 to 65535". */
void config_key_allowed(const struct config_key *key, char *out, size_t room);

#endif
