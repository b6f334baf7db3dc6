/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base64 by tables, four characters to three bytes. Each table holds a character's six bits where
 * they belong in the group of 24, or INVALID, whose bit lies outside the group, so that one test
 * finds a wrong character at any of the four places.
 */
#include "txn/base64.h"

#define INVALID UINT32_C(0x80000000)

/* One row for each character with a meaning: its six bits. */
#define SIX(c)                                                                                     \
    ((c) >= 'A' && (c) <= 'Z'   ? (uint32_t)(c) - 'A'                                              \
     : (c) >= 'a' && (c) <= 'z' ? (uint32_t)(c) - 'a' + 26                                         \
     : (c) >= '0' && (c) <= '9' ? (uint32_t)(c) - '0' + 52                                         \
     : (c) == '+'               ? 62                                                               \
     : (c) == '/'               ? 63                                                               \
                                : INVALID)
#define AT(c, shift) (SIX(c) == INVALID ? INVALID : SIX(c) << (shift))
#define ROW4(c, s) AT(c, s), AT((c) + 1, s), AT((c) + 2, s), AT((c) + 3, s)
#define ROW16(c, s) ROW4(c, s), ROW4((c) + 4, s), ROW4((c) + 8, s), ROW4((c) + 12, s)
#define ROW64(c, s) ROW16(c, s), ROW16((c) + 16, s), ROW16((c) + 32, s), ROW16((c) + 48, s)
#define TABLE(s)                                                                                   \
    {                                                                                              \
        ROW64(0, s), ROW64(64, s), ROW64(128, s), ROW64(192, s)                                    \
    }

static const uint32_t tables[4][256] = {TABLE(18), TABLE(12), TABLE(6), TABLE(0)};

static uint32_t group_of(const unsigned char *text)
{
    return tables[0][text[0]] | tables[1][text[1]] | tables[2][text[2]] | tables[3][text[3]];
}

enum err base64_decode(struct bytes text, char *out, size_t *out_size)
{
    const unsigned char *at = (const unsigned char *)text.data;
    char *to = out;
    if (text.size % 4 != 0) {
        return ERR_INVALID;
    }
    if (text.size == 0) {
        *out_size = 0;
        return OK;
    }
    const unsigned char *last = at + text.size - 4; /* the group that may be padded */
    for (; at < last; at += 4, to += 3) {
        uint32_t group = group_of(at);
        if (group >= INVALID) {
            return ERR_INVALID;
        }
        to[0] = (char)(group >> 16);
        to[1] = (char)(group >> 8);
        to[2] = (char)group;
    }
    unsigned padding = last[3] != '=' ? 0 : last[2] != '=' ? 1 : 2;
    uint32_t group = tables[0][last[0]] | tables[1][last[1]];
    group |= padding < 2 ? tables[2][last[2]] : 0;
    group |= padding < 1 ? tables[3][last[3]] : 0;
    uint32_t unused = padding == 0 ? 0 : padding == 1 ? 0xff : 0xffff;
    if (group >= INVALID || (group & unused) != 0) {
        return ERR_INVALID;
    }
    to[0] = (char)(group >> 16);
    if (padding < 2) {
        to[1] = (char)(group >> 8);
    }
    if (padding < 1) {
        to[2] = (char)group;
    }
    *out_size = (size_t)(to - out) + 3 - padding;
    return OK;
}
