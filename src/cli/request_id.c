/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/request_id.h"

#include "cli/http_client.h"
#include "txn/txn.h"

#include <inttypes.h>
#include <stdio.h>

void request_id_make(char out[REQUEST_ID_RANDOM_BYTES + 1])
{
    (void)snprintf(out, REQUEST_ID_RANDOM_BYTES + 1, "%016" PRIx64 "%016" PRIx64,
                   http_client_random(), http_client_random());
}

bool request_id_is_valid(struct bytes id)
{
    for (size_t i = 0; i < id.size; i++) {
        if (id.data[i] < 0x21 || id.data[i] > 0x7e) {
            return false;
        }
    }
    return id.size >= 1 && id.size <= TXN_REQUEST_ID_BYTES_MAX;
}
