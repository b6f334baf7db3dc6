/* SPDX-License-Identifier: Apache-2.0 */
/*
 * curl_handle: a libcurl handle set up for a server of ours: where it is, plain HTTP only, no
 * proxies, no signals, who we are.
 *
 * Runs on: the main thread. Without memory the process ends (CHECK). The caller owns the handle.
 */
#ifndef CLI_CURL_HANDLE_H
#define CLI_CURL_HANDLE_H

#include "cli/endpoint.h"

#include <curl/curl.h>

CURL *curl_handle_open(const struct endpoint *endpoint);

#endif
