/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weaseldb: start, signals, stop.
 *
 * The main thread blocks the signals that it waits for; all other threads block all. A helper
 * thread waits for the drain, so that a second signal is still heard and ends the process at once.
 * Where a watchdog wants to be fed, the main thread does that as well, as long as every stage of
 * the pipelines moves; else it only ever wakes up for a signal.
 *
 * SIGTERM and SIGINT are blocked only while there is a server to drain: recovery and the last
 * clean-up can take as long as the disk does, and leave the log whole wherever they are cut.
 */
#include "base/clock.h"
#include "base/logger.h"
#include "base/thread.h"
#include "engine/server.h"
#include "weaseldb/commit_routes.h"
#include "weaseldb/database.h"
#include "weaseldb/endpoints.h"
#include "weaseldb/options.h"
#include "weaseldb/retention_routes.h"
#include "weaseldb/subscribe.h"
#include "weaseldb/systemd.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    SIGNAL_BASE = 128,     /* a process ended by a signal exits with this and its number */
    STOP_PATIENCE_SEC = 30 /* after the drain: ending threads, closing the log */
};

struct program {
    struct options options;
    struct config config; /* in force */
    struct database database;
    struct server *server;
    struct feed *feed;
    struct thread drainer;
    bool answered;
    uint64_t feed_every_ns; /* the watchdog; 0: there is none */
    uint64_t feed_at_ns;    /* next */
    bool is_starving;       /* it was not fed last time */
};

static struct server_config server_config_from(const struct config *config)
{
    return (struct server_config){
        .accept_threads = (unsigned)config->http.accept_threads,
        .network_threads = (unsigned)config->http.network_threads,
        .bind_address = config->http.bind_address,
        .port = (uint16_t)config->http.port,
        .unix_socket = config->http.unix_socket,
        .keepalive_timeout_sec = (unsigned)config->http.keepalive_timeout_sec,
        .request_timeout_sec = (unsigned)config->http.request_timeout_sec,
        .write_timeout_sec = (unsigned)config->http.write_timeout_sec,
        .drain_timeout_sec = (unsigned)config->http.drain_timeout_sec,
        .body_bytes_per_sec_min = (uint64_t)config->http.body_bytes_per_sec_min,
        .max_connections = (unsigned)config->http.max_connections,
        .max_header_bytes = (size_t)config->http.max_header_bytes,
        .memory_limit_bytes = (uint64_t)config->http.memory_limit_bytes,
        .stream_buffer_bytes = (unsigned)config->http.stream_buffer_bytes,
    };
}

static void configure_logger(const struct config *config)
{
    logger_configure(&(struct logger_config){.fd = STDERR_FILENO,
                                             .level = (enum log_level)config->logging.level,
                                             .format = (enum log_format)config->logging.format,
                                             .access_log = config->logging.access_log != 0});
}

static void say_where(const struct program *program)
{
    for (unsigned i = 0; server_address(program->server, i) != NULL; i++) {
        log_info("listening", LOG_STRING("address", server_address(program->server, i)),
                 LOG_STRING("version", WEASELDB_VERSION), LOG_U64("pid", (uint64_t)getpid()),
                 LOG_U64("network_threads", (uint64_t)program->config.http.network_threads));
    }
    unsigned connections_max = server_max_connections(program->server);
    if (connections_max < (unsigned)program->config.http.max_connections) {
        log_warn(
            "fewer connections than http.max_connections fit the limit of open files (ulimit -n, "
            "LimitNOFILE=)",
            LOG_U64("connections_max", connections_max));
    }
    if (!isatty(STDOUT_FILENO) || server_address(program->server, 0) == NULL) {
        return;
    }
    const char *address = server_address(program->server, 0);
    if (strncmp(address, "unix:", 5) == 0) {
        (void)printf("weaseldb %s listens on %s; try:\n  curl --unix-socket %s http://localhost/\n",
                     WEASELDB_VERSION, address, address + 5);
    } else {
        (void)printf("weaseldb %s listens on http://%s; try:\n  curl http://%s/\n",
                     WEASELDB_VERSION, address, address);
    }
    (void)printf("Ctrl-C ends it.\n");
    (void)fflush(stdout);
}

/* Set before the signal that tells of it is sent. */
static _Atomic bool log_has_failed;

/* On a service or helper thread. The main thread hears of it like of any signal. */
static void log_failed(void)
{
    /* release: pairs with has_failed() */
    atomic_store_explicit(&log_has_failed, true, memory_order_release);
    log_error("the commit log has failed; commits under way are answered unknown, and the server "
              "stops");
    (void)kill(getpid(), SIGUSR2);
}

/* What the signal alone does not say: it may come from elsewhere, and behind the drainer's. */
static bool has_failed(void)
{
    /* acquire: pairs with log_failed(); nothing else becomes visible with it */
    return atomic_load_explicit(&log_has_failed, memory_order_acquire);
}

static enum err add_routes(struct program *program)
{
    const struct config *config = &program->config;
    const struct feed_config feed = {
        .commits = program->database.commits,
        .log = program->database.log,
        .progress_interval_ms = (uint32_t)config->subscribe.progress_interval_sec * 1000,
        .subscribers_max = (uint32_t)config->subscribe.max_subscribers,
        .shared_bytes = (uint64_t)config->subscribe.shared_bytes,
    };
    enum err err = feed_open(&feed, program->server, &program->feed);
    if (err != OK) {
        return err;
    }
    const struct commit_routes_config commit_routes = {
        .service = program->database.commits,
        .metrics = {.service = program->database.commits,
                    .log = program->database.log,
                    .directory = config->log.directory,
                    .conflict_window_bytes_max = (uint64_t)config->commit.conflict_window_bytes,
                    .request_ids_max = (uint64_t)config->commit.request_id_window_count,
                    .recovery_ns = program->database.recovery_ns,
                    .relaxed = config->log.durability == CONFIG_DURABILITY_NONE},
        .limits = database_limits(config),
        .body_bytes_max = (uint64_t)config->http.max_body_bytes,
        .ring_buffer_size = (unsigned)config->commit_status.ring_buffer_size,
        .threads = (unsigned)config->commit_status.threads,
        .relaxed = config->log.durability == CONFIG_DURABILITY_NONE,
        .log_failed = log_failed,
        .feed = program->feed,
    };
    const struct retention_routes_config retention_routes = {
        .service = program->database.commits,
        .log = program->database.log,
        .policies_max = (uint32_t)config->retention.max_policies,
        .log_failed = log_failed,
    };
    err = endpoints_add(program->server, program->database.commits);
    if (err == OK) {
        err = commit_routes_add(program->server, &commit_routes);
    }
    if (err == OK) {
        err = retention_routes_add(program->server, &retention_routes);
    }
    return err == OK ? subscribe_add(program->server, program->feed) : err;
}

/* What to do about the error number of a failed start. */
static const char *start_hint(int number)
{
    switch (number) {
    case EADDRINUSE:
        return "another process uses the address; --set http.port=PORT picks another port";
    case EACCES:
    case EPERM:
        return "ports below 1024 are for root or CAP_NET_BIND_SERVICE only, and the directory of a "
               "Unix socket must be writable";
    case EADDRNOTAVAIL:
        return "http.bind_address must be an address of this machine";
    default:
        return "see [http] in docs/configuration.md";
    }
}

static enum err start(struct program *program)
{
    int sockets[SYSTEMD_SOCKETS_MAX];
    struct server_config config = server_config_from(&program->config);
    int passed = systemd_take_sockets(sockets);
    if (passed < 0) {
        log_error("LISTEN_FDS makes no sense", LOG_U64("at_most", SYSTEMD_SOCKETS_MAX));
        return ERR_INVALID;
    }
    config.inherited = sockets;
    config.inherited_count = (unsigned)passed;
    enum err err = server_open(&config, &program->server);
    if (err != OK) {
        log_error("cannot open the server", LOG_STRING("error", err_name(err)));
        return err;
    }
    err = add_routes(program);
    if (err == OK) {
        err = server_start(program->server);
    }
    if (err != OK) {
        log_error("cannot start", LOG_STRING("error", server_error(program->server)),
                  LOG_STRING("hint", start_hint(err == ERR_SYSTEM ? errno : 0)));
        server_close(program->server);
        feed_close(program->feed);
        program->server = NULL;
    }
    return err;
}

static void log_mistake(void *context, const char *text)
{
    (void)context;
    log_error("the settings were not reloaded", LOG_STRING("mistake", text));
}

static void log_change(void *context, const char *key, bool live)
{
    (void)context;
    if (live) {
        log_info("setting changed", LOG_STRING("key", key));
    } else {
        log_warn("setting needs a restart", LOG_STRING("key", key));
    }
}

/* Reads the settings again and applies those that are live. A mistake changes nothing. */
static void reload(struct program *program)
{
    struct config config;
    const struct config_report report = {log_mistake, NULL};
    systemd_notify_reloading();
    if (options_load_config(&program->options, &config, &report) == OK) {
        config_compare(&program->config, &config, log_change, NULL);
        config_take_live(&program->config, &config);
        struct server_config server = server_config_from(&program->config);
        server_reload(program->server, &server);
        configure_logger(&program->config);
        log_info("settings reloaded");
    }
    systemd_notify("READY=1");
}

/* A stage is stuck when it does not move from one feeding to the next. */
static void feed_watchdog(struct program *program, uint64_t now_ns)
{
    unsigned stuck_ms = (unsigned)(program->feed_every_ns / 1000000);
    const char *stuck = server_stuck_stage(program->server, stuck_ms);
    program->feed_at_ns = now_ns + program->feed_every_ns;
    if (stuck == NULL) {
        systemd_notify("WATCHDOG=1");
    } else if (!program->is_starving) {
        log_error("a pipeline stage has work and makes no progress; the watchdog is not fed",
                  LOG_STRING("stage", stuck));
    }
    program->is_starving = stuck != NULL;
}

/* The number of the next signal, or -1 when there was none after all. */
static int next_signal(struct program *program, const sigset_t *signals)
{
    while (program->feed_every_ns > 0) {
        uint64_t now_ns = clock_monotonic_ns();
        if (now_ns >= program->feed_at_ns) {
            feed_watchdog(program, now_ns);
        }
        uint64_t rest_ns = program->feed_at_ns - now_ns;
        const struct timespec rest = {.tv_sec = (time_t)(rest_ns / 1000000000),
                                      .tv_nsec = (long)(rest_ns % 1000000000)};
        int number = sigtimedwait(signals, NULL, &rest);
        if (number > 0 || errno != EAGAIN) {
            return number;
        }
    }
    return sigwaitinfo(signals, NULL);
}

static void drain_run(void *argument)
{
    struct program *program = argument;
    program->answered = server_join(program->server);
    /* The main thread hears of it like of any signal. */
    (void)kill(getpid(), SIGUSR1);
}

/* True: everything was answered in time. */
static bool stop(struct program *program, const sigset_t *signals, const char *reason)
{
    log_info("shutting down", LOG_STRING("reason", reason),
             LOG_U64("at_most_sec", (uint64_t)program->config.http.drain_timeout_sec));
    systemd_notify_patience("STOPPING=1",
                            (uint64_t)program->config.http.drain_timeout_sec + STOP_PATIENCE_SEC);
    server_drain(program->server);
    if (thread_start(&program->drainer, "drain", ROLE_HELPER, drain_run, program) != OK) {
        program->answered = server_join(program->server);
        return program->answered;
    }
    for (;;) {
        int number = next_signal(program, signals);
        if (number == SIGUSR1) {
            thread_join(&program->drainer);
            return program->answered;
        }
        if (number == SIGTERM || number == SIGINT) {
            log_warn("ended at once", LOG_STRING("signal", strsignal(number)));
            logger_flush();
            _exit(SIGNAL_BASE + number);
        }
    }
}

/* Until the end. Returns the exit status. */
static int serve(struct program *program, const sigset_t *signals)
{
    for (;;) {
        int number = next_signal(program, signals);
        if (number == SIGHUP) {
            reload(program);
        } else if (number == SIGTERM || number == SIGINT) {
            bool answered = stop(program, signals, strsignal(number));
            if (answered) {
                log_info("stopped; everything was answered");
            } else {
                log_warn("stopped; connections were cut when the time was up");
            }
            return answered && !has_failed() ? EXIT_OK : EXIT_RUNTIME;
        } else if (number == SIGUSR2 && has_failed()) {
            (void)stop(program, signals, "the commit log has failed");
            return EXIT_RUNTIME;
        }
    }
}

int main(int argc, char **argv)
{
    struct program program = {0};
    sigset_t endings;
    sigset_t signals;
    thread_role_set(ROLE_MAIN);
    if (!options_parse(&program.options, argc, argv, &program.config)) {
        options_deinit(&program.options);
        return program.options.exit_code;
    }
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGHUP);
    (void)sigaddset(&signals, SIGUSR1);
    (void)sigaddset(&signals, SIGUSR2);
    (void)pthread_sigmask(SIG_BLOCK, &signals, NULL);
    (void)sigemptyset(&endings);
    (void)sigaddset(&endings, SIGTERM);
    (void)sigaddset(&endings, SIGINT);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    (void)sigaction(SIGPIPE, &ignore, NULL);

    int status = EXIT_RUNTIME;
    configure_logger(&program.config);
    program.feed_every_ns = systemd_take_watchdog_ns();
    bool has_logger = logger_start() == OK;
    if (!has_logger) {
        log_warn("no logger thread; log lines are written by those who log");
    }
    if (database_open(&program.config, log_failed, &program.database) == OK) {
        (void)pthread_sigmask(SIG_BLOCK, &endings, NULL);
        if (start(&program) == OK) {
            say_where(&program);
            systemd_notify("READY=1\nSTATUS=serving");
            status = serve(&program, &signals);
            bool stopped = server_has_stopped(program.server);
            server_close(program.server);
            if (!stopped) {
                logger_flush();
                _exit(status); /* a thread still uses the rest */
            }
            feed_close(program.feed);
        }
        (void)pthread_sigmask(SIG_UNBLOCK, &endings, NULL);
        database_close(&program.database);
    }
    if (has_logger) {
        logger_stop();
    }
    options_deinit(&program.options);
    return status;
}
