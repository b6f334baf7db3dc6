/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring of slots in the order of entry, and a table from the hash of an id to its slot.
 *
 * The table is open addressing with linear probing, at most half full: a place holds the slot's
 * number plus one, and 32 more bits of the hash, so that a search for an unknown id rarely looks at
 * a slot. Removal shifts back what follows (Knuth, The Art of Computer Programming, volume 3,
 * section 6.4, algorithm R), so there are no tombstones.
 *
 * Invariants
 *  1. Slots [oldest, next) of the ring are in use, and in the table unless forgotten; no others
 *     are.
 *  2. Only the oldest leaves, and only when it is decided and has no riders.
 *  3. `floor` is at least the version of every slot that has left.
 */
#include "commit/request_ids.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

enum { PREFETCH_AHEAD = 16 }; /* entries between loading a slot that will leave and its leaving */
enum { EXPIRE_MAX = 64 };     /* at a time; each entry makes room for itself too */

struct place {
    uint32_t slot; /* number + 1; 0: empty */
    uint32_t tag;
};

struct request_ids {
    struct request_ids_config config;
    uint64_t seed;
    struct request_id *slots; /* config.count_max */
    struct place *table;
    uint32_t table_mask;
    uint64_t oldest; /* counts of all that ever entered: modulo count_max they are slots */
    uint64_t next;
    uint64_t floor;
};

static void *reserve(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        return NULL;
    }
    /* Each lookup goes somewhere else: with small pages it would miss the TLB as well. */
    (void)madvise(memory, bytes, MADV_HUGEPAGE);
    return memory;
}

static size_t slots_bytes(const struct request_ids *ids)
{
    return ids->config.count_max * sizeof(struct request_id);
}

static size_t table_bytes(const struct request_ids *ids)
{
    return ((size_t)ids->table_mask + 1) * sizeof(struct place);
}

enum err request_ids_open(const struct request_ids_config *config, struct request_ids **out)
{
    CHECK(config->count_max >= REQUEST_IDS_COUNT_MIN);
    CHECK(config->count_max <= REQUEST_IDS_COUNT_MAX);
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed) {
        return ERR_SYSTEM;
    }
    struct request_ids *ids = calloc(1, sizeof *ids);
    if (ids == NULL) {
        return ERR_MEMORY;
    }
    ids->config = *config;
    ids->seed = seed;
    uint32_t places = 2 * REQUEST_IDS_COUNT_MIN;
    while (places < 2 * config->count_max) {
        places *= 2;
    }
    ids->table_mask = places - 1;
    ids->slots = reserve(slots_bytes(ids));
    ids->table = reserve(table_bytes(ids));
    if (ids->slots == NULL || ids->table == NULL) {
        request_ids_close(ids);
        return ERR_MEMORY;
    }
    *out = ids;
    return OK;
}

static struct request_id *slot_at(struct request_ids *ids, uint64_t entry)
{
    return &ids->slots[entry % ids->config.count_max];
}

void request_ids_close(struct request_ids *ids)
{
    if (ids == NULL) {
        return;
    }
    for (uint64_t entry = ids->oldest; entry < ids->next; entry++) {
        free(slot_at(ids, entry)->conflicts);
    }
    if (ids->slots != NULL) {
        (void)munmap(ids->slots, slots_bytes(ids));
    }
    if (ids->table != NULL) {
        (void)munmap(ids->table, table_bytes(ids));
    }
    free(ids);
}

struct request_id_name request_ids_name(const struct request_ids *ids, struct bytes id)
{
    XXH128_hash_t hash = XXH3_128bits_withSeed(id.data, id.size, ids->seed);
    return (struct request_id_name){hash.low64, hash.high64};
}

/* Where the search for it starts, and its tag. */
static uint32_t home_of(const struct request_ids *ids, struct request_id_name name)
{
    return (uint32_t)name.low & ids->table_mask;
}

static uint32_t tag_of(struct request_id_name name)
{
    return (uint32_t)name.high;
}

static bool same_name(struct request_id_name a, struct request_id_name b)
{
    return a.low == b.low && a.high == b.high;
}

/* The place that holds it, or the empty one where it belongs. */
static uint32_t place_of(struct request_ids *ids, struct request_id_name name)
{
    uint32_t at = home_of(ids, name);
    for (;; at = (at + 1) & ids->table_mask) {
        const struct place *place = &ids->table[at];
        if (place->slot == 0 ||
            (place->tag == tag_of(name) && same_name(ids->slots[place->slot - 1].name, name))) {
            return at;
        }
    }
}

void request_ids_prefetch(const struct request_ids *ids, struct request_id_name name)
{
    __builtin_prefetch(&ids->table[home_of(ids, name)]);
}

struct request_id *request_ids_find(struct request_ids *ids, struct request_id_name name)
{
    const struct place *place = &ids->table[place_of(ids, name)];
    return place->slot == 0 ? NULL : &ids->slots[place->slot - 1];
}

static void table_remove(struct request_ids *ids, struct request_id_name name)
{
    uint32_t hole = place_of(ids, name);
    CHECK(ids->table[hole].slot != 0);
    for (uint32_t at = hole;;) {
        at = (at + 1) & ids->table_mask;
        if (ids->table[at].slot == 0) {
            break;
        }
        /* What stands here may fill the hole unless its search starts behind the hole. */
        uint32_t home = home_of(ids, ids->slots[ids->table[at].slot - 1].name);
        if (((at - home) & ids->table_mask) >= ((at - hole) & ids->table_mask)) {
            ids->table[hole] = ids->table[at];
            hole = at;
        }
    }
    ids->table[hole] = (struct place){0, 0};
}

/* False: the oldest cannot leave yet, or there is none. */
static bool drop_oldest(struct request_ids *ids)
{
    if (ids->oldest == ids->next) {
        return false;
    }
    struct request_id *slot = slot_at(ids, ids->oldest);
    /* acquire: pairs with request_ids_leave(); the resolve stage has done with the slot. */
    if (request_id_state(slot) == REQUEST_ID_PENDING ||
        atomic_load_explicit(&slot->riders, memory_order_acquire) > 0) {
        return false;
    }
    /* Slots leave in order, so it is known which places of the table will be looked at soon. */
    __builtin_prefetch(slot_at(ids, ids->oldest + 2 * PREFETCH_AHEAD));
    request_ids_prefetch(ids, slot_at(ids, ids->oldest + PREFETCH_AHEAD)->name);
    if (!slot->is_forgotten) {
        table_remove(ids, slot->name);
    }
    request_ids_raise_floor(ids, slot->version);
    free(slot->conflicts);
    slot->conflicts = NULL;
    ids->oldest++;
    return true;
}

void request_ids_forget(struct request_ids *ids, struct request_id *slot)
{
    CHECK(request_id_state(slot) != REQUEST_ID_PENDING && !slot->is_forgotten);
    table_remove(ids, slot->name);
    slot->is_forgotten = true;
}

void request_ids_expire(struct request_ids *ids, uint32_t now_sec)
{
    for (unsigned i = 0; i < EXPIRE_MAX && ids->oldest < ids->next; i++) {
        uint32_t entered_sec = slot_at(ids, ids->oldest)->entered_sec;
        if (now_sec < entered_sec || now_sec - entered_sec <= ids->config.window_sec ||
            !drop_oldest(ids)) {
            return;
        }
    }
}

struct request_id *request_ids_try_enter(struct request_ids *ids, struct request_id_name name,
                                         uint64_t payload_hash, uint32_t now_sec)
{
    if (ids->next - ids->oldest == ids->config.count_max && !drop_oldest(ids)) {
        return NULL;
    }
    uint32_t at = place_of(ids, name);
    CHECK(ids->table[at].slot == 0);
    struct request_id *slot = slot_at(ids, ids->next);
    slot->name = name;
    slot->payload_hash = payload_hash;
    slot->version = 0;
    slot->entered_sec = now_sec;
    slot->fenced_durably = false;
    slot->is_forgotten = false;
    slot->reason = 0;
    slot->conflict_count = 0;
    CHECK(slot->conflicts == NULL);
    /* relaxed: whoever else looks at the slot was given it through the ring, which orders this */
    atomic_store_explicit(&slot->riders, 0, memory_order_relaxed);
    /* relaxed: as above */
    atomic_store_explicit(&slot->state, REQUEST_ID_PENDING, memory_order_relaxed);
    ids->table[at].slot = (uint32_t)(ids->next % ids->config.count_max) + 1;
    ids->table[at].tag = tag_of(name);
    ids->next++;
    return slot;
}

uint64_t request_ids_floor(const struct request_ids *ids)
{
    return ids->floor;
}

void request_ids_raise_floor(struct request_ids *ids, uint64_t version)
{
    ids->floor = version > ids->floor ? version : ids->floor;
}

uint32_t request_ids_count(const struct request_ids *ids)
{
    return (uint32_t)(ids->next - ids->oldest);
}

void request_ids_ride(struct request_id *slot)
{
    /* relaxed: only this thread looks at it before the ring hands the rider over */
    atomic_fetch_add_explicit(&slot->riders, 1, memory_order_relaxed);
}

void request_ids_leave(struct request_id *slot)
{
    /* release: pairs with drop_oldest(); this stage's reads of the slot come before. */
    uint32_t before = atomic_fetch_sub_explicit(&slot->riders, 1, memory_order_release);
    CHECK(before > 0);
}

static void decide(struct request_id *slot, enum request_id_state state)
{
    /* release: pairs with request_id_state(). */
    uint32_t was = atomic_exchange_explicit(&slot->state, (uint32_t)state, memory_order_release);
    CHECK(was == REQUEST_ID_PENDING);
}

void request_ids_commit(struct request_id *slot, uint64_t version)
{
    CHECK(version > 0);
    slot->version = version;
    decide(slot, REQUEST_ID_COMMITTED);
}

void request_ids_reject(struct request_id *slot, const struct request_id_rejection *rejection)
{
    slot->reason = rejection->reason;
    size_t bytes = rejection->conflict_count * sizeof *slot->conflicts;
    slot->conflicts = bytes == 0 ? NULL : malloc(bytes);
    if (slot->conflicts != NULL) {
        memcpy(slot->conflicts, rejection->conflicts, bytes);
        slot->conflict_count = rejection->conflict_count;
    }
    decide(slot, REQUEST_ID_REJECTED);
}

void request_ids_fence(struct request_id *slot)
{
    decide(slot, REQUEST_ID_FENCED);
}
