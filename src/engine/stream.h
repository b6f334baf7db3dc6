/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream: responses that are produced piece by piece, at the client's pace.
 *
 * A stream holds no buffer while it waits: its source writes into the poller's output, and only
 * what the socket does not take is kept, until it has left, before the source is asked again.
 *
 * Runs on: the home poller, which owns the connection. Never blocks.
 */
#ifndef ENGINE_STREAM_H
#define ENGINE_STREAM_H

#include "engine/poller.h"

/* Starts the stream that the handler has set up. False: the turn is over. */
bool stream_begin(struct poller *poller, struct conn *conn);

/* Asks the source until it has nothing, the client takes no more, or it had its share. False: the
 * turn is over; true: the stream is over and the connection goes on. */
bool stream_pump(struct poller *poller, struct conn *conn);

/* The connection is being closed: tells the source. */
void stream_abandon(struct poller *poller, struct conn *conn);

#endif
