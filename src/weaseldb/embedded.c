/* SPDX-License-Identifier: Apache-2.0 */
/* Files within the program as answers, and whether the client has them already. */
#include "weaseldb/embedded.h"

#include <string.h>

/* Whether an If-None-Match value names `etag` (RFC 9110 section 13.1.2). Its elements are "*" and
 * quoted texts without quotes inside, so that a weak one or one of several is found by looking for
 * the whole of it. */
static bool is_known(struct bytes value, struct bytes etag)
{
    return bytes_equal(value, BYTES("*")) ||
           (value.size >= etag.size &&
            memmem(value.data, value.size, etag.data, etag.size) != NULL);
}

void embedded_file_answer(struct exchange *exchange, const struct embedded_file *file)
{
    struct bytes etag = bytes_from_string(file->etag);
    if (is_known(http_request_header(&exchange->request, BYTES("If-None-Match")), etag)) {
        exchange_answer(exchange, 304, bytes_of(NULL, 0), bytes_of(NULL, 0));
    } else {
        exchange_answer(exchange, 200, file->media_type,
                        bytes_of((const char *)file->data, *file->size));
    }
    (void)exchange_add_header(exchange, BYTES("ETag"), etag);
}
