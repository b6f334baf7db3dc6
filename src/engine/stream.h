/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream: responses that are produced piece by piece, at the client's pace.
 *
 * A stream holds no buffer while it waits: its source writes into the poller's output, and only
 * what the socket does not take is kept, until it has left, before the source is asked again.
 *
 * A stream is in the list of those that are due, which take turns; in the list of those that wait
 * for their source; or in none, while it waits for room at its client.
 *
 * Runs on: the home poller, which owns the connection. Never blocks.
 */
#ifndef ENGINE_STREAM_H
#define ENGINE_STREAM_H

#include "engine/poller.h"

/* Starts the stream that the handler has set up. False: the turn is over. */
bool stream_begin(struct poller *poller, struct conn *conn);

/* Asks the source once. False: the turn is over; true: the stream is over and the connection goes
 * on. */
bool stream_pump(struct poller *poller, struct conn *conn);

/* The connection is being closed: tells the source. */
void stream_abandon(struct poller *poller, struct conn *conn);

/* The stream shall have a turn: there is room at the client, or its time has come. */
void stream_make_due(struct poller *poller, struct conn *conn);

#endif
