/* SPDX-License-Identifier: Apache-2.0 */
/* Error answers when there is no memory to write them. */
#include "engine/exchange.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct memory_budget budget;
static struct chunk_pool pool;
static struct arena arena;

static int set_up(void **state)
{
    (void)state;
    memory_budget_init(&budget, 0);
    chunk_pool_init(&pool, &budget, 0);
    arena_init(&arena, &pool);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    chunk_pool_deinit(&pool);
    return 0;
}

static void expect(unsigned asked, const char *asked_outcome, const char *route_outcome,
                   unsigned status, const char *outcome)
{
    struct engine_route route = {.refusal_outcome = route_outcome};
    struct exchange exchange = {.arena = &arena, .route = &route};
    exchange.response.headers = BYTES("Allow: GET\r\n");
    exchange_answer_problem(
        &exchange, &(struct http_problem){
                       .status = asked, .type = "x", .detail = "Long.", .outcome = asked_outcome});
    char body[512];
    struct bytes sent = exchange.response.body;
    assert_true(sent.size < sizeof body);
    memcpy(body, sent.data, sent.size);
    body[sent.size] = '\0';
    char wanted[64];
    (void)snprintf(wanted, sizeof wanted, "\"status\":%u,", status);
    assert_int_equal(exchange.response.status, status);
    assert_non_null(strstr(body, wanted));
    (void)snprintf(wanted, sizeof wanted, "\"outcome\":\"%s\"}\n", outcome == NULL ? "" : outcome);
    assert_int_equal(strstr(body, "outcome\":") != NULL, outcome != NULL);
    assert_true(outcome == NULL || strstr(body, wanted) != NULL);
    assert_true(bytes_equal(exchange.response.headers,
                            status == 503 ? BYTES("Retry-After: 1\r\n") : bytes_of(NULL, 0)));
}

/* 503 means that nothing has happened, so what nobody knows may not become one. */
static void test_outcomes_without_memory(void **state)
{
    (void)state;
    expect(503, NULL, NULL, 503, NULL);
    expect(404, NULL, NULL, 503, NULL);
    expect(503, NULL, "not_committed", 503, "not_committed");
    expect(400, "not_committed", NULL, 503, "not_committed");
    expect(500, "unknown", "not_committed", 500, "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_outcomes_without_memory)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
