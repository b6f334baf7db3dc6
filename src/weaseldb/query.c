/* SPDX-License-Identifier: Apache-2.0 */
/* Reading query strings. */
#include "weaseldb/query.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum { DETAIL_BYTES = 320, NAME_BYTES_MAX = 100 };

__attribute__((format(printf, 3, 4))) static bool refuse(struct exchange *exchange,
                                                         const char *type, const char *format, ...)
{
    char *detail = arena_try_alloc(exchange->arena, DETAIL_BYTES);
    if (detail != NULL) {
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(detail, DETAIL_BYTES, format, arguments);
        va_end(arguments);
    }
    exchange_answer_problem(exchange,
                            &(struct http_problem){.status = 400, .type = type, .detail = detail});
    return false;
}

static bool refuse_no_memory(struct exchange *exchange)
{
    exchange_answer_no_memory(exchange);
    return false;
}

static bool refuse_unknown(struct exchange *exchange, const struct query_parameter *parameters,
                           size_t count, struct bytes name)
{
    char known[NAME_BYTES_MAX] = "none";
    size_t size = 0;
    for (size_t i = 0; i < count && size < sizeof known; i++) {
        size += (size_t)snprintf(known + size, sizeof known - size, "%s%s", i == 0 ? "" : ", ",
                                 parameters[i].name);
    }
    /* The target has been checked: a name holds neither quotes nor control characters. */
    return refuse(exchange, "unknown-parameter",
                  "This path takes no query parameter %.*s; it takes %s.",
                  (int)(name.size < NAME_BYTES_MAX ? name.size : NAME_BYTES_MAX), name.data, known);
}

bool query_read(struct exchange *exchange, struct query_parameter *parameters, size_t count)
{
    struct bytes rest = exchange->request.query;
    struct bytes name;
    struct bytes value;
    while (http_query_next(&rest, &name, &value)) {
        struct query_parameter *parameter = NULL;
        for (size_t i = 0; i < count; i++) {
            if (bytes_equal(name, bytes_from_string(parameters[i].name))) {
                parameter = &parameters[i];
            }
        }
        if (parameter == NULL) {
            return refuse_unknown(exchange, parameters, count, name);
        }
        uint32_t times = parameter->values == NULL ? 1 : parameter->values_max;
        if (parameter->value_count == times) {
            return times == 1
                       ? refuse(exchange, "repeated-parameter",
                                "The query parameter %s was sent more than once.", parameter->name)
                       : refuse(exchange, "repeated-parameter",
                                "The query parameter %s was sent more than %" PRIu32 " times.",
                                parameter->name, times);
        }
        enum err err = http_percent_decode(exchange->arena, value, true, &parameter->value);
        if (err == ERR_MEMORY) {
            return refuse_no_memory(exchange);
        }
        if (err != OK) {
            return refuse(exchange, "malformed-parameter",
                          "The query parameter %s holds a bad percent escape.", parameter->name);
        }
        parameter->given = true;
        if (parameter->values != NULL) {
            parameter->values[parameter->value_count] = parameter->value;
        }
        parameter->value_count++;
    }
    return true;
}

bool query_number(struct exchange *exchange, const struct query_parameter *parameter, uint64_t *out)
{
    uint64_t number;
    if (!bytes_parse_u64(parameter->value, &number) || number > (UINT64_C(1) << 53) - 1) {
        return refuse(exchange, "malformed-parameter",
                      "The query parameter %s must be an integer from 0 to 9007199254740991.",
                      parameter->name);
    }
    *out = number;
    return true;
}
