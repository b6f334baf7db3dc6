/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams. To HTTP/1.1 clients each piece goes out as one chunk (RFC 9112 section 7.1); its size is
 * written with a fixed number of digits, so that the source can write its bytes where they will be
 * sent from. To HTTP/1.0 clients the body ends with the connection.
 */
#include "engine/stream.h"

#include "engine/output.h"
#include "engine/serve.h"
#include "engine/socket.h"

enum {
    CHUNK_PREFIX_BYTES = 8, /* six digits and a line end */
    CHUNK_SUFFIX_BYTES = 2,
    CHUNK_BYTES = CHUNK_PREFIX_BYTES + CHUNK_SUFFIX_BYTES + 5, /* and the last chunk */
};

void stream_make_due(struct poller *poller, struct conn *conn)
{
    CHECK(conn->state == CONN_STREAM);
    conn_list(&poller->streams_due, conn);
}

/* Tells the source that it is over. */
static void source_close(struct poller *poller, struct active *active)
{
    struct stream_source *source = active->exchange.stream;
    CHECK(source != NULL);
    active->exchange.stream = NULL;
    /* relaxed: a waker may wake once too often; pairs with server_wake_streams() */
    atomic_fetch_sub_explicit(&poller->stream_count, 1, memory_order_relaxed);
    if (source->close != NULL) {
        source->close(source);
    }
}

void stream_abandon(struct poller *poller, struct conn *conn)
{
    if (conn->active != NULL && conn->active->begun && conn->active->exchange.stream != NULL) {
        source_close(poller, conn->active);
    }
}

bool stream_begin(struct poller *poller, struct conn *conn)
{
    struct active *active = conn->active;
    struct exchange *exchange = &active->exchange;
    CHECK(exchange->stream != NULL);
    active->stream_chunked = exchange->request.version_minor == 1;
    active->stream_is_behind = false;
    exchange->response.framing = active->stream_chunked ? HTTP_FRAMING_CHUNKED : HTTP_FRAMING_CLOSE;
    if (!active->stream_chunked) {
        conn->closing = true; /* also for HEAD: its head says so */
    }
    /* acq_rel: pairs with the one in server_wake_streams(). Whichever of the two comes second sees
     * the other: the waker the stream, or the stream's first pull what the waker has published. */
    atomic_fetch_add_explicit(&poller->stream_count, 1, memory_order_acq_rel);
    if (exchange->request.method == HTTP_HEAD) {
        source_close(poller, active);
        return serve_answer(poller, conn);
    }
    conn->state = CONN_STREAM;
    return serve_stream_head(poller, conn) && stream_pump(poller, conn);
}

/* Frames the `size` bytes that stand behind the prefix at the end of the output. */
static void frame(struct poller *poller, const struct active *active, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    char *out = poller->output + poller->output_size;
    if (!active->stream_chunked) {
        poller->output_size += size;
        return;
    }
    if (size == 0) {
        return;
    }
    CHECK(size < (1U << 24));
    for (unsigned i = 0; i < 6; i++) {
        out[i] = digits[(size >> (20 - 4 * i)) & 15];
    }
    memcpy(out + 6, "\r\n", 2);
    memcpy(out + CHUNK_PREFIX_BYTES + size, "\r\n", 2);
    poller->output_size += CHUNK_PREFIX_BYTES + size + CHUNK_SUFFIX_BYTES;
}

/* How much the source may write. What the socket does not take has to be kept, so more than a
 * little only when there is room for it. While stages have requests, they may wait for this core:
 * then it is no more than a little either. Else large pieces cost a third less
 * (docs/decisions/0017). */
static size_t room_for(const struct poller *poller, const struct conn *conn)
{
    size_t least = poller->core->config.stream_buffer_bytes;
    size_t most = POLLER_OUTPUT_BYTES - poller->output_size - CHUNK_BYTES;
    CHECK(least <= most);
    if (!conn->active->stream_is_behind || poller->lent > 0) {
        return least;
    }
    size_t room = socket_room(conn->fd);
    return room < least ? least : room > most ? most : room;
}

/* One pull and the write of what it gave. */
static enum stream_step pull(struct poller *poller, struct conn *conn,
                             enum output_result *out_result)
{
    struct active *active = conn->active;
    struct stream_source *source = active->exchange.stream;
    size_t prefix = active->stream_chunked ? CHUNK_PREFIX_BYTES : 0;
    size_t size = 0;
    uint32_t wait_ms = 0;
    size_t room = room_for(poller, conn);
    enum stream_step step = source->pull(source, poller->output + poller->output_size + prefix,
                                         room, &size, &wait_ms, poller->draining);
    CHECK(size <= room);
    frame(poller, active, size);
    if (step == STREAM_ABORT) {
        *out_result = OUTPUT_BROKEN;
        return step;
    }
    if (step == STREAM_END) {
        source_close(poller, active);
        if (active->stream_chunked) {
            output_append(poller, BYTES("0\r\n\r\n"));
        }
    }
    *out_result = output_flush(poller, conn);
    active->stream_is_behind = step == STREAM_MORE && *out_result == OUTPUT_DONE;
    if (step == STREAM_WAIT && *out_result == OUTPUT_DONE) {
        deadline_set(&poller->wheel, &conn->deadline,
                     wait_ms == 0 ? DEADLINE_NONE : poller->now_ms + wait_ms);
    }
    return step;
}

bool stream_pump(struct poller *poller, struct conn *conn)
{
    enum output_result result;
    enum stream_step step = pull(poller, conn, &result);
    if (result == OUTPUT_BROKEN) {
        poller_close_conn(poller, conn, true);
        return false;
    }
    if (step == STREAM_END) {
        conn->state = CONN_LEAVING;
        if (result == OUTPUT_DONE) {
            serve_left(conn);
        }
        return result == OUTPUT_DONE;
    }
    if (result == OUTPUT_DONE) {
        conn_list(step == STREAM_WAIT ? &poller->streams_waiting : &poller->streams_due, conn);
    }
    return false;
}
