/* SPDX-License-Identifier: Apache-2.0 */
/* Names of the results; the switch has no default so that the compiler finds a missing one. */
#include "base/err.h"

#include "base/check.h"

const char *err_name(enum err err)
{
    switch (err) {
    case OK:
        return "ok";
    case ERR_MEMORY:
        return "out of memory";
    case ERR_FULL:
        return "full";
    case ERR_LIMIT:
        return "beyond the limit";
    case ERR_INVALID:
        return "invalid";
    case ERR_SYSTEM:
        return "system call failed";
    case ERR_CLOSED:
        return "closed";
    }
    UNREACHABLE();
}
