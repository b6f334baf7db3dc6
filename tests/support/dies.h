/* SPDX-License-Identifier: Apache-2.0 */
/* assert_dies(call): the call must fail a CHECK. It runs in a child process. Include after
 * cmocka.h. */
#ifndef SUPPORT_DIES_H
#define SUPPORT_DIES_H

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static inline pid_t dies_fork(void)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        /* The test runner's handlers and the message are the parent's business. */
        (void)signal(SIGABRT, SIG_DFL);
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        (void)dup2(null, STDERR_FILENO);
    }
    return child;
}

static inline void dies_wait(pid_t child)
{
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

#define assert_dies(call)                                                                          \
    do {                                                                                           \
        pid_t dies_child = dies_fork();                                                            \
        if (dies_child == 0) {                                                                     \
            _exit((call) ? 1 : 0);                                                                 \
        }                                                                                          \
        dies_wait(dies_child);                                                                     \
    } while (0)

#endif
