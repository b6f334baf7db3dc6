/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading behind the writer.
 *
 * The window may hold bytes that were read before something was written over them: zeros of a
 * prepared segment, or half of a batch. It therefore remembers how far the log was durable before
 * it was loaded, and serves only batches that were durable then (`durable`). What is durable never
 * changes, so such bytes stay right until the window is loaded anew.
 *
 * The next batch stands at the cursor's offset, or at the beginning of the next segment: the
 * writer leaves a segment when a batch does not fit. A place without a valid header is the end of
 * its segment only when the next segment goes on with the very batch and version that are looked
 * for; anything else is damage.
 */
#include "commitlog/cursor.h"

#include "base/bug.h"
#include "base/check.h"
#include "commitlog/log_internal.h"

#include <stdlib.h>

enum {
    FILES = 4,
    JUMP_BYTES = 16 << 10, /* loaded where it is not known that reading will go on */
};

struct open_segment {
    struct storage_file *file; /* NULL: none */
    uint64_t number;
    uint64_t bytes;
    uint64_t used; /* when it was last used, in loads */
};

struct log_cursor_reader {
    struct log *log;
    struct log_cursor_reader *next; /* of the log's readers, under their lock */
    /* Under `lock`: whoever removes segments closes their files here. */
    pthread_mutex_t lock;
    struct open_segment files[FILES];
    uint64_t loads;
    /* The reader's own. */
    uint64_t loaded_ever_bytes;
    uint64_t durable; /* the last that a caller has told */
    /* The window. */
    uint64_t segment;
    uint64_t offset;
    size_t size; /* 0: nothing is loaded */
    uint64_t window_durable;
    char *window;
};

enum err log_cursor_reader_open(struct log *log, struct log_cursor_reader **out)
{
    struct log_cursor_reader *reader = calloc(1, sizeof *reader);
    char *window = malloc(LOG_WINDOW_BYTES);
    if (reader == NULL || window == NULL) {
        free(reader);
        free(window);
        return ERR_MEMORY;
    }
    reader->log = log;
    reader->window = window;
    CHECK(pthread_mutex_init(&reader->lock, NULL) == 0);
    log_lock(&log->readers_lock);
    reader->next = log->readers;
    log->readers = reader;
    log_unlock(&log->readers_lock);
    *out = reader;
    return OK;
}

static void close_segment(struct log_cursor_reader *reader, struct open_segment *open)
{
    if (open->file != NULL) {
        reader->log->storage->operations->close(reader->log->storage, open->file);
        open->file = NULL;
    }
}

void log_cursor_reader_close(struct log_cursor_reader *reader)
{
    if (reader == NULL) {
        return;
    }
    struct log *log = reader->log;
    log_lock(&log->readers_lock);
    struct log_cursor_reader **at = &log->readers;
    while (*at != reader) {
        CHECK(*at != NULL);
        at = &(*at)->next;
    }
    *at = reader->next;
    log_unlock(&log->readers_lock);
    for (unsigned i = 0; i < FILES; i++) {
        close_segment(reader, &reader->files[i]);
    }
    CHECK(pthread_mutex_destroy(&reader->lock) == 0);
    free(reader->window);
    free(reader);
}

void log_readers_close_removed(struct log *log)
{
    uint64_t oldest = log_index_oldest_segment(&log->index);
    log_lock(&log->readers_lock);
    for (struct log_cursor_reader *reader = log->readers; reader != NULL; reader = reader->next) {
        for (unsigned i = 0; i < FILES; i++) {
            struct open_segment *open = &reader->files[i];
            struct open_segment removed = {0};
            log_lock(&reader->lock);
            if (open->file != NULL && open->number < oldest) {
                removed = *open;
                open->file = NULL;
            }
            log_unlock(&reader->lock);
            close_segment(reader, &removed); /* which may take the file system a while */
        }
    }
    log_unlock(&log->readers_lock);
}

uint64_t log_cursor_reader_loaded_bytes(const struct log_cursor_reader *reader)
{
    return reader->loaded_ever_bytes;
}

/* ---- files ---- */

static enum log_cursor_result check_segment(struct log_cursor_reader *reader,
                                            struct open_segment *open,
                                            const struct log_place *place)
{
    const struct storage_operations *operations = reader->log->storage->operations;
    struct log_segment_header header;
    char bytes[LOG_SEGMENT_HEADER_BYTES];
    size_t size;
    if (operations->size(reader->log->storage, open->file, &open->bytes) != OK ||
        operations->read(reader->log->storage, open->file, 0, bytes, sizeof bytes, &size) != OK) {
        return LOG_CURSOR_FAILED;
    }
    bool good = size == sizeof bytes &&
                log_segment_header_decode(bytes, &header) == LOG_HEADER_GOOD &&
                header.log_id == log_id(reader->log) && header.number == place->segment &&
                header.first_version == place->segment_first_version;
    return good ? LOG_CURSOR_BATCH : LOG_CURSOR_DAMAGED;
}

/* A place for another open segment: a free one, or that of the one not used for the longest. */
static struct open_segment *free_file(struct log_cursor_reader *reader)
{
    struct open_segment *found = &reader->files[0];
    for (unsigned i = 1; i < FILES; i++) {
        struct open_segment *open = &reader->files[i];
        if (found->file != NULL && (open->file == NULL || open->used < found->used)) {
            found = open;
        }
    }
    close_segment(reader, found);
    return found;
}

static enum log_cursor_result open_segment(struct log_cursor_reader *reader,
                                           const struct log_place *place, struct open_segment **out)
{
    struct storage *storage = reader->log->storage;
    char name[STORAGE_NAME_BYTES];
    for (unsigned i = 0; i < FILES; i++) {
        if (reader->files[i].file != NULL && reader->files[i].number == place->segment) {
            *out = &reader->files[i];
            return LOG_CURSOR_BATCH;
        }
    }
    struct open_segment *open = free_file(reader);
    log_segment_name(place->segment_first_version, place->segment_ordinal, name);
    enum err err = storage->operations->open(storage, name, false, &open->file);
    if (err != OK) {
        open->file = NULL;
        return err == ERR_CLOSED ? LOG_CURSOR_GONE : LOG_CURSOR_FAILED;
    }
    enum log_cursor_result result = check_segment(reader, open, place);
    if (result != LOG_CURSOR_BATCH) {
        close_segment(reader, open);
        return result;
    }
    open->number = place->segment;
    *out = open;
    return LOG_CURSOR_BATCH;
}

/* ---- the window ---- */

/* Under `lock`: the window becomes what stands at `offset`, up to `size` bytes. */
static enum log_cursor_result load_window(struct log_cursor_reader *reader,
                                          const struct log_place *place, uint64_t offset,
                                          size_t size)
{
    struct open_segment *open;
    enum log_cursor_result result = open_segment(reader, place, &open);
    if (result != LOG_CURSOR_BATCH) {
        return result;
    }
    reader->size = 0;
    reader->window_durable = reader->durable;
    if (reader->log->storage->operations->read(reader->log->storage, open->file, offset,
                                               reader->window, size, &size) != OK) {
        return LOG_CURSOR_FAILED;
    }
    open->used = ++reader->loads;
    reader->loaded_ever_bytes += size;
    reader->segment = place->segment;
    reader->offset = offset;
    reader->size = size;
    return LOG_CURSOR_BATCH;
}

/* `need` bytes or more of the cursor's segment from `offset` on, read when the log was durable at
 * least up to `version`. *out is shorter only at the end of the file. */
static enum log_cursor_result load(struct log_cursor_reader *reader, const struct log_place *place,
                                   uint64_t offset, size_t need, uint64_t version,
                                   struct bytes *out)
{
    CHECK(need <= LOG_WINDOW_BYTES);
    if (version > reader->durable) {
        reader->durable = version; /* a header with it was seen, by another reader perhaps */
    }
    bool is_here = reader->size > 0 && reader->segment == place->segment &&
                   offset >= reader->offset && offset + need <= reader->offset + reader->size;
    if (!is_here || version > reader->window_durable) {
        /* Behind the writer there is seldom more than one batch, and much to copy in a window. */
        bool goes_on = reader->size > 0 && reader->segment == place->segment &&
                       offset >= reader->offset && offset <= reader->offset + reader->size &&
                       version <= reader->window_durable;
        size_t least = need > JUMP_BYTES ? need : JUMP_BYTES;
        log_lock(&reader->lock);
        enum log_cursor_result result =
            load_window(reader, place, offset, goes_on ? LOG_WINDOW_BYTES : least);
        log_unlock(&reader->lock);
        if (result != LOG_CURSOR_BATCH) {
            return result;
        }
    }
    size_t skipped = (size_t)(offset - reader->offset);
    *out = bytes_of(reader->window + skipped, reader->size - skipped);
    return LOG_CURSOR_BATCH;
}

/* ---- cursors ---- */

bool log_cursor_open(struct log_cursor_reader *reader, uint64_t after, struct log_cursor *out)
{
    return log_index_find(&reader->log->index, after + 1, &out->place);
}

/* The header at the cursor. LOG_CURSOR_END: none stands there. */
static enum log_cursor_result header_here(struct log_cursor_reader *reader,
                                          const struct log_cursor *cursor,
                                          struct log_batch_header *out)
{
    const struct log_place *place = &cursor->place;
    struct bytes bytes;
    enum log_cursor_result result =
        load(reader, place, place->offset, LOG_BATCH_HEADER_BYTES, place->version, &bytes);
    if (result != LOG_CURSOR_BATCH) {
        return result;
    }
    const struct log_position position = {
        .log_id = log_id(reader->log), .segment_number = place->segment, .offset = place->offset};
    if (bytes.size < LOG_BATCH_HEADER_BYTES ||
        !log_batch_header_decode(bytes.data, &position, out)) {
        return LOG_CURSOR_END;
    }
    bool follows = out->number == place->batch && out->first_version == place->version &&
                   out->last_version + 1 >= out->first_version;
    return follows ? LOG_CURSOR_BATCH : LOG_CURSOR_DAMAGED;
}

/* The header at the cursor, or at the beginning of the next segment. */
static enum log_cursor_result peek(struct log_cursor_reader *reader, struct log_cursor *cursor,
                                   uint64_t durable, struct log_batch_header *out)
{
    struct log_batch_header header;
    enum log_cursor_result result = header_here(reader, cursor, &header);
    if (result == LOG_CURSOR_END) {
        struct log_cursor next;
        if (!log_index_find_segment(&reader->log->index, cursor->place.segment + 1, &next.place)) {
            /* Looked at last, since it may have been removed just now. It is gone when this
             * segment was still open and the next one never was. */
            return cursor->place.segment + 1 < log_index_oldest_segment(&reader->log->index)
                       ? LOG_CURSOR_GONE
                       : LOG_CURSOR_DAMAGED;
        }
        if (next.place.batch != cursor->place.batch ||
            next.place.version != cursor->place.version) {
            return LOG_CURSOR_DAMAGED;
        }
        *cursor = next;
        result = header_here(reader, cursor, &header);
        if (WEASEL_BUG(batch_skipped_at_a_joint) && result == LOG_CURSOR_BATCH) {
            log_cursor_skip(cursor, &header);
            result = header_here(reader, cursor, &header);
        }
        if (result == LOG_CURSOR_END) {
            return LOG_CURSOR_DAMAGED;
        }
    }
    if (result != LOG_CURSOR_BATCH) {
        return result;
    }
    if (header.last_version > durable && !WEASEL_BUG(told_before_sync)) {
        return LOG_CURSOR_END;
    }
    *out = header;
    return LOG_CURSOR_BATCH;
}

/* What stood at the cursor has been removed. That was nothing but fences when the version that is
 * looked for is still there: goes to where it is. */
static bool skip_removed(struct log_cursor_reader *reader, struct log_cursor *cursor)
{
    struct log_place place;
    if (!log_index_find(&reader->log->index, cursor->place.version, &place) ||
        place.segment <= cursor->place.segment || place.version != cursor->place.version) {
        return false;
    }
    cursor->place = place;
    return true;
}

enum log_cursor_result log_cursor_peek(struct log_cursor_reader *reader, struct log_cursor *cursor,
                                       uint64_t durable, struct log_batch_header *out)
{
    enum log_cursor_result result;
    if (durable > reader->durable) {
        reader->durable = durable;
    }
    if (cursor->place.version > durable && !WEASEL_BUG(told_before_sync)) {
        return LOG_CURSOR_END;
    }
    do {
        result = peek(reader, cursor, durable, out);
    } while (result == LOG_CURSOR_GONE && skip_removed(reader, cursor));
    return result;
}

void log_cursor_skip(struct log_cursor *cursor, const struct log_batch_header *header)
{
    CHECK(header->number == cursor->place.batch);
    cursor->place.offset =
        log_align(cursor->place.offset + LOG_BATCH_HEADER_BYTES + header->payload_bytes);
    cursor->place.batch++;
    cursor->place.version = header->last_version + 1;
}

enum log_cursor_result log_cursor_view(struct log_cursor_reader *reader,
                                       const struct log_cursor *cursor,
                                       const struct log_batch_header *header, uint64_t at,
                                       size_t need, struct bytes *out)
{
    CHECK(need <= LOG_VIEW_BYTES_MAX);
    CHECK(header->number == cursor->place.batch);
    if (at > header->payload_bytes || need > header->payload_bytes - at) {
        return LOG_CURSOR_DAMAGED;
    }
    enum log_cursor_result result =
        load(reader, &cursor->place, cursor->place.offset + LOG_BATCH_HEADER_BYTES + at, need,
             header->last_version, out);
    if (result == LOG_CURSOR_BATCH && out->size < need) {
        return LOG_CURSOR_DAMAGED;
    }
    if (result == LOG_CURSOR_BATCH && out->size > header->payload_bytes - at) {
        out->size = (size_t)(header->payload_bytes - at);
    }
    return result;
}

enum log_cursor_result log_cursor_verify(struct log_cursor_reader *reader,
                                         const struct log_cursor *cursor,
                                         const struct log_batch_header *header, uint64_t bytes,
                                         struct log_payload_hasher **hash, uint64_t *at)
{
    uint64_t until = header->payload_bytes - *at < bytes ? header->payload_bytes : *at + bytes;
    struct bytes view;
    if (*at == 0 && header->payload_bytes <= LOG_VIEW_BYTES_MAX) {
        /* It stays in the window as a whole: no need to remember anything. */
        enum log_cursor_result result =
            log_cursor_view(reader, cursor, header, 0, (size_t)header->payload_bytes, &view);
        if (result != LOG_CURSOR_BATCH) {
            return result;
        }
        *at = header->payload_bytes;
        return log_payload_hash(view) == header->payload_hash ? LOG_CURSOR_BATCH
                                                              : LOG_CURSOR_DAMAGED;
    }
    CHECK(*hash != NULL || *at == 0);
    if (*hash == NULL && (*hash = log_payload_hasher_open()) == NULL) {
        return LOG_CURSOR_FAILED;
    }
    if (*at == 0) {
        log_payload_hasher_begin(*hash);
    }
    while (*at < until) {
        enum log_cursor_result result = log_cursor_view(reader, cursor, header, *at, 1, &view);
        if (result != LOG_CURSOR_BATCH) {
            return result;
        }
        log_payload_hasher_add(*hash, view);
        *at += view.size;
    }
    return *at < header->payload_bytes || log_payload_hasher_end(*hash) == header->payload_hash
               ? LOG_CURSOR_BATCH
               : LOG_CURSOR_DAMAGED;
}
