/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base64 by tables, four characters to three bytes. Each table holds a character's six bits where
 * they belong in the group of 24, or INVALID, whose bit lies outside the group, so that one test
 * finds a wrong character at any of the four places.
 *
 * Where the processor has AVX2 (found at run time), 32 characters are taken at once: of a commit of
 * 100 bytes, tables alone took a third of the decoding.
 */
#include "txn/base64.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

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

#ifdef __x86_64__
#define AVX2 __attribute__((target("avx2")))

/* A character's class is its upper four bits, but for '/', which has the class below that of '+'.
 * Each class is a range of characters; what is added to one gives its six bits. */
enum { F = 127, L = -128 }; /* the first and last of a class without any */
static const int8_t class_first[16] = {F, '/', '+', '0', 'A', 'P', 'a', 'p',
                                       F, F,   F,   F,   F,   F,   F,   F};
static const int8_t class_last[16] = {L, '/', '+', '9', 'O', 'Z', 'o', 'z', L, L, L, L, L, L, L, L};
static const int8_t class_offset[16] = {
    0, 63 - '/', 62 - '+', 52 - '0', -'A', -'A', 26 - 'a', 26 - 'a', 0, 0, 0, 0, 0, 0, 0, 0};
/* Each 32-bit element becomes three bytes, of which the highest comes first. */
static const int8_t byte_order[16] = {2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1};

AVX2 static inline __m128i table16(const int8_t table[16])
{
    return _mm_loadu_si128((const __m128i_u *)table);
}

AVX2 static inline __m256i table32(const int8_t table[16])
{
    return _mm256_broadcastsi128_si256(table16(table));
}

/* 16 characters to 12 bytes, and four more that mean nothing. False: one is wrong. */
AVX2 static inline bool decode16(const unsigned char *text, char *out)
{
    __m128i c = _mm_loadu_si128((const __m128i_u *)text);
    __m128i class = _mm_and_si128(_mm_srli_epi16(c, 4), _mm_set1_epi8(0x0f));
    class = _mm_add_epi8(class, _mm_cmpeq_epi8(c, _mm_set1_epi8('/'))); /* less one */
    __m128i is_wrong =
        _mm_or_si128(_mm_cmpgt_epi8(_mm_shuffle_epi8(table16(class_first), class), c),
                     _mm_cmpgt_epi8(c, _mm_shuffle_epi8(table16(class_last), class)));
    __m128i six = _mm_add_epi8(c, _mm_shuffle_epi8(table16(class_offset), class));
    __m128i twelve = _mm_maddubs_epi16(six, _mm_set1_epi32(0x01400140));
    __m128i group = _mm_madd_epi16(twelve, _mm_set1_epi32(0x00011000));
    _mm_storeu_si128((__m128i_u *)out, _mm_shuffle_epi8(group, table16(byte_order)));
    return _mm_movemask_epi8(is_wrong) == 0;
}

/* The same of 32 characters to 24 bytes, and four more. */
AVX2 static inline bool decode32(const unsigned char *text, char *out)
{
    __m256i c = _mm256_loadu_si256((const __m256i_u *)text);
    __m256i class = _mm256_and_si256(_mm256_srli_epi16(c, 4), _mm256_set1_epi8(0x0f));
    class = _mm256_add_epi8(class, _mm256_cmpeq_epi8(c, _mm256_set1_epi8('/')));
    __m256i is_wrong =
        _mm256_or_si256(_mm256_cmpgt_epi8(_mm256_shuffle_epi8(table32(class_first), class), c),
                        _mm256_cmpgt_epi8(c, _mm256_shuffle_epi8(table32(class_last), class)));
    __m256i six = _mm256_add_epi8(c, _mm256_shuffle_epi8(table32(class_offset), class));
    __m256i twelve = _mm256_maddubs_epi16(six, _mm256_set1_epi32(0x01400140));
    __m256i group = _mm256_madd_epi16(twelve, _mm256_set1_epi32(0x00011000));
    group = _mm256_shuffle_epi8(group, table32(byte_order));
    _mm_storeu_si128((__m128i_u *)out, _mm256_castsi256_si128(group));
    _mm_storeu_si128((__m128i_u *)(out + 12), _mm256_extracti128_si256(group, 1));
    return _mm256_movemask_epi8(is_wrong) == 0;
}

/* Decodes most of what is before `end`, by 32 and 16 characters, and moves *at and *to behind it.
 * The bytes that mean nothing go where characters were read before. False: one was wrong; in place,
 * its step is overwritten by now. */
AVX2 static bool decode_wide(const unsigned char **at, const unsigned char *end, char **to)
{
    const unsigned char *from = *at;
    char *out = *to;
    bool is_right = true;
    for (; is_right && end - from >= 32; from += 32, out += 24) {
        is_right = decode32(from, out);
    }
    if (is_right && end - from >= 16) {
        is_right = decode16(from, out);
        from += 16;
        out += 12;
    }
    *at = from;
    *to = out;
    return is_right;
}
#endif

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
#ifdef __x86_64__
    if (last - at >= 16 && __builtin_cpu_supports("avx2") && !decode_wide(&at, last, &to)) {
        return ERR_INVALID;
    }
#endif
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

size_t base64_encode(struct bytes bytes, char *out)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *at = (const unsigned char *)bytes.data;
    char *to = out;
    size_t left = bytes.size;
    for (; left >= 3; at += 3, to += 4, left -= 3) {
        uint32_t group = (uint32_t)at[0] << 16 | (uint32_t)at[1] << 8 | at[2];
        to[0] = alphabet[group >> 18];
        to[1] = alphabet[group >> 12 & 63];
        to[2] = alphabet[group >> 6 & 63];
        to[3] = alphabet[group & 63];
    }
    if (left > 0) {
        uint32_t group = (uint32_t)at[0] << 16 | (left == 2 ? (uint32_t)at[1] << 8 : 0);
        to[0] = alphabet[group >> 18];
        to[1] = alphabet[group >> 12 & 63];
        to[2] = '=';
        if (left == 2) {
            to[2] = alphabet[group >> 6 & 63];
        }
        to[3] = '=';
        to += 4;
    }
    return (size_t)(to - out);
}
