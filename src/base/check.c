/* SPDX-License-Identifier: Apache-2.0 */
/* The message is formatted into a stack buffer and leaves in one write, so that lines of threads
 * that fail together do not mix, and nothing is allocated while the process is in doubt. */
#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void write_text(const char *text, int size, size_t room)
{
    if (size > 0) {
        size_t bytes = (size_t)size < room ? (size_t)size : room - 1;
        ssize_t ignored = write(STDERR_FILENO, text, bytes);
        (void)ignored;
    }
}

void check_fail(const char *file, int line, const char *function, const char *expression)
{
    char text[512];
    int size = snprintf(text, sizeof text, "%s:%d: %s: CHECK(%s) failed\n", file, line, function,
                        expression);
    write_text(text, size, sizeof text);
    abort();
}

void check_memory_fail(const char *what)
{
    char text[128];
    int size = snprintf(text, sizeof text, "out of memory: no room for %s\n", what);
    write_text(text, size, sizeof text);
    _exit(1);
}
