/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segment_names: which segments a directory holds, by their names, in the order of the log.
 *
 * Runs on: one thread. Blocks: while it lists. Owns: the list, until deinit.
 */
#ifndef COMMITLOG_SEGMENT_NAMES_H
#define COMMITLOG_SEGMENT_NAMES_H

#include "commitlog/storage.h"

/* What a file's name says. */
struct log_segment_name {
    uint64_t first_version;
    uint32_t ordinal; /* among segments with the same first version */
};

struct log_names {
    struct log_segment_name *names;
    size_t count;
    size_t capacity;
    bool out_of_memory;
};

/* ERR_SYSTEM, ERR_MEMORY: *list is empty. */
enum err log_names_init(struct log_names *list, struct storage *storage) WARN_UNUSED;
void log_names_deinit(struct log_names *list);

#endif
