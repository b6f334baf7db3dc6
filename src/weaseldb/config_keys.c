/* SPDX-License-Identifier: Apache-2.0 */
/* Every setting, once. */
#include "weaseldb/config_keys.h"

#include <inttypes.h>
#include <string.h>

#define AT(table, field) .name = #table "." #field, .offset = offsetof(struct config, table.field)
#define INTEGER(initial_, minimum_, maximum_)                                                      \
    .type = CONFIG_INTEGER, .initial = (initial_), .minimum = (minimum_), .maximum = (maximum_)
#define STRING(initial_, bytes_)                                                                   \
    .type = CONFIG_STRING, .initial_string = (initial_), .maximum = (bytes_)

const struct config_key CONFIG_KEYS[] = {
    {AT(http, accept_threads), INTEGER(1, 1, 64),
     .help = "Threads that accept connections, for each listening socket."},
    {AT(http, network_threads), INTEGER(0, 1, 64), .cores = true,
     .help =
         "Threads that read requests and write answers, each with an epoll instance of its own."},
    {AT(http, bind_address), STRING("127.0.0.1", 63),
     .help = "IPv4 or IPv6 address to listen on: \"0.0.0.0\" or \"::\" for all, empty for none."},
    {AT(http, port), INTEGER(8080, 0, 65535),
     .help = "TCP port to listen on; 0 lets the kernel pick one."},
    {AT(http, unix_socket), STRING("", 107),
     .help = "Path of a Unix socket to listen on as well; empty for none."},
    {AT(http, keepalive_timeout_sec), INTEGER(60, 1, 86400), .live = true,
     .help = "How long a connection may be idle between two requests."},
    {AT(http, request_timeout_sec), INTEGER(10, 1, 3600), .live = true,
     .help = "Time for a whole request to arrive, headers and body; not renewed by each byte."},
    {AT(http, write_timeout_sec), INTEGER(30, 1, 3600), .live = true,
     .help = "How long a client may take none of the bytes that wait for it."},
    {AT(http, body_bytes_per_sec_min), INTEGER(65536, 0, 1 << 30), .live = true,
     .help =
         "A body that arrives at this rate earns time beyond request_timeout_sec; 0: none does."},
    {AT(http, drain_timeout_sec), INTEGER(30, 1, 3600),
     .help = "At a shutdown, how long requests in progress may take to be answered."},
    {AT(http, max_connections), INTEGER(10000, 1, 1000000),
     .help = "Open connections; one more is answered 503 and closed."},
    {AT(http, max_header_bytes), INTEGER(16384, 1024, 1 << 20),
     .help = "Size of request line and headers together, and of a trailer section."},
    {AT(http, max_body_bytes), INTEGER(8 << 20, 1024, 1 << 30),
     .help = "Size of a request's body."},
    {AT(http, memory_limit_bytes), INTEGER(256 << 20, 4 << 20, INT64_C(1) << 40),
     .help = "Memory that all requests together may hold; beyond it they are answered 503."},
    {AT(http, stream_buffer_bytes), INTEGER(16384, 4096, 32768),
     .help = "Most that is written to a stream whose client may have no room for it, and is kept "
             "then."},
    {.name = "http.pipelines.commit_status.ring_buffer_size",
     .offset = offsetof(struct config, commit_status.ring_buffer_size),
     INTEGER(4096, 16, 65536),
     .help = "Requests for commits and status that may be under way, a power of two; one more is "
             "answered 503."},
    {.name = "http.pipelines.commit_status.threads",
     .offset = offsetof(struct config, commit_status.threads),
     INTEGER(1, 1, 4),
     .help = "Threads that the stages sequence, resolve, persist and release are divided over."},
    {AT(commit, max_key_bytes), INTEGER(1024, 16, 65536), .help = "Size of a key."},
    {AT(commit, max_value_bytes), INTEGER(1 << 20, 16, 1 << 28), .help = "Size of a value."},
    {AT(commit, max_operations), INTEGER(10000, 1, 1000000),
     .help = "Operations of one transaction."},
    {AT(commit, max_preconditions), INTEGER(10000, 1, 1000000),
     .help = "Preconditions of one transaction."},
    {AT(commit, max_batch_transactions), INTEGER(1000, 1, 100000),
     .help = "Transactions of one POST /v1/commits."},
    {AT(commit, conflict_window_sec), INTEGER(300, 1, 86400),
     .help = "For how long a version can be read at: preconditions on older ones fail as too_old."},
    {AT(commit, conflict_window_bytes), INTEGER(256 << 20, 4 << 20, INT64_C(1) << 40),
     .help =
         "Memory of the conflict window; when it is full, the oldest writes are forgotten before "
         "their time."},
    {AT(commit, request_id_window_sec), INTEGER(3600, 1, 604800),
     .help = "For how long a request id is known: a repeat gets the original's answer."},
    {AT(commit, request_id_window_count), INTEGER(1000000, 1024, 1 << 28),
     .help = "How many request ids are known at most, at about 100 bytes of memory each."},
    {AT(log, directory), STRING("weaseldb-data", 127),
     .help = "Directory of the commit log; made when it is missing."},
    {AT(log, durability), .type = CONFIG_CHOICE, .choices = {"sync", "none"},
     .help =
         "\"sync\": a commit is on stable storage before it is answered; \"none\": power loss may "
         "take acknowledged commits back, for tests and scratch data only."},
    {AT(log, segment_bytes), INTEGER(64 << 20, 1 << 20, INT64_C(1) << 32),
     .help = "Size of a segment of the commit log; the next one is prepared ahead."},
    {AT(retention, max_age_hours), INTEGER(0, 0, 876000),
     .help = "Segments of the log whose last commit is older are removed, also when a policy needs "
             "them; 0: no such cap."},
    {AT(retention, max_bytes), INTEGER(0, 0, INT64_C(1) << 50),
     .help = "Size of all files of the log, the prepared segment included: beyond it the oldest "
             "segments are removed, also when a policy needs them; 0: no such cap."},
    {AT(retention, max_policies), INTEGER(64, 1, 64),
     .help = "Policies of PUT /v1/retention/{id}; one more is answered 409."},
    {AT(subscribe, progress_interval_sec), INTEGER(15, 1, 3600),
     .help = "Longest time between two progress events of a feed."},
    {AT(subscribe, max_subscribers), INTEGER(1000, 1, 1000000),
     .help = "Feeds that may be open; one more is answered 503."},
    {AT(subscribe, shared_bytes), INTEGER(16 << 20, 1 << 20, INT64_C(1) << 32),
     .help = "Memory for the newest events in the forms in which they are sent, which all feeds "
             "without a filter share."},
    {AT(logging, level), .type = CONFIG_CHOICE, .initial = 1, .live = true,
     .choices = {"debug", "info", "warn", "error"},
     .help = "Lines below this level are not written."},
    {AT(logging, format), .type = CONFIG_CHOICE, .live = true, .choices = {"logfmt", "json"},
     .help = "Form of the lines on standard error."},
    {AT(logging, access_log), .type = CONFIG_BOOLEAN, .live = true,
     .help = "Write a line for each request."},
};
const size_t CONFIG_KEY_COUNT = sizeof CONFIG_KEYS / sizeof CONFIG_KEYS[0];

const struct config_key *config_key_find(const char *name)
{
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        if (strcmp(CONFIG_KEYS[i].name, name) == 0) {
            return &CONFIG_KEYS[i];
        }
    }
    return NULL;
}

enum { NAME_BYTES_MAX = 64 };

/* How many characters must be inserted, deleted or replaced (Levenshtein 1966). */
static unsigned edit_distance(const char *a, const char *b)
{
    size_t a_size = strlen(a);
    size_t b_size = strlen(b);
    unsigned row[NAME_BYTES_MAX + 1];
    if (a_size > NAME_BYTES_MAX || b_size > NAME_BYTES_MAX) {
        return UINT32_MAX;
    }
    for (unsigned j = 0; j <= b_size; j++) {
        row[j] = j;
    }
    for (unsigned i = 1; i <= a_size; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= b_size; j++) {
            unsigned replace = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            unsigned other = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = replace < other ? replace : other;
        }
    }
    return row[b_size];
}

/* Behind the table's name: "port" of "http.port". */
static const char *last_part(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot == NULL ? name : dot + 1;
}

const struct config_key *config_key_nearest(const char *name)
{
    const struct config_key *nearest = NULL;
    /* More than a third of it changed is another word. */
    unsigned best = (unsigned)strlen(last_part(name)) / 3 + 2;
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        unsigned whole = edit_distance(name, CONFIG_KEYS[i].name);
        unsigned part = edit_distance(last_part(name), last_part(CONFIG_KEYS[i].name));
        unsigned distance = whole < part ? whole : part;
        if (distance < best) {
            best = distance;
            nearest = &CONFIG_KEYS[i];
        }
    }
    return nearest;
}

void config_key_allowed(const struct config_key *key, char *out, size_t room)
{
    switch (key->type) {
    case CONFIG_INTEGER:
        (void)snprintf(out, room, "an integer from %" PRId64 " to %" PRId64, key->minimum,
                       key->maximum);
        return;
    case CONFIG_BOOLEAN:
        (void)snprintf(out, room, "true or false");
        return;
    case CONFIG_STRING:
        (void)snprintf(out, room, "a string of at most %" PRId64 " bytes", key->maximum);
        return;
    case CONFIG_CHOICE:
        break;
    }
    size_t size = (size_t)snprintf(out, room, "one of");
    for (size_t i = 0; key->choices[i] != NULL && size < room; i++) {
        size += (size_t)snprintf(out + size, room - size, "%s \"%s\"", i == 0 ? "" : ",",
                                 key->choices[i]);
    }
}
