/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection after the other: ask the server how far its log is, connect, hand on, and when the
 * connection ends, wait a little and begin anew.
 */
#include "cli/feed.h"

#include "base/clock.h"
#include "cli/answer.h"
#include "cli/attempts.h"
#include "cli/curl_handle.h"
#include "cli/feed_event.h"
#include "cli/http_client.h"
#include "cli/report.h"
#include "cli/sse_reader.h"
#include "cli/stop.h"

#include <inttypes.h>
#include <stdio.h>
#include <yyjson.h>

enum {
    ASK_MS = 5000,
    PAUSE_MS_FIRST = 250, /* before the second connection; doubled each time, up to: */
    PAUSE_MS_MAX = 10000,
    RETRY_MS_MAX = 60000, /* what a server may ask for */
    PROBLEM_BYTES_MAX = 65536,
};

enum end {
    END_AGAIN,   /* connect again after a while */
    END_WANTED,  /* the handler or a signal */
    END_FAILED,  /* told; nothing can go on */
    END_REFUSED, /* answered with something else than a stream: `reply` */
};

struct session {
    struct feed *feed;
    struct http_client *client;
    CURL *curl;
    CURLM *multi;
    struct sse_reader reader;
    struct http_reply reply; /* the status, and the body of a refusal */
    enum end end;
    bool is_over;      /* `end` says why */
    bool proves;       /* the last transaction was asked for once more, and has not come yet */
    bool cannot_prove; /* the log no longer has it */
    bool has_events;   /* of this connection */
    bool ever_reached; /* a server has been there */
    bool has_told;     /* that it is gone, since events came last */
    char said[64];     /* by the server's end event: why; empty: there was none */
    uint64_t heard_ns; /* when something came last */
    unsigned failures; /* in a row */
};

static void finish(struct session *session, enum end end)
{
    session->end = end;
    session->is_over = true;
}

static void fail(struct session *session, const char *why)
{
    (void)command_failed(session->feed->name, "%s", why);
    finish(session, END_FAILED);
}

/* ---- events ---- */

static void fail_other_log(struct session *session)
{
    const struct feed *feed = session->feed;
    (void)command_failed(feed->name,
                         "the server at %s has another log: its transaction %" PRIu64
                         " is not request %s of %s, which is known here",
                         feed->endpoint->name, feed->last.version, feed->last.request_id,
                         feed->last.timestamp);
    finish(session, END_FAILED);
}

static bool is_at_end(const struct feed *feed)
{
    return feed->until_end && feed->position >= feed->head;
}

static void hand_on(struct session *session, const struct feed_transaction *transaction)
{
    struct feed *feed = session->feed;
    struct buffer why = {0};
    if (!feed_event_follows(feed, transaction, &why)) {
        fail(session, buffer_string(&why));
    } else {
        bool wants_more = feed->handler.take_transaction(feed->handler.context, transaction);
        feed->position = transaction->version;
        feed->last = feed_event_mark(transaction);
        if (!wants_more || is_at_end(feed)) {
            finish(session, END_WANTED);
        }
    }
    buffer_deinit(&why);
}

static void take_transaction(struct session *session, struct bytes data)
{
    struct feed_transaction transaction;
    yyjson_doc *doc;
    if (feed_event_read(data, &transaction, &doc) != OK) {
        fail(session, "the feed sent a transaction that cannot be read");
        return;
    }
    if (!session->proves) {
        hand_on(session, &transaction);
    } else if (feed_event_is(&transaction, &session->feed->last)) {
        session->proves = false;
    } else {
        fail_other_log(session);
    }
    yyjson_doc_free(doc);
}

static void take_progress(struct session *session, struct bytes data)
{
    struct feed *feed = session->feed;
    uint64_t version;
    if (feed_event_read_progress(data, &version) != OK) {
        fail(session, "the feed sent a progress that cannot be read");
        return;
    }
    if (session->proves) {
        if (version >= feed->last.version) {
            fail_other_log(session); /* it has come past it */
        }
        return;
    }
    feed->position = version > feed->position ? version : feed->position;
    if (!feed->handler.take_progress(feed->handler.context, feed->position) || is_at_end(feed)) {
        finish(session, END_WANTED);
    }
}

/* All other ends are left to the next connection: it finds out whether things go on. */
static void take_end(struct session *session, struct bytes data)
{
    const struct feed *feed = session->feed;
    feed_event_read_end(data, session->said, sizeof session->said);
    if (strcmp(session->said, "damaged") == 0) {
        (void)command_failed(feed->name,
                             "the log of the server at %s is damaged after version %" PRIu64
                             "; its log lines say where",
                             feed->endpoint->name, feed->position);
        finish(session, END_FAILED);
    }
}

/* Other events may come to be; they are not for this program. */
static bool take_event(void *context, const struct sse_message *message)
{
    struct session *session = context;
    session->has_events = true;
    if (bytes_equal(message->event, BYTES("transaction"))) {
        take_transaction(session, message->data);
    } else if (bytes_equal(message->event, BYTES("progress"))) {
        take_progress(session, message->data);
    } else if (bytes_equal(message->event, BYTES("end"))) {
        take_end(session, message->data);
    }
    return !session->is_over;
}

/* libcurl's: anything but the size ends the transfer. */
static size_t take_bytes(char *data, size_t one, size_t count, void *context)
{
    struct session *session = context;
    struct bytes piece = bytes_of(data, one * count);
    long status = 0;
    (void)curl_easy_getinfo(session->curl, CURLINFO_RESPONSE_CODE, &status);
    session->heard_ns = clock_monotonic_ns();
    session->reply.status = (unsigned)status;
    if (status != 200) {
        if (session->reply.body.size + piece.size <= PROBLEM_BYTES_MAX) {
            buffer_add(&session->reply.body, piece);
        }
        return piece.size;
    }
    enum err err = sse_reader_push(&session->reader, piece);
    if (err == ERR_LIMIT) {
        fail(session, "the feed sent an event larger than 1 GiB");
    }
    return err == OK ? piece.size : 0;
}

/* ---- a connection ---- */

static void check_head(struct session *session, const struct answer *answer)
{
    struct feed *feed = session->feed;
    if (!answer->has_version) {
        fail(session, "the answer to /v1/version is not a WeaselDB's");
        return;
    }
    feed->head = answer->version;
    if (!feed->has_position) {
        feed->has_position = true;
        feed->position = answer->version;
    }
    if (feed->head < feed->last.version) {
        (void)command_failed(feed->name,
                             "the server at %s has another log, or one that has lost transactions: "
                             "it is at version %" PRIu64 ", and %" PRIu64 " is known here",
                             feed->endpoint->name, feed->head, feed->last.version);
        finish(session, END_FAILED);
    }
}

/* How far is the server? When it cannot be asked, or is no server, session->end says so. */
static void ask_head(struct session *session)
{
    struct answer answer;
    http_client_call(session->client,
                     &(struct http_call){.target = "/v1/version", .timeout_ms = ASK_MS},
                     &session->reply);
    if (session->reply.reach != HTTP_ANSWERED || session->reply.status >= 500) {
        finish(session, END_AGAIN);
    } else if (session->reply.status != 200) {
        finish(session, END_REFUSED);
    } else if (answer_read(buffer_bytes(&session->reply.body), &answer) != OK) {
        fail(session, "the answer to /v1/version is not a WeaselDB's");
    } else {
        check_head(session, &answer);
        answer_deinit(&answer);
    }
}

static void set_up(struct session *session)
{
    struct buffer url = {0};
    const struct feed *feed = session->feed;
    bool is_near = feed->filters[0] == '\0' || feed->position == feed->last.version;
    session->proves = feed->last.version != 0 && is_near && !session->cannot_prove;
    buffer_add_format(&url, "http://%s/v1/subscribe?after=%" PRIu64 "%s", feed->endpoint->authority,
                      session->proves ? feed->last.version - 1 : feed->position, feed->filters);
    (void)curl_easy_setopt(session->curl, CURLOPT_URL, buffer_string(&url));
    (void)curl_easy_setopt(session->curl, CURLOPT_WRITEFUNCTION, take_bytes);
    (void)curl_easy_setopt(session->curl, CURLOPT_WRITEDATA, session);
    (void)curl_easy_setopt(session->curl, CURLOPT_BUFFERSIZE, 256L << 10);
    buffer_deinit(&url);
}

/* Whether the transfer has ended, and how, in session->reply. */
static bool transfer_ended(struct session *session)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(session->multi, &left)) != NULL) {
        if (message->msg == CURLMSG_DONE) {
            long status = 0;
            curl_off_t retry_after_sec = 0;
            (void)curl_easy_getinfo(session->curl, CURLINFO_RESPONSE_CODE, &status);
            (void)curl_easy_getinfo(session->curl, CURLINFO_RETRY_AFTER, &retry_after_sec);
            session->reply.status = (unsigned)status;
            session->reply.reach = status == 0 ? HTTP_UNKNOWN : HTTP_ANSWERED;
            session->reply.retry_after_ms = (uint64_t)retry_after_sec * 1000;
            (void)snprintf(session->reply.failure, sizeof session->reply.failure, "%s",
                           message->data.result == CURLE_OK
                               ? "the stream is over"
                               : curl_easy_strerror(message->data.result));
            return true;
        }
    }
    return false;
}

/* Hands on what comes, until the stream ends. */
static void stream(struct session *session)
{
    struct feed *feed = session->feed;
    int running = 0;
    session->heard_ns = clock_monotonic_ns();
    while (!session->is_over) {
        (void)curl_multi_perform(session->multi, &running);
        if (session->is_over) {
            return;
        }
        if (transfer_ended(session)) {
            unsigned status = session->reply.status;
            bool is_refusal = status >= 400 && status < 500 && status != 408 && status != 429;
            finish(session, is_refusal ? END_REFUSED : END_AGAIN);
            return;
        }
        if (!feed->handler.take_idle(feed->handler.context) || stop_is_wanted()) {
            finish(session, END_WANTED);
            return;
        }
        if (clock_monotonic_ns() - session->heard_ns > feed->silence_ms * 1000000) {
            (void)snprintf(session->reply.failure, sizeof session->reply.failure,
                           "it brought nothing for %.12g s", (double)feed->silence_ms / 1000);
            finish(session, END_AGAIN);
            return;
        }
        (void)curl_multi_poll(session->multi, NULL, 0, FEED_IDLE_MS, NULL);
    }
}

static void connect_once(struct session *session)
{
    session->is_over = false;
    session->has_events = false;
    session->said[0] = '\0';
    ask_head(session);
    if (session->is_over) {
        return; /* `reply` says why */
    }
    http_reply_deinit(&session->reply);
    session->ever_reached = true;
    sse_reader_restart(&session->reader);
    session->reply = (struct http_reply){.reach = HTTP_UNKNOWN};
    set_up(session);
    (void)curl_multi_add_handle(session->multi, session->curl);
    stream(session);
    (void)curl_multi_remove_handle(session->multi, session->curl);
}

/* ---- from one to the next ---- */

/* Why the connection has ended, for people. */
static const char *why_ended(struct session *session)
{
    static char why[128];
    if (session->said[0] != '\0') {
        (void)snprintf(why, sizeof why, "the server has ended it (%s)", session->said);
        return why;
    }
    bool is_whole = session->reply.reach == HTTP_ANSWERED && session->reply.status == 200;
    return is_whole ? session->reply.failure : attempts_why(&session->reply);
}

/* Once for each time that it is gone, however many connections it takes. */
static void tell(struct session *session)
{
    const struct feed *feed = session->feed;
    if (session->has_told) {
        return;
    }
    session->has_told = true;
    (void)fprintf(stderr, "weasel %s: the connection has ended: %s: connecting again", feed->name,
                  why_ended(session));
    if (feed->has_position) {
        (void)fprintf(stderr, ", to go on after version %" PRIu64, feed->position);
    }
    (void)fputc('\n', stderr);
}

static void wait_for_next(struct session *session)
{
    const struct http_reply *reply = &session->reply;
    unsigned doublings = session->failures < 6 ? session->failures : 6;
    uint64_t ms = (uint64_t)PAUSE_MS_FIRST << doublings;
    ms = ms < PAUSE_MS_MAX ? ms : PAUSE_MS_MAX;
    if (session->reader.has_retry && session->reader.retry_ms <= RETRY_MS_MAX &&
        session->reader.retry_ms > ms) {
        ms = session->reader.retry_ms;
    }
    if (reply->retry_after_ms > ms && reply->retry_after_ms <= RETRY_MS_MAX) {
        ms = reply->retry_after_ms;
    }
    tell(session);
    session->failures++;
    http_client_pause(ms, UINT64_MAX);
}

static enum command_status refused(struct session *session)
{
    const char *name = session->feed->name;
    if (session->reply.status == 404) {
        return command_failed(name, "there is no feed at %s: %s", session->feed->endpoint->name,
                              attempts_why(&session->reply));
    }
    return report_refusal(name, &session->reply);
}

static enum command_status run(struct session *session)
{
    for (;;) {
        connect_once(session);
        switch (session->end) {
        case END_WANTED:
            return COMMAND_OK;
        case END_FAILED:
            return COMMAND_FAILED;
        case END_REFUSED:
            if (session->reply.status == 410 && session->proves) {
                session->cannot_prove = true; /* what follows it may still be there */
                http_reply_deinit(&session->reply);
                continue;
            }
            return refused(session);
        case END_AGAIN:
            break;
        }
        if (!session->ever_reached && session->reply.reach != HTTP_ANSWERED) {
            return report_unreached(session->feed->name, session->feed->endpoint, &session->reply);
        }
        if (session->has_events) {
            session->failures = 0;
            session->has_told = false;
        }
        wait_for_next(session);
        http_reply_deinit(&session->reply);
        if (stop_is_wanted()) {
            return COMMAND_OK;
        }
    }
}

enum command_status feed_run(struct feed *feed)
{
    struct session session = {.feed = feed, .client = http_client_open(feed->endpoint)};
    struct curl_slist *headers = curl_slist_append(NULL, "Accept: text/event-stream");
    session.curl = curl_handle_open(feed->endpoint);
    session.multi = curl_multi_init();
    (void)curl_easy_setopt(session.curl, CURLOPT_HTTPHEADER, headers);
    sse_reader_init(&session.reader, take_event, &session);
    enum command_status status = run(&session);
    http_reply_deinit(&session.reply);
    sse_reader_deinit(&session.reader);
    (void)curl_multi_cleanup(session.multi);
    curl_easy_cleanup(session.curl);
    curl_slist_free_all(headers);
    http_client_close(session.client);
    return status;
}
