/* SPDX-License-Identifier: Apache-2.0 */
/*
 * walk: builds transactions from a tree of maps, arrays and values, for the formats that are parsed
 * to one. Included by such a codec's source only, behind its definitions of
 *
 *   tree_node                                 a macro: the type of a node
 *   bool tree_is_map(node), tree_is_array(node)
 *   size_t tree_count(node)                   of a map or an array
 *   node *tree_first(node)                    of a map: the first name, which its value follows
 *   node *tree_next(node)                     what follows a value
 *   bool tree_name(name, &bytes)              false: a name must not be that
 *   enum err tree_text(builder, field, node, &bytes)
 *   enum err tree_bytes(builder, field, node, &bytes)
 *   enum err tree_version(builder, field, node, &number)
 *
 * where the last three refuse values of other types. Fields come in any order: a
 * transaction's values are first found by name, then read in the order that the builder wants.
 *
 * Static functions instead of a table of pointers: a walk costs as much as the parse of a small
 * commit when none of these is inlined.
 */
#ifndef TXN_WALK_H
#define TXN_WALK_H

#include "txn/builder.h"

/* The field that a name means: one of `allowed` that is not among those *found before. */
static inline enum err walk_name(struct txn_builder *builder, tree_node *name, unsigned allowed,
                                 unsigned *found, enum txn_field *out)
{
    struct bytes text;
    if (!tree_name(name, &text)) {
        return txn_build_refuse(builder, TXN_FIELD_NONE, "has a name that is not a string");
    }
    enum txn_field field = txn_field_of(text);
    unsigned bit = 1U << field;
    if ((bit & allowed & ~*found) == 0) {
        return txn_build_refuse_name(builder, text, (bit & *found) != 0);
    }
    *found |= bit;
    *out = field;
    return OK;
}

/* The values of a map by field; those that are not there stay as they are. */
static inline enum err walk_fields(struct txn_builder *builder, tree_node *map, unsigned allowed,
                                   tree_node *out[TXN_FIELDS])
{
    if (!tree_is_map(map)) {
        return txn_build_refuse(builder, TXN_FIELD_NONE, "must be a map of fields");
    }
    unsigned found = 0;
    tree_node *name = tree_first(map);
    for (size_t count = tree_count(map); count > 0; count--) {
        enum txn_field field;
        enum err err = walk_name(builder, name, allowed, &found, &field);
        if (err != OK) {
            return err;
        }
        out[field] = name + 1;
        name = tree_next(name + 1);
    }
    return OK;
}

/* An item's fields are read as they come. */
static inline enum err walk_item_field(struct txn_builder *builder, enum txn_field field,
                                       tree_node *value, struct txn_item *item)
{
    if (field < TXN_FIELDS_BYTES) {
        return tree_bytes(builder, field, value, &item->bytes[field]);
    }
    if (field == TXN_FIELD_VERSION) {
        return tree_version(builder, field, value, &item->version);
    }
    struct bytes type;
    enum err err = tree_text(builder, field, value, &type);
    if (err == OK) {
        item->type = txn_item_type_of(type);
    }
    return err;
}

static inline enum err walk_item(struct txn_builder *builder, tree_node *map)
{
    struct txn_item item;
    unsigned found = 0;
    if (!tree_is_map(map)) {
        return txn_build_refuse(builder, TXN_FIELD_NONE, "must be a map of fields");
    }
    tree_node *name = tree_first(map);
    for (size_t count = tree_count(map); count > 0; count--) {
        enum txn_field field;
        enum err err = walk_name(builder, name, TXN_FIELDS_OF_ITEM, &found, &field);
        if (err == OK) {
            err = walk_item_field(builder, field, name + 1, &item);
        }
        if (err != OK) {
            return err;
        }
        name = tree_next(name + 1);
    }
    if ((found & 1U << TXN_FIELD_TYPE) == 0) {
        return txn_build_refuse(builder, TXN_FIELD_TYPE, "is missing");
    }
    item.fields = found & ~(1U << TXN_FIELD_TYPE);
    return txn_build_item(builder, &item);
}

static inline enum err walk_list(struct txn_builder *builder, enum txn_field list, tree_node *array)
{
    if (array == NULL) {
        return OK;
    }
    if (!tree_is_array(array)) {
        return txn_build_refuse(builder, list, "must be an array");
    }
    size_t count = tree_count(array);
    enum err err = txn_build_list(builder, list, count);
    tree_node *map = tree_first(array);
    for (uint32_t i = 0; err == OK && i < count; i++) {
        txn_build_at(builder, i);
        err = walk_item(builder, map);
        map = tree_next(map);
    }
    return err;
}

static inline enum err walk_single_fields(struct txn_builder *builder,
                                          tree_node *values[TXN_FIELDS])
{
    struct bytes text;
    enum err err = OK;
    if (values[TXN_FIELD_REQUEST_ID] != NULL) {
        err = tree_text(builder, TXN_FIELD_REQUEST_ID, values[TXN_FIELD_REQUEST_ID], &text);
        if (err == OK) {
            err = txn_build_request_id(builder, text);
        }
    }
    if (err == OK && values[TXN_FIELD_LEADER] != NULL) {
        err = tree_text(builder, TXN_FIELD_LEADER, values[TXN_FIELD_LEADER], &text);
        if (err == OK) {
            err = txn_build_leader(builder, text);
        }
    }
    if (err == OK && values[TXN_FIELD_READ_VERSION] != NULL) {
        uint64_t version;
        err =
            tree_version(builder, TXN_FIELD_READ_VERSION, values[TXN_FIELD_READ_VERSION], &version);
        if (err == OK) {
            err = txn_build_read_version(builder, version);
        }
    }
    return err;
}

/* `index`: of the transaction in its batch; -1: it is the body itself. */
static inline enum err walk_transaction(struct txn_builder *builder, int64_t index, tree_node *map,
                                        struct txn *out)
{
    tree_node *values[TXN_FIELDS] = {NULL};
    txn_build_begin(builder, index);
    enum err err = walk_fields(builder, map, TXN_FIELDS_OF_COMMIT, values);
    if (err == OK) {
        err = walk_single_fields(builder, values);
    }
    if (err == OK) {
        err = walk_list(builder, TXN_FIELD_PRECONDITIONS, values[TXN_FIELD_PRECONDITIONS]);
    }
    if (err == OK) {
        err = walk_list(builder, TXN_FIELD_OPERATIONS, values[TXN_FIELD_OPERATIONS]);
    }
    if (err == OK) {
        txn_build_end(builder, out);
    }
    return err;
}

static inline enum err walk_batch(struct txn_builder *builder, tree_node *root,
                                  struct txn_batch *out)
{
    tree_node *values[TXN_FIELDS] = {NULL};
    enum err err = walk_fields(builder, root, TXN_FIELDS_OF_BATCH, values);
    if (err != OK) {
        return err;
    }
    tree_node *array = values[TXN_FIELD_TRANSACTIONS];
    if (array == NULL) {
        return txn_build_refuse(builder, TXN_FIELD_TRANSACTIONS, "is missing");
    }
    if (!tree_is_array(array)) {
        return txn_build_refuse(builder, TXN_FIELD_TRANSACTIONS, "must be an array");
    }
    size_t count = tree_count(array);
    struct txn *transactions;
    err = txn_build_batch(builder, count, &transactions);
    tree_node *map = tree_first(array);
    for (uint32_t i = 0; err == OK && i < count; i++) {
        err = walk_transaction(builder, i, map, &transactions[i]);
        map = tree_next(map);
    }
    if (err == OK) {
        *out = (struct txn_batch){transactions, (uint32_t)count};
    }
    return err;
}

#endif
