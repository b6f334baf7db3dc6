/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page is one file without references to others. Its policy lets the browser run the scripts
 * and styles that have the hashes of those in it, and ask this server, and nothing else.
 */
#include "weaseldb/page.h"

#include "weaseldb/embedded.h"

EMBEDDED_FILE_DECLARE(page_html);
EMBEDDED_FILE_DECLARE(page_csp); /* the policy that goes with it */

static const struct embedded_file page = {EMBEDDED_FILE(page_html),
                                          BYTES_INIT("text/html; charset=utf-8")};

bool page_is_wanted(const struct exchange *exchange)
{
    struct bytes accept = exchange->request.accept;
    unsigned match;
    return http_accept_weight(accept, BYTES("text/html"), &match) >
           http_accept_weight(accept, BYTES("application/json"), &match);
}

void page_answer(struct exchange *exchange)
{
    embedded_file_answer(exchange, &page);
    /* Kept, but asked for anew each time: another version of the server may have another page. */
    (void)exchange_add_header(exchange, BYTES("Cache-Control"), BYTES("no-cache"));
    (void)exchange_add_header(exchange, BYTES("Content-Security-Policy"),
                              bytes_of((const char *)embedded_page_csp, embedded_page_csp_bytes));
    (void)exchange_add_header(exchange, BYTES("X-Content-Type-Options"), BYTES("nosniff"));
    (void)exchange_add_header(exchange, BYTES("Referrer-Policy"), BYTES("no-referrer"));
}
