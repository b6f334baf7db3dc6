/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/report.h"

#include "cli/answer.h"
#include "cli/attempts.h"

#include <inttypes.h>
#include <stdio.h>
#include <yyjson.h>

void report_json(struct bytes body)
{
    (void)fwrite(body.data, 1, body.size, stdout);
    if (body.size == 0 || body.data[body.size - 1] != '\n') {
        (void)fputc('\n', stdout);
    }
}

static enum command_status status_of(const struct answer *answer)
{
    if (answer_is(answer->status, "committed")) {
        return COMMAND_OK;
    }
    if (answer_is(answer->status, "not_committed")) {
        return COMMAND_REFUSED;
    }
    return COMMAND_UNKNOWN;
}

/* ", precondition 0, 2" of a conflict */
static void say_conflicts(const struct answer *answer, struct buffer *out)
{
    size_t index;
    size_t count;
    yyjson_val *conflict;
    yyjson_arr_foreach(answer->conflicts, index, count, conflict)
    {
        buffer_add_format(out, "%s%" PRIu64, index == 0 ? " in precondition " : ", ",
                          yyjson_get_uint(conflict));
    }
}

static void say_refusal(const char *name, const struct answer *answer)
{
    struct buffer text = {0};
    if (answer->reason.data == NULL) {
        buffer_add(&text, BYTES(", and never will be"));
    } else {
        buffer_add_format(&text, ": %.*s", (int)answer->reason.size, answer->reason.data);
    }
    say_conflicts(answer, &text);
    if (answer->has_version &&
        (answer_is(answer->reason, "conflict") || answer_is(answer->reason, "too_old"))) {
        buffer_add_format(&text, "; read again at version %" PRIu64, answer->version);
    }
    (void)command_failed(name, "not committed%s; request id %.*s", buffer_string(&text),
                         (int)answer->request_id.size, answer->request_id.data);
    buffer_deinit(&text);
}

enum command_status report_result(const char *name, struct bytes body, bool as_json)
{
    struct answer answer;
    bool is_answer = answer_read(body, &answer) == OK && answer.status.data != NULL;
    if (!is_answer || (answer_is(answer.status, "committed") && !answer.has_version)) {
        answer_deinit(&answer);
        return command_failed(name, "the answer is not a WeaselDB's: %.*s",
                              (int)(body.size < 200 ? body.size : 200), body.data);
    }
    enum command_status status = status_of(&answer);
    if (as_json) {
        report_json(body);
    } else if (status == COMMAND_OK) {
        (void)printf("committed at version %" PRIu64 ", request id %.*s\n", answer.version,
                     (int)answer.request_id.size, answer.request_id.data);
    } else if (status == COMMAND_REFUSED) {
        say_refusal(name, &answer);
    } else {
        (void)command_failed(name, "%.*s: request id %.*s is too old for the server to know",
                             (int)answer.status.size, answer.status.data,
                             (int)answer.request_id.size, answer.request_id.data);
    }
    answer_deinit(&answer);
    return status;
}

enum command_status report_refusal(const char *name, struct http_reply *reply)
{
    bool is_mistake = reply->status == 400 || reply->status == 413 || reply->status == 415 ||
                      reply->status == 422;
    (void)command_failed(name, "%s", attempts_why(reply));
    return is_mistake ? COMMAND_USAGE : COMMAND_FAILED;
}

enum command_status report_unreached(const char *name, const struct endpoint *endpoint,
                                     const struct http_reply *reply)
{
    return command_failed(name,
                          "no server at %s: %s\nIs it running, and is that its address? "
                          "(--server URL, or WEASEL_SERVER in the environment)",
                          endpoint->name, reply->failure);
}
