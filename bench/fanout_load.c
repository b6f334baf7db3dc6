/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fanout_load: one writer and many readers that follow live, the same for WeaselDB's feed and for
 * Redis Streams.
 *
 *   fanout_load --port N --protocol weaseldb|redis [--readers N] [--stalled N] [--batch N]
 *               [--seconds S]
 *
 *   weaseldb  POST /v1/commits in Protobuf, of --batch transactions that write one key; readers
 *             GET /v1/subscribe in Protobuf
 *   redis     XADD of one field, with more than one of them in MULTI and EXEC; readers XREAD BLOCK
 *
 * Values have 100 bytes. The writer writes once every reader has what was written before, so
 * that none of them catches up. --stalled readers more subscribe and then read nothing.
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
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    READERS_MAX = 4000,
    BATCH_MAX = 1000,
    VALUE_BYTES = 100,
    BUFFER_BYTES = 1 << 20,
    ROOM_MAX = 1 << 18,
    STALLED_RECEIVE_BYTES = 4096,
};

/* Ids are given by us, and all as long as this one: so every entry is as long as the others. */
#define FIRST_ID UINT64_C(1000000001)
#define ENTRY_HEAD "*2\r\n$12\r\n1000000000-0\r\n*2\r\n$1\r\nv\r\n$100\r\n"
enum { ENTRY_BYTES = sizeof ENTRY_HEAD - 1 + VALUE_BYTES + 2 };

struct reader {
    int fd;
    uint64_t seen; /* transactions or entries */
    size_t kept;   /* bytes of an event that is not whole yet */
    char *rest;
};

static struct {
    uint16_t port;
    bool redis;
    unsigned readers;
    unsigned stalled;
    unsigned batch;
    double seconds;
} options = {.readers = 10, .batch = 1, .seconds = 2};

static struct reader readers[READERS_MAX];
static char buffer[BUFFER_BYTES + 1];
static char request[ROOM_MAX];
static uint64_t written;

_Noreturn static void fail(const char *what)
{
    (void)fprintf(stderr, "fanout_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

_Noreturn static void fail_answer(const char *data, size_t size)
{
    (void)fprintf(stderr, "fanout_load: an answer that was not expected: %.*s\n", (int)size, data);
    exit(1);
}

static double now(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static int open_connection(bool stalled)
{
    int on = 1;
    int room = STALLED_RECEIVE_BYTES;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(options.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (stalled) {
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    }
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        fail("connect");
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static void send_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent <= 0) {
            fail("send");
        }
        data += sent;
        size -= (size_t)sent;
    }
}

static size_t receive(int fd, char *data, size_t room)
{
    ssize_t got = recv(fd, data, room, 0);
    if (got <= 0) {
        fail("recv");
    }
    return (size_t)got;
}

/* ---- what is written ---- */

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

static size_t make_commit(const char *value)
{
    static char body[BATCH_MAX * (VALUE_BYTES + 64)];
    size_t size = 0;
    for (unsigned i = 0; i < options.batch; i++) {
        char write[VALUE_BYTES + 32];
        char operation[VALUE_BYTES + 48];
        char transaction[VALUE_BYTES + 64];
        size_t write_size = field(write, 1, "v", 1);
        write_size += field(write + write_size, 2, value, VALUE_BYTES);
        size_t operation_size = field(operation, 1, write, write_size);
        size_t transaction_size = field(transaction, 5, operation, operation_size);
        size += field(body + size, 1, transaction, transaction_size);
    }
    int head = snprintf(request, sizeof request,
                        "POST /v1/commits HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                        "application/protobuf\r\nContent-Length: %zu\r\n\r\n",
                        size);
    memcpy(request + head, body, size);
    return (size_t)head + size;
}

static size_t make_xadds(const char *value)
{
    size_t size = 0;
    if (options.batch > 1) {
        size += (size_t)sprintf(request, "*1\r\n$5\r\nMULTI\r\n");
    }
    for (unsigned i = 0; i < options.batch; i++) {
        size += (size_t)sprintf(request + size,
                                "*8\r\n$4\r\nXADD\r\n$1\r\ns\r\n$6\r\nMAXLEN\r\n$1\r\n~\r\n$5\r\n"
                                "10000\r\n$12\r\n%llu-0\r\n$1\r\nv\r\n$%d\r\n%.*s\r\n",
                                (unsigned long long)(FIRST_ID + written + i), VALUE_BYTES,
                                VALUE_BYTES, value);
    }
    if (options.batch > 1) {
        size += (size_t)sprintf(request + size, "*1\r\n$4\r\nEXEC\r\n");
    }
    return size;
}

/* Whether the answer to make_xadds() is whole: its last line is the id of the last entry. */
static bool xadds_answered(const char *answer, size_t size)
{
    char last[32];
    int length = snprintf(last, sizeof last, "%llu-0\r\n",
                          (unsigned long long)(FIRST_ID + written + options.batch - 1));
    if (size > 0 && answer[0] == '-') {
        fail_answer(answer, size);
    }
    return size >= (size_t)length &&
           memcmp(answer + size - (size_t)length, last, (size_t)length) == 0;
}

static bool commit_answered(char *answer, size_t size)
{
    answer[size] = '\0';
    const char *end = strstr(answer, "\r\n\r\n");
    const char *length = strstr(answer, "Content-Length: ");
    if (size > 12 && strncmp(answer, "HTTP/1.1 200", 12) != 0) {
        fail_answer(answer, size);
    }
    return end != NULL && length != NULL &&
           (size_t)(end + 4 - answer) + strtoul(length + 16, NULL, 10) <= size;
}

static void write_batch(int fd, const char *value)
{
    size_t size = options.redis ? make_xadds(value) : make_commit(value);
    send_all(fd, request, size);
    size = 0;
    do {
        size += receive(fd, buffer + size, BUFFER_BYTES - size);
    } while (!(options.redis ? xadds_answered(buffer, size) : commit_answered(buffer, size)));
    written += options.batch;
}

/* ---- readers ---- */

static void ask_redis(struct reader *reader)
{
    char text[160];
    int size = snprintf(text, sizeof text,
                        "*8\r\n$5\r\nXREAD\r\n$5\r\nCOUNT\r\n$4\r\n1000\r\n$5\r\nBLOCK\r\n$1\r\n0"
                        "\r\n$7\r\nSTREAMS\r\n$1\r\ns\r\n$12\r\n%llu-0\r\n",
                        (unsigned long long)(FIRST_ID + reader->seen - 1));
    send_all(reader->fd, text, (size_t)size);
}

/* One answer to XREAD: its entries are counted once it is whole. */
static size_t take_redis(struct reader *reader, const char *data, size_t size)
{
    static const char head[] = "*1\r\n*2\r\n$1\r\ns\r\n*";
    const char *end =
        size > sizeof head ? memchr(data + sizeof head - 1, '\n', size - (sizeof head - 1)) : NULL;
    if (end == NULL) {
        return 0;
    }
    if (memcmp(data, head, sizeof head - 1) != 0) {
        fail_answer(data, size);
    }
    uint64_t count = strtoull(data + sizeof head - 1, NULL, 10);
    size_t whole = (size_t)(end + 1 - data) + count * ENTRY_BYTES;
    if (size < whole) {
        return 0;
    }
    reader->seen += count;
    ask_redis(reader);
    return whole;
}

/* The events of a stream without chunks: a varint with the size of each before it. */
static size_t take_feed(struct reader *reader, const char *data, size_t size)
{
    size_t at = 0;
    while (size - at > 10) {
        uint64_t length = 0;
        size_t head = 0;
        unsigned char byte;
        do {
            byte = (unsigned char)data[at + head];
            length |= (uint64_t)(byte & 127) << 7 * head++;
        } while (byte > 127 && head < 10);
        if (size - at - head < length) {
            break;
        }
        reader->seen += data[at + head] == (1 << 3 | 2); /* a transaction */
        at += head + length;
    }
    return at;
}

static void read_until(struct reader *reader, uint64_t count)
{
    while (reader->seen < count) {
        memcpy(buffer, reader->rest, reader->kept);
        size_t size =
            reader->kept + receive(reader->fd, buffer + reader->kept, BUFFER_BYTES - reader->kept);
        size_t taken =
            options.redis ? take_redis(reader, buffer, size) : take_feed(reader, buffer, size);
        reader->kept = size - taken;
        if (reader->kept > ROOM_MAX) {
            fail_answer(buffer, 200);
        }
        memcpy(reader->rest, buffer + taken, reader->kept);
    }
}

static void open_reader(struct reader *reader, bool stalled)
{
    /* HTTP/1.0: the stream comes without chunks. */
    static const char subscribe[] = "GET /v1/subscribe HTTP/1.0\r\nHost: localhost\r\n"
                                    "Accept: application/protobuf\r\n\r\n";
    reader->fd = open_connection(stalled);
    reader->rest = malloc(ROOM_MAX);
    if (reader->rest == NULL) {
        fail("malloc");
    }
    if (options.redis) {
        ask_redis(reader);
        return;
    }
    send_all(reader->fd, subscribe, sizeof subscribe - 1);
    /* The head, and the progress that tells that it stands at the end: 0x12, its size, 0x08. */
    size_t size = 0;
    const char *end;
    do {
        size += receive(reader->fd, buffer + size, BUFFER_BYTES - size);
        buffer[size] = '\0';
        if (size > 12 && strncmp(buffer + 8, " 200", 4) != 0) {
            fail_answer(buffer, size);
        }
        end = strstr(buffer, "\r\n\r\n");
    } while (end == NULL || (size_t)(end + 4 - buffer) == size);
    reader->kept = size - (size_t)(end + 4 - buffer);
    memcpy(reader->rest, end + 4, reader->kept);
}

static bool parse_options(int argc, char **argv)
{
    static const struct option known[] = {{"port", required_argument, NULL, 'p'},
                                          {"protocol", required_argument, NULL, 'o'},
                                          {"readers", required_argument, NULL, 'r'},
                                          {"stalled", required_argument, NULL, 't'},
                                          {"batch", required_argument, NULL, 'b'},
                                          {"seconds", required_argument, NULL, 's'},
                                          {NULL, 0, NULL, 0}};
    int option;
    bool known_protocol = false;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (option) {
        case 'p':
            options.port = (uint16_t)strtoul(optarg, NULL, 10);
            break;
        case 'o':
            options.redis = strcmp(optarg, "redis") == 0;
            known_protocol = options.redis || strcmp(optarg, "weaseldb") == 0;
            break;
        case 'r':
            options.readers = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 't':
            options.stalled = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'b':
            options.batch = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 's':
            options.seconds = strtod(optarg, NULL);
            break;
        default:
            return false;
        }
    }
    return optind == argc && options.port != 0 && known_protocol && options.readers > 0 &&
           options.readers + options.stalled <= READERS_MAX && options.batch > 0 &&
           options.batch <= BATCH_MAX;
}

int main(int argc, char **argv)
{
    if (!parse_options(argc, argv)) {
        (void)fputs("usage: fanout_load --port N --protocol weaseldb|redis [--readers N]\n"
                    "                   [--stalled N] [--batch N] [--seconds S]\n",
                    stderr);
        return 2;
    }
    char value[VALUE_BYTES + 1];
    memset(value, 'v', VALUE_BYTES);
    value[VALUE_BYTES] = '\0';
    int writer = open_connection(false);
    if (options.redis) {
        static const char clear[] = "*2\r\n$3\r\nDEL\r\n$1\r\ns\r\n";
        send_all(writer, clear, sizeof clear - 1);
        (void)receive(writer, buffer, BUFFER_BYTES);
    }
    for (unsigned i = 0; i < options.readers + options.stalled; i++) {
        open_reader(&readers[i], i >= options.readers);
    }
    double start = now();
    uint64_t rounds = 0;
    do {
        write_batch(writer, value);
        for (unsigned i = 0; i < options.readers; i++) {
            read_until(&readers[i], written);
        }
        rounds++;
    } while (now() - start < options.seconds);
    double seconds = now() - start;
    (void)printf("requests %llu seconds %.3f\n", (unsigned long long)(written * options.readers),
                 seconds);
    (void)printf("writes %llu\n", (unsigned long long)rounds);
    return 0;
}
