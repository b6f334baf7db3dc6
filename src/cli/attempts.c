/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/attempts.h"

#include "base/clock.h"
#include "cli/answer.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    ATTEMPT_MS_MIN = 1000,  /* of time that one attempt gets */
    QUESTION_MS_MIN = 1000, /* kept for a last question, but at most half of all time */
    QUESTION_MS_MAX = 5000,
    QUESTION_SHARES = 4, /* else this part of all time */
    PAUSE_MS_FIRST = 50, /* between attempts, doubled each time */
    PAUSE_MS_MAX = 2000,
    SHARES = 3, /* one attempt gets this part of all time at most, so that there is another */
};

enum fate { FATE_KNOWN, FATE_NOTHING_HAPPENED, FATE_UNKNOWN, FATE_NOT_SENT };

static uint64_t left_ms(uint64_t deadline_ns)
{
    uint64_t now_ns = clock_monotonic_ns();
    return deadline_ns > now_ns ? (deadline_ns - now_ns) / 1000000 : 0;
}

static bool says_not_committed(const struct http_reply *reply)
{
    struct answer answer;
    if (answer_read(buffer_bytes(&reply->body), &answer) != OK) {
        return false;
    }
    bool says = answer_is(answer.outcome, "not_committed");
    answer_deinit(&answer);
    return says;
}

static enum fate fate_of(const struct http_reply *reply)
{
    switch (reply->reach) {
    case HTTP_NOT_SENT:
        return FATE_NOT_SENT;
    case HTTP_UNKNOWN:
        return FATE_UNKNOWN;
    case HTTP_ANSWERED:
        break;
    }
    if (reply->status == 503 && says_not_committed(reply)) {
        return FATE_NOTHING_HAPPENED;
    }
    /* 408: the request came too slowly to be read. */
    return reply->status >= 500 || reply->status == 408 ? FATE_UNKNOWN : FATE_KNOWN;
}

const char *attempts_why(struct http_reply *reply)
{
    static char why[1024];
    struct answer answer;
    if (reply->reach != HTTP_ANSWERED) {
        return reply->failure;
    }
    if (answer_read(buffer_bytes(&reply->body), &answer) != OK) {
        (void)snprintf(why, sizeof why, "HTTP status %u, and not from a WeaselDB", reply->status);
        return why;
    }
    if (answer.detail.size == 0) {
        (void)snprintf(why, sizeof why, "HTTP status %u", reply->status);
    } else {
        (void)snprintf(why, sizeof why, "%.*s", (int)answer.detail.size, answer.detail.data);
    }
    answer_deinit(&answer);
    return why;
}

static void tell(const struct attempts *attempts, struct http_reply *reply)
{
    if (attempts->tells) {
        (void)fprintf(stderr, "weasel %s: %s: trying again with the same request id\n",
                      attempts->name, attempts_why(reply));
    }
}

/* How long to wait before the next attempt: what the server asks for, or else more each time. */
static uint64_t pause_ms(const struct http_reply *reply, unsigned attempt)
{
    unsigned doublings = attempt < 6 ? attempt : 6;
    uint64_t ms = (uint64_t)PAUSE_MS_FIRST << doublings;
    ms = ms < PAUSE_MS_MAX ? ms : PAUSE_MS_MAX;
    return reply->has_retry_after ? reply->retry_after_ms : ms;
}

/* When attempts end, so that there is time to ask what became of them. */
static uint64_t attempts_deadline_ns(uint64_t deadline_ns)
{
    uint64_t all_ms = left_ms(deadline_ns);
    uint64_t question_ms = all_ms / QUESTION_SHARES;
    if (question_ms < QUESTION_MS_MIN) {
        question_ms = all_ms / 2 < QUESTION_MS_MIN ? all_ms / 2 : QUESTION_MS_MIN;
    } else if (question_ms > QUESTION_MS_MAX) {
        question_ms = QUESTION_MS_MAX;
    }
    return deadline_ns - question_ms * 1000000;
}

enum attempts_end attempts_commit(const struct attempts *attempts, struct bytes body,
                                  struct http_reply *out_reply)
{
    bool is_unknown = false; /* of some attempt */
    uint64_t deadline_ns = attempts_deadline_ns(attempts->deadline_ns);
    uint64_t share_ms = left_ms(attempts->deadline_ns) / SHARES;
    share_ms = share_ms > ATTEMPT_MS_MIN ? share_ms : ATTEMPT_MS_MIN;
    for (unsigned attempt = 0;; attempt++) {
        uint64_t ms = left_ms(deadline_ns);
        ms = ms > share_ms ? share_ms : ms > 0 ? ms : 1;
        http_client_call(
            attempts->client,
            &(struct http_call){
                .target = "/v1/commit", .is_post = true, .body = body, .timeout_ms = ms},
            out_reply);
        enum fate fate = fate_of(out_reply);
        if (fate == FATE_KNOWN) {
            return ATTEMPTS_ANSWERED;
        }
        is_unknown = is_unknown || fate == FATE_UNKNOWN;
        if (fate == FATE_NOT_SENT && !is_unknown) {
            return ATTEMPTS_UNREACHED;
        }
        uint64_t wait_ms = pause_ms(out_reply, attempt);
        if (left_ms(deadline_ns) <= wait_ms) {
            break;
        }
        tell(attempts, out_reply);
        http_reply_deinit(out_reply);
        http_client_pause(wait_ms, deadline_ns);
    }
    if (!is_unknown) {
        return ATTEMPTS_NOT_COMMITTED;
    }
    struct http_reply failure = *out_reply;
    struct attempts question = *attempts;
    question.waits = true;
    if (attempts_ask(&question, 0, out_reply) == ATTEMPTS_ASKED) {
        http_reply_deinit(&failure);
        return ATTEMPTS_ASKED;
    }
    http_reply_deinit(out_reply);
    *out_reply = failure;
    return ATTEMPTS_UNKNOWN;
}

enum attempts_end attempts_ask(const struct attempts *attempts, uint64_t min_version,
                               struct http_reply *out_reply)
{
    struct buffer target = {0};
    enum attempts_end end = ATTEMPTS_UNREACHED;
    buffer_add(&target, BYTES("/v1/status?request_id="));
    http_query_escape(attempts->request_id, &target);
    if (min_version > 0) {
        buffer_add_format(&target, "&min_version=%" PRIu64, min_version);
    }
    for (unsigned attempt = 0;; attempt++) {
        uint64_t ms = left_ms(attempts->deadline_ns);
        http_client_call(
            attempts->client,
            &(struct http_call){.target = buffer_string(&target), .timeout_ms = ms > 0 ? ms : 1},
            out_reply);
        if (fate_of(out_reply) == FATE_KNOWN) {
            end = ATTEMPTS_ASKED;
            break;
        }
        if (out_reply->reach == HTTP_NOT_SENT && !attempts->waits) {
            end = ATTEMPTS_UNREACHED;
            break;
        }
        end = ATTEMPTS_UNKNOWN;
        uint64_t wait_ms = pause_ms(out_reply, attempt);
        if (left_ms(attempts->deadline_ns) <= wait_ms) {
            break;
        }
        http_reply_deinit(out_reply);
        http_client_pause(wait_ms, attempts->deadline_ns);
    }
    buffer_deinit(&target);
    return end;
}
