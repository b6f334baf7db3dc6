/* SPDX-License-Identifier: Apache-2.0 */
/*
 * answer: the fields of what the API answers with: results, versions and problems.
 *
 * Runs on: any thread. Blocks: never. Owns: the parsed text; the views live as long.
 */
#ifndef CLI_ANSWER_H
#define CLI_ANSWER_H

#include "base/bytes.h"
#include "base/err.h"

struct yyjson_doc;
struct yyjson_val;

struct answer {
    struct yyjson_doc *doc;
    struct bytes status; /* of a result, "committed" and so on; {NULL, 0} for what is not there */
    struct bytes request_id;
    struct bytes leader;
    struct bytes reason;
    struct bytes detail;
    struct bytes outcome; /* of a problem */
    bool has_version;
    uint64_t version;
    struct yyjson_val *conflicts; /* an array; NULL: none */
};

/* ERR_INVALID: `body` is no JSON object, so this is not a WeaselDB's; *out is empty and needs no
 * deinit. */
enum err answer_read(struct bytes body, struct answer *out) WARN_UNUSED;
void answer_deinit(struct answer *answer);

/* A number at the top of the object; false: it is not there. */
bool answer_number(const struct answer *answer, const char *name, uint64_t *out);

bool answer_is(struct bytes field, const char *text);

#endif
