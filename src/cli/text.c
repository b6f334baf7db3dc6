/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/text.h"

#include "txn/base64.h"
#include "txn/txn.h"

static int hex_digit(char c)
{
    c = ascii_lower(c);
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that two digits mean; -1: these are not two digits. */
static int hex_byte(struct bytes digits)
{
    if (digits.size < 2 || hex_digit(digits.data[0]) < 0 || hex_digit(digits.data[1]) < 0) {
        return -1;
    }
    return hex_digit(digits.data[0]) * 16 + hex_digit(digits.data[1]);
}

static enum err read_hex(struct bytes text, struct buffer *out, const char **out_mistake)
{
    if (text.size % 2 != 0) {
        *out_mistake = "hex has two digits for each byte";
        return ERR_INVALID;
    }
    for (; text.size > 0; text = bytes_drop(text, 2)) {
        int byte = hex_byte(text);
        if (byte < 0) {
            *out_mistake = "hex has digits 0-9 and a-f only";
            return ERR_INVALID;
        }
        buffer_add_byte(out, (char)byte);
    }
    return OK;
}

static enum err read_base64(struct bytes text, struct buffer *out, const char **out_mistake)
{
    size_t size;
    if (base64_decode(text, buffer_reserve(out, text.size), &size) != OK) {
        *out_mistake = "base64 must be of the standard alphabet, padded, without blanks";
        return ERR_INVALID;
    }
    out->size += size;
    return OK;
}

/* The escape that `text` begins with, its backslash included. Returns its size; 0: there is none
 * such. */
static size_t read_escape(struct bytes text, char *out_byte)
{
    static const char names[] = "\\nrt";
    static const char meanings[] = "\\\n\r\t";
    if (text.size < 2) {
        return 0;
    }
    const char *name = memchr(names, text.data[1], sizeof names - 1);
    if (name != NULL) {
        *out_byte = meanings[name - names];
        return 2;
    }
    int byte = text.data[1] == 'x' ? hex_byte(bytes_drop(text, 2)) : -1;
    if (byte < 0) {
        return 0;
    }
    *out_byte = (char)byte;
    return 4;
}

static enum err read_escaped(struct bytes text, struct buffer *out, const char **out_mistake)
{
    while (text.size > 0) {
        char byte = text.data[0];
        size_t size = byte == '\\' ? read_escape(text, &byte) : 1;
        if (size == 0) {
            *out_mistake = "the escapes are \\\\ \\n \\r \\t and \\xNN, with two hex digits";
            return ERR_INVALID;
        }
        buffer_add_byte(out, byte);
        text = bytes_drop(text, size);
    }
    return OK;
}

enum err text_read(struct bytes text, enum text_form form, struct buffer *out,
                   const char **out_mistake)
{
    size_t before = out->size;
    enum err err = form == TEXT_HEX      ? read_hex(text, out, out_mistake)
                   : form == TEXT_BASE64 ? read_base64(text, out, out_mistake)
                                         : read_escaped(text, out, out_mistake);
    if (err != OK) {
        out->size = before;
    }
    return err;
}

void text_write_escaped(struct bytes bytes, struct buffer *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < bytes.size; i++) {
        unsigned char byte = (unsigned char)bytes.data[i];
        if (byte == '\\') {
            buffer_add(out, BYTES("\\\\"));
        } else if (byte == '\n' || byte == '\r' || byte == '\t') {
            buffer_add_byte(out, '\\');
            buffer_add_byte(out, (char)(byte == '\n' ? 'n' : byte == '\r' ? 'r' : 't'));
        } else if (byte >= 0x20 && byte < 0x7f) {
            buffer_add_byte(out, (char)byte);
        } else {
            buffer_add(out, BYTES("\\x"));
            buffer_add_byte(out, digits[byte >> 4]);
            buffer_add_byte(out, digits[byte & 15]);
        }
    }
}

void text_write_base64(struct bytes bytes, struct buffer *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *to = buffer_reserve(out, (bytes.size + 2) / 3 * 4);
    for (size_t i = 0; i < bytes.size; i += 3) {
        size_t left = bytes.size - i;
        unsigned a = (unsigned char)bytes.data[i];
        unsigned b = left > 1 ? (unsigned char)bytes.data[i + 1] : 0;
        unsigned c = left > 2 ? (unsigned char)bytes.data[i + 2] : 0;
        *to++ = digits[a >> 2];
        *to++ = digits[(a & 3) << 4 | b >> 4];
        *to++ = (char)(left > 1 ? digits[(b & 15) << 2 | c >> 6] : '=');
        *to++ = (char)(left > 2 ? digits[c & 63] : '=');
        out->size += 4;
    }
}

bool text_split_pair(struct bytes pair, enum text_form form, struct bytes *out_key,
                     struct bytes *out_value)
{
    for (size_t i = 0; i < pair.size; i++) {
        /* Padding stands at the third and fourth place of four, the sign between the two never. */
        if (pair.data[i] == '=' && (form != TEXT_BASE64 || i % 4 == 0)) {
            *out_key = bytes_of(pair.data, i);
            *out_value = bytes_drop(pair, i + 1);
            return true;
        }
    }
    return false;
}

void text_split_version(struct bytes text, struct bytes *out_key, bool *out_has_version,
                        uint64_t *out_version)
{
    *out_key = text;
    *out_has_version = false;
    for (size_t i = text.size; i-- > 0;) {
        if (text.data[i] == '@') {
            uint64_t version;
            if (bytes_parse_u64(bytes_drop(text, i + 1), &version) && version <= TXN_VERSION_MAX) {
                *out_key = bytes_of(text.data, i);
                *out_has_version = true;
                *out_version = version;
            }
            return;
        }
    }
}
