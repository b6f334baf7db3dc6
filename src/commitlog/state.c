/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The small durable file beside the segments, replaced as a whole: written under another name,
 * synced, renamed, and the directory synced, so that there is always the old one or the new one.
 *
 *   0 "WEASELST"  8 format u32  12 size u32  16 log id  24 epoch  32 newest segment
 *   40 1 when there are segments, u64  48 zero  56 XXH3 of the 56 bytes before
 */
#include "commitlog/log_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

enum { STATE_BYTES = 64, STATE_FORMAT = 1 };

static const char STATE_MAGIC[8] = {'W', 'E', 'A', 'S', 'E', 'L', 'S', 'T'};

static void encode(const struct log_state *state, char out[STATE_BYTES])
{
    const uint32_t format[2] = {STATE_FORMAT, STATE_BYTES};
    const uint64_t fields[4] = {state->log_id, state->epoch, state->newest_segment,
                                state->has_segments ? 1 : 0};
    memset(out, 0, STATE_BYTES);
    memcpy(out, STATE_MAGIC, sizeof STATE_MAGIC);
    memcpy(out + 8, format, sizeof format);
    memcpy(out + 16, fields, sizeof fields);
    uint64_t checksum = XXH3_64bits(out, 56);
    memcpy(out + 56, &checksum, sizeof checksum);
}

static bool decode(const char in[STATE_BYTES], struct log_state *out)
{
    char again[STATE_BYTES];
    uint64_t fields[4];
    memcpy(fields, in + 16, sizeof fields);
    struct log_state state = {.log_id = fields[0],
                              .epoch = fields[1],
                              .newest_segment = fields[2],
                              .has_segments = fields[3] != 0};
    encode(&state, again);
    if (memcmp(in, again, STATE_BYTES) != 0) {
        return false;
    }
    *out = state;
    return true;
}

/* ERR_CLOSED: there is none. ERR_INVALID: it is damaged, or of another format. */
enum err log_state_load(struct storage *storage, struct log_state *out)
{
    const struct storage_operations *operations = storage->operations;
    struct storage_file *file;
    char bytes[STATE_BYTES + 1];
    size_t size;
    enum err err = operations->open(storage, LOG_STATE_NAME, false, &file);
    if (err != OK) {
        return err;
    }
    err = operations->read(storage, file, 0, bytes, sizeof bytes, &size);
    operations->close(storage, file);
    if (err != OK) {
        return err;
    }
    return size == STATE_BYTES && decode(bytes, out) ? OK : ERR_INVALID;
}

enum err log_state_store(struct storage *storage, const struct log_state *state)
{
    const struct storage_operations *operations = storage->operations;
    struct storage_file *file;
    char bytes[STATE_BYTES];
    encode(state, bytes);
    enum err err = operations->open(storage, LOG_STATE_TEMPORARY_NAME, true, &file);
    if (err != OK) {
        return err;
    }
    err = operations->write(storage, file, 0, bytes, sizeof bytes);
    if (err == OK) {
        err = operations->sync(storage, file);
    }
    operations->close(storage, file);
    if (err == OK) {
        err = operations->rename(storage, LOG_STATE_TEMPORARY_NAME, LOG_STATE_NAME);
    }
    return err == OK ? operations->sync_directory(storage) : err;
}

void log_segment_name(uint64_t first_version, uint32_t ordinal, char out[STORAGE_NAME_BYTES])
{
    if (ordinal == 0) {
        (void)snprintf(out, STORAGE_NAME_BYTES, "commit-%020" PRIu64 ".log", first_version);
    } else {
        (void)snprintf(out, STORAGE_NAME_BYTES, "commit-%020" PRIu64 "-%" PRIu32 ".log",
                       first_version, ordinal);
    }
}

bool log_segment_name_parse(const char *name, uint64_t *out_first_version, uint32_t *out_ordinal)
{
    struct bytes rest = bytes_from_string(name);
    uint64_t first_version;
    uint64_t ordinal = 0;
    char again[STORAGE_NAME_BYTES];
    if (!bytes_starts_with(rest, BYTES("commit-")) || rest.size < 7 + 20) {
        return false;
    }
    if (!bytes_parse_u64(bytes_of(rest.data + 7, 20), &first_version)) {
        return false;
    }
    rest = bytes_drop(rest, 7 + 20);
    struct bytes digits = bytes_split(&rest, '.');
    if (digits.size > 0 &&
        (digits.data[0] != '-' || !bytes_parse_u64(bytes_drop(digits, 1), &ordinal) ||
         ordinal == 0 || ordinal > UINT32_MAX)) {
        return false;
    }
    log_segment_name(first_version, (uint32_t)ordinal, again);
    if (strcmp(name, again) != 0) {
        return false;
    }
    *out_first_version = first_version;
    *out_ordinal = (uint32_t)ordinal;
    return true;
}
