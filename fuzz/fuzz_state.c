/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as the log's `state` file, and as the name of a segment. The first byte chooses: the
 * rest is the beginning of a file that zeros fill up, or all of it, or a name; and whether the
 * checksum is made right, since it would keep all but copies of the corpus out.
 *
 * Covers: src/commitlog/state.c
 *
 * A file is taken exactly when it keeps to the rules of docs/log-format.md, read here once more in
 * the plainest way; what was read, written again, gives the same bytes.
 */
#include "base/check.h"
#include "commitlog/log_internal.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum {
    CHOICE_WHOLE = 1,
    CHOICE_CHECKSUM = 2,
    CHOICE_NAME = 4,
    FILE_BYTES = 8192,
    CHECKSUM_AT = FILE_BYTES - 8,
    POLICIES_AT = 64,
    POLICY_BYTES = 72,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- a directory in memory: `state`, and state.tmp beside it ---- */

struct file {
    char bytes[FILE_BYTES + 1];
    size_t size;
};

static struct file state_file;
static struct file temporary_file;

static enum err memory_open(struct storage *storage, const char *name, bool create,
                            struct storage_file **out)
{
    (void)storage;
    bool is_state = strcmp(name, LOG_STATE_NAME) == 0;
    CHECK(is_state != (strcmp(name, LOG_STATE_TEMPORARY_NAME) == 0));
    CHECK(is_state != create);
    if (create) {
        temporary_file.size = 0;
    }
    *out = (struct storage_file *)(void *)(is_state ? &state_file : &temporary_file);
    return OK;
}

static void memory_close(struct storage *storage, struct storage_file *file)
{
    (void)storage;
    (void)file;
}

static enum err memory_read(struct storage *storage, struct storage_file *handle, uint64_t offset,
                            char *out, size_t size, size_t *out_size)
{
    const struct file *file = (const struct file *)(void *)handle;
    (void)storage;
    CHECK(offset == 0);
    *out_size = file->size < size ? file->size : size;
    memcpy(out, file->bytes, *out_size);
    return OK;
}

static enum err memory_write(struct storage *storage, struct storage_file *handle, uint64_t offset,
                             const char *bytes, size_t size)
{
    struct file *file = (struct file *)(void *)handle;
    (void)storage;
    CHECK(file == &temporary_file && offset == 0 && size <= sizeof file->bytes);
    memcpy(file->bytes, bytes, size);
    file->size = size;
    return OK;
}

static enum err memory_sync(struct storage *storage, struct storage_file *file)
{
    (void)storage;
    (void)file;
    return OK;
}

static enum err memory_rename(struct storage *storage, const char *from, const char *to)
{
    (void)storage;
    CHECK(strcmp(from, LOG_STATE_TEMPORARY_NAME) == 0 && strcmp(to, LOG_STATE_NAME) == 0);
    state_file = temporary_file;
    return OK;
}

static enum err memory_sync_directory(struct storage *storage)
{
    (void)storage;
    return OK;
}

static const struct storage_operations MEMORY = {.open = memory_open,
                                                 .close = memory_close,
                                                 .read = memory_read,
                                                 .write = memory_write,
                                                 .sync = memory_sync,
                                                 .rename = memory_rename,
                                                 .sync_directory = memory_sync_directory};

/* ---- the rules ---- */

static uint64_t number_at(size_t offset, size_t size)
{
    uint64_t number = 0;
    for (size_t i = size; i > 0; i--) {
        number = number << 8 | (unsigned char)state_file.bytes[offset + i - 1];
    }
    return number;
}

static bool are_zeros(size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        if (state_file.bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

static bool is_policy(size_t at)
{
    size_t size = 0;
    for (; size < POLICY_BYTES - 8 && state_file.bytes[at + 8 + size] != 0; size++) {
        char c = state_file.bytes[at + 8 + size];
        bool word = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (!word && (size == 0 || (c != '.' && c != '_' && c != '-'))) {
            return false;
        }
    }
    return size > 0 && number_at(at, 8) < UINT64_C(1) << 53 &&
           are_zeros(at + 8 + size, at + POLICY_BYTES);
}

static bool is_state(void)
{
    uint64_t count = number_at(52, 4);
    if (state_file.size != FILE_BYTES || memcmp(state_file.bytes, "WEASELST", 8) != 0 ||
        number_at(8, 4) != 2 || number_at(12, 4) != FILE_BYTES || number_at(48, 4) > 1 ||
        count > 64 || number_at(56, 8) != 0 || number_at(40, 8) > number_at(32, 8) ||
        number_at(CHECKSUM_AT, 8) != XXH3_64bits(state_file.bytes, CHECKSUM_AT)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        size_t at = POLICIES_AT + i * POLICY_BYTES;
        if (!is_policy(at) || (i > 0 && memcmp(state_file.bytes + at + 8 - POLICY_BYTES,
                                               state_file.bytes + at + 8, POLICY_BYTES - 8) >= 0)) {
            return false;
        }
    }
    return are_zeros(POLICIES_AT + (size_t)count * POLICY_BYTES, CHECKSUM_AT);
}

static void check_state(const struct log_state *state)
{
    CHECK(state->log_id == number_at(16, 8) && state->epoch == number_at(24, 8));
    CHECK(state->newest_segment == number_at(32, 8) && state->oldest_segment == number_at(40, 8));
    CHECK(state->has_segments == (number_at(48, 4) == 1));
    CHECK(state->policy_count == number_at(52, 4));
    for (uint32_t i = 0; i < state->policy_count; i++) {
        size_t at = POLICIES_AT + (size_t)i * POLICY_BYTES;
        CHECK(state->policies[i].version == number_at(at, 8));
        CHECK(memcmp(state->policies[i].id, state_file.bytes + at + 8, POLICY_BYTES - 8) == 0);
    }
}

static void read_state(void)
{
    struct storage storage = {.operations = &MEMORY};
    struct log_state state;
    enum err err = log_state_load(&storage, &state);
    CHECK(err == (is_state() ? OK : ERR_INVALID));
    if (err == OK) {
        static struct file before;
        check_state(&state);
        before = state_file;
        CHECK(log_state_store(&storage, &state, false) == OK);
        CHECK(state_file.size == FILE_BYTES);
        CHECK(memcmp(state_file.bytes, before.bytes, FILE_BYTES) == 0);
    }
}

/* The name is the only one of its segment. */
static void read_name(const uint8_t *data, size_t size)
{
    char name[STORAGE_NAME_BYTES];
    char again[STORAGE_NAME_BYTES];
    uint64_t first_version;
    uint32_t ordinal;
    if (size >= sizeof name) {
        return;
    }
    memcpy(name, data, size);
    name[size] = '\0';
    if (log_segment_name_parse(name, &first_version, &ordinal)) {
        log_segment_name(first_version, ordinal, again);
        CHECK(strcmp(name, again) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 1 + sizeof state_file.bytes) {
        return 0;
    }
    unsigned choice = data[0];
    data++;
    size--;
    if ((choice & CHOICE_NAME) != 0) {
        read_name(data, size);
        return 0;
    }
    memset(state_file.bytes, 0, sizeof state_file.bytes);
    memcpy(state_file.bytes, data, size);
    state_file.size = (choice & CHOICE_WHOLE) != 0 || size > FILE_BYTES ? size : FILE_BYTES;
    if ((choice & CHOICE_CHECKSUM) != 0) {
        uint64_t checksum = XXH3_64bits(state_file.bytes, CHECKSUM_AT);
        memcpy(state_file.bytes + CHECKSUM_AT, &checksum, sizeof checksum);
    }
    read_state();
    return 0;
}
