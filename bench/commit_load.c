/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commit_load: a closed-loop load of durable writes, the same for WeaselDB and those it is compared
 * with, so that one core of it keeps one core of a server busy.
 *
 *   commit_load --port N --protocol weaseldb|batch|redis|etcd [--connections N] [--seconds S]
 *               [--batch N] [--keys N] [--value-bytes N]
 *
 *   weaseldb     POST /v1/commit, JSON: a request_id, one point read at the version of this
 *                connection's last commit, one write of the same key
 *   batch        POST /v1/commits, Protobuf: --batch such transactions, without the read
 *   redis        SET key value
 *   etcd         POST /v3/kv/put, JSON
 *
 * Keys are random among --keys, values are the same random bytes. A refused transaction (409) is
 * an answer and counted by itself. Latency is in steps of an epoll_wait().
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    EVENTS = 256,
    CONNECTIONS_MAX = 4096,
    KEY_BYTES = 16,
    KEY_ROOM = 32,
    VALUE_BYTES_MAX = 4096,
    BATCH_MAX = 1000,
    HEAD_ROOM = 256,
    ANSWER_BYTES_MAX = 1 << 18,
    LATENCY_STEPS = 32, /* for each power of two: 3 % */
    LATENCY_BUCKETS = 64 * LATENCY_STEPS,
};

#define SECOND_NS UINT64_C(1000000000)

enum protocol { WEASELDB, BATCH, REDIS, ETCD, PROTOCOLS };
static const char *const PROTOCOL_NAMES[PROTOCOLS] = {"weaseldb", "batch", "redis", "etcd"};

struct client {
    int fd;
    unsigned index;
    size_t received;
    char *answer;
    uint64_t version; /* of its last commit */
    uint64_t started_ns;
};

static struct {
    uint16_t port;
    enum protocol protocol;
    unsigned connections;
    unsigned batch;
    uint64_t keys;
    size_t value_bytes;
    double seconds;
} options = {.connections = 64, .batch = 100, .keys = 1000000, .value_bytes = 100, .seconds = 2};

static struct client clients[CONNECTIONS_MAX];
static int epoll_fd;
static char value[VALUE_BYTES_MAX];
static char value_base64[VALUE_BYTES_MAX * 2];
static char body[BATCH_MAX * (VALUE_BYTES_MAX + 128)];
static char request[HEAD_ROOM + sizeof body];
static uint64_t made; /* request ids */
static uint64_t id_prefix;
static uint64_t random_state = 88172645463325252u;

static uint64_t committed;
static uint64_t refused;
static uint64_t errors;
static uint64_t latency[LATENCY_BUCKETS];

static void fail(const char *what)
{
    (void)fprintf(stderr, "commit_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * SECOND_NS + (uint64_t)time.tv_nsec;
}

/* xorshift64 (Marsaglia 2003) */
static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static size_t latency_bucket(uint64_t ns)
{
    if (ns < LATENCY_STEPS) {
        return (size_t)ns;
    }
    unsigned shift = 63 - (unsigned)__builtin_clzll(ns / LATENCY_STEPS);
    return LATENCY_STEPS * (size_t)shift + (size_t)(ns >> shift);
}

static double latency_us(double share)
{
    uint64_t total = 0;
    for (size_t i = 0; i < LATENCY_BUCKETS; i++) {
        total += latency[i];
    }
    uint64_t rank = (uint64_t)((double)total * share);
    uint64_t seen = 0;
    for (size_t i = 0; i < LATENCY_BUCKETS; i++) {
        seen += latency[i];
        if (seen > rank) {
            size_t shift = i < 2 * LATENCY_STEPS ? 0 : i / LATENCY_STEPS - 1;
            return (double)((uint64_t)(i - LATENCY_STEPS * shift) << shift) / 1000;
        }
    }
    return 0;
}

/* ---- requests ---- */

static size_t base64(const char *in, size_t size, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t written = 0;
    for (size_t i = 0; i < size; i += 3) {
        unsigned a = (unsigned char)in[i];
        unsigned b = i + 1 < size ? (unsigned char)in[i + 1] : 0;
        unsigned c = i + 2 < size ? (unsigned char)in[i + 2] : 0;
        out[written++] = digits[a >> 2];
        out[written++] = digits[(a & 3) << 4 | b >> 4];
        out[written++] = i + 1 < size ? digits[(b & 15) << 2 | c >> 6] : '=';
        out[written++] = i + 2 < size ? digits[c & 63] : '=';
    }
    out[written] = '\0';
    return written;
}

static void make_key(char out[KEY_ROOM])
{
    (void)snprintf(out, KEY_ROOM, "key-%012llu",
                   (unsigned long long)(next_random() % options.keys));
}

static size_t varint(char *out, uint64_t number)
{
    size_t size = 0;
    for (; number >= 0x80; number >>= 7) {
        out[size++] = (char)(number | 0x80);
    }
    out[size++] = (char)number;
    return size;
}

/* A length-delimited Protobuf field. */
static size_t field(char *out, unsigned number, const char *data, size_t size)
{
    size_t head = varint(out, number << 3 | 2);
    head += varint(out + head, size);
    memcpy(out + head, data, size);
    return head + size;
}

/* CommitBatch{transactions{request_id, operations{write{key, value}}}}; the field numbers are those
 * of api/weaseldb.proto. */
static size_t make_batch(void)
{
    size_t size = 0;
    for (unsigned i = 0; i < options.batch; i++) {
        char key[KEY_ROOM];
        char id[40];
        char write[VALUE_BYTES_MAX + 64];
        char operation[VALUE_BYTES_MAX + 80];
        char transaction[VALUE_BYTES_MAX + 128];
        make_key(key);
        int id_size = snprintf(id, sizeof id, "%llx-%llu", (unsigned long long)id_prefix,
                               (unsigned long long)++made);
        size_t write_size = field(write, 1, key, KEY_BYTES);
        write_size += field(write + write_size, 2, value, options.value_bytes);
        size_t operation_size = field(operation, 1, write, write_size);
        size_t transaction_size = field(transaction, 1, id, (size_t)id_size);
        transaction_size += field(transaction + transaction_size, 5, operation, operation_size);
        size += field(body + size, 1, transaction, transaction_size);
    }
    return size;
}

static size_t make_body(const struct client *client)
{
    char key[KEY_ROOM];
    char key_base64[2 * KEY_ROOM];
    make_key(key);
    (void)base64(key, KEY_BYTES, key_base64);
    if (options.protocol == ETCD) {
        return (size_t)sprintf(body, "{\"key\":\"%s\",\"value\":\"%s\"}", key_base64, value_base64);
    }
    return (size_t)sprintf(
        body,
        "{\"request_id\":\"%llx-%llu\",\"read_version\":%llu,\"preconditions\":[{\"type\":"
        "\"point_read\",\"key\":\"%s\"}],\"operations\":[{\"type\":\"write\",\"key\":\"%s\","
        "\"value\":\"%s\"}]}",
        (unsigned long long)id_prefix, (unsigned long long)++made,
        (unsigned long long)client->version, key_base64, key_base64, value_base64);
}

static size_t make_request(const struct client *client)
{
    static const char *const paths[PROTOCOLS] = {"/v1/commit", "/v1/commits", NULL, "/v3/kv/put"};
    if (options.protocol == REDIS) {
        char key[KEY_ROOM];
        make_key(key);
        int size = sprintf(request, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%zu\r\n", KEY_BYTES, key,
                           options.value_bytes);
        memcpy(request + size, value, options.value_bytes);
        memcpy(request + size + options.value_bytes, "\r\n", 2);
        return (size_t)size + options.value_bytes + 2;
    }
    size_t body_bytes = options.protocol == BATCH ? make_batch() : make_body(client);
    int head = snprintf(request, HEAD_ROOM,
                        "POST %s HTTP/1.1\r\nHost: localhost:%u\r\nContent-Type: application/%s\r\n"
                        "Content-Length: %zu\r\n\r\n",
                        paths[options.protocol], options.port,
                        options.protocol == BATCH ? "protobuf" : "json", body_bytes);
    memcpy(request + head, body, body_bytes);
    return (size_t)head + body_bytes;
}

static void start_request(struct client *client, uint64_t now)
{
    size_t size = make_request(client);
    client->received = 0;
    client->started_ns = now;
    for (size_t sent = 0; sent < size;) {
        ssize_t got = send(client->fd, request + sent, size - sent, MSG_NOSIGNAL);
        if (got < 0) {
            fail("send");
        }
        sent += (size_t)got;
    }
}

/* ---- answers ---- */

/* The size of the whole answer, or 0 when its head is not complete. */
static size_t answer_bytes(const struct client *client)
{
    client->answer[client->received] = '\0';
    if (options.protocol == REDIS) {
        const char *end = strstr(client->answer, "\r\n");
        return end == NULL ? 0 : (size_t)(end + 2 - client->answer);
    }
    const char *end = strstr(client->answer, "\r\n\r\n");
    if (end == NULL) {
        return 0;
    }
    const char *length = strcasestr(client->answer, "\r\nContent-Length:");
    if (length == NULL) {
        (void)fprintf(stderr, "commit_load: an answer without Content-Length: %.200s\n",
                      client->answer);
        exit(1);
    }
    return (size_t)(end + 4 - client->answer) + strtoul(length + 17, NULL, 10);
}

static void count_answer(struct client *client)
{
    if (options.protocol == REDIS) {
        bool good = client->answer[0] == '+';
        committed += good;
        errors += !good;
        return;
    }
    unsigned long status = strtoul(client->answer + 9, NULL, 10);
    if (status == 409) {
        refused++;
    } else if (status == 200) {
        committed += options.protocol == BATCH ? options.batch : 1;
    } else {
        (void)fprintf(stderr, "commit_load: %.400s\n", client->answer);
        errors++;
        return;
    }
    const char *version =
        options.protocol == WEASELDB ? strstr(client->answer, "\"version\":") : NULL;
    if (version != NULL) {
        client->version = strtoull(version + 10, NULL, 10);
    }
}

static void receive(struct client *client, uint64_t now)
{
    ssize_t got = recv(client->fd, client->answer + client->received,
                       ANSWER_BYTES_MAX - 1 - client->received, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) {
        return;
    }
    if (got <= 0) {
        (void)fprintf(stderr, "commit_load: the server closed a connection\n");
        exit(1);
    }
    client->received += (size_t)got;
    size_t expected = answer_bytes(client);
    if (expected == 0 || client->received < expected) {
        return;
    }
    latency[latency_bucket(now - client->started_ns)]++;
    count_answer(client);
    start_request(client, now);
}

/* ---- start ---- */

static void open_client(struct client *client)
{
    int on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(options.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    client->answer = malloc(ANSWER_BYTES_MAX);
    client->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (client->answer == NULL || client->fd < 0 ||
        connect(client->fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, client->fd, &event) != 0) {
        fail("connect");
    }
    (void)setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* WeaselDB's clients begin at the version that there is. */
static void learn_version(struct client *client)
{
    static const char question[] = "GET /v1/version HTTP/1.1\r\nHost: localhost\r\n\r\n";
    if (send(client->fd, question, sizeof question - 1, MSG_NOSIGNAL) < 0) {
        fail("send");
    }
    do {
        ssize_t got = recv(client->fd, client->answer + client->received,
                           ANSWER_BYTES_MAX - 1 - client->received, 0);
        if (got <= 0) {
            fail("the first answer");
        }
        client->received += (size_t)got;
    } while (answer_bytes(client) == 0 || client->received < answer_bytes(client));
    const char *version = strstr(client->answer, "\"version\":");
    client->version = version == NULL ? 0 : strtoull(version + 10, NULL, 10);
}

static double run(void)
{
    struct epoll_event events[EVENTS];
    for (unsigned i = 0; i < options.connections; i++) {
        open_client(&clients[i]);
        if (options.protocol == WEASELDB && i == 0) {
            learn_version(&clients[i]);
        }
        clients[i].version = clients[0].version;
    }
    uint64_t start = now_ns();
    uint64_t now = start;
    uint64_t end = start + (uint64_t)(options.seconds * 1e9);
    for (unsigned i = 0; i < options.connections; i++) {
        start_request(&clients[i], now);
    }
    while (now < end) {
        int count = epoll_wait(epoll_fd, events, EVENTS, 10);
        now = now_ns();
        for (int i = 0; i < count; i++) {
            receive(events[i].data.ptr, now);
        }
    }
    for (unsigned i = 0; i < options.connections; i++) {
        errors += now - clients[i].started_ns > SECOND_NS ? 1 : 0; /* still no answer */
    }
    return (double)(now - start) / 1e9;
}

static bool parse_protocol(const char *name)
{
    for (unsigned i = 0; i < PROTOCOLS; i++) {
        if (strcmp(name, PROTOCOL_NAMES[i]) == 0) {
            options.protocol = (enum protocol)i;
            return true;
        }
    }
    return false;
}

static bool parse_options(int argc, char **argv)
{
    static const struct option known[] = {{"port", required_argument, NULL, 'p'},
                                          {"connections", required_argument, NULL, 'c'},
                                          {"seconds", required_argument, NULL, 's'},
                                          {"protocol", required_argument, NULL, 'o'},
                                          {"batch", required_argument, NULL, 'b'},
                                          {"keys", required_argument, NULL, 'k'},
                                          {"value-bytes", required_argument, NULL, 'v'},
                                          {NULL, 0, NULL, 0}};
    int option;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (option) {
        case 'p':
            options.port = (uint16_t)strtoul(optarg, NULL, 10);
            break;
        case 'c':
            options.connections = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 's':
            options.seconds = strtod(optarg, NULL);
            break;
        case 'o':
            if (!parse_protocol(optarg)) {
                return false;
            }
            break;
        case 'b':
            options.batch = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'k':
            options.keys = strtoull(optarg, NULL, 10);
            break;
        case 'v':
            options.value_bytes = strtoul(optarg, NULL, 10);
            break;
        default:
            return false;
        }
    }
    return optind == argc && options.port != 0 && options.connections > 0 &&
           options.connections <= CONNECTIONS_MAX && options.batch > 0 &&
           options.batch <= BATCH_MAX && options.keys > 0 && options.value_bytes <= VALUE_BYTES_MAX;
}

int main(int argc, char **argv)
{
    if (!parse_options(argc, argv)) {
        (void)fputs("usage: commit_load --port N --protocol weaseldb|batch|redis|etcd\n"
                    "                   [--connections N] [--seconds S] [--batch N] [--keys N]\n"
                    "                   [--value-bytes N]\n",
                    stderr);
        return 2;
    }
    epoll_fd = epoll_create1(0);
    id_prefix = now_ns();
    random_state ^= id_prefix;
    for (size_t i = 0; i < options.value_bytes; i++) {
        value[i] = (char)('a' + next_random() % 26);
    }
    (void)base64(value, options.value_bytes, value_base64);
    double seconds = run();
    (void)printf("requests %llu seconds %.3f\n", (unsigned long long)committed, seconds);
    (void)printf("refused %llu errors %llu\n", (unsigned long long)refused,
                 (unsigned long long)errors);
    (void)printf("per-second %.0f\n", (double)committed / seconds);
    (void)printf("latency-us p50 %.1f p90 %.1f p99 %.1f p99.9 %.1f max %.1f\n", latency_us(0.5),
                 latency_us(0.9), latency_us(0.99), latency_us(0.999), latency_us(1 - 1e-12));
    return committed > 0 && errors == 0 ? 0 : 1;
}
