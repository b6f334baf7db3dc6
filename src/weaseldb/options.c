/* SPDX-License-Identifier: Apache-2.0 */
/* Every mistake of one start is written, not only the first; then the exit code is EXIT_USAGE, or
 * EXIT_RUNTIME when there was no memory to look at all of it. */
#include "weaseldb/options.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char HELP[] = "usage: weaseldb [OPTION...]\n"
                           "\n"
                           "Serves the WeaselDB HTTP API; without options, on 127.0.0.1:8080.\n"
                           "\n"
                           "  --config FILE     read settings from a TOML file\n"
                           "  --set KEY=VALUE   change one setting, such as http.port=9000; wins "
                           "over the file, repeatable\n"
                           "  --check-config    say whether the settings are right, and end\n"
                           "  --print-config    write the settings in force as TOML, and end\n"
                           "  --version         write the version, and end\n"
                           "  --help            write this, and end\n"
                           "\n"
                           "Signals: SIGTERM or SIGINT answers what has been read, then ends; a "
                           "second one ends at once. SIGHUP\n"
                           "reads the settings again.\n"
                           "\n"
                           "Exit status: 0 when all was answered, 1 when the start failed or "
                           "connections had to be cut at the\n"
                           "end, 2 for a mistake in options or settings.\n";

enum {
    OPTION_CONFIG = 1,
    OPTION_SET,
    OPTION_CHECK,
    OPTION_PRINT,
    OPTION_VERSION,
    OPTION_HELP,
    OPTION_MARKDOWN,
    OPTION_COMMENTED
};

static const struct option OPTIONS[] = {
    {"config", required_argument, NULL, OPTION_CONFIG},
    {"set", required_argument, NULL, OPTION_SET},
    {"check-config", no_argument, NULL, OPTION_CHECK},
    {"print-config", no_argument, NULL, OPTION_PRINT},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"help", no_argument, NULL, OPTION_HELP},
    /* For scripts/gen-config-docs. */
    {"print-config-markdown", no_argument, NULL, OPTION_MARKDOWN},
    {"print-config-commented", no_argument, NULL, OPTION_COMMENTED},
    {NULL, 0, NULL, 0},
};

static void report_to_stderr(void *context, const char *text)
{
    (void)context;
    (void)fprintf(stderr, "weaseldb: %s\n", text);
}

enum err options_load_config(const struct options *options, struct config *out_config,
                             const struct config_report *report)
{
    enum err err = OK;
    config_init(out_config);
    if (options->config_path != NULL) {
        err = config_load_file(out_config, options->config_path, report);
    }
    for (size_t i = 0; i < options->set_count && err != ERR_MEMORY; i++) {
        enum err set = config_set(out_config, options->sets[i], report);
        err = set == OK ? err : set;
    }
    return err == OK ? config_check(out_config, report) : err;
}

static bool end(struct options *options, int exit_code)
{
    /* What was printed must have arrived: a full disk is an error. */
    if (fflush(stdout) != 0) {
        exit_code = EXIT_RUNTIME;
    }
    options->exit_code = exit_code;
    return false;
}

/* Reads the words of the command line. *out_action is what to do instead of serving, or 0. */
static bool parse_words(struct options *options, int argc, char **argv, int *out_action)
{
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":", OPTIONS, NULL)) != -1) {
        switch (option) {
        case OPTION_CONFIG:
            options->config_path = optarg;
            break;
        case OPTION_SET:
            options->sets[options->set_count++] = optarg;
            break;
        case ':':
            (void)fprintf(stderr, "weaseldb: %s needs a value; see weaseldb --help\n",
                          argv[optind - 1]);
            return false;
        case '?':
            (void)fprintf(stderr, "weaseldb: there is no option %s; see weaseldb --help\n",
                          argv[optind - 1]);
            return false;
        default:
            *out_action = option;
            break;
        }
    }
    if (optind < argc) {
        (void)fprintf(stderr, "weaseldb: '%s' is not an option; see weaseldb --help\n",
                      argv[optind]);
        return false;
    }
    return true;
}

bool options_parse(struct options *options, int argc, char **argv, struct config *out_config)
{
    int action = 0;
    *options = (struct options){0};
    options->sets = calloc((size_t)argc + 1, sizeof(char *));
    if (options->sets == NULL) {
        (void)fputs("weaseldb: out of memory\n", stderr);
        return end(options, EXIT_RUNTIME);
    }
    if (!parse_words(options, argc, argv, &action)) {
        return end(options, EXIT_USAGE);
    }
    switch (action) {
    case OPTION_HELP:
        (void)fputs(HELP, stdout);
        return end(options, EXIT_OK);
    case OPTION_VERSION:
        (void)puts("weaseldb " WEASELDB_VERSION);
        return end(options, EXIT_OK);
    case OPTION_MARKDOWN:
        config_print_markdown(stdout);
        return end(options, EXIT_OK);
    case OPTION_COMMENTED:
        config_print_commented(stdout);
        return end(options, EXIT_OK);
    default:
        break;
    }
    const struct config_report report = {report_to_stderr, NULL};
    enum err err = options_load_config(options, out_config, &report);
    if (err != OK) {
        return end(options, err == ERR_MEMORY ? EXIT_RUNTIME : EXIT_USAGE);
    }
    if (action == OPTION_CHECK) {
        (void)puts("The settings are right.");
        return end(options, EXIT_OK);
    }
    if (action == OPTION_PRINT) {
        config_print(out_config, stdout);
        return end(options, EXIT_OK);
    }
    return true;
}

void options_deinit(struct options *options)
{
    free((void *)(uintptr_t)options->sets);
    options->sets = NULL;
}
