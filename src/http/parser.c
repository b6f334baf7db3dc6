/* SPDX-License-Identifier: Apache-2.0 */
/*
 * parser: llhttp finds the structure; this file bounds it and says what is wrong.
 *
 * One idea: every verdict is a function of the bytes alone, never of how they were split over
 * feeds. llhttp itself stops at the same byte however it is fed (the tests hold it to that), but
 * its span callbacks come at the ends of feeds too, so no verdict is made in a callback. Verdicts
 * are made at four kinds of points, each fixed by the bytes: the end of the request line, the byte
 * at which llhttp refuses, the end of the head, a limit reached. To stop at limits exactly, llhttp
 * is never given more bytes than the limit in force allows (a "window").
 *
 * Steps:
 *   LEAD        blank lines before the request line, at most BLANK_LINES_MAX, skipped here
 *   HEAD        up to the pause in on_headers_complete; a request without a body ends there, in
 *               the same call of llhttp
 *   SIZED       Content-Length counts down; llhttp is not needed any more
 *   CHUNK_SIZE  the size line of a chunk: window of its extensions' allowance
 *   CHUNK_DATA  the data and the line end after it: no window
 *   TRAILER     after the last chunk: window as for the head
 *   END         complete or failed; only http_parser_begin() goes on
 *
 * What llhttp 9.2 lets pass and is refused here: several blanks around the target, RTSP and ICE
 * instead of HTTP, versions 0.9 and 2.0, lines without a version or ended by LF (all by comparing
 * the request line's bytes with what they must be), its many other methods, fragments and
 * unencoded characters in targets, and everything in head.c. Its pause on an upgrade comes only
 * behind the head of a request without a body and behind the end of others: never reached here.
 */
#include "http/parser.h"

#include "base/check.h"
#include "http/head.h"

#include <assert.h>

/* llhttp's enum of methods uses names of our own. */
#define HTTP_GET LLHTTP_GET
#define HTTP_HEAD LLHTTP_HEAD
#define HTTP_POST LLHTTP_POST
#define HTTP_PUT LLHTTP_PUT
#define HTTP_DELETE LLHTTP_DELETE
#define HTTP_PATCH LLHTTP_PATCH
#define HTTP_OPTIONS LLHTTP_OPTIONS
#define HTTP_TRACE LLHTTP_TRACE
#include <llhttp.h>
#undef HTTP_GET
#undef HTTP_HEAD
#undef HTTP_POST
#undef HTTP_PUT
#undef HTTP_DELETE
#undef HTTP_PATCH
#undef HTTP_OPTIONS
#undef HTTP_TRACE

static_assert(sizeof(llhttp_t) <= HTTP_PARSER_STATE_BYTES, "the parser's state holds llhttp's");
static_assert(_Alignof(llhttp_t) <= 16, "and aligns it");

enum {
    BLANK_LINES_MAX = 2,
    HEADERS_FIRST = 16,     /* the header array's first capacity */
    CHUNK_LINE_BYTES = 18,  /* 16 digits and the line end; more counts as extension */
    QUOTED_NAME_BYTES = 64, /* of a header name in a problem's detail */
};

enum parser_step {
    STEP_LEAD,
    STEP_HEAD,
    STEP_SIZED,
    STEP_CHUNK_SIZE,
    STEP_CHUNK_DATA,
    STEP_TRAILER,
    STEP_END,
};

static llhttp_t *engine_of(struct http_parser *parser)
{
    return (llhttp_t *)(void *)parser->state;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Problems ------------------------------------------------------------------------------------ */

static enum http_parser_event failed(struct http_parser *parser)
{
    parser->step = STEP_END;
    return PARSER_FAILED;
}

static bool refuse(struct http_parser *parser, unsigned status, const char *type,
                   const char *detail)
{
    parser->problem = (struct http_problem){.status = status, .type = type, .detail = detail};
    return false;
}

static bool malformed(struct http_parser *parser, const char *detail)
{
    return refuse(parser, 400, HTTP_PROBLEM_MALFORMED, detail);
}

/* The detail with a header's name in it; without memory, `plain`. */
static const char *detail_with_name(struct http_parser *parser, const char *before,
                                    struct bytes name, const char *after, const char *plain)
{
    size_t name_size = smaller(name.size, QUOTED_NAME_BYTES);
    size_t before_size = strlen(before);
    size_t after_size = strlen(after);
    char *text = arena_try_alloc(parser->arena, before_size + name_size + after_size + 1);
    if (text == NULL) {
        return plain;
    }
    memcpy(text, before, before_size);
    memcpy(text + before_size, name.data, name_size);
    memcpy(text + before_size + name_size, after, after_size + 1);
    return text;
}

static bool refuse_header_bytes(struct http_parser *parser, unsigned status, const char *type,
                                const char *detail)
{
    (void)refuse(parser, status, type, detail);
    parser->problem.limit_key = "http.max_header_bytes";
    parser->problem.limit = parser->limits.header_bytes_max;
    return false;
}

/* The request line ---------------------------------------------------------------------------- */

static size_t request_line_bytes_max(const struct http_parser *parser)
{
    return smaller(HTTP_REQUEST_LINE_BYTES_MAX, parser->limits.header_bytes_max);
}

/* The request line has come whole and llhttp has taken it; `end` - 1 is its LF. */
static bool check_request_line(struct http_parser *parser, const char *end)
{
    struct bytes line = bytes_of(parser->head, (size_t)(end - parser->head));
    parser->request_line_checked = true;
    if (!http_head_check_request_line(parser->request, line, &parser->problem)) {
        return false;
    }
    parser->request_line_complete = true;
    return http_head_check_target(parser->request, &parser->problem);
}

/* Looks for the end of the request line in the bytes just taken, from `at`. False: the line came
 * whole and is refused. */
static bool advance_request_line(struct http_parser *parser, const char *at, size_t size)
{
    const char *end = size > 0 ? memchr(at, '\n', size) : NULL;
    if (end == NULL) {
        return true;
    }
    return check_request_line(parser, end + 1);
}

/* llhttp refused the byte at `at` before the request line was complete. */
static void refuse_request_line(struct http_parser *parser, llhttp_errno_t error, const char *at,
                                const char *end)
{
    struct bytes rest = bytes_of(parser->head, (size_t)(at - parser->head));
    struct bytes method = bytes_split(&rest, ' ');
    enum http_method ignored;
    if (error == HPE_INVALID_METHOD) {
        /* A token that llhttp does not know, or no token: this byte tells. */
        bool token = at < end && (http_is_token_char(*at) || (*at == ' ' && method.size > 0));
        if (token) {
            (void)http_head_refuse_method(&parser->problem);
        } else {
            (void)malformed(parser, "The request line does not start with a method.");
        }
        return;
    }
    if (rest.data != NULL && !http_head_find_method(method, &ignored)) {
        (void)http_head_refuse_method(&parser->problem);
        return;
    }
    switch ((unsigned)error) {
    case HPE_INVALID_URL:
        (void)malformed(parser, "The request target must be a path that starts with '/', or an "
                                "absolute http or https URI, with all but URI characters "
                                "percent-encoded.");
        return;
    case HPE_INVALID_VERSION: {
        /* After a version that it knows llhttp refuses what follows, otherwise the version. */
        const char *version = parser->request->target.data + parser->request->target.size;
        static const char known[][4] = {"0.9", "1.0", "1.1", "2.0"};
        struct bytes text = bytes_of(version, (size_t)(at - version));
        bool refused = http_head_is_version(text);
        for (size_t i = 0; refused && i < sizeof(known) / sizeof(known[0]); i++) {
            refused = memcmp(version + 6, known[i], 3) != 0;
        }
        if (refused) {
            (void)http_head_refuse_version(&parser->problem);
            return;
        }
        break;
    }
    default:
        break;
    }
    (void)http_head_refuse_form(&parser->problem);
}

/* The head ------------------------------------------------------------------------------------ */

static const char header_line_end[] =
    "A header line must end with CR LF, and neither may stand alone.";

/* llhttp refused the byte at `at`, in the header lines or the trailer. */
static void refuse_header_line(struct http_parser *parser, llhttp_errno_t error, const char *at)
{
    const llhttp_t *engine = engine_of(parser);
    switch ((unsigned)error) {
    case HPE_CR_EXPECTED:
    case HPE_LF_EXPECTED:
    case HPE_STRICT:
        (void)malformed(parser, header_line_end);
        return;
    case HPE_UNEXPECTED_CONTENT_LENGTH:
        (void)malformed(parser,
                        "The header Content-Length was sent more than once; once is allowed.");
        return;
    case HPE_INVALID_CONTENT_LENGTH:
    case HPE_INVALID_TRANSFER_ENCODING:
        if ((engine->flags &
             (error == HPE_INVALID_CONTENT_LENGTH ? F_TRANSFER_ENCODING : F_CONTENT_LENGTH)) != 0) {
            (void)malformed(parser, "The headers Content-Length and Transfer-Encoding exclude "
                                    "each other.");
        } else if (error == HPE_INVALID_CONTENT_LENGTH) {
            (void)malformed(parser, "The value of the header Content-Length must be one decimal "
                                    "number below 2^63, digits only.");
        } else {
            (void)malformed(parser, "The header Transfer-Encoding must name chunked once, as its "
                                    "last coding.");
        }
        return;
    default:
        break;
    }
    if (parser->step == STEP_TRAILER) {
        (void)malformed(parser, "A trailer field must be a name, a colon directly behind it and "
                                "a value without control characters, on one line.");
        return;
    }
    const char *line = at;
    /* At a lone LF llhttp stops behind it, otherwise at the byte that it refuses. */
    if (at[-1] == '\n' && at[-2] != '\r') {
        (void)malformed(parser, header_line_end);
        return;
    }
    while (line > parser->head && line[-1] != '\n') {
        line--;
    }
    struct bytes rest = bytes_of(line, (size_t)(at - line));
    struct bytes name = bytes_split(&rest, ':');
    if (*line == ' ' || *line == '\t') {
        (void)malformed(parser, "A header line must not start with a blank; folded lines are not "
                                "allowed.");
    } else if (rest.data == NULL) {
        (void)malformed(parser, "A header line must be a name of token characters, a colon "
                                "directly behind it and a value.");
    } else {
        static const char plain[] = "The value of a header holds a control character.";
        (void)malformed(parser, detail_with_name(parser, "The value of the header ", name,
                                                 " holds a control character.", plain));
    }
}

static struct http_header *add_header(struct http_parser *parser)
{
    struct http_request *request = parser->request;
    if (parser->field_count++ >= HTTP_HEADERS_MAX) {
        return NULL;
    }
    if (request->header_count == parser->header_capacity) {
        unsigned capacity =
            parser->header_capacity == 0 ? HEADERS_FIRST : 2 * parser->header_capacity;
        struct http_header *headers =
            arena_try_alloc(parser->arena, capacity * sizeof(*request->headers));
        if (headers == NULL) {
            parser->memory_refused = true;
            return NULL;
        }
        if (request->header_count > 0) {
            memcpy(headers, request->headers, request->header_count * sizeof(*headers));
        }
        request->headers = headers;
        parser->header_capacity = capacity;
    }
    return &request->headers[request->header_count++];
}

static bool finish_head(struct http_parser *parser, const char *end)
{
    struct http_request *request = parser->request;
    if (!parser->request_line_checked) {
        /* The line ends here unless it is to be refused anyway, so it need not be searched. */
        const char *line_end =
            request->target.data + request->target.size + HTTP_HEAD_VERSION_BYTES;
        bool plain = line_end < end && line_end[-1] == '\n';
        if (plain ? !check_request_line(parser, line_end)
                  : !advance_request_line(parser, parser->head, (size_t)(end - parser->head))) {
            return false;
        }
    }
    if (parser->field_count > HTTP_HEADERS_MAX) {
        return refuse(parser, 431, "too-many-headers",
                      "A request may have at most 100 header fields.");
    }
    if (parser->memory_refused) {
        return refuse(parser, 503, "memory",
                      "The server has no memory for this request now; try again later.");
    }
    for (unsigned i = 0; i < request->header_count; i++) {
        struct bytes *value = &request->headers[i].value;
        while (value->size > 0 &&
               (value->data[value->size - 1] == ' ' || value->data[value->size - 1] == '\t')) {
            value->size--; /* llhttp has dropped the blanks before the value only */
        }
    }
    if (!http_head_check_fields(request, &parser->problem)) {
        return false;
    }
    parser->head_complete = true;
    return true;
}

/* The step after a valid head, and its event. */
static enum http_parser_event enter_body(struct http_parser *parser)
{
    if (parser->request->chunked) {
        parser->step = STEP_CHUNK_SIZE;
        llhttp_resume(engine_of(parser));
        return PARSER_HEAD;
    }
    parser->body_left = parser->request->content_length;
    parser->step = parser->body_left > 0 ? STEP_SIZED : STEP_END;
    return parser->body_left > 0 ? PARSER_HEAD : PARSER_DONE;
}

static enum http_parser_event feed_head(struct http_parser *parser, const char *data, size_t size,
                                        size_t *used)
{
    while (*used < size) {
        size_t limit = parser->request_line_checked ? parser->limits.header_bytes_max
                                                    : request_line_bytes_max(parser);
        const char *at = data + *used;
        size_t take = smaller(size - *used, limit - parser->head_bytes);
        llhttp_errno_t error = llhttp_execute(engine_of(parser), at, take);
        if (error == HPE_PAUSED) { /* by on_headers_complete */
            const char *end = llhttp_get_error_pos(engine_of(parser));
            *used += (size_t)(end - at);
            parser->head_bytes += (size_t)(end - at);
            return finish_head(parser, end) ? enter_body(parser) : failed(parser);
        }
        const char *stop = at + take;
        size_t known = take;
        if (error != HPE_OK) {
            stop = llhttp_get_error_pos(engine_of(parser));
            /* llhttp may stop behind the byte that it refuses; a lone LF is such a byte. */
            bool lone = stop - parser->head > 1 && stop[-1] == '\n' && stop[-2] != '\r';
            known = (size_t)(stop - at) - (lone && stop > at);
        }
        if (!parser->request_line_checked && !advance_request_line(parser, at, known)) {
            return failed(parser);
        }
        if (error != HPE_OK) {
            if (parser->request_line_checked) {
                refuse_header_line(parser, error, stop);
            } else {
                refuse_request_line(parser, error, stop, at + take);
            }
            return failed(parser);
        }
        *used += take;
        parser->head_bytes += take;
        if (!parser->request_line_checked && parser->head_bytes == limit) {
            (void)refuse(parser, 414, "uri-too-long",
                         "The request line may have at most 8192 bytes.");
            if (limit < HTTP_REQUEST_LINE_BYTES_MAX) {
                (void)refuse_header_bytes(parser, 414, "uri-too-long",
                                          "The request line is longer than a head may be.");
            }
            return failed(parser);
        }
        if (parser->head_bytes == parser->limits.header_bytes_max) {
            (void)refuse_header_bytes(parser, 431, "header-too-large",
                                      "The request line and headers together are too large.");
            return failed(parser);
        }
    }
    return PARSER_MORE;
}

/* RFC 9112 section 2.2: blank lines before the request line should be ignored. False: refused. */
static bool skip_blank_lines(struct http_parser *parser, const char *data, size_t size,
                             size_t *used)
{
    while (*used < size) {
        char c = data[*used];
        bool behind_cr = (parser->blank_bytes & 1) != 0;
        if (!behind_cr && c != '\r' && c != '\n') {
            parser->step = STEP_HEAD;
            parser->head = data + *used;
            return true;
        }
        if (c != (behind_cr ? '\n' : '\r') || parser->blank_bytes == 2 * BLANK_LINES_MAX) {
            return malformed(parser, "A request may be preceded by at most two blank lines, each "
                                     "of CR LF.");
        }
        parser->blank_bytes++;
        ++*used;
    }
    return true;
}

/* The body ------------------------------------------------------------------------------------ */

static enum http_parser_event feed_sized(struct http_parser *parser, const char *data, size_t size,
                                         size_t *used)
{
    struct bytes piece = bytes_of(data + *used, size - *used);
    if (piece.size > parser->body_left) {
        piece.size = (size_t)parser->body_left;
    }
    if (piece.size > 0 && !parser->sink.take(parser->sink.context, piece, &parser->problem)) {
        return failed(parser);
    }
    *used += piece.size;
    parser->body_left -= piece.size;
    if (parser->body_left > 0) {
        return PARSER_MORE;
    }
    parser->step = STEP_END;
    return PARSER_DONE;
}

/* How many bytes the current step of a chunked body may still take. */
static size_t chunked_window(const struct http_parser *parser)
{
    if (parser->step == STEP_CHUNK_SIZE) {
        return CHUNK_LINE_BYTES + HTTP_CHUNK_EXTENSION_BYTES_MAX - parser->extension_bytes -
               parser->line_bytes;
    }
    if (parser->step == STEP_TRAILER) {
        return parser->limits.header_bytes_max - parser->trailer_bytes;
    }
    return SIZE_MAX;
}

/* Counts `size` bytes against the window of `step`, which they were taken in. False: the window is
 * used up and the step has not ended. */
static bool count_chunked(struct http_parser *parser, enum parser_step step, size_t size)
{
    if (step == STEP_CHUNK_SIZE) {
        parser->line_bytes += size;
        if (parser->step == STEP_CHUNK_SIZE) {
            return chunked_window(parser) > 0 ||
                   malformed(parser, "The extensions of all chunks together may have at most 4096 "
                                     "bytes, and a chunk's size 16 digits.");
        }
        if (parser->line_bytes > CHUNK_LINE_BYTES) {
            parser->extension_bytes += parser->line_bytes - CHUNK_LINE_BYTES;
        }
        parser->line_bytes = 0;
    } else if (step == STEP_TRAILER) {
        parser->trailer_bytes += size;
        if (parser->step == STEP_TRAILER && chunked_window(parser) == 0) {
            return refuse_header_bytes(parser, 431, "trailer-too-large",
                                       "The trailer fields together are too large.");
        }
    }
    return true;
}

static void refuse_chunked(struct http_parser *parser, llhttp_errno_t error, const char *at)
{
    if (parser->step == STEP_TRAILER) {
        refuse_header_line(parser, error, at);
    } else if (parser->step == STEP_CHUNK_DATA) {
        (void)malformed(parser, "The data of a chunk must end with CR LF where its size says.");
    } else {
        (void)malformed(parser, "A chunk must start with its size in hexadecimal digits, optional "
                                "extensions and CR LF.");
    }
}

static enum http_parser_event finish_trailer(struct http_parser *parser)
{
    if (parser->trailer_count > HTTP_HEADERS_MAX) {
        (void)refuse(parser, 431, "too-many-headers",
                     "A request may have at most 100 trailer fields.");
        return failed(parser);
    }
    if (parser->trailer_forbidden) {
        (void)malformed(parser, "The fields Host, Content-Length and Transfer-Encoding are not "
                                "allowed in trailers.");
        return failed(parser);
    }
    return PARSER_DONE;
}

static enum http_parser_event feed_chunked(struct http_parser *parser, const char *data,
                                           size_t size, size_t *used)
{
    while (*used < size) {
        enum parser_step step = (enum parser_step)parser->step;
        const char *at = data + *used;
        size_t take = smaller(size - *used, chunked_window(parser));
        llhttp_errno_t error = llhttp_execute(engine_of(parser), at, take);
        if (parser->sink_refused) {
            return failed(parser);
        }
        if (error == HPE_PAUSED) {
            take = (size_t)(llhttp_get_error_pos(engine_of(parser)) - at);
            llhttp_resume(engine_of(parser));
        } else if (error != HPE_OK) {
            refuse_chunked(parser, error, llhttp_get_error_pos(engine_of(parser)));
            return failed(parser);
        }
        *used += take;
        if (!count_chunked(parser, step, take)) {
            return failed(parser);
        }
        if (parser->step == STEP_END) {
            return finish_trailer(parser);
        }
    }
    return PARSER_MORE;
}

/* llhttp's callbacks -------------------------------------------------------------------------- */

static int on_url(llhttp_t *engine, const char *at, size_t size)
{
    struct http_request *request = ((struct http_parser *)engine->data)->request;
    if (request->target.data == NULL) {
        request->target.data = at;
    }
    request->target.size += size;
    return HPE_OK;
}

/* Trailer names may come in pieces that do not lie together; the first bytes are kept. */
static void take_trailer_name(struct http_parser *parser, const char *at, size_t size)
{
    if (!parser->in_name) {
        parser->in_name = true;
        parser->trailer_count++;
        parser->trailer_name_size = 0;
    }
    size_t room = sizeof(parser->trailer_name) - parser->trailer_name_size;
    memcpy(parser->trailer_name + parser->trailer_name_size, at, smaller(size, room));
    parser->trailer_name_size += smaller(size, room);
}

static void finish_trailer_name(struct http_parser *parser)
{
    struct bytes name = bytes_of(parser->trailer_name, parser->trailer_name_size);
    parser->in_name = false;
    if (bytes_equal_fold(name, BYTES("host")) || bytes_equal_fold(name, BYTES("content-length")) ||
        bytes_equal_fold(name, BYTES("transfer-encoding"))) {
        parser->trailer_forbidden = true;
    }
}

static int on_header_field(llhttp_t *engine, const char *at, size_t size)
{
    struct http_parser *parser = engine->data;
    if (parser->step == STEP_TRAILER) {
        take_trailer_name(parser, at, size);
        return HPE_OK;
    }
    if (!parser->in_name) {
        parser->in_name = true;
        parser->header = add_header(parser);
        if (parser->header != NULL) {
            parser->header->name = bytes_of(at, 0);
        }
    }
    if (parser->header != NULL) {
        parser->header->name.size += size;
    }
    return HPE_OK;
}

static int on_header_value(llhttp_t *engine, const char *at, size_t size)
{
    struct http_parser *parser = engine->data;
    if (parser->step == STEP_TRAILER) {
        if (parser->in_name) {
            finish_trailer_name(parser);
        }
        return HPE_OK;
    }
    if (parser->header != NULL) {
        if (parser->in_name) {
            parser->header->value = bytes_of(at, 0);
        }
        parser->header->value.size += size;
    }
    parser->in_name = false;
    return HPE_OK;
}

static int on_headers_complete(llhttp_t *engine)
{
    (void)engine;
    return HPE_PAUSED;
}

static int on_body(llhttp_t *engine, const char *at, size_t size)
{
    struct http_parser *parser = engine->data;
    if (size == 0 ||
        parser->sink.take(parser->sink.context, bytes_of(at, size), &parser->problem)) {
        return HPE_OK;
    }
    parser->sink_refused = true;
    return HPE_USER;
}

static int on_chunk_header(llhttp_t *engine)
{
    struct http_parser *parser = engine->data;
    parser->step = engine->content_length > 0 ? STEP_CHUNK_DATA : STEP_TRAILER;
    return HPE_PAUSED;
}

static int on_chunk_complete(llhttp_t *engine)
{
    struct http_parser *parser = engine->data;
    if (parser->step == STEP_TRAILER) {
        return HPE_OK; /* the last one; the end of the message follows at the same byte */
    }
    parser->step = STEP_CHUNK_SIZE;
    return HPE_PAUSED;
}

static int on_message_complete(llhttp_t *engine)
{
    struct http_parser *parser = engine->data;
    parser->step = STEP_END;
    return HPE_PAUSED;
}

static const llhttp_settings_t callbacks = {
    .on_url = on_url,
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_chunk_header = on_chunk_header,
    .on_chunk_complete = on_chunk_complete,
    .on_message_complete = on_message_complete,
};

/* The public face ----------------------------------------------------------------------------- */

/* Field by field: clearing whole structs of this size costs 20 ns in string instructions. What is
 * guarded by a count or a flag (params, trailer_name, problem) is left alone. */
static void clear(struct http_parser *parser, struct http_request *request)
{
    const struct bytes none = {NULL, 0};
    request->method = HTTP_GET;
    request->version_minor = 0;
    request->keep_alive = false;
    request->chunked = false;
    request->has_content_length = false;
    request->expects_continue = false;
    request->header_count = 0;
    request->param_count = 0;
    request->content_length = 0;
    request->target = none;
    request->path = none;
    request->query = none;
    request->headers = NULL;
    request->host = none;
    request->content_type = none;
    request->accept = none;
    request->request_id = none;
    request->body = none;

    parser->request_line_complete = false;
    parser->head_complete = false;
    parser->step = STEP_LEAD;
    parser->in_name = false;
    parser->request_line_checked = false;
    parser->memory_refused = false;
    parser->sink_refused = false;
    parser->trailer_forbidden = false;
    parser->blank_bytes = 0;
    parser->field_count = 0;
    parser->header_capacity = 0;
    parser->trailer_count = 0;
    parser->head = NULL;
    parser->header = NULL;
    parser->head_bytes = 0;
    parser->body_left = 0;
    parser->line_bytes = 0;
    parser->extension_bytes = 0;
    parser->trailer_bytes = 0;
    parser->trailer_name_size = 0;
}

void http_parser_begin(struct http_parser *parser, const struct http_parser_limits *limits,
                       struct http_request *request, struct arena *arena,
                       struct http_body_sink sink)
{
    CHECK(limits->header_bytes_max > 0);
    llhttp_init(engine_of(parser), HTTP_REQUEST, &callbacks);
    engine_of(parser)->data = parser;
    parser->request = request;
    parser->arena = arena;
    parser->sink = sink;
    parser->limits = *limits;
    clear(parser, request);
}

enum http_parser_event http_parser_feed(struct http_parser *parser, const char *data, size_t size,
                                        size_t *out_consumed)
{
    enum http_parser_event event = PARSER_MORE;
    CHECK(parser->step != STEP_END);
    *out_consumed = 0;
    if (parser->step == STEP_LEAD && !skip_blank_lines(parser, data, size, out_consumed)) {
        return failed(parser);
    }
    switch ((enum parser_step)parser->step) {
    case STEP_LEAD:
        return PARSER_MORE;
    case STEP_HEAD:
        event = feed_head(parser, data, size, out_consumed);
        break;
    case STEP_SIZED:
        event = feed_sized(parser, data, size, out_consumed);
        break;
    case STEP_CHUNK_SIZE:
    case STEP_CHUNK_DATA:
    case STEP_TRAILER:
        event = feed_chunked(parser, data, size, out_consumed);
        break;
    case STEP_END:
        UNREACHABLE();
    }
    CHECK(*out_consumed <= size);
    return event;
}

bool http_parser_started(const struct http_parser *parser)
{
    return parser->step > STEP_LEAD;
}

struct move {
    uintptr_t from;
    size_t size;
    const char *to;
};

/* A view outside the moved bytes (static, or decoded into the arena) stays as it is. */
static void move_view(const struct move *move, struct bytes *view)
{
    uintptr_t offset = (uintptr_t)view->data - move->from;
    if (view->data != NULL && offset <= move->size) {
        view->data = move->to + offset;
    }
}

void http_parser_rebase(struct http_parser *parser, const char *from, const char *to)
{
    struct http_request *request = parser->request;
    if (parser->head == NULL) {
        return;
    }
    struct move move = {(uintptr_t)parser->head, parser->head_bytes, NULL};
    move.to = to + (move.from - (uintptr_t)from);
    parser->head = move.to;
    struct bytes *views[] = {&request->target,    &request->path,   &request->query,
                             &request->host,      &request->accept, &request->content_type,
                             &request->request_id};
    for (size_t i = 0; i < sizeof(views) / sizeof(views[0]); i++) {
        move_view(&move, views[i]);
    }
    for (unsigned i = 0; i < request->param_count; i++) {
        move_view(&move, &request->params[i]);
    }
    for (unsigned i = 0; i < request->header_count; i++) {
        move_view(&move, &request->headers[i].name);
        move_view(&move, &request->headers[i].value);
    }
}
