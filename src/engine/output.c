/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing. One send() for a burst of small answers; one sendmsg() of two pieces when a body is too
 * large to be worth a copy.
 *
 * Invariants
 *  1. The poller's output holds bytes of the connection in turn only; the turn ends with a flush.
 *  2. It has OUTPUT_ROOM_BYTES of room whenever a request is taken up (output_has_room()), so an
 *     answer always fits.
 *  3. Nothing is added to it while the connection has pending output.
 */
#include "engine/output.h"

#include "engine/socket.h"

#include <errno.h>

#include <sys/uio.h>

/* A body up to this size is copied behind its head: cheaper than a second piece of a sendmsg(). */
enum { OUTPUT_COPY_BYTES_MAX = 8192 };

/* Sends head and body; *out_sent is how many bytes of both together the socket took. */
static bool send_some(struct conn *conn, struct bytes head, struct bytes body, size_t *out_sent)
{
    ssize_t sent;
    if (body.size == 0) {
        sent = socket_send(conn->fd, head.data, head.size);
    } else {
        struct iovec pieces[2] = {{(void *)(uintptr_t)head.data, head.size},
                                  {(void *)(uintptr_t)body.data, body.size}};
        struct msghdr message = {.msg_iov = pieces, .msg_iovlen = 2};
        sent = sendmsg(conn->fd, &message, MSG_NOSIGNAL);
    }
    if (sent >= 0) {
        *out_sent = (size_t)sent;
        return true;
    }
    *out_sent = 0;
    return errno == EAGAIN || errno == EINTR;
}

void output_wait_for_room(struct poller *poller, struct conn *conn)
{
    conn->blocked_ms = poller->now_ms;
    /* relaxed: a number by itself, pairs with nothing */
    uint32_t write_ms =
        atomic_load_explicit(&poller->core->timeouts.write_ms, memory_order_relaxed);
    deadline_set(&poller->wheel, &conn->deadline, poller->now_ms + write_ms);
}

/* Keeps what was not sent: the head in a chunk, the body where it is. */
static enum output_result keep(struct poller *poller, struct conn *conn, struct bytes head,
                               struct bytes body)
{
    CHECK(!output_is_pending(conn));
    if (head.size > 0) {
        conn->pending = chunk_pool_try_take(&poller->pool, head.size);
        if (conn->pending == NULL) {
            return OUTPUT_BROKEN;
        }
        memcpy(chunk_data(conn->pending), head.data, head.size);
        conn->pending_begin = 0;
        conn->pending_end = (uint32_t)head.size;
    }
    conn->pending_body = body;
    output_wait_for_room(poller, conn);
    return OUTPUT_PENDING;
}

static enum output_result flush_with(struct poller *poller, struct conn *conn, struct bytes body)
{
    struct bytes head = bytes_of(poller->output, poller->output_size);
    poller->output_size = 0;
    if (head.size + body.size == 0) {
        return OUTPUT_DONE;
    }
    size_t sent;
    bool alive = send_some(conn, head, body, &sent);
    poller->sent_bytes += sent;
    poller->turn_bytes += sent;
    if (poller->answered_count >= POLLER_SETTLE) {
        poller_settle(poller);
    }
    if (!alive) {
        return OUTPUT_BROKEN;
    }
    if (sent == head.size + body.size) {
        return OUTPUT_DONE;
    }
    size_t head_sent = sent < head.size ? sent : head.size;
    return keep(poller, conn, bytes_drop(head, head_sent), bytes_drop(body, sent - head_sent));
}

enum output_result output_flush(struct poller *poller, struct conn *conn)
{
    return flush_with(poller, conn, bytes_of(NULL, 0));
}

void output_append(struct poller *poller, struct bytes bytes)
{
    CHECK(bytes.size <= POLLER_OUTPUT_BYTES - poller->output_size);
    memcpy(poller->output + poller->output_size, bytes.data, bytes.size);
    poller->output_size += bytes.size;
}

enum output_result output_answer(struct poller *poller, struct conn *conn,
                                 const struct exchange *exchange)
{
    const struct http_response *response = &exchange->response;
    struct bytes body = response->body;
    if (exchange->request.method == HTTP_HEAD || response->framing == HTTP_FRAMING_NONE) {
        body.size = 0;
    }
    size_t head_max = http_response_head_bytes_max(response, &exchange->request);
    size_t copied = body.size <= OUTPUT_COPY_BYTES_MAX ? body.size : 0;
    CHECK(head_max + copied <= POLLER_OUTPUT_BYTES - poller->output_size);
    char *out = poller->output + poller->output_size;
    size_t size = http_response_write_head(response, &exchange->request, poller->date_line, out);
    CHECK(size <= head_max);
    if (copied > 0) {
        memcpy(out + size, body.data, copied);
        size += copied;
    }
    poller->output_size += size;
    return copied == body.size ? OUTPUT_DONE : flush_with(poller, conn, body);
}

enum output_result output_resume(struct poller *poller, struct conn *conn)
{
    struct bytes head = bytes_of(NULL, 0);
    if (conn->pending != NULL) {
        head = bytes_of(chunk_data(conn->pending) + conn->pending_begin,
                        conn->pending_end - conn->pending_begin);
    }
    size_t sent;
    if (!send_some(conn, head, conn->pending_body, &sent)) {
        return OUTPUT_BROKEN;
    }
    if (sent > 0) {
        poller->sent_bytes += sent;
        output_wait_for_room(poller, conn);
    }
    size_t head_sent = sent < head.size ? sent : head.size;
    conn->pending_begin += (uint32_t)head_sent;
    conn->pending_body = bytes_drop(conn->pending_body, sent - head_sent);
    if (conn->pending != NULL && conn->pending_begin == conn->pending_end) {
        chunk_pool_give(&poller->pool, &conn->pending);
    }
    return output_is_pending(conn) ? OUTPUT_PENDING : OUTPUT_DONE;
}

void output_discard(struct poller *poller, struct conn *conn)
{
    if (conn->pending != NULL) {
        chunk_pool_give(&poller->pool, &conn->pending);
    }
    conn->pending_body = bytes_of(NULL, 0);
}
