/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The small durable file beside the segments, replaced as a whole: written under another name,
 * synced, renamed, and the directory synced, so that there is always the old one or the new one.
 *
 * It always has its full size, STATE_BYTES, all numbers little-endian:
 *
 *      0  "WEASELST"
 *      8  format, u32: 2
 *     12  size of the file, u32: 8192
 *     16  log id, u64
 *     24  epoch, u64: how often the log has been opened
 *     32  newest segment, u64: a number that certainly exists; 0 without segments
 *     40  oldest segment, u64: the oldest number that must exist, at most the newest. Files of
 *         segments with smaller numbers were to be removed, and are removed by the next start
 *     48  1 when there are segments, else 0, u32
 *     52  count of policies, u32, at most 64
 *     56  zero, u64
 *     64  the policies, 72 bytes each, in the order of their ids (bytes), no id twice:
 *            0  version, u64, below 2^53: everything after it is kept
 *            8  id: 1 to 64 letters, digits, '.', '_', '-' of ASCII, the first one a letter or
 *               digit, with zeros behind it
 *         zeros
 *   8184  XXH3 (64 bits, no seed) of the 8184 bytes before
 *
 * Whoever reads it encodes what was found and compares all bytes.
 *
 * Space: the temporary file is set aside ahead, full of zeros, synced and open, so that neither a
 * full disk nor a want of descriptors or memory stops the switch to a prepared segment or a removal
 * that makes room.
 */
#include "commitlog/log_internal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

enum {
    STATE_BYTES = 8192,
    STATE_FORMAT = 2,
    STATE_HEADER_BYTES = 64,
    STATE_POLICY_BYTES = 8 + LOG_POLICY_ID_BYTES_MAX,
    STATE_CHECKSUM_AT = STATE_BYTES - 8,
};

static_assert(STATE_HEADER_BYTES + LOG_POLICIES_MAX * STATE_POLICY_BYTES <= STATE_CHECKSUM_AT,
              "all policies fit");

static const char STATE_MAGIC[8] = {'W', 'E', 'A', 'S', 'E', 'L', 'S', 'T'};

static void encode(const struct log_state *state, char out[STATE_BYTES])
{
    const uint32_t format[2] = {STATE_FORMAT, STATE_BYTES};
    const uint64_t fields[4] = {state->log_id, state->epoch, state->newest_segment,
                                state->oldest_segment};
    const uint32_t counts[2] = {state->has_segments ? 1 : 0, state->policy_count};
    memset(out, 0, STATE_BYTES);
    memcpy(out, STATE_MAGIC, sizeof STATE_MAGIC);
    memcpy(out + 8, format, sizeof format);
    memcpy(out + 16, fields, sizeof fields);
    memcpy(out + 48, counts, sizeof counts);
    for (uint32_t i = 0; i < state->policy_count; i++) {
        char *at = out + STATE_HEADER_BYTES + (size_t)i * STATE_POLICY_BYTES;
        memcpy(at, &state->policies[i].version, 8);
        memcpy(at + 8, state->policies[i].id, strlen(state->policies[i].id));
    }
    uint64_t checksum = XXH3_64bits(out, STATE_CHECKSUM_AT);
    memcpy(out + STATE_CHECKSUM_AT, &checksum, sizeof checksum);
}

/* What the checksum cannot say, since it may have been right when this was written. */
static bool is_sound(const struct log_state *state)
{
    for (uint32_t i = 0; i < state->policy_count; i++) {
        const struct log_policy *policy = &state->policies[i];
        if (!log_policy_id_is_valid(bytes_from_string(policy->id)) ||
            policy->version > TXN_VERSION_MAX ||
            (i > 0 && strcmp(policy[-1].id, policy->id) >= 0)) {
            return false;
        }
    }
    return state->oldest_segment <= state->newest_segment;
}

static bool decode(const char in[STATE_BYTES], struct log_state *out)
{
    char again[STATE_BYTES];
    uint64_t fields[4];
    uint32_t counts[2];
    memcpy(fields, in + 16, sizeof fields);
    memcpy(counts, in + 48, sizeof counts);
    struct log_state state = {.log_id = fields[0],
                              .epoch = fields[1],
                              .newest_segment = fields[2],
                              .oldest_segment = fields[3],
                              .has_segments = counts[0] != 0,
                              .policy_count = counts[1]};
    if (counts[1] > LOG_POLICIES_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < counts[1]; i++) {
        const char *at = in + STATE_HEADER_BYTES + (size_t)i * STATE_POLICY_BYTES;
        memcpy(&state.policies[i].version, at, 8);
        memcpy(state.policies[i].id, at + 8, LOG_POLICY_ID_BYTES_MAX);
    }
    encode(&state, again);
    if (memcmp(in, again, STATE_BYTES) != 0 || !is_sound(&state)) {
        return false;
    }
    *out = state;
    return true;
}

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

/* Makes state.tmp, `file`, hold `bytes`, synced. When that fails, there is none, and it is closed.
 */
static enum err fill(struct storage *storage, struct storage_file *file,
                     const char bytes[STATE_BYTES])
{
    const struct storage_operations *operations = storage->operations;
    enum err err = operations->write(storage, file, 0, bytes, STATE_BYTES);
    if (err == OK) {
        err = operations->sync(storage, file);
    }
    if (err != OK) {
        int saved_errno = errno;
        operations->close(storage, file);
        (void)operations->unlink(storage, LOG_STATE_TEMPORARY_NAME);
        errno = saved_errno;
    }
    return err;
}

enum err log_state_store(struct storage *storage, const struct log_state *state,
                         struct storage_file *spare)
{
    char bytes[STATE_BYTES];
    struct storage_file *file = spare;
    enum err err = spare != NULL
                       ? OK
                       : storage->operations->open(storage, LOG_STATE_TEMPORARY_NAME, true, &file);
    encode(state, bytes);
    if (err == OK) {
        err = fill(storage, file, bytes);
    }
    if (err != OK) {
        return err;
    }
    storage->operations->close(storage, file);
    err = storage->operations->rename(storage, LOG_STATE_TEMPORARY_NAME, LOG_STATE_NAME);
    if (err == OK) {
        err = storage->operations->sync_directory(storage);
    }
    return err == OK ? OK : ERR_CLOSED;
}

enum err log_state_open_spare(struct storage *storage, struct storage_file **out)
{
    static const char zeros[STATE_BYTES];
    struct storage_file *file;
    enum err err = storage->operations->open(storage, LOG_STATE_TEMPORARY_NAME, true, &file);
    if (err == OK) {
        err = fill(storage, file, zeros);
    }
    if (err == OK) {
        *out = file;
    }
    return err;
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
