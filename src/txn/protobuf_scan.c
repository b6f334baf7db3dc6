/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walks through all fields of all messages of a request by a small table, outermost first and
 * without recursion, and names the first that is not as it must be.
 *
 * protobuf-c says of a broken message only that it is one, keeps what it does not know, lets the
 * last of repeated fields win and ends strings at a NUL.
 *
 * Varints may be longer than need be, as the format allows; but no tag and no length is longer than
 * five bytes, where protobuf-c and the other readers end too.
 */
#include "txn/protobuf_scan.h"

#include "base/check.h"

enum {
    TAG_BYTES_MAX = 5,
    LENGTH_BYTES_MAX = 5,
    NUMBER_BYTES_MAX = 10,
    DEPTH_MAX = 4,  /* batch, transaction, operation, write */
    FIELDS_MAX = 5, /* of one message of a request */
};

/* The messages of a request; those with the same fields share one. */
enum message {
    MESSAGE_COMMIT,
    MESSAGE_BATCH,
    MESSAGE_PRECONDITION,
    MESSAGE_OPERATION,
    MESSAGE_KEY,   /* PointRead, Delete */
    MESSAGE_RANGE, /* RangeRead, RangeDelete */
    MESSAGE_WRITE,
};

enum kind { KIND_NONE, KIND_NUMBER, KIND_BYTES, KIND_STRING, KIND_MESSAGE, KIND_LIST };

/* What api/weaseldb.proto says of a field, in as few bytes as the scan can do with. */
struct rule {
    uint8_t kind;
    uint8_t tag;    /* number and wire type */
    uint8_t name;   /* enum txn_field; the members of a oneof are all `type` */
    uint8_t once;   /* a bit that stands for the field, or its oneof; 0: it may come repeatedly */
    uint8_t inside; /* enum message */
};

#define NUMBER(number, name, once) [number] = {KIND_NUMBER, (number) << 3, name, once, 0}
#define BYTES_OF(number, name, once) [number] = {KIND_BYTES, (number) << 3 | 2, name, once, 0}
#define STRING(number, name, once) [number] = {KIND_STRING, (number) << 3 | 2, name, once, 0}
#define LIST(number, name, inside) [number] = {KIND_LIST, (number) << 3 | 2, name, 0, inside}
#define ONE_OF(number, inside)                                                                     \
    [number] = {KIND_MESSAGE, (number) << 3 | 2, TXN_FIELD_TYPE, 1, inside}

static const struct rule rules[][FIELDS_MAX + 1] = {
    [MESSAGE_COMMIT] = {STRING(1, TXN_FIELD_REQUEST_ID, 1), STRING(2, TXN_FIELD_LEADER, 2),
                        NUMBER(3, TXN_FIELD_READ_VERSION, 4),
                        LIST(4, TXN_FIELD_PRECONDITIONS, MESSAGE_PRECONDITION),
                        LIST(5, TXN_FIELD_OPERATIONS, MESSAGE_OPERATION)},
    [MESSAGE_BATCH] = {LIST(1, TXN_FIELD_TRANSACTIONS, MESSAGE_COMMIT)},
    [MESSAGE_PRECONDITION] = {ONE_OF(1, MESSAGE_KEY), ONE_OF(2, MESSAGE_RANGE),
                              NUMBER(3, TXN_FIELD_VERSION, 2)},
    [MESSAGE_OPERATION] = {ONE_OF(1, MESSAGE_WRITE), ONE_OF(2, MESSAGE_KEY),
                           ONE_OF(3, MESSAGE_RANGE)},
    [MESSAGE_KEY] = {BYTES_OF(1, TXN_FIELD_KEY, 1)},
    [MESSAGE_RANGE] = {BYTES_OF(1, TXN_FIELD_BEGIN, 1), BYTES_OF(2, TXN_FIELD_END, 2)},
    [MESSAGE_WRITE] = {BYTES_OF(1, TXN_FIELD_KEY, 1), BYTES_OF(2, TXN_FIELD_VALUE, 2)},
};

/* A message that the scan is in. */
struct frame {
    const uint8_t *end;
    enum message message;
    unsigned seen;  /* the `once` bits of its fields so far */
    uint32_t count; /* of its operations, or of its transactions, so far */
    uint32_t precondition_count;
};

static enum err refuse_at(struct txn_builder *builder, const uint8_t *start, const uint8_t *at,
                          const char *why)
{
    return txn_build_refuse_body(builder, "Protobuf", why, (size_t)(at - start));
}

static enum err refuse_unknown(struct txn_builder *builder, uint64_t number)
{
    char digits[20];
    return txn_build_refuse_name(builder, bytes_of(digits, bytes_format_u64(digits, number)),
                                 false);
}

/* False: it does not end before `end` or within `bytes_max`, or does not fit. */
static bool take_varint(const uint8_t **at, const uint8_t *end, unsigned bytes_max, uint64_t *out)
{
    const uint8_t *from = *at;
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes_max && from + i < end; i++) {
        value |= (uint64_t)(from[i] & 0x7f) << (7 * i);
        if (from[i] < 0x80) {
            *out = value;
            *at = from + i + 1;
            return i + 1 < NUMBER_BYTES_MAX || from[i] <= 1;
        }
    }
    return false;
}

/* The message inside of `outer` has ended: what is said from here on is about the latter. */
static void leave_element(struct txn_builder *builder, enum message outer)
{
    if (outer == MESSAGE_COMMIT || outer == MESSAGE_BATCH) {
        builder->index = -1;
    }
    if (outer == MESSAGE_BATCH) {
        builder->transaction = -1;
    }
}

/* Tells the builder which element of a list comes. */
static void enter_element(struct txn_builder *builder, struct frame *frame, enum txn_field list)
{
    if (list == TXN_FIELD_TRANSACTIONS) {
        builder->transaction = frame->count++;
        return;
    }
    builder->list = list;
    builder->index = list == TXN_FIELD_OPERATIONS ? frame->count++ : frame->precondition_count++;
}

/* Finds the rule for a tag of the message in `frame`, and checks that it may come. */
static inline enum err check_tag(struct txn_builder *builder, struct frame *frame, uint64_t tag,
                                 const struct rule **out_rule)
{
    const struct rule *rule = &rules[frame->message][tag >> 3 <= FIELDS_MAX ? tag >> 3 : 0];
    if (rule->tag != tag || (frame->seen & rule->once) != 0) {
        return rule->kind == KIND_NONE ? refuse_unknown(builder, tag >> 3)
               : rule->tag != tag ? txn_build_refuse(builder, rule->name, "has the wrong wire type")
                                  : txn_build_refuse(builder, rule->name, "is there twice");
    }
    if (rule->kind == KIND_NONE) {
        return refuse_unknown(builder, tag >> 3);
    }
    frame->seen |= rule->once;
    *out_rule = rule;
    return OK;
}

enum err protobuf_scan(struct txn_builder *builder, bool is_batch, struct bytes body)
{
    if (body.size == 0) {
        return OK;
    }
    builder->transaction = -1;
    builder->index = -1;
    const uint8_t *const start = (const uint8_t *)body.data;
    const uint8_t *at = start;
    struct frame outer[DEPTH_MAX]; /* those around the current one */
    struct frame frame = {.end = start + body.size,
                          .message = is_batch ? MESSAGE_BATCH : MESSAGE_COMMIT};
    unsigned depth = 0;
    for (;;) {
        if (at == frame.end) {
            if (depth == 0) {
                return OK;
            }
            frame = outer[--depth];
            leave_element(builder, frame.message);
            continue;
        }
        const uint8_t *field = at;
        const struct rule *rule = NULL;
        uint64_t number;
        if (!take_varint(&at, frame.end, TAG_BYTES_MAX, &number)) {
            return refuse_at(builder, start, field, "a tag is cut off or does not fit");
        }
        enum err err = check_tag(builder, &frame, number, &rule);
        if (err != OK) {
            return err;
        }
        CHECK(rule != NULL); /* gcc with a sanitizer does not see it */
        bool is_number = rule->kind == KIND_NUMBER;
        if (!take_varint(&at, frame.end, is_number ? NUMBER_BYTES_MAX : LENGTH_BYTES_MAX,
                         &number)) {
            return refuse_at(builder, start, field, "a number is cut off or does not fit");
        }
        if (is_number) {
            continue;
        }
        if (number > (size_t)(frame.end - at)) {
            return refuse_at(builder, start, field, "a length goes beyond the end");
        }
        if (rule->kind == KIND_BYTES) {
            at += number;
        } else if (rule->kind == KIND_STRING) {
            if (memchr(at, 0, (size_t)number) != NULL) {
                return txn_build_refuse(builder, rule->name, "must not have a NUL");
            }
            at += number;
        } else {
            if (rule->kind == KIND_LIST) {
                enter_element(builder, &frame, rule->name);
            }
            CHECK(depth < DEPTH_MAX);
            outer[depth++] = frame;
            frame = (struct frame){.end = at + number, .message = rule->inside};
        }
    }
}
