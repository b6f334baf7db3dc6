/* SPDX-License-Identifier: Apache-2.0 */
/*
 * txn_bodies: writes requests in every format, as a client would, and compares transactions. For
 * tests, fuzzers and benchmarks; memory comes from malloc, and running out of it aborts.
 */
#ifndef SUPPORT_TXN_BODIES_H
#define SUPPORT_TXN_BODIES_H

#include "txn/codec.h"

enum body_format { BODY_JSON, BODY_MSGPACK, BODY_PROTOBUF, BODY_FORMATS };

/* The codec of a format, by its first media type. */
const struct txn_codec *body_codec(enum body_format format);

/* A body that grows; followed by REQUEST_BODY_SLACK bytes of BODY_SLACK_BYTE once it is ended. */
struct body {
    char *data;
    size_t size;
    size_t room;
};

enum { BODY_SLACK_BYTE = 0x5a };

void body_append(struct body *body, const void *data, size_t size);
void body_append_text(struct body *body, const char *text);
void body_append_base64(struct body *body, struct bytes bytes);

/* What a codec may be given; lives until body_free(). */
struct bytes body_end(struct body *body);

/* Whether the bytes behind an ended body are as body_end() left them. */
bool body_slack_is_whole(const struct body *body);

void body_free(struct body *body);

/* Each precondition is written with its own version. */
void body_write_commit(struct body *body, enum body_format format, const struct txn *txn);
void body_write_batch(struct body *body, enum body_format format, const struct txn_batch *batch);

/* One decoding: of a copy of the body that ends where its slack ends, into an arena of its own. */
struct decoded {
    struct memory_budget budget;
    struct chunk_pool pool;
    struct arena arena;
    struct body body;
    enum err err;
    struct txn txn; /* of a commit, when err is OK */
    struct txn_batch batch;
    struct http_problem problem; /* when it is ERR_INVALID or ERR_LIMIT */
};

extern const struct txn_limits body_limits; /* generous */

/* Decodes, and checks what every decoding must keep to: the slack is restored, and on errors the
 * result untouched and the problem filled in. `memory_bytes`: of the arena's budget. */
void decode_run(struct decoded *out, const struct txn_codec *codec, struct bytes data,
                bool is_batch, const struct txn_limits *limits, uint64_t memory_bytes);

/* The same with the generous limits and plenty of memory. */
void decode_commit(struct decoded *out, enum body_format format, struct bytes data);
void decode_batch(struct decoded *out, enum body_format format, struct bytes data);

void decode_free(struct decoded *decoded);

/* Checks that `decoded`, of the Protobuf body `data`, came out as if every body were scanned: what
 * the scan refuses was refused in its words, and nothing else was as something that it looks for.
 */
void decode_check_scan(const struct decoded *decoded, struct bytes data, bool is_batch);

/* Everything but version_max and payload_hash, which a written txn need not have. */
bool txn_equal(const struct txn *a, const struct txn *b);

#endif
