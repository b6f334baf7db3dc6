/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is damaged is a batch that is not the last one (that looks like a torn write), the header of
 * a segment, or `state`. What must be left is told by how many records stand before it.
 */
#include "simulation/damage.h"

#include "base/check.h"
#include "commitlog/repair.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

enum { SPOTS_MAX = 4096, TRIES_WITH_CRASHES = 3, STATE_BYTES = 8192 };

#define REMOVED_NAME "removed-1"

/* Where a flipped bit is noticed. */
struct spot {
    char name[STORAGE_NAME_BYTES];
    uint64_t offset;
    uint64_t bytes;
    uint32_t records_before; /* of what there is */
    bool is_batch;
    bool is_first; /* nothing sound stands before it */
};

static struct spot spots[SPOTS_MAX];
static size_t spot_count;
static uint32_t record_count; /* in the log */

static struct storage *disk_of(const struct damage *damage)
{
    return storage_sim_storage(damage->sim);
}

/* ---- what there is ---- */

static void add_spot(const struct spot *spot)
{
    if (spot_count < SPOTS_MAX) {
        spots[spot_count++] = *spot;
    }
}

static void find_spots(const struct damage *damage)
{
    struct log_reader reader;
    struct spot spot = {.is_first = true};
    size_t last_batch = 0;
    uint32_t batches = 0;
    spot_count = 0;
    CHECK(log_reader_open(&reader, disk_of(damage), NULL, 0) == OK);
    for (enum log_reader_event event = log_reader_next(&reader); event != LOG_READER_END;
         event = log_reader_next(&reader)) {
        CHECK(event == LOG_READER_SEGMENT || event == LOG_READER_BATCH);
        spot.is_batch = event == LOG_READER_BATCH;
        spot.offset = spot.is_batch ? reader.batch_offset : 0;
        spot.bytes = spot.is_batch ? LOG_BATCH_HEADER_BYTES + reader.batch.payload_bytes
                                   : LOG_SEGMENT_HEADER_BYTES;
        (void)snprintf(spot.name, sizeof spot.name, "%s", reader.name);
        last_batch = spot.is_batch ? spot_count : last_batch;
        add_spot(&spot);
        spot.is_first = false;
        spot.records_before += spot.is_batch ? reader.batch.count : 0;
        batches += spot.is_batch;
    }
    log_reader_close(&reader);
    record_count = spot.records_before;
    if (batches > 0) {
        spots[last_batch] = spots[--spot_count];
    }
    (void)snprintf(spot.name, sizeof spot.name, "%s", LOG_STATE_NAME);
    spot.is_batch = spot.is_first = false;
    spot.offset = 0;
    spot.bytes = STATE_BYTES;
    add_spot(&spot);
}

struct listing {
    const struct damage *damage;
    uint64_t hash;
    unsigned removed_count;
    char removed[64][STORAGE_NAME_BYTES];
};

static void list_name(void *context, const char *name)
{
    struct listing *listing = context;
    size_t size = 0;
    char *bytes = storage_sim_copy(listing->damage->sim, name, &size);
    CHECK(bytes != NULL);
    /* In any order. */
    listing->hash += XXH3_64bits_withSeed(bytes, size, XXH3_64bits(name, strlen(name)));
    free(bytes);
    if (strncmp(name, REMOVED_NAME, strlen(REMOVED_NAME)) == 0) {
        CHECK(listing->removed_count < 64);
        (void)snprintf(listing->removed[listing->removed_count++], STORAGE_NAME_BYTES, "%s", name);
    }
}

static struct listing list_disk(const struct damage *damage)
{
    struct listing listing = {.damage = damage};
    struct storage *disk = disk_of(damage);
    CHECK(disk->operations->list(disk, list_name, &listing) == OK);
    return listing;
}

/* ---- starts ---- */

static bool skip_batch(void *context, const struct log_batch_header *header)
{
    (void)context;
    (void)header;
    return false;
}

static enum err try_start(const struct damage *damage, struct log_problem *problem)
{
    const struct log_visitor visitor = {.batch = skip_batch};
    struct log *log;
    enum err err = log_open(damage->config, disk_of(damage), &visitor, &log, problem);
    if (err == OK) {
        log_close(log);
    }
    storage_sim_restart(damage->sim, STORAGE_SIM_PROCESS_ENDS); /* for its lock */
    return err;
}

static void check_refusal(const struct damage *damage, const struct spot *spot)
{
    struct log_problem problem = {.text = ""};
    uint64_t before = list_disk(damage).hash;
    enum err err = try_start(damage, &problem);
    if (err != ERR_INVALID || strstr(problem.text, spot->name) == NULL) {
        model_complain(damage->model, "%s is damaged at %" PRIu64 " of %" PRIu64 ": %s, \"%s\"",
                       spot->name, spot->offset, spot->bytes, err_name(err), problem.text);
    }
    if (list_disk(damage).hash != before) {
        model_complain(damage->model, "a start that was refused has changed something");
    }
}

/* ---- repair ---- */

/* Everything is crash-free from here on, unless it is asked for. */
static void settle(const struct damage *damage, enum storage_sim_end end)
{
    storage_sim_crash_at(damage->sim, 0);
    storage_sim_restart(damage->sim, end);
    storage_sim_fail_at(damage->sim, STORAGE_SIM_CALLS, 0, 0);
}

static enum err plan(const struct damage *damage, uint64_t version, struct log_repair *out)
{
    static const struct log_repair_progress progress = {.show = NULL};
    struct log_problem problem;
    return log_repair_plan(disk_of(damage), version, damage->config->retention.now_us() / 1000000,
                           &progress, out, &problem);
}

/* One try, which a crash may cut off. True: the log is sound. */
static bool repair_once(const struct damage *damage, struct storage *removed, uint64_t version,
                        bool may_crash)
{
    struct log_repair repair;
    bool begun;
    enum err err = plan(damage, version, &repair);
    if (err != OK) {
        model_complain(damage->model, "repair: %s for version %" PRIu64, err_name(err), version);
        return true;
    }
    if (!repair.is_needed) {
        log_repair_deinit(&repair);
        return true;
    }
    if (may_crash) {
        storage_sim_crash_at(damage->sim, 1 + random_less(damage->random, 40));
    }
    err = log_repair_apply(disk_of(damage), removed, REMOVED_NAME, &repair, &begun);
    log_repair_deinit(&repair);
    bool has_crashed = storage_sim_has_crashed(damage->sim);
    mark_counts[MARK_crash_in_repair] += has_crashed;
    mark_counts[MARK_crash_in_repair_that_has_begun] += has_crashed && begun;
    if (err != OK && !has_crashed) {
        model_complain(damage->model, "repair: %s, and nothing has failed", err_name(err));
    }
    settle(damage,
           random_once_in(damage->random, 2) ? STORAGE_SIM_POWER_LOSS : STORAGE_SIM_PROCESS_ENDS);
    struct log_problem problem = {.text = ""};
    enum err started = try_start(damage, &problem);
    if (started != OK && (started != ERR_INVALID || err == OK)) {
        model_complain(damage->model, "repair: it is done, and the log is refused: %s",
                       problem.text);
    }
    return started == OK;
}

static void clean_up(const struct damage *damage)
{
    struct listing listing = list_disk(damage);
    struct storage *disk = disk_of(damage);
    for (unsigned i = 0; i < listing.removed_count; i++) {
        CHECK(disk->operations->unlink(disk, listing.removed[i]) == OK);
    }
    CHECK(disk->operations->sync_directory(disk) == OK);
}

static void repair_all(const struct damage *damage, uint64_t version)
{
    struct storage_sim *beside; /* the directory for what is cut off */
    CHECK(storage_sim_open(random_next(damage->random), &beside) == OK);
    for (unsigned tries = 0;
         damage->model->problem[0] == '\0' &&
         !repair_once(damage, storage_sim_storage(beside), version, tries < TRIES_WITH_CRASHES);
         tries++) {
        MARK(repair_repeated);
    }
    storage_sim_close(beside);
    clean_up(damage);
    MARK(repaired);
}

/* ---- damage ---- */

/* The last version of the records from `first` up to `end`. */
static uint64_t last_version_of(const struct model *model, uint32_t first, uint32_t end)
{
    uint64_t version = model->first_version[0] - 1;
    for (uint32_t i = first; i < end; i++) {
        uint64_t other = model->ledger[i].version;
        version = other > version ? other : version;
    }
    return version;
}

static void check_limit(const struct damage *damage, uint64_t version)
{
    struct log_repair repair;
    enum err err = plan(damage, version + 1, &repair);
    MARK(repair_beyond_the_damage);
    if (err != ERR_LIMIT) {
        model_complain(damage->model, "repair: %s for version %" PRIu64 ", which is damaged",
                       err_name(err), version + 1);
    }
    if (err == OK) {
        log_repair_deinit(&repair);
    }
}

static void repair_spot(const struct damage *damage, const struct spot *spot, uint64_t *out_version)
{
    struct model *model = damage->model;
    uint32_t first = model->ledger_count - record_count;
    uint32_t end = first + spot->records_before;
    uint64_t version = last_version_of(model, first, end);
    bool is_state = strcmp(spot->name, LOG_STATE_NAME) == 0;
    check_limit(damage, version);
    if (random_once_in(damage->random, 3)) {
        uint64_t before = model->first_version[0] - 1;
        version = before + random_less(damage->random, version + 1 - before);
        MARK(repair_cuts_more);
    }
    repair_all(damage, version);
    model_cut(model, version, end, is_state);
    *out_version = version;
}

bool damage_and_repair(const struct damage *damage, uint64_t *out_version)
{
    settle(damage, STORAGE_SIM_PROCESS_ENDS);
    storage_sim_set_space(damage->sim, UINT64_MAX);
    find_spots(damage);
    const struct spot *spot =
        &spots[random_once_in(damage->random, 4) ? spot_count - 1
                                                 : random_less(damage->random, spot_count)];
    uint64_t at = spot->offset + random_less(damage->random, spot->bytes);
    uint8_t mask = (uint8_t)(1U << random_less(damage->random, 8));
    storage_sim_corrupt(damage->sim, spot->name, at, mask);
    mark_counts[MARK_damaged_batch] += spot->is_batch;
    mark_counts[MARK_damaged_header] += !spot->is_batch && spot->bytes == LOG_SEGMENT_HEADER_BYTES;
    mark_counts[MARK_damaged_state] += spot->bytes == STATE_BYTES;
    check_refusal(damage, spot);
    if (spot->is_first) {
        struct log_repair repair;
        if (plan(damage, damage->model->synced_version, &repair) != ERR_INVALID) {
            model_complain(damage->model, "repair: there is nothing to keep, and it is kept");
        }
        MARK(damaged_beyond_repair);
        storage_sim_corrupt(damage->sim, spot->name, at, mask); /* a backup */
        return false;
    }
    repair_spot(damage, spot, out_version);
    return true;
}
