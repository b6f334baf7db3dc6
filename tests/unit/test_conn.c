/* SPDX-License-Identifier: Apache-2.0 */
/* The owner word: each move works from the one owner that may make it, and from no other. */
#include "engine/conn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include "../support/dies.h"

enum { OWNERS = CONN_RETURNED + 1 };

static const struct {
    void (*move)(struct conn *conn);
    enum conn_owner from;
    enum conn_owner to;
} moves[] = {
    {conn_hand, CONN_FREE, CONN_HANDED},       {conn_take, CONN_HANDED, CONN_POLLER},
    {conn_lend, CONN_POLLER, CONN_STAGE},      {conn_return, CONN_STAGE, CONN_RETURNED},
    {conn_resume, CONN_RETURNED, CONN_POLLER}, {conn_free, CONN_POLLER, CONN_FREE},
};

static struct conn conn_of(unsigned owner)
{
    struct conn conn = {.fd = -1};
    atomic_init(&conn.owner, owner);
    return conn;
}

static void each_move_has_one_giver_and_one_taker(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof moves / sizeof moves[0]; i++) {
        struct conn conn = conn_of(moves[i].from);
        moves[i].move(&conn);
        assert_int_equal(atomic_load(&conn.owner), moves[i].to);
    }
}

static void a_move_by_who_does_not_own_it_dies(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof moves / sizeof moves[0]; i++) {
        for (unsigned owner = 0; owner < OWNERS; owner++) {
            struct conn conn = conn_of(owner);
            if (owner != (unsigned)moves[i].from) {
                assert_dies((moves[i].move(&conn), 0));
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_move_has_one_giver_and_one_taker),
        cmocka_unit_test(a_move_by_who_does_not_own_it_dies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
