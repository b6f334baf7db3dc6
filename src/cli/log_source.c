/* SPDX-License-Identifier: Apache-2.0 */
/* Finding the log that the command line names, with words for every way to miss it. */
#include "cli/log_actions.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Splits the path of a file; *out_directory and *out_name are for free(). */
static bool split(const char *path, char **out_directory, char **out_name)
{
    const char *slash = strrchr(path, '/');
    size_t size = slash == NULL ? 0 : (size_t)(slash - path);
    char *directory = slash == NULL ? strdup(".") : strndup(path, size == 0 ? 1 : size);
    char *name = strdup(slash == NULL ? path : slash + 1);
    if (directory == NULL || name == NULL) {
        free(directory);
        free(name);
        return false;
    }
    *out_directory = directory;
    *out_name = name;
    return true;
}

static enum err open_storage(struct log_source *source)
{
    struct stat status;
    if (stat(source->path, &status) != 0) {
        return ERR_SYSTEM;
    }
    if (S_ISDIR(status.st_mode)) {
        return storage_posix_open_read_only(source->path, &source->storage);
    }
    char *directory;
    if (!split(source->path, &directory, &source->single)) {
        return ERR_MEMORY;
    }
    enum err err = storage_posix_open_read_only(directory, &source->storage);
    free(directory);
    return err;
}

enum command_status log_source_open(struct log_source *source, const char *name, const char *path,
                                    uint64_t from)
{
    *source = (struct log_source){.path = path};
    enum err err = open_storage(source);
    if (err == OK) {
        err = log_reader_open(&source->reader, source->storage, source->single, from);
    }
    if (err == OK) {
        return COMMAND_OK;
    }
    int saved_errno = errno;
    log_source_close(source);
    switch (err) {
    case ERR_CLOSED:
        return command_failed(name,
                              "%s holds no commit log: there are no segments (commit-*.log) and no "
                              "file `state` in it; see log.directory of `weaseldb --print-config`",
                              path);
    case ERR_MEMORY:
        return command_failed(name, "%s: out of memory", path);
    case OK:
    case ERR_FULL:
    case ERR_LIMIT:
    case ERR_INVALID:
    case ERR_SYSTEM:
        break;
    }
    return command_failed(name, "%s: %s", path, strerror(saved_errno));
}

void log_source_close(struct log_source *source)
{
    if (source->storage != NULL) {
        log_reader_close(&source->reader);
        storage_posix_close(source->storage);
    }
    free(source->single);
    *source = (struct log_source){0};
}

enum command_status log_source_failed(const struct log_source *source, const char *name)
{
    const char *file = source->reader.name == NULL ? "state" : source->reader.name;
    return command_failed(name, "%s: %s: %s", source->path, file,
                          source->reader.error == ERR_MEMORY ? "out of memory" : strerror(errno));
}

bool log_version_parse(const char *text, uint64_t *out)
{
    return bytes_parse_u64(bytes_from_string(text), out);
}

const char *log_path_argument(const char *name, int argc, char **argv, int index)
{
    if (index == argc) {
        (void)command_misused(name, "the directory of the log is missing");
        return NULL;
    }
    if (index + 1 < argc) {
        (void)command_misused(name, "'%s' is one word too many", argv[index + 1]);
        return NULL;
    }
    return argv[index];
}

enum command_status log_option_misused(const char *name, int argc, char **argv, int refused)
{
    const char *word = optind > 0 && optind <= argc ? argv[optind - 1] : "";
    if (refused == ':') {
        return command_misused(name, "%s needs a value", word);
    }
    return command_misused(name, "there is no option %s", word);
}
