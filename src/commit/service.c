/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service as a whole: its life, and what recovery tells it.
 *
 * Recovery hands over the log's tail. Of a batch older than both windows only the version counts;
 * else its commits and fences go where the stages would have put them.
 */
#include "commit/commit_internal.h"

#include "base/bug.h"
#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static bool is_within(const struct commit_service *service, uint64_t timestamp_us,
                      uint32_t window_sec)
{
    return timestamp_us + (uint64_t)window_sec * 1000000 >= service->config.now_us();
}

static void recover_ids(struct commit_service *service, const struct log_record *record,
                        uint64_t timestamp_us)
{
    struct request_id_name name = request_ids_name(service->ids, record->request_id);
    struct request_id *slot = request_ids_find(service->ids, name);
    if (WEASEL_BUG(duplicate_not_recognized) || (WEASEL_BUG(earlier_use_counts) && slot != NULL)) {
        return;
    }
    if (slot != NULL) {
        /* It had left the window when it was used again, so the later record counts. */
        request_ids_forget(service->ids, slot);
    }
    slot = request_ids_try_enter(service->ids, name, record->payload_hash,
                                 (uint32_t)(timestamp_us / 1000000));
    CHECK(slot != NULL); /* nothing is pending now */
    if (record->type == LOG_RECORD_FENCE) {
        slot->fenced_durably = true;
        request_ids_fence(slot);
    } else {
        request_ids_commit(slot, record->version);
    }
}

static bool visit_batch(void *context, const struct log_batch_header *header)
{
    struct commit_service *service = context;
    /* Said once for a batch: the clock goes on, and what is not entered must be below the floor. */
    bool ids_want = is_within(service, header->timestamp_us, service->config.request_id_window_sec);
    bool conflicts_want =
        is_within(service, header->timestamp_us, service->config.conflict_window_sec);
    service->recovers_ids = ids_want;
    service->last_version = header->last_version;
    if (header->timestamp_us > service->last_us) {
        service->last_us = header->timestamp_us;
    }
    if (!ids_want) {
        request_ids_raise_floor(service->ids, header->last_version);
    }
    if (!conflicts_want) {
        (void)conflict_set_trim(service->conflicts, header->last_version, 0);
    }
    return ids_want || conflicts_want;
}

static void visit_record(void *context, const struct log_record *record, uint64_t timestamp_us)
{
    struct commit_service *service = context;
    if (service->recovers_ids) {
        recover_ids(service, record, timestamp_us);
    }
    if (record->type == LOG_RECORD_COMMIT &&
        record->version > conflict_set_floor(service->conflicts)) {
        resolve_note_writes(service, record->operations, record->operation_count, record->version);
        resolve_age_window(service, (uint32_t)(timestamp_us / 1000000));
    }
}

enum err commit_open(const struct commit_config *config, struct commit_service **out)
{
    uint64_t random = config->start_id;
    if (random == 0 && getrandom(&random, sizeof random, 0) != sizeof random) {
        return ERR_SYSTEM;
    }
    struct commit_service *service = aligned_alloc(64, (sizeof *service + 63) / 64 * 64);
    if (service == NULL) {
        return ERR_MEMORY;
    }
    memset(service, 0, sizeof *service);
    service->config = *config;
    service->visitor = (struct log_visitor){
        .context = service,
        .batch = visit_batch,
        .record = visit_record,
    };
    (void)snprintf(service->id_prefix, sizeof service->id_prefix, "%016llx",
                   (unsigned long long)random);
    enum err err =
        request_ids_open(&(struct request_ids_config){.count_max = config->request_id_count_max,
                                                      .window_sec = config->request_id_window_sec},
                         &service->ids);
    if (err == OK) {
        err = conflict_set_open(
            &(struct conflict_set_config){.bytes_max = config->conflict_bytes_max},
            &service->conflicts);
    }
    if (err != OK) {
        commit_close(service);
        return err;
    }
    *out = service;
    return OK;
}

const struct log_visitor *commit_log_visitor(struct commit_service *service)
{
    return &service->visitor;
}

void commit_start(struct commit_service *service, struct log *log)
{
    CHECK(service->log == NULL);
    service->log = log;
    service->last_version = log_last_version(log);
    service->synced_version = service->last_version;
    /* Of what is no longer in the log, nothing is known. */
    request_ids_raise_floor(service->ids, log_first_version(log) - 1);
    (void)conflict_set_trim(service->conflicts, log_first_version(log) - 1, 0);
    service->leader_size = (size_t)snprintf(service->leader, sizeof service->leader, "%s-%llu",
                                            service->id_prefix, (unsigned long long)log_epoch(log));
    CHECK(service->leader_size < sizeof service->leader);
    /* What retention has removed may have written anything, under any id. */
    uint64_t removed_version = log_first_version(log) - 1;
    (void)conflict_set_trim(service->conflicts, removed_version, 0);
    request_ids_raise_floor(service->ids, removed_version);
    struct conflict_set_stats stats = conflict_set_stats(service->conflicts);
    number_set(&service->conflict_floor, conflict_set_floor(service->conflicts));
    number_set(&service->conflict_entries, stats.entries);
    number_set(&service->conflict_bytes, stats.bytes);
    number_set(&service->conflict_floor_raises, stats.floor_raises);
    number_set(&service->ids_floor, request_ids_floor(service->ids));
    number_set(&service->ids_count, request_ids_count(service->ids));
    atomic_store(&service->durable_version, service->last_version);
}

void commit_close(struct commit_service *service)
{
    if (service == NULL) {
        return;
    }
    request_ids_close(service->ids);
    conflict_set_close(&service->conflicts);
    free(service);
}

void commit_entry_init(struct commit_entry *entry, const struct txn *txn, bool is_question)
{
    *entry = (struct commit_entry){.txn = txn, .is_question = is_question};
}

struct txn_version_info commit_version_info(const struct commit_service *service)
{
    return (struct txn_version_info){
        .version = commit_durable_version(service),
        .leader = bytes_of(service->leader, service->leader_size),
        .oldest_read_version = number_get(&service->conflict_floor),
        .log_start_version = log_first_version(service->log),
        .request_id_min_version = number_get(&service->ids_floor),
        .request_id_window_sec = service->config.request_id_window_sec,
        .request_id_count_max = service->config.request_id_count_max,
    };
}

const char *commit_why_not_writable(const struct commit_service *service)
{
    if (commit_has_failed(service)) {
        return "it has failed";
    }
    int error = log_prepare_error(service->log);
    return error == 0 || log_is_writable(service->log) ? NULL : strerror(error);
}

struct commit_stats commit_stats(const struct commit_service *service)
{
    struct commit_stats stats = {
        .repeats = number_get(&service->repeats),
        .conflict_entries = number_get(&service->conflict_entries),
        .conflict_bytes = number_get(&service->conflict_bytes),
        .conflict_floor_raises = number_get(&service->conflict_floor_raises),
        .request_ids = number_get(&service->ids_count),
    };
    for (unsigned i = 0; i < OUTCOME_COUNT; i++) {
        stats.outcomes[i] = number_get(&service->outcome_numbers[i]);
    }
    return stats;
}
