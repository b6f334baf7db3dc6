/* SPDX-License-Identifier: Apache-2.0 */
/* The logger: order, flushing, levels, rates, and that nobody who logs is ever held up. */
#include "base/clock.h"
#include "base/logger.h"
#include "base/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct ends {
    int reader;
    int writer;
};

static void configure(int fd, enum log_level level, bool access_log)
{
    logger_configure(&(struct logger_config){fd, level, LOG_LOGFMT, access_log});
}

static struct ends open_pipe(int writer_flags)
{
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(fcntl(fds[1], F_SETFL, writer_flags), 0);
    configure(fds[1], LOG_INFO, false);
    return (struct ends){fds[0], fds[1]};
}

static void close_pipe(struct ends ends)
{
    configure(STDERR_FILENO, LOG_INFO, false);
    assert_int_equal(close(ends.reader), 0);
    assert_int_equal(close(ends.writer), 0);
}

/* What can be read without waiting, as a string. */
static const char *read_now(struct ends ends)
{
    static char text[128 * 1024];
    size_t size = 0;
    assert_int_equal(fcntl(ends.reader, F_SETFL, O_NONBLOCK), 0);
    for (;;) {
        ssize_t got = read(ends.reader, text + size, sizeof text - 1 - size);
        if (got <= 0) {
            break;
        }
        size += (size_t)got;
    }
    text[size] = '\0';
    return text;
}

/* The text behind the timestamps, which it checks the shape of. */
static const char *without_times(const char *text)
{
    static char out[128 * 1024];
    size_t size = 0;
    while (*text != '\0') {
        const char *end = strchr(text, '\n');
        assert_non_null(end);
        assert_memory_equal(text, "ts=2", 4);
        assert_memory_equal(text + 3 + 26, "Z ", 2);
        size_t rest = (size_t)(end + 1 - (text + 31));
        memcpy(out + size, text + 31, rest);
        size += rest;
        text = end + 1;
    }
    out[size] = '\0';
    return out;
}

static void lines_before_start_and_after_stop_are_written_at_once(void **state)
{
    (void)state;
    struct ends ends = open_pipe(0);
    log_info("before");
    assert_string_equal(without_times(read_now(ends)), "level=info msg=before\n");
    assert_int_equal(logger_start(), OK);
    logger_stop();
    log_info("after", LOG_U64("n", 1));
    assert_string_equal(without_times(read_now(ends)), "level=info msg=after n=1\n");
    logger_flush(); /* has nothing to wait for */
    close_pipe(ends);
}

static void flush_waits_until_lines_are_written_in_order(void **state)
{
    (void)state;
    struct ends ends = open_pipe(0);
    assert_int_equal(logger_start(), OK);
    for (int i = 0; i < 50; i++) {
        log_info("a", LOG_I64("i", i));
        log_warn("b");
        logger_flush();
        char expected[64];
        (void)snprintf(expected, sizeof expected, "level=info msg=a i=%d\nlevel=warn msg=b\n", i);
        assert_string_equal(without_times(read_now(ends)), expected);
    }
    logger_stop();
    close_pipe(ends);
}

static void stop_writes_what_was_logged(void **state)
{
    (void)state;
    struct ends ends = open_pipe(0);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(logger_start(), OK);
        log_info("last words");
        logger_stop();
        assert_string_equal(without_times(read_now(ends)), "level=info msg=\"last words\"\n");
    }
    close_pipe(ends);
}

/* Counts how often it is evaluated. */
static uint64_t evaluated;

static uint64_t evaluate(void)
{
    return ++evaluated;
}

static void unwanted_lines_cost_no_evaluation(void **state)
{
    (void)state;
    struct ends ends = open_pipe(0);
    evaluated = 0;
    log_debug("no", LOG_U64("n", evaluate()));
    LOG_ACCESS(LOG_U64("n", evaluate()));
    LOG_RATE_LIMITED(LOG_DEBUG, 1, "no", LOG_U64("n", evaluate()));
    configure(ends.writer, LOG_ERROR, false);
    log_info("no", LOG_U64("n", evaluate()));
    log_warn("no", LOG_U64("n", evaluate()));
    assert_int_equal(evaluated, 0);
    log_error("yes", LOG_U64("n", evaluate()));
    configure(ends.writer, LOG_DEBUG, true); /* as a reload would */
    log_debug("yes", LOG_U64("n", evaluate()));
    configure(ends.writer, LOG_ERROR, true); /* the access log has no level */
    LOG_ACCESS(LOG_U64("n", evaluate()));
    assert_string_equal(without_times(read_now(ends)), "level=error msg=yes n=1\n"
                                                       "level=debug msg=yes n=2\n"
                                                       "level=info msg=access n=3\n");
    close_pipe(ends);
}

static void the_format_can_change(void **state)
{
    (void)state;
    struct ends ends = open_pipe(0);
    logger_configure(&(struct logger_config){ends.writer, LOG_INFO, LOG_JSON, false});
    assert_int_equal(logger_start(), OK);
    log_info("m", LOG_STRING("s", "\"\n"));
    logger_stop();
    assert_string_equal(read_now(ends) + strlen("{\"ts\":\"2026-11-23T05:32:00.123456Z\""),
                        ",\"level\":\"info\",\"msg\":\"m\",\"s\":\"\\\"\\n\"}\n");
    close_pipe(ends);
}

static void a_rate_passes_so_many_a_second(void **state)
{
    (void)state;
    struct log_rate rate = {0};
    uint64_t suppressed = 9;
    for (int i = 0; i < 3; i++) {
        assert_true(log_rate_try_pass(&rate, 3, &suppressed));
        assert_int_equal(suppressed, 0);
    }
    /* A third of a second must pass before the next; give this a hundredth of that. */
    for (int i = 0; i < 5; i++) {
        assert_false(log_rate_try_pass(&rate, 3, &suppressed));
    }
    /* As if a third of a second had passed: one more, and no more. */
    atomic_fetch_sub(&rate.booked_until_ns, 333333333);
    assert_true(log_rate_try_pass(&rate, 3, &suppressed));
    assert_int_equal(suppressed, 5);
    assert_false(log_rate_try_pass(&rate, 3, &suppressed));
    /* After a long silence three at once again, not more. */
    atomic_store(&rate.booked_until_ns, 1);
    for (int i = 0; i < 3; i++) {
        assert_true(log_rate_try_pass(&rate, 3, &suppressed));
        assert_int_equal(suppressed, i == 0 ? 1 : 0);
    }
    assert_false(log_rate_try_pass(&rate, 3, &suppressed));
}

static void a_site_says_what_it_suppressed(void **state)
{
    (void)state;
    struct ends ends = open_pipe(0);
    uint64_t calls = 0;
    const char *text = "";
    while (strstr(text, "suppressed=") == NULL) {
        LOG_RATE_LIMITED(LOG_WARN, 20, "often", LOG_U64("n", calls));
        calls++;
        if (calls % 1000 == 0) {
            text = without_times(read_now(ends));
        }
    }
    const char *number = strstr(text, "suppressed=") + strlen("suppressed=");
    uint64_t suppressed = strtoull(number, NULL, 10);
    assert_true(suppressed >= 1 && suppressed < calls);
    close_pipe(ends);
}

static uint64_t count_lines(const char *text, const char *message)
{
    uint64_t lines = 0;
    for (const char *at = strstr(text, message); at != NULL; at = strstr(at + 1, message)) {
        lines++;
    }
    return lines;
}

/* The sum of what all reports of dropped lines say. */
static uint64_t sum_reports(const char *text)
{
    uint64_t sum = 0;
    for (const char *at = strstr(text, " dropped="); at != NULL; at = strstr(at + 1, " dropped=")) {
        sum += strtoull(at + strlen(" dropped="), NULL, 10);
    }
    return sum;
}

static void a_full_ring_drops_and_counts_and_never_blocks(void **state)
{
    (void)state;
    struct ends ends = open_pipe(0);
    uint64_t dropped_before = logger_dropped_lines();
    uint64_t logged = 0;
    assert_int_equal(logger_start(), OK);
    /* Nobody reads: had a call to wait, this would not end. */
    while (logger_dropped_lines() < dropped_before + 100) {
        log_info("line", LOG_U64("n", logged));
        logged++;
    }
    assert_true(logged * 60 > LOG_RING_BYTES); /* a line has fewer than 60 bytes */

    uint64_t seen = 0;
    uint64_t reported = 0;
    while (seen + reported < logged) {
        /* A cut line at the end of what is read is one that counts in the next piece. */
        static char text[65536];
        static size_t size;
        ssize_t got = read(ends.reader, text + size, sizeof text - 1 - size);
        assert_true(got > 0);
        size += (size_t)got;
        text[size] = '\0';
        char *end = strrchr(text, '\n');
        if (end == NULL) {
            continue;
        }
        *end = '\0';
        seen += count_lines(text, "msg=line");
        reported += sum_reports(text);
        size -= (size_t)(end + 1 - text);
        memmove(text, end + 1, size);
    }
    assert_int_equal(seen + reported, logged);
    assert_int_equal(reported, logger_dropped_lines() - dropped_before);
    assert_true(reported >= 100);
    log_info("alive");
    logger_stop();
    assert_non_null(strstr(read_now(ends), "msg=alive\n"));
    close_pipe(ends);
}

static void a_failing_descriptor_costs_lines_not_the_process(void **state)
{
    (void)state;
    struct ends broken = open_pipe(0);
    assert_int_equal(logger_start(), OK);
    assert_int_equal(close(broken.reader), 0);
    uint64_t dropped_before = logger_dropped_lines();
    log_info("lost");
    log_info("lost too");
    logger_flush();
    assert_int_equal(logger_dropped_lines(), dropped_before + 2);

    struct ends ends = open_pipe(0);
    log_info("found");
    logger_stop();
    const char *text = without_times(read_now(ends));
    assert_non_null(strstr(text, "level=info msg=found\n"));
    assert_non_null(strstr(text, "level=warn msg=\"log lines were dropped\" dropped=2"));
    close_pipe(ends);
    assert_int_equal(close(broken.writer), 0);
}

static void drain_slowly(void *argument)
{
    int fd = *(const int *)argument;
    char small[512];
    while (read(fd, small, sizeof small) > 0) {
        (void)sched_yield();
    }
}

static void a_non_blocking_descriptor_is_waited_for(void **state)
{
    (void)state;
    struct ends ends = open_pipe(O_NONBLOCK);
    struct thread reader;
    uint64_t dropped_before = logger_dropped_lines();
    assert_int_equal(fcntl(ends.writer, F_SETPIPE_SZ, 4096) > 0, 1);
    assert_int_equal(logger_start(), OK);
    assert_int_equal(thread_start(&reader, "reader", ROLE_HELPER, drain_slowly, &ends.reader), OK);
    for (int i = 0; i < 1000; i++) {
        log_info("line", LOG_I64("n", i));
    }
    logger_stop();
    assert_int_equal(logger_dropped_lines(), dropped_before);
    configure(STDERR_FILENO, LOG_INFO, false);
    assert_int_equal(close(ends.writer), 0);
    thread_join(&reader);
    assert_int_equal(close(ends.reader), 0);
}

static void flush_once(void *argument)
{
    (void)argument;
    logger_flush();
}

static void stop_gives_up_on_a_stuck_descriptor(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)alarm(60);
        struct ends ends = open_pipe(0);
        (void)ends;
        int status = logger_start() == OK ? 0 : 1;
        for (int i = 0; i < 5000; i++) {
            log_info("line", LOG_I64("n", i));
        }
        struct thread waits; /* until the stop sets it free */
        status += thread_start(&waits, "waits", ROLE_HELPER, flush_once, NULL) == OK ? 0 : 8;
        logger_stop();
        thread_join(&waits);
        uint64_t dropped = logger_dropped_lines();
        log_info("nobody reads this");
        status += logger_dropped_lines() == dropped + 1 ? 0 : 2;
        status += logger_start() == ERR_CLOSED ? 0 : 4;
        logger_flush();
        _exit(status);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* Waits for one packet, which is what one write of the logger makes of a SOCK_SEQPACKET. */
static ssize_t read_packet(struct ends ends, char *text, size_t room)
{
    ssize_t got = recv(ends.reader, text, room - 1, 0);
    assert_true(got > 0);
    text[got] = '\0';
    return got;
}

static struct ends open_packets(void)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    configure(fds[1], LOG_INFO, true);
    return (struct ends){fds[0], fds[1]};
}

static void lines_gather_into_few_writes(void **state)
{
    (void)state;
    struct ends ends = open_packets();
    assert_int_equal(logger_start(), OK);
    for (int i = 0; i < 1000; i++) {
        LOG_ACCESS(LOG_I64("n", i));
    }
    uint64_t lines = 0;
    uint64_t packets = 0;
    while (lines < 1000) {
        static char text[LOG_RING_BYTES + 1];
        (void)read_packet(ends, text, sizeof text);
        lines += count_lines(text, "msg=access");
        packets++;
    }
    assert_int_equal(lines, 1000);
    assert_true(packets <= 100);
    logger_stop();
    close_pipe(ends);
}

static uint64_t time_of_rounds(struct ends ends, enum log_level level)
{
    char text[256];
    uint64_t start = clock_monotonic_ns();
    for (int i = 0; i < 30; i++) {
        LOG_LINE(level, "m");
        (void)read_packet(ends, text, sizeof text);
    }
    return clock_monotonic_ns() - start;
}

static void warnings_do_not_wait_for_others(void **state)
{
    (void)state;
    struct ends ends = open_packets();
    assert_int_equal(logger_start(), OK);
    uint64_t infos = time_of_rounds(ends, LOG_INFO);
    uint64_t warnings = time_of_rounds(ends, LOG_WARN);
    assert_true(infos > UINT64_C(30) * 5000000); /* they do gather */
    assert_true(warnings < infos / 2);
    logger_stop();
    close_pipe(ends);
}

static void an_idle_logger_sleeps(void **state)
{
    (void)state;
    struct ends ends = open_pipe(0);
    assert_int_equal(logger_start(), OK);
    log_info("busy");
    logger_flush();
    struct rusage before;
    struct rusage after;
    struct timespec while_idle = {.tv_nsec = 500000000};
    assert_int_equal(getrusage(RUSAGE_SELF, &before), 0);
    assert_int_equal(nanosleep(&while_idle, NULL), 0);
    assert_int_equal(getrusage(RUSAGE_SELF, &after), 0);
    /* Our own sleep, the logger falling asleep, and the ten a second of TSan's own thread; a logger
     * that looked every 10 ms would need 50. */
    assert_true(after.ru_nvcsw - before.ru_nvcsw < 20);
    assert_true(after.ru_utime.tv_sec - before.ru_utime.tv_sec <= 1);
    logger_stop();
    close_pipe(ends);
}

enum { WRITERS = 4, LINES = 3000 };

struct writer {
    struct thread thread;
    uint64_t number;
};

static void write_numbers(void *argument)
{
    const struct writer *writer = argument;
    for (uint64_t i = 0; i < LINES; i++) {
        log_info("w", LOG_U64("writer", writer->number), LOG_U64("line", i));
    }
}

struct collector {
    struct thread thread;
    FILE *in;
    uint64_t next[WRITERS]; /* the smallest line that may come */
    uint64_t lines;
    uint64_t reported;
    bool wrong;
};

static void collect(void *argument)
{
    struct collector *c = argument;
    char text[LOG_LINE_BYTES_MAX + 1];
    while (fgets(text, sizeof text, c->in) != NULL) {
        const char *writer = strstr(text, " writer=");
        const char *line = strstr(text, " line=");
        if (writer == NULL || line == NULL) {
            c->reported += sum_reports(text);
            continue;
        }
        uint64_t who = strtoull(writer + strlen(" writer="), NULL, 10);
        uint64_t which = strtoull(line + strlen(" line="), NULL, 10);
        c->wrong = c->wrong || who >= WRITERS || which < c->next[who < WRITERS ? who : 0];
        c->next[who < WRITERS ? who : 0] = which + 1;
        c->lines++;
    }
}

static void lines_of_many_threads_arrive_whole_and_in_their_order(void **state)
{
    (void)state;
    struct ends ends = open_pipe(0);
    struct writer writers[WRITERS];
    struct collector collector = {.in = fdopen(ends.reader, "r")};
    assert_non_null(collector.in);
    assert_int_equal(logger_start(), OK);
    assert_int_equal(thread_start(&collector.thread, "collect", ROLE_HELPER, collect, &collector),
                     OK);
    for (uint64_t i = 0; i < WRITERS; i++) {
        writers[i].number = i;
        assert_int_equal(
            thread_start(&writers[i].thread, "writer", ROLE_SERVICE, write_numbers, &writers[i]),
            OK);
    }
    for (int i = 0; i < WRITERS; i++) {
        thread_join(&writers[i].thread);
    }
    logger_stop();
    configure(STDERR_FILENO, LOG_INFO, false);
    assert_int_equal(close(ends.writer), 0);
    thread_join(&collector.thread);
    assert_false(collector.wrong);
    assert_int_equal(collector.lines + collector.reported, WRITERS * LINES);
    assert_true(collector.lines >= LINES);
    assert_int_equal(fclose(collector.in), 0);
}

static uint64_t ring_bytes_mapped(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    unsigned long long pages = 0;
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%llu", &pages), 1);
    assert_int_equal(fclose(file), 0);
    return pages * 4096;
}

static void log_once(void *argument)
{
    log_info("short life", LOG_U64("n", *(const uint64_t *)argument));
}

static void rings_of_ended_threads_are_used_again(void **state)
{
    (void)state;
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    assert_true(null >= 0);
    configure(null, LOG_INFO, false);
    assert_int_equal(logger_start(), OK);
    uint64_t before = 0;
    for (uint64_t i = 0; i < 300; i++) {
        struct thread thread;
        if (i == 20) {
            before = ring_bytes_mapped(); /* stacks and rings of a few threads exist by now */
        }
        assert_int_equal(thread_start(&thread, "short", ROLE_HELPER, log_once, &i), OK);
        thread_join(&thread);
    }
    assert_true(ring_bytes_mapped() < before + 100 * (uint64_t)LOG_RING_BYTES);
    logger_stop();
    configure(STDERR_FILENO, LOG_INFO, false);
    assert_int_equal(close(null), 0);
}

static atomic_bool enough;

static void log_and_flush(void *argument)
{
    (void)argument;
    while (!atomic_load(&enough)) {
        log_info("x");
        logger_flush();
    }
}

static void flushes_end_although_the_logger_stops(void **state)
{
    (void)state;
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    struct thread threads[2];
    assert_true(null >= 0);
    configure(null, LOG_INFO, false);
    atomic_store(&enough, false);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(thread_start(&threads[i], "flush", ROLE_HELPER, log_and_flush, NULL), OK);
    }
    for (int i = 0; i < 200; i++) {
        assert_int_equal(logger_start(), OK);
        log_info("y");
        logger_stop();
    }
    atomic_store(&enough, true);
    for (int i = 0; i < 2; i++) {
        assert_true(thread_join_until(&threads[i], clock_monotonic_ns() / 1000000 + 30000));
    }
    configure(STDERR_FILENO, LOG_INFO, false);
    assert_int_equal(close(null), 0);
}

static void logging_leaves_errno_alone(void **state)
{
    (void)state;
    struct ends ends = open_pipe(0);
    assert_int_equal(logger_start(), OK);
    errno = ENOTTY;
    log_warn("m");
    assert_int_equal(errno, ENOTTY);
    logger_stop();
    close_pipe(ends);
    configure(-1, LOG_INFO, false);
    errno = ENOTTY;
    log_warn("no such descriptor");
    assert_int_equal(errno, ENOTTY);
    configure(STDERR_FILENO, LOG_INFO, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stop_gives_up_on_a_stuck_descriptor), /* forks: before any thread */
        cmocka_unit_test(lines_before_start_and_after_stop_are_written_at_once),
        cmocka_unit_test(flush_waits_until_lines_are_written_in_order),
        cmocka_unit_test(stop_writes_what_was_logged),
        cmocka_unit_test(unwanted_lines_cost_no_evaluation),
        cmocka_unit_test(the_format_can_change),
        cmocka_unit_test(a_rate_passes_so_many_a_second),
        cmocka_unit_test(a_site_says_what_it_suppressed),
        cmocka_unit_test(a_full_ring_drops_and_counts_and_never_blocks),
        cmocka_unit_test(a_failing_descriptor_costs_lines_not_the_process),
        cmocka_unit_test(a_non_blocking_descriptor_is_waited_for),
        cmocka_unit_test(lines_gather_into_few_writes),
        cmocka_unit_test(warnings_do_not_wait_for_others),
        cmocka_unit_test(an_idle_logger_sleeps),
        cmocka_unit_test(lines_of_many_threads_arrive_whole_and_in_their_order),
        cmocka_unit_test(rings_of_ended_threads_are_used_again),
        cmocka_unit_test(flushes_end_although_the_logger_stops),
        cmocka_unit_test(logging_leaves_errno_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
