/* SPDX-License-Identifier: Apache-2.0 */
/*
 * page: the page at / for people, made of src/page/ at the build: a live dashboard, or without one
 * (the build option `dashboard`) a page that says so.
 *
 * Runs on: network threads. Never blocks.
 */
#ifndef WEASELDB_PAGE_H
#define WEASELDB_PAGE_H

#include "engine/exchange.h"

/* Whether the client likes HTML better than JSON; one that takes either alike, as curl does, does
 * not. */
bool page_is_wanted(const struct exchange *exchange);

/* Sets the answer: the page, or 304. */
void page_answer(struct exchange *exchange);

#endif
