/* SPDX-License-Identifier: Apache-2.0 */
/* weasel commit: transactions, each to its end before the next one begins. */
#include "base/clock.h"
#include "cli/answer.h"
#include "cli/attempts.h"
#include "cli/commands.h"
#include "cli/commit_options.h"
#include "cli/report.h"
#include "cli/request_id.h"
#include "cli/transaction_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

enum { TRANSACTION_BYTES_MAX = 1 << 30 }; /* no server takes more: http.max_body_bytes */

/* One transaction on its way. */
struct sending {
    const struct commit_options *options;
    const char *name; /* in front of messages: the command, and of a file where it stands */
    struct http_client *client;
    struct transaction *transaction;
    struct buffer id; /* its request id; that of the first try */
    bool has_own_id;  /* it stands in the transaction already */
    uint64_t deadline_ns;
};

/* The id of try `number`: a refused one is spent. */
static void name_try(const struct sending *sending, uint64_t number, struct buffer *out)
{
    buffer_clear(out);
    buffer_add(out, buffer_bytes(&sending->id));
    if (number > 0) {
        buffer_add_format(out, ".%" PRIu64, number);
    }
}

/* Whether the answer is a conflict that another try may get around, and then at which version. */
static bool may_try_again(const struct sending *sending, const struct http_reply *reply,
                          uint64_t *out_version)
{
    struct answer answer;
    if (reply->status != 409 || answer_read(buffer_bytes(&reply->body), &answer) != OK) {
        return false;
    }
    bool is_stale = answer_is(answer.reason, "conflict") || answer_is(answer.reason, "too_old");
    bool may = is_stale && answer.has_version && clock_monotonic_ns() < sending->deadline_ns;
    *out_version = answer.version;
    answer_deinit(&answer);
    return may;
}

static enum command_status say_unknown(const char *name, bool as_json, struct bytes request_id,
                                       struct http_reply *reply)
{
    if (as_json) {
        (void)printf("{\"request_id\":\"%.*s\",\"status\":\"unknown\"}\n", (int)request_id.size,
                     request_id.data);
    }
    (void)command_failed(name,
                         "it is not known whether the transaction was committed: %s\n"
                         "When the server is back, ask: weasel status %.*s",
                         attempts_why(reply), (int)request_id.size, request_id.data);
    return COMMAND_UNKNOWN;
}

static enum command_status say_not_committed(const char *name, bool as_json,
                                             struct bytes request_id, struct http_reply *reply)
{
    if (as_json) {
        (void)printf("{\"request_id\":\"%.*s\",\"status\":\"not_committed\"}\n",
                     (int)request_id.size, request_id.data);
    }
    (void)command_failed(name, "not committed: %s", attempts_why(reply));
    return COMMAND_REFUSED;
}

static enum command_status tell(const struct sending *sending, enum attempts_end end,
                                struct bytes request_id, struct http_reply *reply)
{
    const char *name = sending->name;
    bool as_json = sending->options->as_json;
    switch (end) {
    case ATTEMPTS_ANSWERED:
        /* A known id with another payload is a 422; "not committed" would be wrong for it. */
        return reply->status == 200 || reply->status == 409
                   ? report_result(name, buffer_bytes(&reply->body), as_json)
                   : report_refusal(name, reply);
    case ATTEMPTS_ASKED:
        return reply->status == 200 ? report_result(name, buffer_bytes(&reply->body), as_json)
                                    : say_unknown(name, as_json, request_id, reply);
    case ATTEMPTS_NOT_COMMITTED:
        return say_not_committed(name, as_json, request_id, reply);
    case ATTEMPTS_UNREACHED:
        return report_unreached(name, &sending->options->endpoint, reply);
    case ATTEMPTS_UNKNOWN:
        break;
    }
    return say_unknown(name, as_json, request_id, reply);
}

static enum command_status send(struct sending *sending)
{
    struct buffer request_id = {0};
    struct buffer body = {0};
    struct http_reply reply;
    enum attempts_end end;
    uint64_t version;
    sending->deadline_ns = clock_monotonic_ns() + sending->options->timeout_ms * 1000000;
    for (uint64_t number = 0;; number++) {
        name_try(sending, number, &request_id);
        if (number > 0 || !sending->has_own_id) {
            transaction_set_request_id(sending->transaction, buffer_bytes(&request_id));
        }
        buffer_clear(&body);
        transaction_write(sending->transaction, &body);
        const struct attempts attempts = {
            .client = sending->client,
            .name = sending->name,
            .request_id = buffer_bytes(&request_id),
            .deadline_ns = sending->deadline_ns,
            .tells = isatty(STDERR_FILENO) != 0,
        };
        end = attempts_commit(&attempts, buffer_bytes(&body), &reply);
        if (end != ATTEMPTS_ANSWERED || number == sending->options->conflict_retries ||
            !may_try_again(sending, &reply, &version)) {
            break;
        }
        http_reply_deinit(&reply);
        transaction_set_read_version(sending->transaction, version);
    }
    enum command_status status = tell(sending, end, buffer_bytes(&request_id), &reply);
    http_reply_deinit(&reply);
    buffer_deinit(&body);
    buffer_deinit(&request_id);
    return status;
}

/* ---- what the options say of each transaction ---- */

static enum command_status choose_id(struct sending *sending, uint64_t number)
{
    const struct commit_options *options = sending->options;
    struct bytes own;
    char random[REQUEST_ID_RANDOM_BYTES + 1];
    buffer_clear(&sending->id);
    sending->has_own_id = transaction_has_request_id(sending->transaction, &own);
    if (sending->has_own_id) {
        buffer_add(&sending->id, own);
    } else if (options->request_id == NULL) {
        request_id_make(random);
        buffer_add(&sending->id, bytes_from_string(random));
    } else {
        buffer_add_format(&sending->id, number == 1 ? "%s" : "%s-%" PRIu64, options->request_id,
                          number);
    }
    if (sending->has_own_id && options->request_id != NULL) {
        (void)command_failed(sending->name, "it has a request_id; --request-id gives another");
        return COMMAND_USAGE;
    }
    size_t bytes_max = commit_options_id_bytes_max(options, 0);
    if (!request_id_is_valid(buffer_bytes(&sending->id)) || sending->id.size > bytes_max) {
        (void)command_failed(
            sending->name, "its request_id must be 1 to %zu printable ASCII characters, no blanks",
            bytes_max);
        return COMMAND_USAGE;
    }
    return COMMAND_OK;
}

/* Completes transaction `number` and sends it. */
static enum command_status commit(struct sending *sending, uint64_t number)
{
    const struct commit_options *options = sending->options;
    if (options->has_read_version) {
        transaction_set_read_version(sending->transaction, options->read_version);
    }
    if (options->leader != NULL) {
        transaction_set_leader(sending->transaction, bytes_from_string(options->leader));
    }
    if (options->conflict_retries > 0 && transaction_has_fixed_reads(sending->transaction)) {
        (void)command_failed(sending->name, "--retry-conflicts reads again at a later version, and "
                                            "one of the preconditions has a version of its own");
        return COMMAND_USAGE;
    }
    enum command_status status = choose_id(sending, number);
    return status == COMMAND_OK ? send(sending) : status;
}

/* ---- a file ---- */

/* What came instead of a transaction; `err` is the reader's, `place` as in text. */
static enum command_status say_unreadable(const char *name, const char *file, enum err err,
                                          struct text_place place, uint64_t number)
{
    if (err == ERR_CLOSED && number == 1) {
        (void)command_failed(name, "%s: there is no transaction in it", file);
        return COMMAND_USAGE;
    }
    if (err == ERR_CLOSED) {
        return COMMAND_OK;
    }
    if (err == ERR_SYSTEM) {
        return command_failed(name, "%s: cannot be read: %s", file, strerror(errno));
    }
    (void)command_failed(name, "%s:%" PRIu64 ":%" PRIu64 ": %s", file, place.line, place.column,
                         err == ERR_LIMIT
                             ? "the transaction is larger than 1 GiB"
                             : "a transaction is a JSON object, {\"operations\":[…]}; many stand "
                               "one behind the other, without brackets and commas between them");
    return COMMAND_USAGE;
}

/* The next transaction of a file, if there is one. */
static enum command_status commit_next(struct sending *sending, const char *command,
                                       const char *file, struct transaction_reader *reader,
                                       uint64_t number, bool *out_more)
{
    struct bytes text;
    struct buffer mistake = {0};
    struct buffer name = {0};
    enum command_status status = COMMAND_USAGE;
    enum err err = transaction_reader_next(reader, &text);
    *out_more = err == OK;
    if (err != OK) {
        return say_unreadable(command, file, err, reader->place, number);
    }
    buffer_add_format(&name, "%s: %s:%" PRIu64 ": transaction %" PRIu64, command, file,
                      reader->place.line, number);
    sending->name = buffer_string(&name);
    sending->transaction = transaction_open();
    if (transaction_read(sending->transaction, text, reader->place, &mistake) != OK) {
        (void)command_failed(command, "%s:%s", file, buffer_string(&mistake));
    } else {
        status = commit(sending, number);
    }
    transaction_close(sending->transaction);
    sending->transaction = NULL;
    buffer_deinit(&name);
    buffer_deinit(&mistake);
    return status;
}

static enum command_status commit_all(struct sending *sending, const char *command,
                                      const char *file, int fd)
{
    struct transaction_reader reader;
    enum command_status status = COMMAND_OK;
    uint64_t number = 0;
    uint64_t committed = 0;
    bool more = true;
    transaction_reader_init(&reader, fd, TRANSACTION_BYTES_MAX);
    while (status == COMMAND_OK && more) {
        number++;
        status = commit_next(sending, command, file, &reader, number, &more);
        if (status == COMMAND_OK && more) {
            committed = number;
            /* Whoever reads the outcomes knows this one, whatever happens next. main() tells when
             * they cannot be written. */
            status = fflush(stdout) == 0 ? COMMAND_OK : COMMAND_FAILED;
        }
    }
    if (status != COMMAND_OK && committed > 0) {
        (void)command_failed(command,
                             "%s: up to transaction %" PRIu64
                             " all are committed; nothing behind transaction %" PRIu64 " was sent",
                             file, committed, number);
    }
    transaction_reader_deinit(&reader);
    return status;
}

static enum command_status commit_file(struct sending *sending, const char *command)
{
    const char *file = sending->options->file;
    if (strcmp(file, "-") == 0) {
        return commit_all(sending, command, "standard input", STDIN_FILENO);
    }
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return command_failed(command, "%s: cannot be read: %s", file, strerror(errno));
    }
    enum command_status status = commit_all(sending, command, file, fd);
    (void)close(fd);
    return status;
}

static enum command_status run(int argc, char **argv)
{
    struct commit_options options;
    enum command_status status;
    if (commit_options_init(&options, argc, argv, &status)) {
        struct sending sending = {.options = &options, .name = argv[0]};
        sending.client = http_client_open(&options.endpoint);
        if (options.file != NULL) {
            status = commit_file(&sending, argv[0]);
        } else {
            sending.transaction = options.transaction;
            status = commit(&sending, 1);
        }
        buffer_deinit(&sending.id);
        http_client_close(sending.client);
    }
    commit_options_deinit(&options);
    return status;
}

const struct command commit_command = {"commit", "make transactions of writes and checks", run};
