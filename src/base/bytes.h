/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bytes: a view of bytes that somebody else owns (pointer + size). Not NUL-terminated.
 *
 * A view lives as long as the memory it points into; functions that return one say how long.
 * Runs on: any thread. Never blocks, never allocates.
 */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
    const char *data; /* may be NULL when size is 0 */
    size_t size;
};

/* A view of a string literal, usable in static initializers. */
#define BYTES_INIT(literal)                                                                        \
    {                                                                                              \
        (literal), sizeof(literal) - 1                                                             \
    }
#define BYTES(literal) ((struct bytes)BYTES_INIT(literal))

static inline struct bytes bytes_of(const char *data, size_t size)
{
    return (struct bytes){data, size};
}

static inline struct bytes bytes_from_string(const char *string)
{
    return bytes_of(string, strlen(string));
}

static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static inline char ascii_lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
}

/* Equal but for the case of ASCII letters. */
static inline bool bytes_equal_fold(struct bytes a, struct bytes b)
{
    if (a.size != b.size) {
        return false;
    }
    for (size_t i = 0; i < a.size; i++) {
        if (ascii_lower(a.data[i]) != ascii_lower(b.data[i])) {
            return false;
        }
    }
    return true;
}

static inline bool bytes_starts_with(struct bytes whole, struct bytes prefix)
{
    return whole.size >= prefix.size &&
           (prefix.size == 0 || memcmp(whole.data, prefix.data, prefix.size) == 0);
}

/* Without the first `count` bytes (count <= size). */
static inline struct bytes bytes_drop(struct bytes whole, size_t count)
{
    /* An empty view may have no memory, and NULL + 0 is undefined in C. */
    return count == 0 ? whole : bytes_of(whole.data + count, whole.size - count);
}

/* Without spaces and tabs at both ends (HTTP's OWS, RFC 9110 section 5.6.3). */
static inline struct bytes bytes_trim(struct bytes b)
{
    while (b.size > 0 && (b.data[0] == ' ' || b.data[0] == '\t')) {
        b = bytes_drop(b, 1);
    }
    while (b.size > 0 && (b.data[b.size - 1] == ' ' || b.data[b.size - 1] == '\t')) {
        b.size--;
    }
    return b;
}

/* Where `byte` first stands in `whole`; NULL: nowhere. */
static inline const char *bytes_find(struct bytes whole, char byte)
{
    /* No object is larger than PTRDIFF_MAX; that said, the compiler need not warn of such sizes. */
    return whole.size == 0 || whole.size > PTRDIFF_MAX ? NULL
                                                       : memchr(whole.data, byte, whole.size);
}

/* Splits *rest at the first `separator`: returns what stands before it and leaves in *rest what
 * stands behind it (empty, with data NULL, when there was none). */
static inline struct bytes bytes_split(struct bytes *rest, char separator)
{
    const char *at = bytes_find(*rest, separator);
    struct bytes head = *rest;
    if (at == NULL) {
        *rest = bytes_of(NULL, 0);
        return head;
    }
    head.size = (size_t)(at - rest->data);
    *rest = bytes_drop(*rest, head.size + 1);
    return head;
}

/* Decimal digits only, at least one, no sign, no blanks, no overflow: else false, *out untouched.
 */
static inline bool bytes_parse_u64(struct bytes digits, uint64_t *out)
{
    uint64_t value = 0;
    if (digits.size == 0) {
        return false;
    }
    for (size_t i = 0; i < digits.size; i++) {
        unsigned digit = (unsigned)(unsigned char)digits.data[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(value, (uint64_t)10, &value) ||
            __builtin_add_overflow(value, (uint64_t)digit, &value)) {
            return false;
        }
    }
    *out = value;
    return true;
}

/* Writes `value` in decimal at `out` (room for 20 bytes); returns how many bytes. */
static inline size_t bytes_format_u64(char *out, uint64_t value)
{
    char reversed[20];
    size_t count = 0;
    do {
        reversed[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    for (size_t i = 0; i < count; i++) {
        out[i] = reversed[count - 1 - i];
    }
    return count;
}

#endif
