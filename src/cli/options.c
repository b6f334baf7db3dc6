/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/options.h"

#include "base/bytes.h"

#include <inttypes.h>
#include <stdio.h>

void options_init(struct options *options, int argc, char **argv, const struct option *known)
{
    *options = (struct options){.name = argv[0], .argc = argc, .argv = argv, .known = known};
    optind = 1;
    opterr = 0;
}

int options_next(struct options *options)
{
    /* '+': ends at the first word that is no option; ':': a missing value is ':' and not '?' */
    int option = getopt_long(options->argc, options->argv, "+:", options->known, NULL);
    if (option == ':') {
        (void)command_misused(options->name, "%s needs a value", options->argv[optind - 1]);
        return OPTIONS_MISUSED;
    }
    if (option == '?') {
        (void)command_misused(options->name,
                              optopt >= OPTIONS_HELP ? "%s: the option takes no value"
                                                     : "there is no option %s",
                              options->argv[optind - 1]);
    }
    return option;
}

bool options_read(struct options *options, const char *help,
                  bool (*take)(void *context, int option), void *context,
                  enum command_status *out_status)
{
    int option;
    *out_status = COMMAND_USAGE;
    while ((option = options_next(options)) != OPTIONS_END) {
        if (option == OPTIONS_HELP) {
            (void)fputs(help, stdout);
            *out_status = COMMAND_OK;
            return false;
        }
        if (option == OPTIONS_MISUSED || !take(context, option)) {
            return false;
        }
    }
    return true;
}

const char *options_word(struct options *options)
{
    return optind < options->argc ? options->argv[optind++] : NULL;
}

const char *options_peek(const struct options *options)
{
    return optind < options->argc ? options->argv[optind] : NULL;
}

bool options_finished(const struct options *options)
{
    if (optind < options->argc) {
        (void)command_misused(options->name, "'%s' is not an option", options->argv[optind]);
        return false;
    }
    return true;
}

bool options_number(const struct options *options, const char *option, const char *text,
                    uint64_t min, uint64_t max, uint64_t *out)
{
    uint64_t number;
    if (!bytes_parse_u64(bytes_from_string(text), &number) || number < min || number > max) {
        (void)command_misused(options->name,
                              "%s %s: must be a whole number from %" PRIu64 " to %" PRIu64, option,
                              text, min, max);
        return false;
    }
    *out = number;
    return true;
}

/* "2.5" is 2500. */
static bool parse_decimal(struct bytes text, uint64_t max, uint64_t *out)
{
    struct bytes decimals = text;
    struct bytes whole = bytes_split(&decimals, '.');
    uint64_t number;
    uint64_t part = 0;
    if (!bytes_parse_u64(whole, &number) || number > max / 1000 ||
        (decimals.data != NULL && !bytes_parse_u64(decimals, &part)) || decimals.size > 3) {
        return false;
    }
    for (size_t i = decimals.size; i < 3; i++) {
        part *= 10;
    }
    *out = number * 1000 + part;
    return *out <= max;
}

static bool read_decimal(const struct options *options, const char *option, const char *text,
                         const char *what, const uint64_t limits[2], uint64_t *out)
{
    uint64_t number;
    if (!parse_decimal(bytes_from_string(text), limits[1], &number) || number < limits[0]) {
        (void)command_misused(options->name, "%s %s: must be %s from %.12g to %.12g", option, text,
                              what, (double)limits[0] / 1000, (double)limits[1] / 1000);
        return false;
    }
    *out = number;
    return true;
}

bool options_decimal(const struct options *options, const char *option, const char *text,
                     uint64_t min, uint64_t max, uint64_t *out)
{
    return read_decimal(options, option, text, "a number", (const uint64_t[]){min, max}, out);
}

bool options_seconds(const struct options *options, const char *option, const char *text,
                     uint64_t min_ms, uint64_t max_ms, uint64_t *out_ms)
{
    return read_decimal(options, option, text, "seconds", (const uint64_t[]){min_ms, max_ms},
                        out_ms);
}

bool options_server(const struct options *options, const char *text, struct endpoint *out)
{
    const char *mistake;
    if (endpoint_read(text, out, &mistake) == OK) {
        return true;
    }
    (void)command_misused(options->name, "the server '%s': %s", out->name, mistake);
    return false;
}
