/* SPDX-License-Identifier: Apache-2.0 */
/*
 * query: the query string of a request against what its path takes.
 *
 * Runs on: network threads. Never blocks.
 */
#ifndef WEASELDB_QUERY_H
#define WEASELDB_QUERY_H

#include "engine/exchange.h"

struct query_parameter {
    const char *name;
    bool given;
    struct bytes value; /* percent-decoded; lives as long as the request */
    /* Of one that may be repeated: where its values go, in order; NULL: it may not. */
    struct bytes *values;
    uint32_t values_max;
    uint32_t value_count;
};

/* Fills in those of `parameters` that were sent. False: the query holds another one, one of them
 * too often, or a bad escape; then the answer (400) is set. */
bool query_read(struct exchange *exchange, struct query_parameter *parameters, size_t count);

/* False: a number was expected and the answer (400) is set. */
bool query_number(struct exchange *exchange, const struct query_parameter *parameter,
                  uint64_t *out);

#endif
