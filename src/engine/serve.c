/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state machine. A turn runs until the connection can do no more; its answers gather in the
 * poller's output and leave together when the turn ends (suspend()).
 *
 * Invariants
 *  1. At most one request of a connection is in progress, so answers keep the order of requests.
 *  2. A turn ends in exactly one way: suspended with its deadline set, lent, ready-listed or
 * closed.
 *  3. After an answer with closing set nothing more is parsed.
 *  4. An error that leaves the end of the message in doubt, or a refusal before the body, closes;
 *     the client is let finish sending first (CONN_LINGER), so that it reads the answer.
 */
#include "engine/serve.h"

#include "engine/answer.h"
#include "engine/output.h"
#include "engine/pipeline_internal.h"
#include "engine/receive.h"
#include "engine/stream.h"

#include <sys/socket.h>

/* Reads and parses of one turn; a slow flood of tiny pieces must not keep the others waiting. */
enum {
    SERVE_STEPS_MAX = 4 * POLLER_BURST_MAX,
    SERVE_TURN_BYTES = 65536,         /* of answers that left in it */
    SERVE_TURN_RECEIVED = 16 * 65536, /* that came in it */
};

static uint32_t timeout_ms(_Atomic uint32_t *timeout)
{
    /* relaxed: a number by itself, pairs with nothing */
    return atomic_load_explicit(timeout, memory_order_relaxed);
}

/* Sets up for the next request. False: no memory. */
static bool begin_request(struct poller *poller, struct conn *conn)
{
    struct active *active = conn->active;
    if (active == NULL) {
        active = arena_try_alloc(&conn->arena, sizeof *active);
        if (active == NULL) {
            return false;
        }
        conn->active = active;
        active->conn = conn;
        active->after = arena_mark(&conn->arena);
    }
    active->exchange.response = (struct http_response){0};
    active->exchange.arena = &conn->arena;
    active->exchange.route = NULL;
    active->exchange.state = NULL;
    active->exchange.stream = NULL;
    active->body = NULL;
    active->body_size = 0;
    active->body_capacity = 0;
    active->head_size = 0;
    active->routed = false;
    active->begun = true;
    active->begun_ms = poller->now_ms;
    http_parser_begin(&active->parser, &poller->core->parser_limits, &active->exchange.request,
                      &conn->arena, (struct http_body_sink){receive_gather, active});
    return true;
}

/* The request in progress is over and its answer needs the arena no more. */
static void end_request(struct conn *conn)
{
    arena_rewind(&conn->arena, conn->active->after);
    conn->active->begun = false;
    conn->input_head = conn->input_fed;
    conn->state = CONN_IDLE;
    conn->served = true;
}

static void release_buffers(struct poller *poller, struct conn *conn)
{
    conn->active = NULL;
    arena_reset(&conn->arena);
    receive_release(poller, conn);
}

/* Reads what the client still sends, so that closing does not reset the connection under the answer
 * (RFC 9112 section 9.6). */
static void linger(struct poller *poller, struct conn *conn)
{
    for (unsigned i = 0; i < POLLER_BURST_MAX && conn->readable; i++) {
        size_t size = 0;
        enum receive_result result = receive_discard(poller, conn, &size);
        if (result == RECEIVE_END || result == RECEIVE_BROKEN) {
            poller_close_conn(poller, conn, false);
            return;
        }
        conn->lingered_bytes += size;
        if (conn->lingered_bytes > ENGINE_LINGER_BYTES_MAX) {
            poller_close_conn(poller, conn, true);
            return;
        }
    }
    if (conn->readable) {
        poller_make_ready(poller, conn);
    }
}

/* The last answer has left. */
static void finish(struct poller *poller, struct conn *conn)
{
    bool may_send = conn->unread || conn->readable || conn->input_fed < conn->input_end;
    if (conn->at_end || !may_send) {
        poller_close_conn(poller, conn, false);
        return;
    }
    release_buffers(poller, conn);
    conn->state = CONN_LINGER;
    conn->readable = true;
    conn->lingered_bytes = 0;
    deadline_set(&poller->wheel, &conn->deadline, poller->now_ms + ENGINE_LINGER_MS);
    if (shutdown(conn->fd, SHUT_WR) != 0) {
        poller_close_conn(poller, conn, false);
        return;
    }
    linger(poller, conn);
}

/* Longest time for the whole request; a body earns more by arriving. */
static uint64_t request_deadline(struct poller *poller, const struct conn *conn)
{
    struct engine_timeouts *timeouts = &poller->core->timeouts;
    uint64_t at_ms = conn->active->begun_ms + timeout_ms(&timeouts->request_ms);
    /* relaxed: a number by itself, pairs with nothing */
    uint64_t rate = atomic_load_explicit(&timeouts->body_bytes_per_sec_min, memory_order_relaxed);
    if (conn->state == CONN_BODY && rate > 0) {
        at_ms += conn->active->body_size * 1000 / rate;
    }
    return at_ms;
}

/* Sends the gathered answers. False: the turn is over, since some wait for room or the connection
 * is closed. */
static bool flush(struct poller *poller, struct conn *conn)
{
    switch (output_flush(poller, conn)) {
    case OUTPUT_DONE:
        return true;
    case OUTPUT_PENDING:
        return false;
    case OUTPUT_BROKEN:
        poller_close_conn(poller, conn, true);
        return false;
    }
    UNREACHABLE();
}

/* How long to wait for the first byte of a request. */
static uint32_t idle_ms(struct poller *poller, const struct conn *conn)
{
    struct engine_timeouts *timeouts = &poller->core->timeouts;
    if (poller->draining) {
        return ENGINE_DRAIN_IDLE_MS;
    }
    return timeout_ms(conn->served ? &timeouts->keepalive_ms : &timeouts->request_ms);
}

/* The time by which what the state waits for must have come. */
static void set_deadline(struct poller *poller, struct conn *conn)
{
    uint64_t at_ms = conn->state == CONN_IDLE ? poller->now_ms + idle_ms(poller, conn)
                                              : request_deadline(poller, conn);
    deadline_set(&poller->wheel, &conn->deadline, at_ms);
}

/* Ends the turn: sends the gathered answers, then waits for what the state waits for. */
static void suspend(struct poller *poller, struct conn *conn)
{
    conn->had_share = false;
    if (!flush(poller, conn)) {
        return;
    }
    if (conn->closing) {
        finish(poller, conn);
        return;
    }
    if (conn->state == CONN_IDLE) {
        release_buffers(poller, conn);
    }
    set_deadline(poller, conn);
}

/* Counts the answer and gives it, or the head of it. */
static enum output_result give(struct poller *poller, struct conn *conn)
{
    struct exchange *exchange = &conn->active->exchange;
    if (!exchange->request.keep_alive || poller->draining || conn->closing) {
        exchange->response.close = true;
    }
    conn->closing = exchange->response.close;
    answer_count(poller, exchange);
    enum output_result result = output_answer(poller, conn, exchange);
    if (result == OUTPUT_BROKEN) {
        poller_close_conn(poller, conn, true);
    }
    return result;
}

bool serve_answer(struct poller *poller, struct conn *conn)
{
    switch (give(poller, conn)) {
    case OUTPUT_DONE:
        end_request(conn);
        return true;
    case OUTPUT_PENDING:
        conn->state = CONN_LEAVING;
        return false;
    case OUTPUT_BROKEN:
        return false;
    }
    UNREACHABLE();
}

bool serve_stream_head(struct poller *poller, struct conn *conn)
{
    return give(poller, conn) == OUTPUT_DONE;
}

void serve_left(struct conn *conn)
{
    end_request(conn);
}

/* Refuses the request; `unread`: the client may still be sending it, so the connection must close.
 */
static bool refuse(struct poller *poller, struct conn *conn, const struct http_problem *problem,
                   bool unread)
{
    if (unread) {
        conn->closing = true;
        conn->unread = true;
    }
    exchange_answer_problem(&conn->active->exchange, problem);
    return serve_answer(poller, conn);
}

/* The parser gave up, or the time did: of the request, only its first line may be known. */
static bool refuse_broken(struct poller *poller, struct conn *conn,
                          const struct http_problem *problem)
{
    answer_forget_request(conn->active);
    return refuse(poller, conn, problem, true);
}

static bool refuse_no_memory(struct poller *poller, struct conn *conn)
{
    metrics_add(poller->cells, poller->core->instruments.memory_refused, 1);
    if (conn->active != NULL && conn->active->begun) {
        return refuse_broken(poller, conn, &ANSWER_NO_MEMORY);
    }
    /* Not even a buffer to read into: the answer is given unseen. */
    conn->closing = true;
    conn->unread = true;
    answer_canned_no_memory(poller);
    return true;
}

/* Gives the complete request to its pipeline. */
static bool dispatch(struct poller *poller, struct conn *conn)
{
    conn->state = CONN_DISPATCH;
    if (!flush(poller, conn)) {
        return false;
    }
    struct exchange *exchange = &conn->active->exchange;
    struct pipeline *pipeline = exchange->route->target;
    CHECK(pipeline != NULL);
    uint64_t sequence;
    if (!pipeline_try_claim(pipeline, &sequence)) {
        metrics_add(poller->cells, poller->core->instruments.ring_full[pipeline_index(pipeline)],
                    1);
        return refuse(poller, conn, &ANSWER_RING_FULL, false);
    }
    conn->state = CONN_AWAY;
    deadline_set(&poller->wheel, &conn->deadline, DEADLINE_NONE);
    poller->pipelines_touched |= UINT32_C(1) << pipeline_index(pipeline);
    poller->lent++;
    conn_lend(conn);
    pipeline_publish(pipeline, sequence, exchange);
    return false;
}

/* The request is complete: lets its handler answer. */
static bool handle(struct poller *poller, struct conn *conn)
{
    struct active *active = conn->active;
    struct exchange *exchange = &active->exchange;
    exchange->request.body = bytes_of(active->body, active->body_size);
    exchange->started_ns = poller->now_ns;
    exchange->draining = poller->draining;
    switch (exchange->route->handle(exchange, exchange->route->context)) {
    case HANDLER_ANSWERED:
        CHECK(exchange->response.status != 0);
        return serve_answer(poller, conn);
    case HANDLER_DISPATCH:
        return dispatch(poller, conn);
    case HANDLER_STREAM:
        return stream_begin(poller, conn);
    }
    UNREACHABLE();
}

/* Finds the route, and what can be said before the body comes. True: go on; false: it was refused,
 * and *out_go_on says whether the turn goes on. */
static bool route(struct poller *poller, struct conn *conn, bool has_body, bool *out_go_on)
{
    struct active *active = conn->active;
    struct http_problem problem;
    active->routed = true;
    active->exchange.started_ns = poller->now_ns;
    switch (answer_route(poller->core, &active->exchange, has_body, &problem)) {
    case ANSWER_NONE:
        return true;
    case ANSWER_PROBLEM:
        *out_go_on = refuse(poller, conn, &problem, has_body);
        return false;
    case ANSWER_GIVEN:
        conn->closing = conn->closing || has_body;
        conn->unread = has_body;
        *out_go_on = serve_answer(poller, conn);
        return false;
    }
    UNREACHABLE();
}

/* Request line and headers are complete and a body follows. */
static bool head_complete(struct poller *poller, struct conn *conn)
{
    struct active *active = conn->active;
    const struct http_request *request = &active->exchange.request;
    bool go_on;
    active->head_size = conn->input_fed - conn->input_head;
    if (!route(poller, conn, true, &go_on)) {
        return go_on;
    }
    conn->state = CONN_BODY;
    size_t arrived = conn->input_end - conn->input_fed;
    bool waits = request->expects_continue && arrived == 0;
    if (request->has_content_length && request->content_length > arrived &&
        !receive_try_reserve_body(poller, active, (size_t)request->content_length) && waits) {
        /* A client that asks first need not send what may not fit. */
        metrics_add(poller->cells, poller->core->instruments.memory_refused, 1);
        return refuse(poller, conn, &ANSWER_NO_MEMORY, true);
    }
    if (waits) {
        output_append(poller, BYTES("HTTP/1.1 100 Continue\r\n\r\n"));
    }
    return true;
}

/* What the parser has found. False: the turn is over. */
static bool parsed(struct poller *poller, struct conn *conn, enum http_parser_event event)
{
    bool go_on;
    switch (event) {
    case PARSER_MORE:
        if (conn->state == CONN_BODY && conn->input_fed == conn->input_end) {
            /* The framing of a chunked body is done with: its place is read into again. */
            conn->input_fed = conn->input_end = conn->input_head + conn->active->head_size;
        }
        return true;
    case PARSER_HEAD:
        return head_complete(poller, conn);
    case PARSER_DONE:
        if (!conn->active->routed && !route(poller, conn, false, &go_on)) {
            return go_on;
        }
        return handle(poller, conn);
    case PARSER_FAILED:
        if (conn->active->parser.problem.status == 503) {
            metrics_add(poller->cells, poller->core->instruments.memory_refused, 1);
        }
        return refuse_broken(poller, conn, &conn->active->parser.problem);
    }
    UNREACHABLE();
}

/* Parses what was received. */
static bool parse(struct poller *poller, struct conn *conn)
{
    if ((conn->active == NULL || !conn->active->begun)) {
        if (!begin_request(poller, conn)) {
            return refuse_no_memory(poller, conn);
        }
        conn->state = CONN_HEAD;
    }
    size_t consumed;
    enum http_parser_event event =
        http_parser_feed(&conn->active->parser, chunk_data(conn->input) + conn->input_fed,
                         conn->input_end - conn->input_fed, &consumed);
    conn->input_fed += (uint32_t)consumed;
    return parsed(poller, conn, event);
}

/* The client has shut down its side. */
static bool input_ended(struct poller *poller, struct conn *conn)
{
    if (conn->state == CONN_IDLE || !http_parser_started(&conn->active->parser)) {
        conn->closing = true;
        conn->state = CONN_IDLE;
        return true;
    }
    return refuse_broken(poller, conn, &ANSWER_CUT_SHORT);
}

/* Gets more bytes. False: the turn is over, and if need be suspended. */
static bool receive(struct poller *poller, struct conn *conn)
{
    if (conn->at_end) {
        return input_ended(poller, conn);
    }
    if (!conn->readable) {
        suspend(poller, conn);
        return false;
    }
    bool direct = conn->state == CONN_BODY && receive_is_direct(conn->active);
    switch (direct ? receive_body(poller, conn) : receive_input(poller, conn)) {
    case RECEIVE_SOME:
        return direct ? parsed(poller, conn, conn->active->body_event) : true;
    case RECEIVE_WAIT:
        return true;
    case RECEIVE_END:
        return input_ended(poller, conn);
    case RECEIVE_BROKEN:
        poller_close_conn(poller, conn, true);
        return false;
    case RECEIVE_NO_MEMORY:
        return refuse_no_memory(poller, conn);
    }
    UNREACHABLE();
}

/* Sends what was kept of earlier answers, and ends the request whose answer that was. False: the
 * turn is over. */
static bool resume_output(struct poller *poller, struct conn *conn)
{
    enum output_result result = output_resume(poller, conn);
    if (result == OUTPUT_BROKEN) {
        poller_close_conn(poller, conn, true);
        return false;
    }
    if (result == OUTPUT_PENDING) {
        return false;
    }
    if (conn->state == CONN_LEAVING) {
        end_request(conn);
    }
    return true;
}

/* Whether there is more to do for it at once. */
static bool would_go_on(const struct conn *conn)
{
    return conn->input_fed < conn->input_end || conn->readable;
}

/* Whether the connection has had its share and would go on, or the answers so far must leave. */
static bool turn_is_up(const struct poller *poller, const struct conn *conn, unsigned steps)
{
    bool has_had_share = steps >= SERVE_STEPS_MAX || !output_has_room(poller) ||
                         poller->answered_count == POLLER_BURST_MAX ||
                         poller->turn_bytes >= SERVE_TURN_BYTES ||
                         poller->turn_received >= SERVE_TURN_RECEIVED;
    return conn->closing || (has_had_share && would_go_on(conn));
}

static void turn_end(struct poller *poller, struct conn *conn)
{
    if (conn->closing) {
        suspend(poller, conn);
        return;
    }
    conn->had_share = true;
    if (flush(poller, conn)) {
        /* One that is never out of work is never suspended: without this it would be taken for idle
         * since it last was. */
        set_deadline(poller, conn);
        poller_make_ready(poller, conn);
    }
}

static void turn_go_on(struct poller *poller, struct conn *conn)
{
    bool go_on = true;
    poller->turn_bytes = 0;
    poller->turn_received = 0;
    for (unsigned steps = 0; go_on; steps++) {
        switch (conn->state) {
        case CONN_IDLE:
        case CONN_HEAD:
        case CONN_BODY:
            if (turn_is_up(poller, conn, steps)) {
                turn_end(poller, conn);
                return;
            }
            go_on = conn->input_fed < conn->input_end ? parse(poller, conn) : receive(poller, conn);
            break;
        case CONN_DISPATCH:
            go_on = dispatch(poller, conn);
            break;
        case CONN_STREAM:
            go_on = stream_pump(poller, conn);
            break;
        case CONN_LINGER:
            linger(poller, conn);
            return;
        case CONN_AWAY:
        case CONN_LEAVING:
            UNREACHABLE();
        }
    }
}

void serve_turn(struct poller *poller, struct conn *conn)
{
    CHECK(poller->output_size == 0);
    CHECK(conn->state != CONN_AWAY);
    conn_unlist(conn); /* its turn has come, whoever gives it */
    if (!output_is_pending(conn) || resume_output(poller, conn)) {
        turn_go_on(poller, conn);
    }
}

void serve_returned(struct poller *poller, struct conn *conn)
{
    CHECK(poller->output_size == 0);
    CHECK(conn->state == CONN_AWAY);
    conn_resume(conn);
    CHECK(poller->lent > 0);
    poller->lent--;
    arena_adopt(&conn->arena, &poller->pool);
    if (conn->active->exchange.response.status == 0) {
        exchange_answer_problem(&conn->active->exchange, &ANSWER_NOTHING);
    }
    if (!serve_answer(poller, conn)) {
        return;
    }
    if (would_go_on(conn)) {
        turn_end(poller, conn); /* or each return would be worth a turn, with many requests in it */
    } else {
        turn_go_on(poller, conn);
    }
}

void serve_deadline(struct poller *poller, struct conn *conn)
{
    const struct engine_instruments *instruments = &poller->core->instruments;
    if (output_is_pending(conn)) {
        metrics_add(poller->cells, instruments->write_timeouts, 1);
        poller_close_conn(poller, conn, true);
        return;
    }
    switch (conn->state) {
    case CONN_HEAD:
    case CONN_BODY:
        if (http_parser_started(&conn->active->parser)) {
            metrics_add(poller->cells, instruments->request_timeouts, 1);
            if (refuse_broken(poller, conn, &ANSWER_TIMEOUT)) {
                turn_go_on(poller, conn);
            }
            return;
        }
        poller_close_conn(poller, conn, false);
        return;
    case CONN_IDLE:
        metrics_add(poller->cells, instruments->idle_timeouts, 1);
        poller_close_conn(poller, conn, false);
        return;
    case CONN_LINGER:
        poller_close_conn(poller, conn, true);
        return;
    case CONN_STREAM:
        stream_make_due(poller, conn);
        return;
    case CONN_AWAY:
    case CONN_DISPATCH:
    case CONN_LEAVING:
        return;
    }
}

bool serve_is_slow(const struct poller *poller, const struct conn *conn)
{
    if (output_is_pending(conn)) {
        return poller->now_ms >= conn->blocked_ms + SERVE_SLOW_READER_MS;
    }
    if (conn->state != CONN_HEAD && conn->state != CONN_BODY) {
        return false;
    }
    uint64_t elapsed_ms = poller->now_ms - conn->active->begun_ms;
    uint64_t come_bytes = conn->active->body_size + (conn->input_end - conn->input_head);
    return elapsed_ms >= SERVE_SLOW_REQUEST_MS &&
           come_bytes * 1000 < elapsed_ms * SERVE_SLOW_BYTES_PER_SEC;
}

void serve_shed(struct poller *poller, struct conn *conn)
{
    CHECK(poller->output_size == 0);
    CHECK(serve_is_slow(poller, conn));
    metrics_add(poller->cells, poller->core->instruments.memory_refused, 1);
    if (output_is_pending(conn)) {
        poller_close_conn(poller, conn, true);
    } else if (refuse_broken(poller, conn, &ANSWER_NO_MEMORY)) {
        turn_go_on(poller, conn);
    }
}

void serve_drain(struct poller *poller, struct conn *conn)
{
    if (output_is_pending(conn) || conn->state == CONN_AWAY) {
        return;
    }
    if (conn->state == CONN_IDLE) {
        /* A request that is on its way is still answered, with `Connection: close`: closing now
         * could reset a client that has just sent one. */
        conn->readable = true;
    }
    serve_turn(poller, conn);
}
