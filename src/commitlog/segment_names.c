/* SPDX-License-Identifier: Apache-2.0 */
/* What does not look like a segment's name is left alone. */
#include "commitlog/segment_names.h"

#include "commitlog/log_internal.h"

#include <stdlib.h>

static void note_name(void *context, const char *name)
{
    struct log_names *list = context;
    struct log_segment_name found;
    if (!log_segment_name_parse(name, &found.first_version, &found.ordinal)) {
        return;
    }
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 64 : list->capacity * 2;
        struct log_segment_name *larger = realloc(list->names, capacity * sizeof *larger);
        if (larger == NULL) {
            list->out_of_memory = true;
            return;
        }
        list->names = larger;
        list->capacity = capacity;
    }
    list->names[list->count++] = found;
}

static int compare_names(const void *left, const void *right)
{
    const struct log_segment_name *a = left;
    const struct log_segment_name *b = right;
    if (a->first_version != b->first_version) {
        return a->first_version < b->first_version ? -1 : 1;
    }
    return a->ordinal < b->ordinal ? -1 : a->ordinal > b->ordinal;
}

enum err log_names_init(struct log_names *list, struct storage *storage)
{
    *list = (struct log_names){0};
    enum err err = storage->operations->list(storage, note_name, list);
    if (err == OK && list->out_of_memory) {
        err = ERR_MEMORY;
    }
    if (err != OK) {
        log_names_deinit(list);
        return err;
    }
    if (list->count > 0) {
        qsort(list->names, list->count, sizeof *list->names, compare_names);
    }
    return OK;
}

void log_names_deinit(struct log_names *list)
{
    free(list->names);
    *list = (struct log_names){0};
}
