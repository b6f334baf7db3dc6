/* SPDX-License-Identifier: Apache-2.0 */
/*
 * llhttp_bare: what llhttp itself costs for a request, for http_parse.c to compare with: a parser
 * begun anew, every callback that our parser uses set but empty, a pause at the end of the head.
 */
#include <llhttp.h>
#include <stddef.h>

size_t llhttp_bare(const char *data, size_t size);

static int take(llhttp_t *engine, const char *at, size_t size)
{
    (void)engine;
    (void)at;
    (void)size;
    return 0;
}

static int pause_now(llhttp_t *engine)
{
    (void)engine;
    return HPE_PAUSED;
}

size_t llhttp_bare(const char *data, size_t size)
{
    static const llhttp_settings_t settings = {.on_url = take,
                                               .on_header_field = take,
                                               .on_header_value = take,
                                               .on_headers_complete = pause_now};
    llhttp_t engine;
    llhttp_init(&engine, HTTP_REQUEST, &settings);
    if (llhttp_execute(&engine, data, size) != HPE_PAUSED) {
        return 0;
    }
    return (size_t)(llhttp_get_error_pos(&engine) - data);
}
