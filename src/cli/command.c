/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 2, 0))) static void say(const char *name, const char *format,
                                                      va_list arguments)
{
    (void)fprintf(stderr, "weasel %s: ", name);
    (void)vfprintf(stderr, format, arguments);
    (void)fputc('\n', stderr);
}

enum command_status command_failed(const char *name, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(name, format, arguments);
    va_end(arguments);
    return COMMAND_FAILED;
}

enum command_status command_misused(const char *name, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(name, format, arguments);
    va_end(arguments);
    (void)fprintf(stderr, "See weasel %s --help.\n", name);
    return COMMAND_USAGE;
}

enum command_status command_end(const char *name, enum command_status status)
{
    if (fflush(stdout) == 0 && ferror(stdout) == 0) {
        return status;
    }
    return command_failed(name, "writing to standard output: %s", strerror(errno));
}
