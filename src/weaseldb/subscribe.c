/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A subscriber is a position in the log, and at most a reference to one shared block: it is asked
 * when its client takes bytes and when the durable version has moved, and whether it catches up or
 * follows live, the same lines of fill() give it what comes next.
 *
 * Events other than transactions are written between transactions only: progress when its time has
 * come and once at the end of the log, the end of the stream when the server shuts down.
 */
#include "weaseldb/subscribe.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/logger.h"
#include "txn/base64.h"
#include "weaseldb/query.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

enum {
    PULL_BYTES_MAX = 1 << 20, /* of the log, loaded before others have their turn */
    RETRY_MS_MIN = 1000,      /* how long clients wait before they come back after a drain */
    RETRY_MS_SPREAD = 4000,
    DETAIL_BYTES = 320,
};

struct subscriber {
    struct stream_source source; /* first member */
    struct feed *feed;
    struct feed_slot *slot;
    struct feed_encoder encoder;
    struct feed_block *block; /* being sent; NULL: none */
    uint32_t block_sent;
    bool has_reached_end;
    uint64_t progress_due_ms;
    enum feed_ending ending;
};

/* What a pull writes to. */
struct sink {
    char *out;
    size_t room;
    size_t size;
};

/* ---- the stream ---- */

static uint64_t retry_ms(const struct subscriber *subscriber)
{
    /* Any spread will do, as long as subscribers differ. */
    uint64_t mixed = clock_monotonic_ns() ^ (uint64_t)(uintptr_t)subscriber;
    mixed = (mixed ^ mixed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    return RETRY_MS_MIN + (mixed >> 33) % RETRY_MS_SPREAD;
}

static bool is_between_events(const struct subscriber *subscriber)
{
    return subscriber->block == NULL &&
           feed_position_is_between_events(&subscriber->encoder.position);
}

static void put_progress(struct subscriber *subscriber, uint64_t now_ms, struct sink *sink)
{
    struct feed_position *position = &subscriber->encoder.position;
    sink->size +=
        feed_put_progress(subscriber->encoder.format, position->version, sink->out + sink->size);
    position->told = position->version;
    subscriber->progress_due_ms = now_ms + subscriber->feed->config.progress_interval_ms;
}

static void put_end(const struct subscriber *subscriber, const struct feed_end *end,
                    struct sink *sink)
{
    sink->size += feed_put_end(subscriber->encoder.format, end, sink->out + sink->size);
}

/* Whether others are likely to need the same bytes. */
static bool wants_block(const struct subscriber *subscriber)
{
    const struct feed_position *position = &subscriber->encoder.position;
    uint64_t version = position->cursor.place.version;
    return subscriber->encoder.filter.count == 0 && !position->is_partial &&
           position->phase != FEED_IN_CHECK && /* that it has to end by itself */
           (position->phase != FEED_AT_BATCH || version == position->version + 1) &&
           (feed_is_near(subscriber->feed, version) ||
            feed_blocks_reach(subscriber->feed->blocks, position->cursor.place.batch));
}

/* Sends what there is room for of the block. */
static enum feed_step send_block(struct subscriber *subscriber, struct sink *sink)
{
    struct feed_block *block = subscriber->block;
    size_t left = block->size - subscriber->block_sent;
    size_t room = sink->room - sink->size;
    size_t size = left < room ? left : room;
    memcpy(sink->out + sink->size, block->data + subscriber->block_sent, size);
    sink->size += size;
    subscriber->block_sent += (uint32_t)size;
    if (size < left) {
        return FEED_MORE;
    }
    subscriber->encoder.position = block->end;
    feed_block_give(&subscriber->block);
    return subscriber->encoder.position.phase == FEED_AT_BATCH ? FEED_BATCH : FEED_MORE;
}

/* The next bytes, if any. */
static enum feed_step fill(struct subscriber *subscriber, struct feed_thread *thread,
                           uint64_t durable, struct sink *sink)
{
    struct feed_encoder *encoder = &subscriber->encoder;
    if (subscriber->block == NULL && wants_block(subscriber)) {
        enum feed_step step = feed_take_block(subscriber->feed, thread, encoder->format,
                                              &encoder->position, durable, &subscriber->block);
        subscriber->block_sent = 0;
        if (subscriber->block == NULL && step != FEED_MORE) {
            return step;
        }
    }
    if (subscriber->block != NULL) {
        return send_block(subscriber, sink);
    }
    size_t size;
    enum feed_step step = feed_encoder_run(encoder, thread->reader, durable, sink->out + sink->size,
                                           sink->room - sink->size, &size);
    sink->size += size;
    return step;
}

/* The log cannot be read on: says so if that is possible. */
static enum stream_step give_up(struct subscriber *subscriber, enum feed_step step,
                                struct sink *sink)
{
    const struct feed_position *position = &subscriber->encoder.position;
    struct feed_end end = {.reason = "gone"};
    if (step == FEED_GONE) {
        subscriber->ending = FEED_ENDED_GONE;
        end.log_start_version = log_first_version(subscriber->feed->config.log);
    } else {
        bool damaged = step == FEED_DAMAGED;
        const char *why = damaged ? "it is not what was written" : strerror(errno);
        subscriber->ending = damaged ? FEED_ENDED_DAMAGED : FEED_ENDED_FAILED;
        end.reason = damaged ? "damaged" : "failed";
        log_error(damaged ? "the commit log is damaged; a feed was ended"
                          : "the commit log cannot be read; a feed was ended",
                  LOG_STRING("error", why), LOG_U64("after_version", position->version),
                  LOG_U64("segment", position->cursor.place.segment),
                  LOG_U64("offset", position->cursor.place.offset));
    }
    if (!is_between_events(subscriber)) {
        return STREAM_ABORT;
    }
    put_end(subscriber, &end, sink);
    return STREAM_END;
}

static enum stream_step at_end(struct subscriber *subscriber, uint64_t now_ms, struct sink *sink,
                               uint32_t *wait_ms)
{
    if (!subscriber->has_reached_end) {
        subscriber->has_reached_end = true;
        put_progress(subscriber, now_ms, sink);
    }
    uint64_t wait = subscriber->progress_due_ms - now_ms;
    *wait_ms = wait == 0 ? 1 : (uint32_t)wait;
    return STREAM_WAIT;
}

static enum stream_step pull_some(struct subscriber *subscriber, struct sink *sink,
                                  uint32_t *wait_ms, bool draining)
{
    struct feed_thread *thread = feed_thread_own(subscriber->feed);
    CHECK(thread != NULL); /* the handler has made it */
    uint64_t now_ms = clock_monotonic_coarse_ms();
    uint64_t durable = commit_version_info(subscriber->feed->config.commits).version;
    uint64_t until_bytes = log_cursor_reader_loaded_bytes(thread->reader) + PULL_BYTES_MAX;
    while (sink->room - sink->size >= FEED_PART_BYTES_MAX &&
           log_cursor_reader_loaded_bytes(thread->reader) < until_bytes) {
        if (is_between_events(subscriber) && draining) {
            subscriber->ending = FEED_ENDED_BY_DRAIN;
            put_end(subscriber,
                    &(struct feed_end){.reason = "draining", .retry_ms = retry_ms(subscriber)},
                    sink);
            return STREAM_END;
        }
        if (is_between_events(subscriber) && now_ms >= subscriber->progress_due_ms) {
            put_progress(subscriber, now_ms, sink);
            continue;
        }
        size_t before = sink->size;
        enum feed_step step = fill(subscriber, thread, durable, sink);
        switch (step) {
        case FEED_MORE:
            if (sink->size == before) {
                return STREAM_MORE; /* there was more work than bytes */
            }
            break;
        case FEED_BATCH:
            break;
        case FEED_END:
            return at_end(subscriber, now_ms, sink, wait_ms);
        case FEED_GONE:
        case FEED_DAMAGED:
        case FEED_FAILED:
            return give_up(subscriber, step, sink);
        }
    }
    return STREAM_MORE;
}

static enum stream_step pull(struct stream_source *source, char *out, size_t room, size_t *size,
                             uint32_t *wait_ms, bool draining)
{
    struct subscriber *subscriber = (struct subscriber *)(void *)source;
    struct sink sink = {.out = out, .room = room};
    enum stream_step step = pull_some(subscriber, &sink, wait_ms, draining);
    /* relaxed: a number for metrics; pairs with nothing */
    atomic_store_explicit(&subscriber->slot->version, subscriber->encoder.position.version,
                          memory_order_relaxed);
    *size = sink.size;
    return step;
}

static void end_subscription(struct stream_source *source)
{
    struct subscriber *subscriber = (struct subscriber *)(void *)source;
    struct feed *feed = subscriber->feed;
    metrics_add(feed_thread_own(feed)->cells, feed->endings[subscriber->ending], 1);
    feed_block_give(&subscriber->block);
    feed_encoder_deinit(&subscriber->encoder);
    feed_unsubscribe(feed, &subscriber->slot);
}

/* ---- the request ---- */

static bool refuse(struct exchange *exchange, const struct http_problem *problem)
{
    exchange_answer_problem(exchange, problem);
    return false;
}

static bool refuse_no_memory(struct exchange *exchange)
{
    exchange_answer_no_memory(exchange);
    return false;
}

/* A key as base64url, padded or not. */
static bool read_key(struct exchange *exchange, const char *name, struct bytes text,
                     struct bytes *out)
{
    char *copy = arena_try_alloc(exchange->arena, text.size + 4);
    if (copy == NULL) {
        return refuse_no_memory(exchange);
    }
    size_t size = 0;
    bool good = true;
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        good = good && c != '+' && c != '/';
        copy[size++] = (char)(c == '-' ? '+' : c == '_' ? '/' : c);
    }
    while (size % 4 != 0 && size - text.size < 2 && (size == 0 || copy[text.size - 1] != '=')) {
        copy[size++] = '=';
    }
    if (!good || base64_decode(bytes_of(copy, size), copy, &size) != OK) {
        char *detail = arena_try_alloc(exchange->arena, DETAIL_BYTES);
        if (detail != NULL) {
            (void)snprintf(detail, DETAIL_BYTES,
                           "The query parameter %s must be a key in base64url (RFC 4648 section 5: "
                           "letters, digits, - and _), with or without padding.",
                           name);
        }
        return refuse(
            exchange,
            &(struct http_problem){.status = 400, .type = "malformed-parameter", .detail = detail});
    }
    *out = bytes_of(copy, size);
    return true;
}

static bool read_filter(struct exchange *exchange, const struct query_parameter *begins,
                        const struct query_parameter *ends, struct feed_filter *out)
{
    uint32_t count = begins->value_count;
    if (count != ends->value_count) {
        return refuse(exchange,
                      &(struct http_problem){.status = 400,
                                             .type = "malformed-parameter",
                                             .detail = "The query parameters begin and end must be "
                                                       "sent equally often: each begin goes with "
                                                       "the end of the same rank."});
    }
    struct feed_range *ranges = arena_try_alloc(exchange->arena, count * sizeof *ranges);
    if (ranges == NULL) {
        return refuse_no_memory(exchange);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!read_key(exchange, "begin", begins->values[i], &ranges[i].begin) ||
            !read_key(exchange, "end", ends->values[i], &ranges[i].end)) {
            return false;
        }
        if (!feed_range_is_valid(&ranges[i])) {
            return refuse(exchange,
                          &(struct http_problem){.status = 400,
                                                 .type = "malformed-parameter",
                                                 .detail = "The query parameter begin must be less "
                                                           "than its end; an empty end is behind "
                                                           "all keys."});
        }
    }
    *out = feed_filter_make(ranges, count);
    return true;
}

/* The header Last-Event-ID, empty when there is none. False: there are several. */
static bool find_last_event_id(const struct http_request *request, struct bytes *out)
{
    unsigned count = 0;
    *out = bytes_of(NULL, 0);
    for (unsigned i = 0; i < request->header_count; i++) {
        if (bytes_equal_fold(request->headers[i].name, BYTES("Last-Event-ID"))) {
            *out = request->headers[i].value;
            count++;
        }
    }
    return count <= 1;
}

/* Where to begin: Last-Event-ID, else `after`, else now. An `after` that does not count is a number
 * all the same, or a mistake to be told. */
static bool read_after(struct exchange *exchange, const struct query_parameter *after,
                       uint64_t durable, uint64_t *out)
{
    struct bytes last;
    uint64_t version = durable;
    if (!find_last_event_id(&exchange->request, &last)) {
        return refuse(exchange, &(struct http_problem){
                                    .status = 400,
                                    .type = "malformed-header",
                                    .detail = "The header Last-Event-ID was sent more than once."});
    }
    if (after->given && !query_number(exchange, after, &version)) {
        return false;
    }
    if (last.size > 0 && (!bytes_parse_u64(last, &version) || version > TXN_VERSION_MAX)) {
        return refuse(exchange,
                      &(struct http_problem){.status = 400,
                                             .type = "malformed-header",
                                             .detail = "The header Last-Event-ID must be an id of "
                                                       "this feed: an integer from 0 to "
                                                       "9007199254740991."});
    }
    if (version > durable) {
        return refuse(exchange, &(struct http_problem){.status = 400,
                                                       .type = "future-version",
                                                       .detail = "There is no such version yet; "
                                                                 "`version` is the latest.",
                                                       .number_name = "version",
                                                       .number = durable});
    }
    *out = version;
    return true;
}

/* What `accept` wants most; of what it wants equally, what it names most closely. */
static enum feed_format format_for(struct bytes accept)
{
    enum feed_format best = FEED_SSE;
    unsigned best_weight = 0;
    unsigned best_match = 0;
    for (unsigned i = 0; i < FEED_FORMATS; i++) {
        unsigned match;
        unsigned weight = http_accept_weight(accept, feed_media_type((enum feed_format)i), &match);
        if (weight > best_weight || (weight == best_weight && weight > 0 && match > best_match)) {
            best = (enum feed_format)i;
            best_weight = weight;
            best_match = match;
        }
    }
    return best;
}

static bool refuse_gone(struct exchange *exchange, uint64_t first_version)
{
    return refuse(exchange, &(struct http_problem){
                                .status = 410,
                                .type = "gone",
                                .detail = "The log no longer has all that comes after this "
                                          "version: `log_start_version` is the first one "
                                          "that is left. Read the current state anew.",
                                .number_name = "log_start_version",
                                .number = first_version});
}

/* Sets the subscriber's place; false: the answer says why not. */
static bool find_place(struct exchange *exchange, struct feed *feed, struct feed_thread *thread,
                       uint64_t after, struct feed_position *out)
{
    uint64_t first_version = log_first_version(feed->config.log);
    if (after + 1 < first_version || !feed_position_open(thread->reader, after, out)) {
        return refuse_gone(exchange, first_version);
    }
    return true;
}

static bool read_request(struct exchange *exchange, struct feed *feed, struct feed_thread *thread,
                         struct feed_encoder *out)
{
    struct bytes begins[FEED_FILTER_RANGES_MAX];
    struct bytes ends[FEED_FILTER_RANGES_MAX];
    struct query_parameter parameters[] = {
        {.name = "after"},
        {.name = "begin", .values = begins, .values_max = FEED_FILTER_RANGES_MAX},
        {.name = "end", .values = ends, .values_max = FEED_FILTER_RANGES_MAX},
    };
    uint64_t durable = commit_version_info(feed->config.commits).version;
    uint64_t after;
    *out = (struct feed_encoder){.format = format_for(exchange->request.accept)};
    return query_read(exchange, parameters, 3) &&
           read_after(exchange, &parameters[0], durable, &after) &&
           read_filter(exchange, &parameters[1], &parameters[2], &out->filter) &&
           find_place(exchange, feed, thread, after, &out->position);
}

static bool add_headers(struct exchange *exchange)
{
    return exchange_add_header(exchange, BYTES("Cache-Control"), BYTES("no-cache, no-transform")) &&
           exchange_add_header(exchange, BYTES("X-Accel-Buffering"), BYTES("no"));
}

static enum handler_verdict subscribe(struct exchange *exchange, void *context)
{
    struct feed *feed = context;
    struct feed_thread *thread = feed_thread_own(feed);
    struct subscriber *subscriber = arena_try_alloc(exchange->arena, sizeof *subscriber);
    if (thread == NULL || subscriber == NULL) {
        (void)refuse_no_memory(exchange);
        return HANDLER_ANSWERED;
    }
    *subscriber = (struct subscriber){
        .source = {.pull = pull, .close = end_subscription},
        .feed = feed,
        .progress_due_ms = clock_monotonic_coarse_ms() + feed->config.progress_interval_ms,
    };
    if (!read_request(exchange, feed, thread, &subscriber->encoder)) {
        return HANDLER_ANSWERED;
    }
    subscriber->slot = feed_try_subscribe(feed, subscriber->encoder.position.version);
    if (subscriber->slot == NULL) {
        metrics_add(thread->cells, feed->refused, 1);
        (void)refuse(exchange,
                     &(struct http_problem){.status = 503,
                                            .type = "too-many-subscribers",
                                            .detail = "As many feeds are open as are allowed.",
                                            .limit_key = "subscribe.max_subscribers",
                                            .limit = feed->config.subscribers_max,
                                            .actual = feed->config.subscribers_max + 1});
        return HANDLER_ANSWERED;
    }
    if (!add_headers(exchange)) {
        feed_unsubscribe(feed, &subscriber->slot);
        (void)refuse_no_memory(exchange);
        return HANDLER_ANSWERED;
    }
    exchange_stream(exchange, 200, feed_media_type(subscriber->encoder.format),
                    &subscriber->source);
    return HANDLER_STREAM;
}

static struct engine_route route = {.match = {.pattern = "/v1/subscribe", .method = HTTP_GET},
                                    .handle = subscribe};

enum err subscribe_add(struct server *server, struct feed *feed)
{
    route.context = feed;
    return server_add_route(server, &route);
}
