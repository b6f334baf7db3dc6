/* SPDX-License-Identifier: Apache-2.0 */
/*
 * head: the request line, then one pass over the fields when the head is complete. Deciding only
 * then, on whole values, makes the verdict independent of how the bytes came in.
 *
 * Framing (RFC 9112 section 6), after this pass:
 *   1. Content-Length and Transfer-Encoding never come together.
 *   2. chunked is the one and only transfer coding, and only on HTTP/1.1.
 *   3. Content-Length is one number, at most 2^63-1.
 */
#include "http/head.h"

#include <arpa/inet.h>

enum {
    PORT_MAX = 65535,
    REQUEST_ID_BYTES_MAX = 128,
    CHAR_TOKEN = 1, /* RFC 9110 tchar */
    CHAR_HOST = 2,  /* RFC 3986 reg-name without escapes, and without ',' */
    CHAR_URI = 4,   /* may stand in a path or a query; '%' and '?' are looked at apart */
};

#define T CHAR_TOKEN
#define H CHAR_HOST
#define U CHAR_URI
/* The first 32 and everything from 0x7f on is nothing of all. */
/* clang-format off */
static const unsigned char char_classes[256] = {
    ['!'] = T | H | U, ['#'] = T,         ['$'] = T | H | U, ['%'] = T,
    ['&'] = T | H | U, ['\''] = T | H | U, ['('] = H | U,    [')'] = H | U,
    ['*'] = T | H | U, ['+'] = T | H | U, [','] = U,         ['-'] = T | H | U,
    ['.'] = T | H | U, ['/'] = U,         [':'] = U,         [';'] = H | U,
    ['='] = H | U,     ['@'] = U,         ['['] = U,
    [']'] = U,         ['^'] = T,         ['_'] = T | H | U, ['`'] = T,
    ['|'] = T,         ['~'] = T | H | U,
    ['0'] = T | H | U, ['1'] = T | H | U, ['2'] = T | H | U, ['3'] = T | H | U,
    ['4'] = T | H | U, ['5'] = T | H | U, ['6'] = T | H | U, ['7'] = T | H | U,
    ['8'] = T | H | U, ['9'] = T | H | U,
    ['A'] = T | H | U, ['B'] = T | H | U, ['C'] = T | H | U, ['D'] = T | H | U,
    ['E'] = T | H | U, ['F'] = T | H | U, ['G'] = T | H | U, ['H'] = T | H | U,
    ['I'] = T | H | U, ['J'] = T | H | U, ['K'] = T | H | U, ['L'] = T | H | U,
    ['M'] = T | H | U, ['N'] = T | H | U, ['O'] = T | H | U, ['P'] = T | H | U,
    ['Q'] = T | H | U, ['R'] = T | H | U, ['S'] = T | H | U, ['T'] = T | H | U,
    ['U'] = T | H | U, ['V'] = T | H | U, ['W'] = T | H | U, ['X'] = T | H | U,
    ['Y'] = T | H | U, ['Z'] = T | H | U,
    ['a'] = T | H | U, ['b'] = T | H | U, ['c'] = T | H | U, ['d'] = T | H | U,
    ['e'] = T | H | U, ['f'] = T | H | U, ['g'] = T | H | U, ['h'] = T | H | U,
    ['i'] = T | H | U, ['j'] = T | H | U, ['k'] = T | H | U, ['l'] = T | H | U,
    ['m'] = T | H | U, ['n'] = T | H | U, ['o'] = T | H | U, ['p'] = T | H | U,
    ['q'] = T | H | U, ['r'] = T | H | U, ['s'] = T | H | U, ['t'] = T | H | U,
    ['u'] = T | H | U, ['v'] = T | H | U, ['w'] = T | H | U, ['x'] = T | H | U,
    ['y'] = T | H | U, ['z'] = T | H | U,
};
/* clang-format on */
#undef T
#undef H
#undef U

static bool char_is(char c, unsigned class)
{
    return (char_classes[(unsigned char)c] & class) != 0;
}

bool http_is_token_char(char c)
{
    return char_is(c, CHAR_TOKEN);
}

/* Always false, so that a check can end with it. */
static bool fail(struct http_problem *problem, unsigned status, const char *type,
                 const char *detail)
{
    *problem = (struct http_problem){.status = status, .type = type, .detail = detail};
    return false;
}

static bool malformed(struct http_problem *problem, const char *detail)
{
    return fail(problem, 400, HTTP_PROBLEM_MALFORMED, detail);
}

bool http_head_is_version(struct bytes text)
{
    static const struct bytes name = BYTES_INIT(" HTTP/");
    return text.size >= name.size + 3 && bytes_starts_with(text, name) && text.data[6] >= '0' &&
           text.data[6] <= '9' && text.data[7] == '.' && text.data[8] >= '0' && text.data[8] <= '9';
}

bool http_head_find_method(struct bytes token, enum http_method *out)
{
    for (unsigned i = 0; i < HTTP_METHODS; i++) {
        if (bytes_equal(http_method_name((enum http_method)i), token)) {
            *out = (enum http_method)i;
            return true;
        }
    }
    return false;
}

bool http_head_refuse_method(struct http_problem *problem)
{
    return fail(problem, 501, "unsupported-method",
                "This server knows the methods GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS and "
                "TRACE, in capitals.");
}

bool http_head_refuse_version(struct http_problem *problem)
{
    return fail(problem, 505, "unsupported-version",
                "This server speaks HTTP/1.1 and HTTP/1.0 only.");
}

bool http_head_refuse_form(struct http_problem *problem)
{
    return malformed(problem, "The request line must be a method, a target and HTTP/1.1, "
                              "separated by one space each and ended by CR LF.");
}

bool http_head_check_request_line(struct http_request *request, struct bytes line,
                                  struct http_problem *problem)
{
    struct bytes target = request->target;
    size_t method_size = 0;
    while (method_size < line.size && line.data[method_size] != ' ') {
        method_size++;
    }
    if (!http_head_find_method(bytes_of(line.data, method_size), &request->method)) {
        return http_head_refuse_method(problem);
    }
    struct bytes version = bytes_drop(line, (size_t)(target.data + target.size - line.data));
    if (!http_head_is_version(version) || version.size != HTTP_HEAD_VERSION_BYTES ||
        version.data[HTTP_HEAD_VERSION_BYTES - 2] != '\r') {
        return http_head_refuse_form(problem);
    }
    /* llhttp skips further blanks before the target. */
    if (target.data != line.data + method_size + 1) {
        return malformed(problem, "One space must stand between method and request target.");
    }
    if (version.data[6] != '1' || version.data[8] > '1') {
        return http_head_refuse_version(problem);
    }
    request->version_minor = (uint8_t)(version.data[8] - '0');
    return true;
}

static bool is_hex(char c)
{
    char lower = ascii_lower(c);
    return (c >= '0' && c <= '9') || (lower >= 'a' && lower <= 'f');
}

static bool is_escape(struct bytes text, size_t at)
{
    return text.size - at > 2 && is_hex(text.data[at + 1]) && is_hex(text.data[at + 2]);
}

/* uri-host [ ":" port ], without userinfo; the host may not be empty (RFC 9110 section 4.2.1). */
static bool is_authority(struct bytes value)
{
    size_t at = 0;
    if (value.size > 0 && value.data[0] == '[') {
        char address[INET6_ADDRSTRLEN];
        unsigned char binary[16];
        struct bytes rest = bytes_drop(value, 1);
        struct bytes inside = bytes_split(&rest, ']');
        if (rest.data == NULL || inside.size >= sizeof(address) ||
            memchr(inside.data, '\0', inside.size) != NULL) {
            return false;
        }
        memcpy(address, inside.data, inside.size);
        address[inside.size] = '\0';
        if (inet_pton(AF_INET6, address, binary) != 1) {
            return false;
        }
        at = inside.size + 2;
    } else {
        for (;;) {
            while (at < value.size && char_is(value.data[at], CHAR_HOST)) {
                at++;
            }
            if (at == value.size || value.data[at] == ':') {
                break;
            }
            if (value.data[at] != '%' || !is_escape(value, at)) {
                return false;
            }
            at += 3;
        }
        if (at == 0) {
            return false;
        }
    }
    if (at == value.size) {
        return true;
    }
    struct bytes port = bytes_drop(value, at + 1);
    uint64_t number = 0;
    return value.data[at] == ':' &&
           (port.size == 0 || (bytes_parse_u64(port, &number) && number <= PORT_MAX));
}

/* A path with an optional query. */
static bool check_path(struct http_request *request, struct bytes text,
                       struct http_problem *problem)
{
    request->path = text;
    for (size_t i = 0;; i++) {
        while (i < text.size && char_is(text.data[i], CHAR_URI)) {
            i++;
        }
        if (i == text.size) {
            break;
        }
        if (text.data[i] == '?') {
            if (request->query.data == NULL) {
                request->path.size = i;
                request->query = bytes_drop(text, i + 1);
            }
        } else if (text.data[i] != '%') {
            return malformed(problem, "The request target holds a character that must be "
                                      "percent-encoded in a URI.");
        } else if (!is_escape(text, i)) {
            return malformed(problem, "The request target holds a '%' that two hexadecimal digits "
                                      "do not follow.");
        }
    }
    return true;
}

/* The length of "http://" or "https://", or 0. */
static size_t scheme_size(struct bytes target)
{
    static const struct bytes schemes[] = {BYTES_INIT("http://"), BYTES_INIT("https://")};
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        size_t size = schemes[i].size;
        if (target.size >= size && bytes_equal_fold(bytes_of(target.data, size), schemes[i])) {
            return size;
        }
    }
    return 0;
}

bool http_head_check_target(struct http_request *request, struct http_problem *problem)
{
    struct bytes target = request->target;
    if (target.size > 0 && target.data[0] == '/') {
        return check_path(request, target, problem);
    }
    if (bytes_equal(target, BYTES("*"))) {
        request->path = target;
        return request->method == HTTP_OPTIONS ||
               malformed(problem, "The request target '*' goes with OPTIONS only.");
    }
    size_t scheme = scheme_size(target);
    if (scheme == 0) {
        return malformed(problem, "The request target must be a path that starts with '/', or an "
                                  "absolute http or https URI.");
    }
    struct bytes rest = bytes_drop(target, scheme);
    size_t size = 0;
    while (size < rest.size && rest.data[size] != '/' && rest.data[size] != '?') {
        size++;
    }
    request->host = bytes_of(rest.data, size);
    if (!is_authority(request->host)) {
        return malformed(problem, "The authority in the request target must be a host and an "
                                  "optional port, nothing else.");
    }
    rest = bytes_drop(rest, size);
    if (!check_path(request, rest, problem)) {
        return false;
    }
    if (request->path.size == 0) {
        request->path = BYTES("/");
    }
    return true;
}

/* What the pass over the fields has to remember. */
struct fields {
    unsigned hosts;
    unsigned content_lengths;
    unsigned transfer_encodings;
    unsigned codings;     /* elements of all Transfer-Encoding lists */
    unsigned chunked;     /* of them "chunked" */
    bool last_is_chunked; /* of them the last so far */
    bool close;
    bool keep_alive;
    bool request_id;
    bool accept;
    bool content_type;
};

static bool take_host(struct http_request *request, struct fields *fields, struct bytes value,
                      struct http_problem *problem)
{
    if (fields->hosts++ > 0) {
        return malformed(problem, "The header Host was sent more than once; once is allowed.");
    }
    if (!is_authority(value)) {
        return malformed(problem, "The value of the header Host must be a host name or address "
                                  "and an optional port, nothing else.");
    }
    /* With a target in absolute form its authority counts (RFC 9112 section 3.2.2). */
    if (request->host.data == NULL) {
        request->host = value;
    }
    return true;
}

static bool take_content_length(struct http_request *request, struct fields *fields,
                                struct bytes value, struct http_problem *problem)
{
    uint64_t length;
    if (fields->content_lengths++ > 0) {
        return malformed(problem,
                         "The header Content-Length was sent more than once; once is allowed.");
    }
    if (!bytes_parse_u64(value, &length) || length > INT64_MAX) {
        return malformed(problem, "The value of the header Content-Length must be one decimal "
                                  "number below 2^63, digits only.");
    }
    request->has_content_length = true;
    request->content_length = length;
    return true;
}

static bool take_transfer_encoding(struct fields *fields, struct bytes value,
                                   struct http_problem *problem)
{
    fields->transfer_encodings++;
    do {
        struct bytes coding = bytes_trim(bytes_split(&value, ','));
        struct bytes name = http_media_type(coding); /* without parameters */
        bool token = name.size > 0;
        for (size_t i = 0; i < name.size; i++) {
            token = token && http_is_token_char(name.data[i]);
        }
        bool chunked = bytes_equal_fold(name, BYTES("chunked"));
        if (!token || (chunked && name.size != coding.size)) {
            return malformed(problem, "The value of the header Transfer-Encoding must be "
                                      "\"chunked\", without parameters or empty elements.");
        }
        fields->codings++;
        fields->chunked += chunked;
        fields->last_is_chunked = chunked;
    } while (value.data != NULL);
    return true;
}

static bool take_expect(struct http_request *request, struct bytes value,
                        struct http_problem *problem)
{
    if (request->version_minor == 0) {
        return true; /* RFC 9110 section 10.1.1: a server must ignore it there */
    }
    if (!bytes_equal_fold(value, BYTES("100-continue"))) {
        return fail(problem, 417, "expectation-failed",
                    "The only expectation that the header Expect may name is 100-continue.");
    }
    request->expects_continue = true;
    return true;
}

static void take_request_id(struct http_request *request, struct fields *fields, struct bytes value)
{
    bool valid = !fields->request_id && value.size > 0 && value.size <= REQUEST_ID_BYTES_MAX;
    for (size_t i = 0; valid && i < value.size; i++) {
        valid = value.data[i] > ' ' && value.data[i] < 0x7f;
    }
    fields->request_id = true;
    if (valid) {
        request->request_id = value;
    }
}

static void take_first(bool *seen, struct bytes *out, struct bytes value)
{
    if (!*seen) {
        *seen = true;
        *out = value;
    }
}

/* The length of the name alone decides for most fields that they are none of ours. */
static bool take_field(struct http_request *request, struct fields *fields,
                       const struct http_header *header, struct http_problem *problem)
{
    struct bytes name = header->name;
    struct bytes value = header->value;
    switch (name.size) {
    case sizeof("Host") - 1:
        return !bytes_equal_fold(name, BYTES("host")) || take_host(request, fields, value, problem);
    case sizeof("Accept") - 1:
        if (bytes_equal_fold(name, BYTES("accept"))) {
            take_first(&fields->accept, &request->accept, value);
        }
        return !bytes_equal_fold(name, BYTES("expect")) || take_expect(request, value, problem);
    case sizeof("Connection") - 1:
        if (bytes_equal_fold(name, BYTES("connection"))) {
            fields->close |= http_list_has_token(value, BYTES("close"));
            fields->keep_alive |= http_list_has_token(value, BYTES("keep-alive"));
        }
        return true;
    case sizeof("Content-Type") - 1:
        if (bytes_equal_fold(name, BYTES("content-type"))) {
            take_first(&fields->content_type, &request->content_type, value);
        } else if (bytes_equal_fold(name, BYTES("x-request-id"))) {
            take_request_id(request, fields, value);
        }
        return true;
    case sizeof("Content-Length") - 1:
        return !bytes_equal_fold(name, BYTES("content-length")) ||
               take_content_length(request, fields, value, problem);
    case sizeof("Transfer-Encoding") - 1:
        return !bytes_equal_fold(name, BYTES("transfer-encoding")) ||
               take_transfer_encoding(fields, value, problem);
    default:
        return true;
    }
}

static bool check_framing(struct http_request *request, const struct fields *fields,
                          struct http_problem *problem)
{
    if (fields->transfer_encodings == 0) {
        return true;
    }
    if (request->version_minor == 0) {
        return malformed(problem, "HTTP/1.0 has no header Transfer-Encoding.");
    }
    if (fields->content_lengths > 0) {
        return malformed(problem, "The headers Content-Length and Transfer-Encoding exclude each "
                                  "other.");
    }
    if (fields->chunked != 1 || !fields->last_is_chunked) {
        return malformed(problem, "The header Transfer-Encoding must name chunked once, as its "
                                  "last coding.");
    }
    if (fields->codings > 1) {
        return fail(problem, 501, "unsupported-transfer-coding",
                    "The only transfer coding that this server takes is chunked.");
    }
    request->chunked = true;
    return true;
}

bool http_head_check_fields(struct http_request *request, struct http_problem *problem)
{
    struct fields fields = {.hosts = 0};
    for (unsigned i = 0; i < request->header_count; i++) {
        if (!take_field(request, &fields, &request->headers[i], problem)) {
            return false;
        }
    }
    if (fields.hosts == 0 && request->version_minor > 0) {
        return malformed(problem, "The header Host is missing; HTTP/1.1 demands it.");
    }
    request->keep_alive = !fields.close && (request->version_minor > 0 || fields.keep_alive);
    return check_framing(request, &fields, problem);
}
