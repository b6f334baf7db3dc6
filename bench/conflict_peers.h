/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conflict_peers: the plain structures that bench/conflict_set.c measures the conflict set against.
 * Both answer the same questions about points and ranges; neither trims or bounds its memory.
 *
 *   skip_list      a key compared by memcmp() at each hop, a quarter of the nodes on each next
 *                  level, the newest version of the span at each link
 *   sorted_array   binary search, memmove() for each new key, ranges key by key
 */
#ifndef BENCH_CONFLICT_PEERS_H
#define BENCH_CONFLICT_PEERS_H

#include "base/bytes.h"

struct skip_list;

struct skip_list *skip_list_open(void);
void skip_list_close(struct skip_list *list);
bool skip_list_point_is_newer(struct skip_list *list, struct bytes key, uint64_t version);
bool skip_list_range_is_newer(struct skip_list *list, struct bytes begin, struct bytes end,
                              uint64_t version);
void skip_list_write_point(struct skip_list *list, struct bytes key, uint64_t version);
void skip_list_write_range(struct skip_list *list, struct bytes begin, struct bytes end,
                           uint64_t version);

struct sorted_array;

struct sorted_array *sorted_array_open(void);
void sorted_array_close(struct sorted_array *array);
bool sorted_array_point_is_newer(struct sorted_array *array, struct bytes key, uint64_t version);
bool sorted_array_range_is_newer(struct sorted_array *array, struct bytes begin, struct bytes end,
                                 uint64_t version);
void sorted_array_write_point(struct sorted_array *array, struct bytes key, uint64_t version);
void sorted_array_write_range(struct sorted_array *array, struct bytes begin, struct bytes end,
                              uint64_t version);

/* The keys come in order and are behind all others: no memmove(). To fill it in time. */
void sorted_array_append(struct sorted_array *array, struct bytes key, uint64_t version);

#endif
