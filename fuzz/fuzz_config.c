/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a configuration file. Either there is at least one mistake in words, or the settings
 * are within their ranges and, printed, read back to the same ones.
 *
 * Covers: src/weaseldb/config.c src/weaseldb/config_keys.c src/weaseldb/toml.cpp
 */
#include "base/check.h"
#include "weaseldb/config.h"
#include "weaseldb/config_keys.h"

#include <stdlib.h>
#include <string.h>

static unsigned mistakes;

static void count_mistake(void *context, const char *text)
{
    (void)context;
    CHECK(text[0] != '\0');
    mistakes++;
}

static void check_ranges(struct config *config)
{
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        const struct config_key *key = &CONFIG_KEYS[i];
        if (key->type == CONFIG_INTEGER) {
            CHECK(*config_number(config, key) >= key->minimum);
            CHECK(*config_number(config, key) <= key->maximum);
        } else if (key->type == CONFIG_STRING) {
            CHECK(strlen(config_string(config, key)) <= (size_t)key->maximum);
        }
    }
}

static void any_difference(void *context, const char *key, bool live)
{
    (void)context;
    (void)key;
    (void)live;
    UNREACHABLE(); /* a setting did not survive being printed and read */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct config_report report = {count_mistake, NULL};
    struct config config;
    struct config again;
    char *text = NULL;
    size_t text_size = 0;
    mistakes = 0;
    config_init(&config);
    bool good = config_load_text(&config, "input", (const char *)data, size, &report) == OK;
    CHECK(good == (mistakes == 0));
    check_ranges(&config);
    if (!good) {
        return 0;
    }
    FILE *out = open_memstream(&text, &text_size);
    CHECK(out != NULL);
    config_print(&config, out);
    CHECK(fclose(out) == 0);
    config_init(&again);
    CHECK(config_load_text(&again, "printed", text, text_size, &report) == OK);
    config_compare(&config, &again, any_difference, NULL);
    free(text);
    return 0;
}
