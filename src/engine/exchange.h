/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exchange: one request and its answer, as handlers and pipeline stages see it.
 *
 * Owned by whoever owns the connection: the network thread, or the pipeline stage it was given to.
 * It and all memory from its arena live until the response has been written. A handler that has
 * dispatched an exchange, or a stage whose batch callback has returned, must not touch it again.
 */
#ifndef ENGINE_EXCHANGE_H
#define ENGINE_EXCHANGE_H

#include "base/arena.h"
#include "http/problem.h"
#include "http/request.h"
#include "http/response.h"
#include "http/router.h"

struct exchange;
struct stream_source;

enum handler_verdict {
    HANDLER_ANSWERED, /* exchange->response holds the answer */
    HANDLER_DISPATCH, /* goes to the route's pipeline; the answer is the stages' work */
    HANDLER_STREAM,   /* exchange_stream() was called: the response is a stream */
};

/* Runs on a network thread, must not block, and is given a complete request (body included). */
typedef enum handler_verdict handler_fn(struct exchange *exchange, void *context);

/* A route of the engine: what the router needs, and what to do. Static, or alive as long as the
 * server. */
struct engine_route {
    struct http_route match; /* first member: engine_route_of() */
    handler_fn *handle;
    void *context;        /* passed to `handle` */
    const char *pipeline; /* name of the pipeline that HANDLER_DISPATCH goes to; NULL: none */
    const void *service;  /* for the stages: tells the services of a shared pipeline apart */
    const char *refusal_outcome; /* `outcome` of every error answer of the engine; NULL: none */
    unsigned index;              /* set by the server: number of the route, for metrics */
    struct pipeline *target;     /* set by the server: the pipeline called `pipeline` */
};

static inline const struct engine_route *engine_route_of(const struct http_route *match)
{
    /* `match` is the first member. */
    return (const struct engine_route *)(const void *)match;
}

struct exchange {
    struct http_request request;
    struct http_response response;
    struct arena *arena; /* of the connection; only the owner may allocate */
    const struct engine_route *route;
    void *state;                  /* the service's own, from handler to stages; NULL at first */
    uint64_t started_ns;          /* monotonic: when the request was complete */
    struct stream_source *stream; /* set by exchange_stream() */
    bool draining;                /* the server is shutting down */
};

/* Sets a response with a body that is static or lives in the exchange's arena. */
void exchange_answer(struct exchange *exchange, unsigned status, struct bytes content_type,
                     struct bytes body);

/* Sets an error answer (application/problem+json). Never fails: when the arena is refused, the
 * answer is a static one with the same outcome, 500 when that is "unknown", else 503. */
void exchange_answer_problem(struct exchange *exchange, const struct http_problem *problem);

/* Sets the answer of a request for which the arena was refused, before anything has happened: 503.
 * Needs no memory. */
void exchange_answer_no_memory(struct exchange *exchange);

/* Adds a header line to the response. `name` and `value` must be valid (CHECKed: no CR, LF, NUL).
 * False: the arena was refused, nothing was added. */
bool exchange_add_header(struct exchange *exchange, struct bytes name, struct bytes value);

/*
 * Streams: a response whose body is produced piece by piece at the client's pace.
 *
 * The home network thread calls `pull` when the client can take bytes and after each wake-up
 * (server_wake_streams(), from any thread), never concurrently, and `close` exactly once at the
 * end, whoever ended it. Both must not block.
 */
enum stream_step {
    STREAM_MORE,  /* *size bytes were written to `out`; call again when they have left */
    STREAM_WAIT,  /* (also with bytes) nothing more now; call after the next wake-up, or after
                     wait_ms */
    STREAM_END,   /* (also with bytes) the stream is complete: end the body cleanly */
    STREAM_ABORT, /* it cannot go on: the connection is cut, so that the client sees that the body
                     is not whole */
};

struct stream_source {
    /* Writes up to `room` bytes (at least STREAM_ROOM_BYTES_MIN) and sets *size. With STREAM_WAIT,
     * *wait_ms (0: no time limit) is the longest to wait for a wake-up. `draining`: the server
     * shuts down; say goodbye and return STREAM_END soon. */
    enum stream_step (*pull)(struct stream_source *source, char *out, size_t room, size_t *size,
                             uint32_t *wait_ms, bool draining);
    void (*close)(struct stream_source *source);
};

enum { STREAM_ROOM_BYTES_MIN = 4096 };

/* Makes the response a stream: `status` and headers as in exchange->response, framing by the
 * engine. `source` must live until its `close` is called (the exchange's arena does). */
void exchange_stream(struct exchange *exchange, unsigned status, struct bytes content_type,
                     struct stream_source *source);

#endif
