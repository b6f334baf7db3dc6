/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/transaction.h"

#include "base/check.h"
#include "cli/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <yyjson.h>

struct transaction {
    yyjson_mut_doc *doc;
    yyjson_mut_val *root;
};

struct transaction *transaction_open(void)
{
    struct transaction *transaction = calloc(1, sizeof *transaction);
    CHECK(transaction != NULL);
    transaction->doc = yyjson_mut_doc_new(NULL);
    CHECK(transaction->doc != NULL);
    transaction->root = yyjson_mut_obj(transaction->doc);
    yyjson_mut_doc_set_root(transaction->doc, transaction->root);
    return transaction;
}

void transaction_close(struct transaction *transaction)
{
    if (transaction != NULL) {
        yyjson_mut_doc_free(transaction->doc);
        free(transaction);
    }
}

enum err transaction_read(struct transaction *transaction, struct bytes text,
                          struct text_place place, struct buffer *out_mistake)
{
    yyjson_read_err error;
    yyjson_doc *doc =
        yyjson_read_opts((char *)(uintptr_t)text.data, text.size, YYJSON_READ_NOFLAG, NULL, &error);
    if (doc == NULL) {
        size_t line = 1;
        size_t column = 1;
        size_t at;
        (void)yyjson_locate_pos(text.data, text.size, error.pos, &line, &column, &at);
        place.column = line == 1 ? place.column + column - 1 : column;
        place.line += line - 1;
        buffer_add_format(out_mistake, "%" PRIu64 ":%" PRIu64 ": not valid JSON: %s", place.line,
                          place.column, error.msg);
        return ERR_INVALID;
    }
    CHECK(yyjson_is_obj(yyjson_doc_get_root(doc)));
    /* As it is: two fields of one name stay two, for the server to refuse. */
    yyjson_mut_doc *mutable = yyjson_doc_mut_copy(doc, NULL);
    CHECK(mutable != NULL);
    yyjson_doc_free(doc);
    yyjson_mut_doc_free(transaction->doc);
    transaction->doc = mutable;
    transaction->root = yyjson_mut_doc_get_root(mutable);
    return OK;
}

/* The array called `name`, made when there is none. */
static yyjson_mut_val *array(struct transaction *transaction, const char *name)
{
    yyjson_mut_val *found = yyjson_mut_obj_get(transaction->root, name);
    return found != NULL ? found
                         : yyjson_mut_obj_add_arr(transaction->doc, transaction->root, name);
}

static yyjson_mut_val *add(struct transaction *transaction, const char *list, const char *type)
{
    yyjson_mut_val *entry = yyjson_mut_arr_add_obj(transaction->doc, array(transaction, list));
    CHECK(entry != NULL && yyjson_mut_obj_add_str(transaction->doc, entry, "type", type));
    return entry;
}

static void set_base64(struct transaction *transaction, yyjson_mut_val *entry, const char *name,
                       struct bytes bytes)
{
    struct buffer text = {0};
    text_write_base64(bytes, &text);
    CHECK(
        yyjson_mut_obj_add_strncpy(transaction->doc, entry, name, buffer_string(&text), text.size));
    buffer_deinit(&text);
}

static void set_version(struct transaction *transaction, yyjson_mut_val *entry,
                        const uint64_t *version)
{
    if (version != NULL) {
        CHECK(yyjson_mut_obj_add_uint(transaction->doc, entry, "version", *version));
    }
}

void transaction_add_write(struct transaction *transaction, struct bytes key, struct bytes value)
{
    yyjson_mut_val *entry = add(transaction, "operations", "write");
    set_base64(transaction, entry, "key", key);
    set_base64(transaction, entry, "value", value);
}

void transaction_add_delete(struct transaction *transaction, struct bytes key)
{
    set_base64(transaction, add(transaction, "operations", "delete"), "key", key);
}

void transaction_add_range_delete(struct transaction *transaction, struct bytes begin,
                                  struct bytes end)
{
    yyjson_mut_val *entry = add(transaction, "operations", "range_delete");
    set_base64(transaction, entry, "begin", begin);
    set_base64(transaction, entry, "end", end);
}

void transaction_add_point_read(struct transaction *transaction, struct bytes key,
                                const uint64_t *version)
{
    yyjson_mut_val *entry = add(transaction, "preconditions", "point_read");
    set_base64(transaction, entry, "key", key);
    set_version(transaction, entry, version);
}

void transaction_add_range_read(struct transaction *transaction, struct bytes begin,
                                struct bytes end, const uint64_t *version)
{
    yyjson_mut_val *entry = add(transaction, "preconditions", "range_read");
    set_base64(transaction, entry, "begin", begin);
    set_base64(transaction, entry, "end", end);
    set_version(transaction, entry, version);
}

bool transaction_has_request_id(const struct transaction *transaction, struct bytes *out)
{
    yyjson_mut_val *value = yyjson_mut_obj_get(transaction->root, "request_id");
    *out = yyjson_mut_is_str(value) ? bytes_of(yyjson_mut_get_str(value), yyjson_mut_get_len(value))
                                    : bytes_of(NULL, 0);
    return value != NULL;
}

static void put(struct transaction *transaction, const char *name, yyjson_mut_val *value)
{
    yyjson_mut_val *key = yyjson_mut_str(transaction->doc, name);
    CHECK(key != NULL && value != NULL && yyjson_mut_obj_put(transaction->root, key, value));
}

void transaction_set_request_id(struct transaction *transaction, struct bytes request_id)
{
    put(transaction, "request_id",
        yyjson_mut_strncpy(transaction->doc, request_id.data, request_id.size));
}

void transaction_set_read_version(struct transaction *transaction, uint64_t version)
{
    put(transaction, "read_version", yyjson_mut_uint(transaction->doc, version));
}

void transaction_set_leader(struct transaction *transaction, struct bytes leader)
{
    put(transaction, "leader", yyjson_mut_strncpy(transaction->doc, leader.data, leader.size));
}

bool transaction_is_empty(const struct transaction *transaction)
{
    return yyjson_mut_obj_get(transaction->root, "operations") == NULL &&
           yyjson_mut_obj_get(transaction->root, "preconditions") == NULL;
}

bool transaction_has_fixed_reads(const struct transaction *transaction)
{
    yyjson_mut_arr_iter reads;
    yyjson_mut_val *read;
    if (!yyjson_mut_arr_iter_init(yyjson_mut_obj_get(transaction->root, "preconditions"), &reads)) {
        return false;
    }
    while ((read = yyjson_mut_arr_iter_next(&reads)) != NULL) {
        if (yyjson_mut_obj_get(read, "version") != NULL) {
            return true;
        }
    }
    return false;
}

void transaction_write(const struct transaction *transaction, struct buffer *out)
{
    size_t size;
    char *text = yyjson_mut_write(transaction->doc, 0, &size);
    CHECK(text != NULL);
    buffer_add(out, bytes_of(text, size));
    free(text);
}
