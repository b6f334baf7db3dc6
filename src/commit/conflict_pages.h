/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conflict_pages: the conflict set's memory: one mapping cut into pages of one size, named by their
 * index, so that a reference takes four bytes, nothing fragments, and the bound cannot be exceeded.
 *
 * Runs on: the conflict set's thread. Blocks: never. Memory is touched as pages are first taken.
 */
#ifndef COMMIT_CONFLICT_PAGES_H
#define COMMIT_CONFLICT_PAGES_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

enum {
    CONFLICT_PAGE_BYTES = 4096,
    CONFLICT_PAGE_NONE = 0, /* page 0 is never given out */
};

struct conflict_pages {
    char *base;
    uint32_t count; /* page 0 included */
    uint32_t fresh; /* pages from here on were never taken */
    uint32_t free;  /* list of given ones */
    uint32_t taken; /* how many are */
    void *mapping;
    size_t mapping_bytes;
};

/* ERR_MEMORY: nothing is mapped. */
WARN_UNUSED enum err conflict_pages_init(struct conflict_pages *pages, uint32_t count);
void conflict_pages_deinit(struct conflict_pages *pages);

/* A page that is not taken (the caller has made sure that there is one), with any content. */
uint32_t conflict_pages_take(struct conflict_pages *pages);

/* Takes *page back and nulls it. */
void conflict_pages_give(struct conflict_pages *pages, uint32_t *page);

/* Takes all pages back, in one step. */
void conflict_pages_reset(struct conflict_pages *pages);

static inline uint32_t conflict_pages_left(const struct conflict_pages *pages)
{
    return pages->count - 1 - pages->taken;
}

static inline void *conflict_page(const struct conflict_pages *pages, uint32_t page)
{
    return pages->base + (size_t)page * CONFLICT_PAGE_BYTES;
}

#endif
