/* SPDX-License-Identifier: Apache-2.0 */
/*
 * answers: what a client has received, split into answers in the plainest way and checked for form.
 *
 * Shares no code with the engine's writer. Interim answers (100) are checked and dropped, since
 * whether one is sent depends on what had arrived.
 */
#ifndef FUZZ_ANSWERS_H
#define FUZZ_ANSWERS_H

#include "base/bytes.h"
#include "http/request.h"

enum { ANSWERS_MAX = 512 };

struct answer {
    unsigned status;
    bool closes;         /* the last one, it says */
    struct bytes head;   /* as received, without the line that says so */
    struct bytes target; /* of X-Target; {NULL, 0}: none */
    struct bytes body;   /* de-chunked */
};

struct answers {
    struct answer list[ANSWERS_MAX];
    size_t count;
    bool is_cut; /* what follows the last whole answer is the start of one */
};

/* Splits `received`, in which chunks are put together and lines taken out: it is changed. The i-th
 * answer is to a request of method `method_of(i)`. `ended`: the server has closed, which ends a
 * body that only that can end. Views point into `received`. */
void answers_split(struct answers *out, char *received, size_t size, bool ended,
                   enum http_method (*method_of)(size_t index));

#endif
