/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/curl_handle.h"

#include "base/check.h"

#include <stddef.h>

enum { CONNECT_TIMEOUT_MS = 5000 };

CURL *curl_handle_open(const struct endpoint *endpoint)
{
    CHECK(curl_global_init(CURL_GLOBAL_NOTHING) == CURLE_OK);
    CURL *curl = curl_easy_init();
    CHECK(curl != NULL);
    (void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http");
    (void)curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(curl, CURLOPT_PROXY, "");
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    (void)curl_easy_setopt(curl, CURLOPT_USERAGENT, "weasel/" WEASELDB_VERSION);
    if (endpoint->is_unix) {
        (void)curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, endpoint->path);
    }
    return curl;
}
