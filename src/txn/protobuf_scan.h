/* SPDX-License-Identifier: Apache-2.0 */
/*
 * protobuf_scan: finds and names what is wrong with a Protobuf body before the rules of
 * transactions come into it: what is cut off, unknown, there twice, or of the wrong type.
 *
 * Runs on: whoever owns the request. Never blocks.
 */
#ifndef TXN_PROTOBUF_SCAN_H
#define TXN_PROTOBUF_SCAN_H

#include "txn/builder.h"

/* Scans a CommitRequest, or a CommitBatch. ERR_INVALID: the builder's problem names the first
 * mistake. Leaves the builder where that is. */
enum err protobuf_scan(struct txn_builder *builder, bool is_batch, struct bytes body) WARN_UNUSED;

#endif
