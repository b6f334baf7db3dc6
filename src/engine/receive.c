/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading. A read that returns less than there was room for has emptied the socket: epoll reports
 * what comes later, so no second call is spent to hear "nothing" (epoll(7), question 9).
 *
 * The input chunk:   | answered | head of the request in progress | fed | not fed |  room  |
 *                               ^ input_head                            ^ fed     ^ end
 * Views of the request point into it, so what has to move is followed by http_parser_rebase().
 */
#include "engine/receive.h"

#include "engine/socket.h"

#include <errno.h>

enum {
    INPUT_BYTES = CHUNK_BYTES_MIN - (int)sizeof(struct chunk),
    INPUT_ROOM_MIN = 1024, /* a read with less room than that is not worth its system call */
    BODY_BYTES_MIN = 8192, /* first size of a body that grows */
};

static enum receive_result receive_into(struct poller *poller, struct conn *conn, char *out,
                                        size_t room, size_t *out_size)
{
    CHECK(room > 0);
    ssize_t got = socket_receive(conn->fd, out, room);
    if (got > 0) {
        conn->readable = (size_t)got == room || conn->half_closed;
        *out_size = (size_t)got;
        poller->received_bytes += (uint64_t)got;
        poller->turn_received += (size_t)got;
        return RECEIVE_SOME;
    }
    conn->readable = false;
    if (got == 0) {
        conn->at_end = true;
        return RECEIVE_END;
    }
    return errno == EAGAIN || errno == EINTR ? RECEIVE_WAIT : RECEIVE_BROKEN;
}

/* Moves what is still needed to `to`, where it starts at offset 0. */
static void input_move(struct conn *conn, char *to)
{
    char *from = chunk_data(conn->input) + conn->input_head;
    memmove(to, from, conn->input_end - conn->input_head);
    /* Between two requests there are no views: the arena has taken the last one's back. */
    if (conn->active != NULL && conn->active->begun) {
        http_parser_rebase(&conn->active->parser, from, to);
    }
    conn->input_fed -= conn->input_head;
    conn->input_end -= conn->input_head;
    conn->input_head = 0;
}

/* At least INPUT_ROOM_MIN bytes of room behind the input. False: the budget refused. */
static bool input_make_room(struct poller *poller, struct conn *conn)
{
    if (conn->input == NULL) {
        conn->input = chunk_pool_try_take(&poller->pool, INPUT_BYTES);
        conn->input_head = conn->input_fed = conn->input_end = 0;
        return conn->input != NULL;
    }
    uint32_t capacity = conn->input->capacity - REQUEST_BODY_SLACK;
    if (capacity - conn->input_end >= INPUT_ROOM_MIN) {
        return true;
    }
    uint32_t used = conn->input_end - conn->input_head;
    if (capacity - used >= INPUT_ROOM_MIN) {
        input_move(conn, chunk_data(conn->input));
        return true;
    }
    struct chunk *larger = chunk_pool_try_take(&poller->pool, (size_t)conn->input->capacity * 2);
    if (larger == NULL) {
        return false;
    }
    input_move(conn, chunk_data(larger));
    chunk_pool_give(&poller->pool, &conn->input);
    conn->input = larger;
    return true;
}

enum receive_result receive_input(struct poller *poller, struct conn *conn)
{
    if (!input_make_room(poller, conn)) {
        return RECEIVE_NO_MEMORY;
    }
    size_t room = conn->input->capacity - REQUEST_BODY_SLACK - conn->input_end;
    size_t size;
    enum receive_result result =
        receive_into(poller, conn, chunk_data(conn->input) + conn->input_end, room, &size);
    if (result == RECEIVE_SOME) {
        conn->input_end += (uint32_t)size;
    }
    return result;
}

bool receive_try_reserve_body(struct poller *poller, struct active *active, size_t size)
{
    CHECK(active->body == NULL);
    if (memory_budget_is_easy(&poller->core->budget, size)) {
        active->body = arena_try_alloc(active->exchange.arena, size + REQUEST_BODY_SLACK);
    }
    active->body_capacity = active->body == NULL ? 0 : size;
    active->body_size = 0;
    return active->body != NULL;
}

enum receive_result receive_body(struct poller *poller, struct conn *conn)
{
    struct active *active = conn->active;
    size_t size;
    enum receive_result result = receive_into(poller, conn, active->body + active->body_size,
                                              active->body_capacity - active->body_size, &size);
    if (result == RECEIVE_SOME) {
        size_t consumed;
        char *piece = active->body + active->body_size;
        /* The sink sees the piece where it belongs already and only counts it. */
        active->body_event = http_parser_feed(&active->parser, piece, size, &consumed);
        CHECK(consumed == size);
    }
    return result;
}

static bool gather_grow(struct active *active, size_t needed)
{
    size_t capacity = active->body_capacity * 2;
    if (capacity < needed) {
        capacity = needed < BODY_BYTES_MIN ? BODY_BYTES_MIN : needed;
    }
    const struct http_request *request = &active->exchange.request;
    if (request->has_content_length && capacity > request->content_length) {
        capacity = (size_t)request->content_length;
    }
    char *larger = arena_try_alloc(active->exchange.arena, capacity + REQUEST_BODY_SLACK);
    if (larger == NULL) {
        return false;
    }
    if (active->body_size > 0) {
        CHECK(active->body != NULL);
        memcpy(larger, active->body, active->body_size);
    }
    active->body = larger;
    active->body_capacity = capacity;
    return true;
}

bool receive_gather(void *context, struct bytes piece, struct http_problem *problem)
{
    struct active *active = context;
    const struct http_route *route = &active->exchange.route->match;
    size_t size = active->body_size + piece.size;
    if (size > route->body_bytes_max) {
        *problem = (struct http_problem){.status = 413,
                                         .type = "body-too-large",
                                         .detail = "The body is larger than this path takes.",
                                         .limit_key = route->body_limit_key,
                                         .limit = route->body_bytes_max};
        return false;
    }
    if (active->body == NULL && !active->exchange.request.chunked &&
        piece.size == active->exchange.request.content_length) {
        /* The whole body lies in the input: it stays there. */
        active->body = (char *)(uintptr_t)piece.data;
        active->body_capacity = piece.size;
    } else if (size > active->body_capacity && !gather_grow(active, size)) {
        *problem = (struct http_problem){.status = 503,
                                         .type = "memory",
                                         .detail = "The server has no memory left for this body; "
                                                   "try again later."};
        return false;
    }
    CHECK(active->body != NULL);
    if (piece.data != active->body + active->body_size) {
        memcpy(active->body + active->body_size, piece.data, piece.size);
    }
    active->body_size = size;
    return true;
}

enum receive_result receive_discard(struct poller *poller, struct conn *conn, size_t *out_size)
{
    CHECK(poller->output_size == 0);
    return receive_into(poller, conn, poller->output, POLLER_OUTPUT_BYTES, out_size);
}

void receive_release(struct poller *poller, struct conn *conn)
{
    if (conn->input != NULL) {
        chunk_pool_give(&poller->pool, &conn->input);
    }
    conn->input_head = conn->input_fed = conn->input_end = 0;
}
