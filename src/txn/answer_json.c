/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers as JSON, written straight out: first how many bytes they can need, then one allocation,
 * then copies. A text is searched for what must be escaped when its room is reckoned; ids hardly
 * ever hold any, so they take their size and no more.
 */
#include "txn/answer_json.h"

#include "base/check.h"

enum {
    NUMBER_BYTES_MAX = 20,
    INDEX_BYTES_MAX = 11,   /* a uint32_t and its comma */
    RESULT_BYTES_MAX = 224, /* all names, marks and numbers of a result, without texts, conflicts */
    VERSION_BYTES_MAX = 320,
};

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/* Room for `text` inside of a string. */
static size_t text_room(struct bytes text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (!is_plain((unsigned char)text.data[i])) {
            return 6 * text.size; /* \u0000 */
        }
    }
    return text.size;
}

static struct bytes text_of(const char *text)
{
    return text == NULL ? bytes_of(NULL, 0) : bytes_from_string(text);
}

static char *put(char *at, struct bytes piece)
{
    memcpy(at, piece.data, piece.size);
    return at + piece.size;
}

static char *put_number(char *at, uint64_t number)
{
    return at + bytes_format_u64(at, number);
}

static char *put_escaped(char *at, struct bytes text)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < text.size; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (is_plain(c) || c >= 0x80) {
            *at++ = (char)c;
        } else if (c == '"' || c == '\\') {
            *at++ = '\\';
            *at++ = (char)c;
        } else {
            at = put(at, BYTES("\\u00"));
            *at++ = digits[c >> 4];
            *at++ = digits[c & 15];
        }
    }
    return at;
}

/* `,"name":"text"`, or nothing when the text is empty; `name` comes with its marks. */
static char *put_text(char *at, struct bytes name, struct bytes text, size_t room)
{
    if (text.size == 0) {
        return at;
    }
    at = put(at, name);
    at = room == text.size ? put(at, text) : put_escaped(at, text);
    *at++ = '"';
    return at;
}

/* The texts of a result, and how much room each needs. */
struct result_texts {
    struct bytes text[5];
    size_t room[5];
};

enum { TEXT_REQUEST_ID, TEXT_STATUS, TEXT_LEADER, TEXT_REASON, TEXT_DETAIL };

static size_t result_room(const struct txn_result *result, struct result_texts *out)
{
    *out = (struct result_texts){{result->request_id, text_of(result->status), result->leader,
                                  text_of(result->reason), text_of(result->detail)},
                                 {0}};
    size_t room = RESULT_BYTES_MAX + (size_t)result->conflict_count * INDEX_BYTES_MAX;
    for (unsigned i = 0; i < 5; i++) {
        out->room[i] = text_room(out->text[i]);
        room += out->room[i];
    }
    return room;
}

static char *put_result(char *at, const struct txn_result *result, const struct result_texts *texts,
                        bool has_http_status)
{
    char *start = at;
    if (has_http_status) {
        at = put(at, BYTES(",\"http_status\":"));
        at = put_number(at, result->http_status);
    }
    at = put_text(at, BYTES(",\"request_id\":\""), texts->text[TEXT_REQUEST_ID],
                  texts->room[TEXT_REQUEST_ID]);
    at = put_text(at, BYTES(",\"status\":\""), texts->text[TEXT_STATUS], texts->room[TEXT_STATUS]);
    if (result->version != 0) {
        at = put(at, BYTES(",\"version\":"));
        at = put_number(at, result->version);
    }
    at = put_text(at, BYTES(",\"leader\":\""), texts->text[TEXT_LEADER], texts->room[TEXT_LEADER]);
    at = put_text(at, BYTES(",\"reason\":\""), texts->text[TEXT_REASON], texts->room[TEXT_REASON]);
    if (result->conflict_count != 0) {
        at = put(at, BYTES(",\"conflicts\":["));
        for (uint32_t i = 0; i < result->conflict_count; i++) {
            at = put_number(at, result->conflicts[i]);
            *at++ = ',';
        }
        at[-1] = ']';
    }
    at = put_text(at, BYTES(",\"detail\":\""), texts->text[TEXT_DETAIL], texts->room[TEXT_DETAIL]);
    if (at == start) {
        *at++ = '{';
    }
    *start = '{'; /* in place of the first comma */
    *at++ = '}';
    return at;
}

enum err json_encode_result(const struct txn_result *result, struct arena *arena, struct bytes *out)
{
    struct result_texts texts;
    size_t room = result_room(result, &texts);
    char *start = arena_try_alloc(arena, room);
    if (start == NULL) {
        return ERR_MEMORY;
    }
    char *end = put_result(start, result, &texts, false);
    *end++ = '\n';
    CHECK((size_t)(end - start) <= room);
    *out = bytes_of(start, (size_t)(end - start));
    return OK;
}

enum err json_encode_results(const struct txn_result *results, uint32_t count, struct arena *arena,
                             struct bytes *out)
{
    struct result_texts texts;
    size_t room = sizeof "{\"results\":[]}\n";
    for (uint32_t i = 0; i < count; i++) {
        room += result_room(&results[i], &texts) + 1;
    }
    char *start = arena_try_alloc(arena, room);
    if (start == NULL) {
        return ERR_MEMORY;
    }
    char *at = put(start, BYTES("{\"results\":["));
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0) {
            *at++ = ',';
        }
        result_room(&results[i], &texts);
        at = put_result(at, &results[i], &texts, true);
    }
    at = put(at, BYTES("]}\n"));
    CHECK((size_t)(at - start) <= room);
    *out = bytes_of(start, (size_t)(at - start));
    return OK;
}

enum err json_encode_version(const struct txn_version_info *info, struct arena *arena,
                             struct bytes *out)
{
    size_t leader_room = text_room(info->leader);
    size_t room = VERSION_BYTES_MAX + leader_room;
    char *start = arena_try_alloc(arena, room);
    if (start == NULL) {
        return ERR_MEMORY;
    }
    char *at = put_number(put(start, BYTES("{\"version\":")), info->version);
    at = put(at, BYTES(",\"leader\":\""));
    at = put_escaped(at, info->leader);
    at = put_number(put(at, BYTES("\",\"oldest_read_version\":")), info->oldest_read_version);
    at = put_number(put(at, BYTES(",\"log_start_version\":")), info->log_start_version);
    at = put_number(put(at, BYTES(",\"request_id_window\":{\"min_version\":")),
                    info->request_id_min_version);
    at = put_number(put(at, BYTES(",\"seconds\":")), info->request_id_window_sec);
    at = put_number(put(at, BYTES(",\"count\":")), info->request_id_count_max);
    at = put(at, BYTES("}}\n"));
    CHECK((size_t)(at - start) <= room);
    *out = bytes_of(start, (size_t)(at - start));
    return OK;
}
