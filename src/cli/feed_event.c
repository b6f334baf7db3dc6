/* SPDX-License-Identifier: Apache-2.0 */
/* What stands in an event, and whether it may follow the one before. */
#include "cli/feed_event.h"

#include "cli/text.h"

#include <inttypes.h>
#include <yyjson.h>

static struct bytes text_of(yyjson_val *value)
{
    return yyjson_is_str(value) ? bytes_of(yyjson_get_str(value), yyjson_get_len(value))
                                : bytes_of(NULL, 0);
}

static bool number_of(yyjson_val *object, const char *name, uint64_t *out)
{
    yyjson_val *value = yyjson_obj_get(object, name);
    *out = yyjson_get_uint(value);
    return yyjson_is_uint(value);
}

static bool base64_of(yyjson_val *object, const char *name, struct buffer *out)
{
    const char *mistake;
    struct bytes text = text_of(yyjson_obj_get(object, name));
    buffer_clear(out);
    return text.data != NULL && text_read(text, TEXT_BASE64, out, &mistake) == OK;
}

static bool read_operation(yyjson_val *value, struct feed_operation *out)
{
    struct bytes type = text_of(yyjson_obj_get(value, "type"));
    buffer_clear(&out->value);
    if (bytes_equal(type, BYTES("write"))) {
        out->type = FEED_WRITE;
        return base64_of(value, "key", &out->key) && base64_of(value, "value", &out->value);
    }
    if (bytes_equal(type, BYTES("delete"))) {
        out->type = FEED_DELETE;
        return base64_of(value, "key", &out->key);
    }
    out->type = FEED_RANGE_DELETE;
    return bytes_equal(type, BYTES("range_delete")) && base64_of(value, "begin", &out->key) &&
           base64_of(value, "end", &out->value);
}

enum err feed_operations(const struct feed_transaction *transaction, feed_take_operation *take,
                         void *context)
{
    enum err err = OK;
    struct feed_operation operation = {0};
    size_t index;
    size_t count;
    yyjson_val *value;
    yyjson_arr_foreach(transaction->operations, index, count, value)
    {
        err = !read_operation(value, &operation) ? ERR_INVALID
              : !take(context, &operation)       ? ERR_CLOSED
                                                 : OK;
        if (err != OK) {
            break;
        }
    }
    buffer_deinit(&operation.key);
    buffer_deinit(&operation.value);
    return err;
}

enum err feed_event_read(struct bytes data, struct feed_transaction *out,
                         struct yyjson_doc **out_doc)
{
    yyjson_doc *doc = yyjson_read(data.data, data.size, 0);
    yyjson_val *root = yyjson_doc_get_root(doc);
    struct feed_transaction read = {
        .request_id = text_of(yyjson_obj_get(root, "request_id")),
        .timestamp = text_of(yyjson_obj_get(root, "timestamp")),
        .json = data,
        .operations = yyjson_obj_get(root, "operations"),
    };
    if (!number_of(root, "version", &read.version) ||
        !number_of(root, "prev_version", &read.prev_version) || !yyjson_is_arr(read.operations)) {
        yyjson_doc_free(doc);
        return ERR_INVALID;
    }
    *out = read;
    *out_doc = doc;
    return OK;
}

enum err feed_event_read_progress(struct bytes data, uint64_t *out_version)
{
    yyjson_doc *doc = yyjson_read(data.data, data.size, 0);
    uint64_t version;
    bool good = number_of(yyjson_doc_get_root(doc), "version", &version);
    yyjson_doc_free(doc);
    if (good) {
        *out_version = version;
    }
    return good ? OK : ERR_INVALID;
}

void feed_event_read_end(struct bytes data, char *out, size_t room)
{
    yyjson_doc *doc = yyjson_read(data.data, data.size, 0);
    struct bytes reason = text_of(yyjson_obj_get(yyjson_doc_get_root(doc), "reason"));
    size_t size = reason.size < room ? reason.size : room - 1;
    for (size_t i = 0; i < size; i++) {
        out[i] = reason.data[i];
        if (out[i] < ' ' || out[i] > '~') {
            out[i] = '?'; /* no terminal shall obey it */
        }
    }
    out[size] = '\0';
    yyjson_doc_free(doc);
}

bool feed_event_follows(const struct feed *feed, const struct feed_transaction *transaction,
                        struct buffer *out_why)
{
    const char *mistake = NULL;
    if (transaction->version <= feed->position) {
        mistake = "it is not after what was already there";
    } else if (transaction->prev_version >= transaction->version) {
        mistake = "its prev_version is not before it";
    } else if (transaction->prev_version < feed->last.version) {
        mistake = "the transaction before it is not the one that was there";
    } else if (feed->filters[0] == '\0' &&
               transaction->prev_version >
                   (feed->last.version != 0 ? feed->last.version : feed->position)) {
        mistake = "a transaction before it is missing";
    }
    if (mistake != NULL) {
        buffer_add_format(out_why,
                          "the feed is broken at version %" PRIu64 " (prev_version %" PRIu64
                          "): %s; up to %" PRIu64 " everything was there, transaction %" PRIu64
                          " being the last",
                          transaction->version, transaction->prev_version, mistake, feed->position,
                          feed->last.version);
    }
    return mistake == NULL;
}

static void copy(struct bytes from, char *to, size_t room)
{
    size_t size = from.size < room - 1 ? from.size : room - 1;
    memcpy(to, size == 0 ? "" : from.data, size);
    to[size] = '\0';
}

struct feed_mark feed_event_mark(const struct feed_transaction *transaction)
{
    struct feed_mark mark = {.version = transaction->version};
    copy(transaction->request_id, mark.request_id, sizeof mark.request_id);
    copy(transaction->timestamp, mark.timestamp, sizeof mark.timestamp);
    return mark;
}

bool feed_event_is(const struct feed_transaction *transaction, const struct feed_mark *mark)
{
    struct feed_mark other = feed_event_mark(transaction);
    return other.version == mark->version && strcmp(other.request_id, mark->request_id) == 0 &&
           strcmp(other.timestamp, mark->timestamp) == 0;
}
