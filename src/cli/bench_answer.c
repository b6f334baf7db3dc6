/* SPDX-License-Identifier: Apache-2.0 */
/* The field numbers are those of api/weaseldb.proto. */
#include "cli/bench_answer.h"

enum { STATUS_AT = 9, STATUS_LINE_MIN = 12, HEAD_MAX = 65536 };

static const char BLANK_LINE[] = "\r\n\r\n";

static bool head_end(struct bytes received, size_t *out_size)
{
    size_t look = received.size < HEAD_MAX ? received.size : HEAD_MAX;
    const char *end = memmem(received.data, look, BLANK_LINE, sizeof BLANK_LINE - 1);
    if (end == NULL) {
        return false;
    }
    *out_size = (size_t)(end - received.data) + sizeof BLANK_LINE - 1;
    return true;
}

/* The value of Content-Length in a head. */
static bool content_length(struct bytes head, uint64_t *out)
{
    static const char name[] = "content-length:";
    for (struct bytes rest = head; rest.size > 0;) {
        struct bytes line = bytes_split(&rest, '\n');
        if (line.size >= sizeof name - 1 &&
            bytes_equal_fold(bytes_of(line.data, sizeof name - 1), BYTES("content-length:"))) {
            line.size -= line.data[line.size - 1] == '\r' ? 1 : 0;
            return bytes_parse_u64(bytes_trim(bytes_drop(line, sizeof name - 1)), out);
        }
    }
    return false;
}

bool bench_answer_measure(struct bytes received, size_t *out_size)
{
    uint64_t length;
    size_t head;
    if (!bytes_starts_with(received, BYTES("HTTP/1.")) && received.size >= STATUS_LINE_MIN) {
        return false;
    }
    if (!head_end(received, &head)) {
        *out_size = 0;
        return received.size < HEAD_MAX;
    }
    if (!content_length(bytes_of(received.data, head), &length) || length > SIZE_MAX / 2) {
        return false;
    }
    *out_size = head + (size_t)length;
    return true;
}

/* ---- Protobuf ---- */

static bool take_varint(struct bytes *rest, uint64_t *out)
{
    uint64_t number = 0;
    for (unsigned shift = 0; shift < 64 && rest->size > 0; shift += 7) {
        unsigned char byte = (unsigned char)rest->data[0];
        *rest = bytes_drop(*rest, 1);
        number |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = number;
            return true;
        }
    }
    return false;
}

/* The next field: a number in *out_number, or bytes in *out_bytes. */
static bool take_field(struct bytes *rest, uint64_t *out_tag, uint64_t *out_number,
                       struct bytes *out_bytes)
{
    uint64_t size;
    *out_bytes = bytes_of(NULL, 0);
    *out_number = 0;
    if (!take_varint(rest, out_tag)) {
        return false;
    }
    if ((*out_tag & 7) == 0) {
        return take_varint(rest, out_number);
    }
    if ((*out_tag & 7) != 2 || !take_varint(rest, &size) || size > rest->size) {
        return false;
    }
    *out_bytes = bytes_of(rest->data, (size_t)size);
    *rest = bytes_drop(*rest, (size_t)size);
    return true;
}

static bool read_result(struct bytes body, uint64_t status, struct bench_answer *out)
{
    uint64_t tag;
    uint64_t number;
    struct bytes bytes;
    while (body.size > 0) {
        if (!take_field(&body, &tag, &number, &bytes)) {
            return false;
        }
        if (tag == 1 << 3) {
            status = number;
        } else if (tag == 4 << 3) {
            out->version = number > out->version ? number : out->version;
        } else if (tag == (8 << 3 | 2)) {
            out->detail = bytes;
        }
    }
    out->committed += status == 200 ? 1 : 0;
    out->refused += status == 409 ? 1 : 0;
    out->shed += status == 503 ? 1 : 0;
    out->others += status != 200 && status != 409 && status != 503 ? 1 : 0;
    return true;
}

struct bytes bench_answer_body(struct bytes whole)
{
    size_t head;
    return head_end(whole, &head) ? bytes_drop(whole, head) : bytes_of(NULL, 0);
}

bool bench_answer_read(struct bytes whole, bool is_batch, struct bench_answer *out)
{
    uint64_t status;
    uint64_t tag;
    uint64_t number;
    struct bytes bytes;
    struct bytes body = bench_answer_body(whole);
    *out = (struct bench_answer){0};
    if (whole.size < STATUS_LINE_MIN ||
        !bytes_parse_u64(bytes_of(whole.data + STATUS_AT, 3), &status)) {
        return false;
    }
    out->status = (unsigned)status;
    if (status != 200 && status != 409) {
        return true; /* problem details, as JSON */
    }
    if (!is_batch) {
        return read_result(body, status, out);
    }
    while (body.size > 0) {
        if (!take_field(&body, &tag, &number, &bytes) || tag != (1 << 3 | 2) ||
            !read_result(bytes, 0, out)) {
            return false;
        }
    }
    return true;
}
