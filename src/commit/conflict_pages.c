/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Given pages form a list through their first four bytes; the newest is taken first, for it may
 * still be in the cache. The mapping asks for huge pages: a look-up in a large set touches few
 * lines in pages far apart, and would else wait for the page table as long as for the memory.
 */
#include "commit/conflict_pages.h"

#include "base/check.h"

#include <string.h>
#include <sys/mman.h>

enum { HUGE_BYTES = 2 << 20 };

enum err conflict_pages_init(struct conflict_pages *pages, uint32_t count)
{
    CHECK(count > 1);
    size_t bytes = (size_t)count * CONFLICT_PAGE_BYTES;
    size_t mapping_bytes = bytes + HUGE_BYTES; /* address space only, to align */
    void *mapping = mmap(NULL, mapping_bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) {
        return ERR_MEMORY;
    }
    size_t excess = (uintptr_t)mapping % HUGE_BYTES;
    *pages = (struct conflict_pages){
        .base = (char *)mapping + (excess == 0 ? 0 : HUGE_BYTES - excess),
        .count = count,
        .mapping = mapping,
        .mapping_bytes = mapping_bytes,
    };
    /* The last part stays in small pages, so that the bound holds to the byte. Refusal is fine. */
    (void)madvise(pages->base, bytes / HUGE_BYTES * HUGE_BYTES, MADV_HUGEPAGE);
    conflict_pages_reset(pages);
    return OK;
}

void conflict_pages_deinit(struct conflict_pages *pages)
{
    int failed = munmap(pages->mapping, pages->mapping_bytes);
    CHECK(failed == 0);
    pages->base = NULL;
}

void conflict_pages_reset(struct conflict_pages *pages)
{
    pages->fresh = 1;
    pages->free = CONFLICT_PAGE_NONE;
    pages->taken = 0;
}

uint32_t conflict_pages_take(struct conflict_pages *pages)
{
    uint32_t page = pages->free;
    if (page != CONFLICT_PAGE_NONE) {
        memcpy(&pages->free, conflict_page(pages, page), sizeof pages->free);
    } else {
        CHECK(pages->fresh < pages->count);
        page = pages->fresh++;
    }
    pages->taken++;
    return page;
}

void conflict_pages_give(struct conflict_pages *pages, uint32_t *page)
{
    CHECK(*page != CONFLICT_PAGE_NONE && *page < pages->fresh);
    memcpy(conflict_page(pages, *page), &pages->free, sizeof pages->free);
    pages->free = *page;
    pages->taken--;
    *page = CONFLICT_PAGE_NONE;
}
