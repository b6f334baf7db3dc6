/* SPDX-License-Identifier: Apache-2.0 */
/* base64: every length, every wrong byte at every place, decoded in place and elsewhere. */
#include "txn/base64.h"
#include "txn_bodies.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { BYTES_MAX = 200 };

static struct body encoded(struct bytes bytes)
{
    struct body body = {NULL, 0, 0};
    body_append_base64(&body, bytes);
    return body;
}

static void test_every_length(void **state)
{
    (void)state;
    char bytes[BYTES_MAX];
    for (size_t i = 0; i < BYTES_MAX; i++) {
        bytes[i] = (char)(i * 151 + 7);
    }
    for (size_t size = 0; size <= BYTES_MAX; size++) {
        struct body text = encoded(bytes_of(bytes, size));
        size_t apart_size = 0;
        size_t placed_size = 0;
        char *apart = malloc(text.size + 1);
        char *placed = malloc(text.size + 1); /* no room behind the text, but for its NUL */
        assert_non_null(apart);
        assert_non_null(placed);
        memcpy(placed, text.size == 0 ? "" : text.data, text.size);
        assert_int_equal(base64_decode(bytes_of(text.data, text.size), apart, &apart_size), OK);
        assert_int_equal(base64_decode(bytes_of(placed, text.size), placed, &placed_size), OK);
        assert_true(bytes_equal(bytes_of(apart, apart_size), bytes_of(bytes, size)));
        assert_true(bytes_equal(bytes_of(placed, placed_size), bytes_of(bytes, size)));
        free(apart);
        free(placed);
        body_free(&text);
    }
}

/* Each text that differs in one byte is refused, or is the one text of other bytes. */
static void expect_canonical(struct body *text, char *room)
{
    size_t size;
    memcpy(room, text->data, text->size);
    if (base64_decode(bytes_of(room, text->size), room, &size) != OK) {
        return;
    }
    struct body again = encoded(bytes_of(room, size));
    assert_true(bytes_equal(bytes_of(again.data, again.size), bytes_of(text->data, text->size)));
    body_free(&again);
}

static void test_every_wrong_byte(void **state)
{
    (void)state;
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char bytes[70] = {0};
    /* The last sizes end without padding, with one and with two. */
    for (size_t size = sizeof bytes - 3; size < sizeof bytes; size++) {
        struct body text = encoded(bytes_of(bytes, size));
        char *room = malloc(text.size);
        assert_non_null(room);
        for (size_t at = 0; at < text.size; at++) {
            char right = text.data[at];
            size_t taken = 0;
            for (int byte = 0; byte < 256; byte++) {
                text.data[at] = (char)byte;
                size_t size_out;
                memcpy(room, text.data, text.size);
                bool is_digit = byte != 0 && strchr(alphabet, byte) != NULL;
                bool is_taken = base64_decode(bytes_of(room, text.size), room, &size_out) == OK;
                taken += is_taken;
                assert_true(is_digit || !is_taken || byte == right || byte == '=');
                expect_canonical(&text, room);
            }
            text.data[at] = right;
            bool is_last_group = at >= text.size - 4;
            assert_true(is_last_group || taken == 64);
        }
        free(room);
        body_free(&text);
    }
}

static void test_not_canonical(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "A",     "AA",   "AAA",          "AA=",          "=",        "==",
        "===",   "====", "A===",         "AB==",         "AAB=",     "AA=A",
        "A=AA",  "=AAA", "AAAA=",        "AA==AAAA",     "AAA=AAAA", "AA-_",
        "AA\n=", " AAA", "AAAA\r\n\r\n", "AAAAAAAA====",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char out[32];
        size_t size = 77;
        assert_int_equal(base64_decode(bytes_from_string(texts[i]), out, &size), ERR_INVALID);
        assert_int_equal(size, 77);
    }
}

static void test_what_is_encoded_is_decoded_again(void **state)
{
    (void)state;
    for (size_t size = 0; size < 300; size++) {
        char bytes[300];
        char text[400];
        char again[400];
        size_t again_size;
        for (size_t i = 0; i < size; i++) {
            bytes[i] = (char)(i * 37 + size * 11);
        }
        size_t text_size = base64_encode(bytes_of(bytes, size), text);
        assert_int_equal(text_size, base64_encoded_bytes(size));
        assert_int_equal(base64_decode(bytes_of(text, text_size), again, &again_size), OK);
        assert_int_equal(again_size, size);
        assert_memory_equal(again, bytes, size);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_encoded_is_decoded_again),
        cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_every_wrong_byte),
        cmocka_unit_test(test_not_canonical),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
