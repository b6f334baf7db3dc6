/* SPDX-License-Identifier: Apache-2.0 */
/* What of a request has left is asked of libcurl: it counts the bytes of requests that it sent. */
#include "cli/http_client.h"

#include "base/check.h"
#include "base/clock.h"
#include "cli/curl_handle.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

enum {
    REPLY_BYTES_MAX = 64 << 20,
    RETRY_AFTER_MS_MAX = 60000, /* a server that asks for more is asked again after this */
};

struct http_client {
    CURL *curl;
    struct curl_slist *post_headers;
    char base[ENDPOINT_HOST_MAX + 24];
};

struct http_client *http_client_open(const struct endpoint *endpoint)
{
    struct http_client *client = calloc(1, sizeof *client);
    CHECK(client != NULL);
    client->curl = curl_handle_open(endpoint);
    client->post_headers = curl_slist_append(NULL, "Content-Type: application/json");
    CHECK(client->post_headers != NULL);
    (void)snprintf(client->base, sizeof client->base, "http://%s", endpoint->authority);
    return client;
}

void http_client_close(struct http_client *client)
{
    if (client != NULL) {
        curl_slist_free_all(client->post_headers);
        curl_easy_cleanup(client->curl);
        free(client);
    }
}

static size_t take_body(char *data, size_t one, size_t size, void *context)
{
    struct http_reply *reply = context;
    if (one * size > REPLY_BYTES_MAX - reply->body.size) {
        return 0; /* libcurl ends the call */
    }
    buffer_add(&reply->body, bytes_of(data, one * size));
    return one * size;
}

/* Whether anything of the request has left the process. */
static bool was_sent(CURL *curl)
{
    long sent = 0;
    (void)curl_easy_getinfo(curl, CURLINFO_REQUEST_SIZE, &sent);
    return sent > 0;
}

/* "Connection refused" says it better than what libcurl makes of it. */
static void describe(CURL *curl, CURLcode code, const char *detail, struct http_reply *out)
{
    long number = 0;
    const char *text = detail[0] != '\0' ? detail : curl_easy_strerror(code);
    if (code == CURLE_COULDNT_CONNECT) {
        (void)curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &number);
        text = number == 0 ? text : strerror((int)number);
    }
    (void)snprintf(out->failure, sizeof out->failure, "%s", text);
}

void http_client_call(struct http_client *client, const struct http_call *call,
                      struct http_reply *out)
{
    struct buffer url = {0};
    char detail[CURL_ERROR_SIZE] = "";
    CURL *curl = client->curl;
    *out = (struct http_reply){.reach = HTTP_UNKNOWN};
    buffer_add_format(&url, "%s%s", client->base, call->target);
    (void)curl_easy_setopt(curl, CURLOPT_URL, buffer_string(&url));
    (void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail);
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)call->timeout_ms);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, out);
    if (call->is_post) {
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body.size);
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, call->body.data);
    }
    (void)curl_easy_setopt(curl, CURLOPT_HTTPGET, call->is_post ? 0L : 1L);
    (void)curl_easy_setopt(curl, CURLOPT_POST, call->is_post ? 1L : 0L);
    (void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, call->is_post ? client->post_headers : NULL);
    CURLcode code = curl_easy_perform(curl);
    if (code == CURLE_OK) {
        long status = 0;
        curl_off_t retry_after_sec = 0;
        (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
        (void)curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &retry_after_sec);
        out->reach = HTTP_ANSWERED;
        out->status = (unsigned)status;
        out->has_retry_after = retry_after_sec > 0;
        out->retry_after_ms = retry_after_sec > RETRY_AFTER_MS_MAX / 1000
                                  ? RETRY_AFTER_MS_MAX
                                  : (uint64_t)retry_after_sec * 1000;
    } else {
        out->reach = was_sent(curl) ? HTTP_UNKNOWN : HTTP_NOT_SENT;
        describe(curl, code, detail, out);
    }
    (void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, NULL);
    buffer_deinit(&url);
}

void http_reply_deinit(struct http_reply *reply)
{
    buffer_deinit(&reply->body);
}

void http_query_escape(struct bytes text, struct buffer *out)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    for (size_t i = 0; i < text.size; i++) {
        if (memchr(plain, text.data[i], sizeof plain - 1) != NULL) {
            buffer_add_byte(out, text.data[i]);
        } else {
            buffer_add_format(out, "%%%02X", (unsigned)(unsigned char)text.data[i]);
        }
    }
}

uint64_t http_client_random(void)
{
    uint64_t number;
    CHECK(getrandom(&number, sizeof number, 0) == (ssize_t)sizeof number);
    return number;
}

void http_client_pause(uint64_t ms, uint64_t deadline_ns)
{
    uint64_t pause_ns = ms * 1000000 + http_client_random() % (ms * 1000000 + 1);
    uint64_t now_ns = clock_monotonic_ns();
    uint64_t left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
    pause_ns = pause_ns < left_ns ? pause_ns : left_ns;
    struct timespec time = {.tv_sec = (time_t)(pause_ns / 1000000000),
                            .tv_nsec = (long)(pause_ns % 1000000000)};
    (void)nanosleep(&time, NULL);
}
