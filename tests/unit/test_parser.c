/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parser against a table of streams: what each means, whole; and that it means the same split
 * in two at every byte, byte by byte, and behind a pipelined neighbour.
 */
#include "base/check.h"
#include "http/parser.h"
#include "transcript.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct row {
    struct bytes stream;
    const char *summary; /* see struct transcript */
    const char *detail;  /* what the problem's detail must hold; NULL: no problem */
};

#define S(stream, summary)                                                                         \
    {                                                                                              \
        BYTES_INIT(stream), summary, NULL                                                          \
    }
#define F(stream, status, detail)                                                                  \
    {                                                                                              \
        BYTES_INIT(stream), #status, detail                                                        \
    }
#define LINE "GET / HTTP/1.1\r\n"
#define GET LINE "Host: x\r\n"
#define POST "POST / HTTP/1.1\r\nHost: x\r\n"
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"

static const struct row valid[] = {
    S(GET "\r\n", "GET /"),
    S("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", "HEAD /"),
    S("PUT /a HTTP/1.1\r\nHost: x\r\n\r\n", "PUT /a"),
    S("DELETE /a HTTP/1.1\r\nHost: x\r\n\r\n", "DELETE /a"),
    S("PATCH /a HTTP/1.1\r\nHost: x\r\n\r\n", "PATCH /a"),
    S("TRACE /a HTTP/1.1\r\nHost: x\r\n\r\n", "TRACE /a"),
    S("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "OPTIONS *"),
    S("\r\n" GET "\r\n", "GET /"),
    S("\r\n\r\n" GET "\r\n", "GET /"),
    S(GET "A:\r\nB: \r\nC: c \t\r\nD:\td\xff\r\n\r\n", "GET /"),
    S("GET / HTTP/1.0\r\n\r\n", "GET /"),
    S("GET / HTTP/1.0\r\nHost: x\r\nExpect: 200-ok\r\n\r\n", "GET /"),
    /* targets */
    S("GET /a/b;c=d,e/%7Ef?g=h&i=[j]?k/l HTTP/1.1\r\nHost: x\r\n\r\n",
      "GET /a/b;c=d,e/%7Ef?g=h&i=[j]?k/l"),
    S("GET /? HTTP/1.1\r\nHost: x\r\n\r\n", "GET /?"),
    S("GET //a HTTP/1.1\r\nHost: x\r\n\r\n", "GET //a"),
    S("GET http://a/b?c HTTP/1.1\r\nHost: x\r\n\r\n", "GET /b?c"),
    S("GET HTTPS://a.b:443 HTTP/1.1\r\nHost: x\r\n\r\n", "GET /"),
    S("GET http://[::1]:80?c=/ HTTP/1.1\r\nHost: x\r\n\r\n", "GET /?c=/"),
    /* hosts */
    S(LINE "Host:127.0.0.1:8080\r\n\r\n", "GET /"),
    S(LINE "hOST: a-b.example.com: \r\n\r\n", "GET /"),
    S(LINE "Host: [2001:db8::1]:65535\r\n\r\n", "GET /"),
    S(LINE "Host: a%20b_~!$&'()*+;=\r\n\r\n", "GET /"),
    /* bodies of known length */
    S(POST "Content-Length: 3\r\n\r\nabc", "POST / 'abc'"),
    S(POST "Content-Length: 0\r\n\r\n", "POST /"),
    S(POST "Content-Length:0003 \r\n\r\nabc", "POST / 'abc'"),
    S(POST "Expect: 100-Continue\r\nContent-Length: 1\r\n\r\na", "POST / 'a'"),
    S("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nGET ", "GET / 'GET '"),
    S("POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\n\r\n", "POST / '\r\n'"),
    /* chunks */
    S(CHUNKED "0\r\n\r\n", "POST /"),
    S(CHUNKED "3\r\nabc\r\n0\r\n\r\n", "POST / 'abc'"),
    S(CHUNKED "1\r\na\r\n1\r\nb\r\n0a\r\n0123456789\r\n000\r\n\r\n", "POST / 'ab0123456789'"),
    S(CHUNKED "A\r\n\r\n\r\n\r\n\r\n\r\n\r\n0\r\n\r\n", "POST / '\r\n\r\n\r\n\r\n\r\n'"),
    S(CHUNKED "3;a=b;c;d=\"e\\\"f\"\r\nabc\r\n0;g\r\n\r\n", "POST / 'abc'"),
    S(CHUNKED "1\r\na\r\n0\r\nA: b\r\nConnection: close\r\nC:\r\n\r\n", "POST / 'a'"),
    S(POST "Transfer-Encoding:  Chunked \r\n\r\n1\r\na\r\n0\r\n\r\n", "POST / 'a'"),
    S("GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
      "GET / 'a'"),
    /* upgrade offers mean nothing, to no byte behind them */
    S(GET "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n", "GET /"),
    S(GET "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n\r\n",
      "GET /"),
    S(POST "Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc", "POST / 'abc'"),
    S(POST "Connection: upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n"
           "3\r\nabc\r\n0\r\n\r\n",
      "POST / 'abc'"),
    S(GET "Connection: close\r\n\r\n", "GET /"),
    S(GET "Connection: close, upgrade\r\nUpgrade: x\r\n\r\n", "GET /"),
    S(POST "Proxy-Connection: close\r\nContent-Length: 1\r\nConnection: Keep-Alive\r\n\r\na",
      "POST / 'a'"),
};

static const struct row incomplete[] = {
    S("\r", "MORE"),
    S("\r\n\r\n", "MORE"),
    S("G", "MORE"),
    S("GET", "MORE"),
    S(LINE, "MORE"),
    S(GET, "MORE"),
    S(GET "\r", "MORE"),
    S(POST "Content-Length: 3\r\n\r\nab", "MORE"),
    S(CHUNKED, "MORE"),
    S(CHUNKED "3\r\nabc", "MORE"),
    S(CHUNKED "3\r\nabc\r\n0\r\n", "MORE"),
    S(CHUNKED "3\r\nabc\r\n0\r\n\r", "MORE"),
    S(CHUNKED "ffffffffffffffff\r\nabc", "MORE"),
};

static const struct row refused[] = {
    /* request line */
    F("\n" GET "\r\n", 400, "two blank lines"),
    F("\r" GET "\r\n", 400, "two blank lines"),
    F("\r\n\r\n\r\n" GET "\r\n", 400, "two blank lines"),
    F(" " GET "\r\n", 400, "start with a method"),
    F("\x16\x03\x01\x02", 400, "start with a method"),
    F("FOO / HTTP/1.1\r\nHost: x\r\n\r\n", 501, "methods GET"),
    F("GE / HTTP/1.1\r\nHost: x\r\n\r\n", 501, "methods GET"),
    F("GETX / HTTP/1.1\r\nHost: x\r\n\r\n", 501, "methods GET"),
    F("get / HTTP/1.1\r\nHost: x\r\n\r\n", 501, "methods GET"),
    F("!#$%&'*+-.^_`|~9 / HTTP/1.1\r\nHost: x\r\n\r\n", 501, "methods GET"),
    F("CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n", 501, "methods GET"),
    F("PROPFIND / HTTP/1.1\r\nHost: x\r\n\r\n", 501, "methods GET"),
    F("PROPFIND / HTTP/1.1\r\nBad Header\r\n\r\n", 501, "methods GET"),
    F("DESCRIBE / HTTP/1.1\r\nHost: x\r\n\r\n", 501, "methods GET"),
    F("DESCRIBE / RTSP/1.0\r\n\r\n", 501, "methods GET"),
    F("SOURCE / ICE/1.0\r\n\r\n", 501, "methods GET"),
    F("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 501, "methods GET"),
    F("PRI / HTTP/1.1\r\nHost: x\r\n\r\n", 501, "methods GET"),
    F("G@T / HTTP/1.1\r\n\r\n", 400, "start with a method"),
    F("GET\t/ HTTP/1.1\r\n\r\n", 400, "start with a method"),
    F("GET\r\n\r\n", 400, "start with a method"),
    F("GE\x01", 400, "start with a method"),
    F("GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400, "One space"),
    F("GET /  HTTP/1.1\r\nHost: x\r\n\r\n", 400, "one space each"),
    F("GET / HTTP/1.1 \r\nHost: x\r\n\r\n", 400, "one space each"),
    F("GET / HTTP/1.1\nHost: x\r\n\r\n", 400, "CR LF"),
    F("GET / HTTP/1.1\r\rHost: x\r\n\r\n", 400, "CR LF"),
    F("GET /\r\n\r\n", 400, "request line must be"),
    F("GET /\n\r\n", 400, "request line must be"),
    F("GET / \r\n\r\n", 400, "request line must be"),
    F("GET / http/1.1\r\n\r\n", 400, "request line must be"),
    F("GET / HTPP/1.1\r\n\r\n", 400, "request line must be"),
    F("GET / RTSP/1.0\r\n\r\n", 400, "request line must be"),
    F("GET / ICE/1.0\r\n\r\n", 400, "request line must be"),
    F("GET / HTTP/x\r\n\r\n", 400, "request line must be"),
    F("GET / HTTP/11\r\n\r\n", 400, "request line must be"),
    F("GET / HTTP/1.10\r\n\r\n", 400, "request line must be"),
    F("GET htK\nA: b\r\n\r\n", 400, "absolute http"),
    F("GET  /a+\n\xff: b\r\n\r\n", 400, "request line must be"),
    F("GET / HTTP/0.9\r\n\r\n", 505, "HTTP/1.1 and HTTP/1.0"),
    F("GET / HTTP/1.2\r\n\r\n", 505, "HTTP/1.1 and HTTP/1.0"),
    F("GET / HTTP/2.0\r\n\r\n", 505, "HTTP/1.1 and HTTP/1.0"),
    F("GET / HTTP/3.0\r\n\r\n", 505, "HTTP/1.1 and HTTP/1.0"),
    F("GET / HTTP/9.9\r\n\r\n", 505, "HTTP/1.1 and HTTP/1.0"),
    /* targets */
    F("GET * HTTP/1.1\r\nHost: x\r\n\r\n", 400, "OPTIONS only"),
    F("OPTIONS *a HTTP/1.1\r\nHost: x\r\n\r\n", 400, "request target"),
    F("GET a HTTP/1.1\r\nHost: x\r\n\r\n", 400, "request target"),
    F("GET ?a HTTP/1.1\r\nHost: x\r\n\r\n", 400, "request target"),
    F("GET a:80 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "request target"),
    F("GET ftp://a/ HTTP/1.1\r\nHost: x\r\n\r\n", 400, "request target"),
    F("GET http:/a HTTP/1.1\r\nHost: x\r\n\r\n", 400, "request target"),
    F("GET http:// HTTP/1.1\r\nHost: x\r\n\r\n", 400, "authority"),
    F("GET http:///a HTTP/1.1\r\nHost: x\r\n\r\n", 400, "target"),
    F("GET http://u@a/ HTTP/1.1\r\nHost: x\r\n\r\n", 400, "authority"),
    F("GET http://a:b/ HTTP/1.1\r\nHost: x\r\n\r\n", 400, "authority"),
    F("GET http://[::1/ HTTP/1.1\r\nHost: x\r\n\r\n", 400, "authority"),
    F("GET http://a,b/ HTTP/1.1\r\nHost: x\r\n\r\n", 400, "authority"),
    F("GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n", 400, "percent-encoded"),
    F("GET /a?b#c HTTP/1.1\r\nHost: x\r\n\r\n", 400, "percent-encoded"),
    F("GET /\x80 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "request target"),
    F("GET /\x7f HTTP/1.1\r\nHost: x\r\n\r\n", 400, "request target"),
    F("GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "request target"),
    F("GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "request target"),
    F("GET /a\tb HTTP/1.1\r\nHost: x\r\n\r\n", 400, "request target"),
    F("GET /\" HTTP/1.1\r\nHost: x\r\n\r\n", 400, "percent-encoded"),
    F("GET /< HTTP/1.1\r\nHost: x\r\n\r\n", 400, "percent-encoded"),
    F("GET /> HTTP/1.1\r\nHost: x\r\n\r\n", 400, "percent-encoded"),
    F("GET /\\ HTTP/1.1\r\nHost: x\r\n\r\n", 400, "percent-encoded"),
    F("GET /^ HTTP/1.1\r\nHost: x\r\n\r\n", 400, "percent-encoded"),
    F("GET /` HTTP/1.1\r\nHost: x\r\n\r\n", 400, "percent-encoded"),
    F("GET /{ HTTP/1.1\r\nHost: x\r\n\r\n", 400, "percent-encoded"),
    F("GET /| HTTP/1.1\r\nHost: x\r\n\r\n", 400, "percent-encoded"),
    F("GET /?} HTTP/1.1\r\nHost: x\r\n\r\n", 400, "percent-encoded"),
    F("GET /% HTTP/1.1\r\nHost: x\r\n\r\n", 400, "'%'"),
    F("GET /%4 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "'%'"),
    F("GET /%4g HTTP/1.1\r\nHost: x\r\n\r\n", 400, "'%'"),
    F("GET /?%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400, "'%'"),
    /* Host */
    F(LINE "\r\n", 400, "Host is missing"),
    F(LINE "Host: a\r\nHost: a\r\n\r\n", 400, "Host was sent more than once"),
    F("GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n", 400, "Host was sent more than once"),
    F(LINE "Host:\r\n\r\n", 400, "header Host must"),
    F(LINE "Host: a b\r\n\r\n", 400, "header Host must"),
    F(LINE "Host: a,b\r\n\r\n", 400, "header Host must"),
    F(LINE "Host: u@a\r\n\r\n", 400, "header Host must"),
    F(LINE "Host: a/\r\n\r\n", 400, "header Host must"),
    F(LINE "Host: http://a\r\n\r\n", 400, "header Host must"),
    F(LINE "Host: a?b\r\n\r\n", 400, "header Host must"),
    F(LINE "Host: :80\r\n\r\n", 400, "header Host must"),
    F(LINE "Host: a:65536\r\n\r\n", 400, "header Host must"),
    F(LINE "Host: a:99999999999999999999\r\n\r\n", 400, "header Host must"),
    F(LINE "Host: a:8x\r\n\r\n", 400, "header Host must"),
    F(LINE "Host: a:1:2\r\n\r\n", 400, "header Host must"),
    F(LINE "Host: ::1\r\n\r\n", 400, "header Host must"),
    F(LINE "Host: [::1\r\n\r\n", 400, "header Host must"),
    F(LINE "Host: []\r\n\r\n", 400, "header Host must"),
    F(LINE "Host: [::1]x\r\n\r\n", 400, "header Host must"),
    F(LINE "Host: [fe80::1%25eth0]\r\n\r\n", 400, "header Host must"),
    F(LINE "Host: [1.2.3.4]\r\n\r\n", 400, "header Host must"),
    F(LINE "Host: a%2\r\n\r\n", 400, "header Host must"),
    F(LINE "Host: \x80\r\n\r\n", 400, "header Host must"),
    /* header lines */
    F(GET "A : b\r\n\r\n", 400, "colon directly behind"),
    F(GET "A\t: b\r\n\r\n", 400, "colon directly behind"),
    F(GET "A\x0b: b\r\n\r\n", 400, "colon directly behind"),
    F(GET "A\r\n\r\n", 400, "colon directly behind"),
    F(GET ": b\r\n\r\n", 400, "colon directly behind"),
    F(GET "A(: b\r\n\r\n", 400, "colon directly behind"),
    F(GET "\x80: b\r\n\r\n", 400, "colon directly behind"),
    F(LINE " Host: x\r\n\r\n", 400, "start with a blank"),
    F(GET " A: b\r\n\r\n", 400, "start with a blank"),
    F(GET "A: b\r\n c\r\n\r\n", 400, "start with a blank"),
    F(GET "A: b\r\n\tc\r\n\r\n", 400, "start with a blank"),
    F(GET "A:\r\n b\r\n\r\n", 400, "start with a blank"),
    F(GET "Abc: d\x01\r\n\r\n", 400, "header Abc holds a control"),
    F(GET "Abc: \x7f\r\n\r\n", 400, "header Abc holds a control"),
    F(GET "Abc: d\0e\r\n\r\n", 400, "header Abc holds a control"),
    F(GET "A: b\n\r\n", 400, "CR LF"),
    F(GET "A: b\r\n\n", 400, "CR LF"),
    F(GET "A: b\rc\r\n\r\n", 400, "CR LF"),
    F(GET "A: b\r\r\n\r\n", 400, "CR LF"),
    F(GET "A:\n\r\n", 400, "CR LF"),
    F(GET "\r\r\n\r\n", 400, "CR LF"),
    F(GET "\rX", 400, "CR LF"),
    F(GET "\n", 400, "CR LF"),
    /* framing */
    F(POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "exclude"),
    F(POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400, "exclude"),
    F(POST "Transfer-Encoding:\r\nContent-Length: 5\r\n\r\nabcde", 400, "Transfer-Encoding must"),
    F(POST "Transfer-Encoding: \r\n\r\n", 400, "Transfer-Encoding must"),
    F(POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, "chunked"),
    F(POST "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501,
      "chunked"),
    F(POST "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", 501, "chunked"),
    F(POST "Transfer-Encoding: a;b=c, chunked\r\n\r\n0\r\n\r\n", 501, "chunked"),
    F(POST "Transfer-Encoding: gzip\r\n\r\n", 400, "chunked once"),
    F(POST "Transfer-Encoding: identity\r\n\r\n", 400, "chunked once"),
    F(POST "Transfer-Encoding: xchunked\r\n\r\n", 400, "chunked once"),
    F(POST "Transfer-Encoding: chunkedx\r\n\r\n", 400, "chunked once"),
    F(POST "Transfer-Encoding: \"chunked\"\r\n\r\n", 400, "Transfer-Encoding must"),
    F(POST "Transfer-Encoding: chunked;a=b\r\n\r\n", 400, "without parameters"),
    F(POST "Transfer-Encoding: ,chunked\r\n\r\n", 400, "empty elements"),
    F(POST "Transfer-Encoding: chunked,\r\n\r\n", 400, "Transfer-Encoding must"),
    F(POST "Transfer-Encoding: chunked, gzip\r\n\r\n", 400, "Transfer-Encoding must"),
    F(POST "Transfer-Encoding: chunked, chunked\r\n\r\n", 400, "Transfer-Encoding must"),
    F(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400,
      "Transfer-Encoding must"),
    F(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n", 400,
      "Transfer-Encoding must"),
    F(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n\r\n", 400,
      "Transfer-Encoding must"),
    F(POST "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400, "colon directly behind"),
    F(POST "Transfer-Encoding:\x0b"
           "chunked\r\n\r\n0\r\n\r\n",
      400, "control"),
    F(POST "Transfer-Encoding: chunked\r\n \r\n\r\n0\r\n\r\n", 400, "blank"),
    F(POST " Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "blank"),
    F(POST "Transfer-Encoding: chunked\n\r\n0\r\n\r\n", 400, "CR LF"),
    F(POST "X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "CR LF"),
    F("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "HTTP/1.0 has no"),
    F(POST "Content-Length:\r\n\r\n", 400, "Content-Length must"),
    F(POST "Content-Length: \r\n\r\n", 400, "Content-Length must"),
    F(POST "Content-Length: +5\r\n\r\nabcde", 400, "Content-Length must"),
    F(POST "Content-Length: -5\r\n\r\nabcde", 400, "Content-Length must"),
    F(POST "Content-Length: 5 5\r\n\r\nabcde", 400, "Content-Length must"),
    F(POST "Content-Length: 5,5\r\n\r\nabcde", 400, "Content-Length must"),
    F(POST "Content-Length: 0x5\r\n\r\nabcde", 400, "Content-Length must"),
    F(POST "Content-Length: 5.0\r\n\r\nabcde", 400, "Content-Length must"),
    F(POST "Content-Length: 9223372036854775808\r\n\r\n", 400, "Content-Length must"),
    F(POST "Content-Length: 18446744073709551616\r\n\r\n", 400, "Content-Length must"),
    F(POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde", 400, "more than once"),
    F(POST "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde", 400, "more than once"),
    F(POST "Content-Length: 0\r\ncontent-length: 0\r\n\r\n", 400, "more than once"),
    F(POST "Content-Length : 5\r\n\r\nabcde", 400, "colon directly behind"),
    F(POST "Content-Length\x0b: 5\r\n\r\nabcde", 400, "colon directly behind"),
    F(POST "Expect: 200-ok\r\n\r\n", 417, "100-continue"),
    F(POST "Expect:\r\n\r\n", 417, "100-continue"),
    F(POST "Expect: 100-continue\r\nExpect: x\r\n\r\n", 417, "100-continue"),
    /* chunks */
    F(CHUNKED "\r\n", 400, "A chunk must start"),
    F(CHUNKED "3 \r\nabc\r\n0\r\n\r\n", 400, "A chunk must start"),
    F(CHUNKED " 3\r\nabc\r\n0\r\n\r\n", 400, "A chunk must start"),
    F(CHUNKED "3\t\r\nabc\r\n0\r\n\r\n", 400, "A chunk must start"),
    F(CHUNKED "0x3\r\nabc\r\n0\r\n\r\n", 400, "A chunk must start"),
    F(CHUNKED "+3\r\nabc\r\n0\r\n\r\n", 400, "A chunk must start"),
    F(CHUNKED "-1\r\nabc\r\n0\r\n\r\n", 400, "A chunk must start"),
    F(CHUNKED "g\r\n", 400, "A chunk must start"),
    F(CHUNKED ";a\r\n", 400, "A chunk must start"),
    F(CHUNKED "3\nabc\r\n0\r\n\r\n", 400, "A chunk must start"),
    F(CHUNKED "3\rXabc\r\n0\r\n\r\n", 400, "A chunk must start"),
    F(CHUNKED "3;a=b\nabc\r\n0\r\n\r\n", 400, "A chunk must start"),
    F(CHUNKED "3;a=\n\r\nabc\r\n0\r\n\r\n", 400, "A chunk must start"),
    F(CHUNKED "3;a\rb\r\nabc\r\n0\r\n\r\n", 400, "A chunk must start"),
    F(CHUNKED "3;a=\"\n\"\r\nabc\r\n0\r\n\r\n", 400, "A chunk must start"),
    F(CHUNKED "3;a\0\r\nabc\r\n0\r\n\r\n", 400, "A chunk must start"),
    F(CHUNKED "3;\r\nabc\r\n0\r\n\r\n", 400, "A chunk must start"),
    F(CHUNKED "10000000000000000\r\nabc", 400, "A chunk must start"),
    F(CHUNKED "fffffffffffffffff\r\nabc", 400, "A chunk must start"),
    F(CHUNKED "3\r\nabcd\r\n0\r\n\r\n", 400, "data of a chunk"),
    F(CHUNKED "3\r\nabc0\r\n\r\n", 400, "data of a chunk"),
    F(CHUNKED "3\r\nabc\n0\r\n\r\n", 400, "data of a chunk"),
    F(CHUNKED "3\r\nabc\rX0\r\n\r\n", 400, "data of a chunk"),
    F(CHUNKED "3\r\nabc\r\n\r\n", 400, "A chunk must start"),
    F(CHUNKED "0\n\r\n", 400, "A chunk must start"),
    F(CHUNKED "0\r\n\n", 400, "trailer"),
    F(CHUNKED "0\r\n\rX", 400, "CR LF"),
    F(CHUNKED "0\r\nX\r\n\r\n", 400, "trailer"),
    F(CHUNKED "0\r\nX : y\r\n\r\n", 400, "trailer"),
    F(CHUNKED "0\r\nX: \x01\r\n\r\n", 400, "trailer"),
    F(CHUNKED "0\r\nX: y\r\n z\r\n\r\n", 400, "trailer"),
    F(CHUNKED "0\r\nX: y\n\r\n", 400, "CR LF"),
    F(CHUNKED "0\r\nHOST: y\r\n\r\n", 400, "not allowed in trailers"),
    F(CHUNKED "0\r\nContent-Length: 5\r\n\r\nabcde", 400, "Content-Length"),
    F(CHUNKED "0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "Transfer-Encoding"),
    F(CHUNKED "0\r\nTransfer-Encoding: gzip\r\n\r\n", 400, "Transfer-Encoding"),
    F(CHUNKED "0\r\nTransfer-Encoding:\r\n\r\n", 400, "Transfer-Encoding"),
};

static const struct http_parser_limits limits = {.header_bytes_max = 16384};

static struct bytes join(struct bytes a, struct bytes b)
{
    char *data = malloc(a.size + b.size);
    assert_non_null(data);
    memcpy(data, a.data, a.size);
    memcpy(data + a.size, b.data, b.size);
    return bytes_of(data, a.size + b.size);
}

static void expect_summary(const struct transcript *t, const char *summary, struct bytes stream)
{
    if (strcmp(t->summary, summary) != 0) {
        fail_msg("%.*s\n gave: %s (%s)\n not:  %s", (int)stream.size, stream.data, t->summary,
                 t->detail, summary);
    }
}

/* Whole, in two at every byte, byte by byte: the same. */
static void check_splits(struct bytes stream, const char *summary, const char *detail)
{
    struct transcript whole = {.limits = limits};
    transcript_run(&whole, stream, 0, 0);
    expect_summary(&whole, summary, stream);
    if (detail != NULL && strstr(whole.detail, detail) == NULL) {
        fail_msg("%.*s\n detail: %s\n lacks:  %s", (int)stream.size, stream.data, whole.detail,
                 detail);
    }
    for (size_t cut = 0; cut < stream.size; cut++) {
        struct transcript split = {.limits = limits};
        transcript_run(&split, stream, cut == 0 ? 1 : 0, cut);
        if (strcmp(whole.text, split.text) != 0) {
            fail_msg("%.*s\n whole: %s\n cut at %zu: %s", (int)stream.size, stream.data, whole.text,
                     cut, split.text);
        }
        transcript_free(&split);
    }
    transcript_free(&whole);
}

static void check_table(const struct row *rows, size_t count)
{
    static const struct bytes neighbour = BYTES_INIT("POST /n HTTP/1.1\r\nHost: n\r\n"
                                                     "Content-Length: 1\r\n\r\nn");
    for (size_t i = 0; i < count; i++) {
        const struct row *row = &rows[i];
        char summary[SUMMARY_BYTES_MAX];
        check_splits(row->stream, row->summary, row->detail);

        struct bytes behind = join(neighbour, row->stream);
        (void)snprintf(summary, sizeof(summary), "POST /n 'n' | %s", row->summary);
        check_splits(behind, summary, row->detail);
        free((void *)(uintptr_t)behind.data);
        if (rows != valid) {
            continue;
        }
        struct bytes before = join(row->stream, neighbour);
        (void)snprintf(summary, sizeof(summary), "%s | POST /n 'n'", row->summary);
        check_splits(before, summary, NULL);
        free((void *)(uintptr_t)before.data);
    }
}

static void test_valid(void **state)
{
    (void)state;
    check_table(valid, sizeof(valid) / sizeof(valid[0]));
}

static void test_incomplete(void **state)
{
    (void)state;
    check_table(incomplete, sizeof(incomplete) / sizeof(incomplete[0]));
}

static void test_refused(void **state)
{
    (void)state;
    check_table(refused, sizeof(refused) / sizeof(refused[0]));
}

/* What a head says beside its target, in one line. */
static void test_fields(void **state)
{
    (void)state;
    static const struct {
        const char *stream;
        const char *text; /* must be in the transcript */
    } rows[] = {
        {GET "\r\n", "1.1 keep=1 chunked=0 length=0:0 continue=0"},
        {GET "Connection: close\r\n\r\n", "keep=0"},
        {GET "Connection: a, Close ,b\r\n\r\n", "keep=0"},
        {GET "Connection: a\r\nConnection: close\r\n\r\n", "keep=0"},
        {GET "Connection: close, keep-alive\r\n\r\n", "keep=0"},
        {GET "Connection: closed\r\n\r\n", "keep=1"},
        {"GET / HTTP/1.0\r\n\r\n", "1.0 keep=0"},
        {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "1.0 keep=1"},
        {"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", "1.0 keep=0"},
        {POST "Expect: 100-continue\r\nContent-Length: 0\r\n\r\n", "length=1:0 continue=1"},
        {"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n", "continue=0"},
        {POST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "chunked=1 length=0:0"},
        {GET "Content-Type: a/b;c=d\r\nContent-Type: e\r\n\r\n", " type=7:a/b;c=d"},
        {GET "Accept: \r\nAccept: e\r\n\r\n", " accept=0:"},
        {GET "X-Request-ID: a~!\r\n\r\n", " id=3:a~!"},
        {GET "X-Request-Id: a b\r\n\r\n", " id=-"},
        {GET "X-Request-Id:\r\nX-Request-Id: b\r\n\r\n", " id=-"},
        {"GET http://a:1/b HTTP/1.1\r\nHost: x\r\n\r\n", " path=2:/b query=- host=3:a:1"},
        {GET "A:\t b c \t\r\nD:\r\n\r\n", " name=1:A value=3:b\\x20c name=1:D value=0:"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct transcript t = {.limits = limits};
        transcript_run(&t, bytes_from_string(rows[i].stream), 0, 0);
        if (strstr(t.text, rows[i].text) == NULL) {
            fail_msg("%s\n gave: %s\n lacks: %s", rows[i].stream, t.text, rows[i].text);
        }
        transcript_free(&t);
    }
}

static void test_request_id_length(void **state)
{
    (void)state;
    for (int size = 128; size <= 129; size++) {
        char stream[512];
        int length = snprintf(stream, sizeof(stream), GET "X-Request-Id: %0*d\r\n\r\n", size, 7);
        struct transcript t = {.limits = limits};
        transcript_run(&t, bytes_of(stream, (size_t)length), 0, 0);
        assert_true((strstr(t.text, " id=128:") != NULL) == (size == 128));
        transcript_free(&t);
    }
}

/* A stream of `before`, `count` times `filler`, and `after`. */
static struct bytes repeat(const char *before, size_t count, const char *filler, const char *after)
{
    size_t step = strlen(filler);
    size_t size = strlen(before) + count * step + strlen(after);
    char *data = malloc(size + 1);
    assert_non_null(data);
    char *at = data + strlen(before);
    memcpy(data, before, strlen(before));
    for (size_t i = 0; i < count; i++, at += step) {
        memcpy(at, filler, step);
    }
    memcpy(at, after, strlen(after) + 1);
    return bytes_of(data, size);
}

/* The stream, whole and in several splits, with a limit for its head. */
static void expect_limited(struct bytes stream, size_t header_bytes_max, const char *summary,
                           const char *text)
{
    static const size_t steps[] = {0, 1, 2, 7, 64, 4096};
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct transcript t = {.limits = {.header_bytes_max = header_bytes_max}};
        transcript_run(&t, stream, steps[i], 0);
        expect_summary(&t, summary, stream);
        if (strstr(t.text, text) == NULL) {
            fail_msg("%s\n lacks: %s", t.text, text);
        }
        transcript_free(&t);
    }
    free((void *)(uintptr_t)stream.data);
}

static void test_head_limit(void **state)
{
    (void)state;
    const char head[] = GET "\r\n";
    const size_t size = sizeof(head) - 1;
    expect_limited(repeat(head, 0, "", ""), size, "GET /", "DONE");
    expect_limited(repeat(head, 0, "", ""), size - 1, "431", "http.max_header_bytes 26");
    expect_limited(repeat(head, 0, "", head), size, "GET / | GET /", "DONE");
    /* The limit is the head's, not the body's. */
    expect_limited(repeat(POST "Content-Length: 50\r\n\r\n", 50, "a", ""), 48,
                   "POST / 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'", "DONE");
    /* Blank lines before it do not count. */
    expect_limited(repeat("\r\n\r\n", 1, head, ""), size, "GET /", "DONE");
    /* It is told at the last byte allowed, without waiting for one more. */
    expect_limited(repeat(GET "A: ", 200, "a", ""), 100, "431", "http.max_header_bytes 100");
}

static void test_request_line_limit(void **state)
{
    (void)state;
    const size_t fixed = sizeof("GET / HTTP/1.1\r\n") - 1;
    const char rest[] = " HTTP/1.1\r\nHost: x\r\n\r\n";
    const size_t most = HTTP_REQUEST_LINE_BYTES_MAX - fixed;
    struct bytes longest = repeat("GET /", most, "a", rest);
    struct transcript t = {.limits = limits};
    transcript_run(&t, longest, 0, 0);
    assert_non_null(strstr(t.text, "DONE GET"));
    transcript_free(&t);
    free((void *)(uintptr_t)longest.data);
    expect_limited(repeat("GET /", most + 1, "a", rest), 16384, "414", "8192 bytes. - 0");
    expect_limited(repeat("GET /", 10000, "a", ""), 16384, "414", "8192 bytes. - 0");
    expect_limited(repeat("GET /", 100, "a", rest), 64, "414", "http.max_header_bytes 64");
    expect_limited(repeat(LINE, 0, "", ""), fixed, "431", "http.max_header_bytes 16");
}

static void test_header_count_limit(void **state)
{
    (void)state;
    struct bytes most = repeat(GET, HTTP_HEADERS_MAX - 1, "A: b\r\n", "\r\n");
    expect_limited(most, 16384, "GET /", "DONE");
    expect_limited(repeat(GET, HTTP_HEADERS_MAX, "A: b\r\n", "\r\n"), 16384, "431",
                   "at most 100 header fields");
    /* A syntax error counts first, wherever it stands. */
    expect_limited(repeat(GET, 2 * HTTP_HEADERS_MAX, "A: b\r\n", "B\r\n\r\n"), 16384, "400",
                   "colon");
}

static void test_chunk_limits(void **state)
{
    (void)state;
    const char last[] = "\r\na\r\n0\r\n\r\n";
    expect_limited(repeat(CHUNKED "1;", 4000, "a", last), 16384, "POST / 'a'", "DONE");
    expect_limited(repeat(CHUNKED "1;", 5000, "a", last), 16384, "400", "4096 bytes");
    expect_limited(repeat(CHUNKED "1;", 5000, "a", ""), 16384, "400", "4096 bytes");
    expect_limited(repeat(CHUNKED, 5000, "0", "1\r\na\r\n0\r\n\r\n"), 16384, "400", "16 digits");
    /* All chunks together; 118 bytes of extension are counted as 104 or less in each. */
    const char chunk[] = "1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\na\r\n";
    expect_limited(repeat(CHUNKED, 60, chunk, "0\r\n\r\n"), 16384, "400", "4096 bytes");
    /* Many chunks without extensions are no problem. */
    struct bytes many = repeat(CHUNKED, 3000, "1\r\na\r\n", "0\r\n\r\n");
    struct transcript t = {.limits = limits};
    transcript_run(&t, many, 0, 0);
    assert_non_null(strstr(t.text, " body=3000:aaa"));
    transcript_free(&t);
    free((void *)(uintptr_t)many.data);
}

static void test_trailer_limits(void **state)
{
    (void)state;
    expect_limited(repeat(CHUNKED "0\r\n", HTTP_HEADERS_MAX, "A: b\r\n", "\r\n"), 16384, "POST /",
                   "DONE");
    expect_limited(repeat(CHUNKED "0\r\n", HTTP_HEADERS_MAX + 1, "A: b\r\n", "\r\n"), 16384, "431",
                   "100 trailer fields");
    expect_limited(repeat(CHUNKED "0\r\nA:", 20000, " ", "b\r\n\r\n"), 16384, "431",
                   "http.max_header_bytes 16384");
    expect_limited(repeat(CHUNKED "0\r\n", 20000, "a", ": b\r\n\r\n"), 16384, "431",
                   "http.max_header_bytes 16384");
}

struct refusal {
    unsigned pieces_left;
};

static bool refuse_piece(void *context, struct bytes piece, struct http_problem *problem)
{
    struct refusal *refusal = context;
    (void)piece;
    if (refusal->pieces_left-- > 0) {
        return true;
    }
    *problem = (struct http_problem){.status = 413, .type = "too-large", .detail = "Enough."};
    return false;
}

static void test_sink_refuses(void **state)
{
    (void)state;
    static const char *const streams[] = {
        POST "Content-Length: 6\r\n\r\nabcdef",
        CHUNKED "3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n",
    };
    for (size_t i = 0; i < 2; i++) {
        struct memory_budget budget;
        struct chunk_pool pool;
        struct arena arena;
        struct http_parser parser;
        struct http_request request;
        struct refusal refusal = {1};
        memory_budget_init(&budget, 1 << 20);
        chunk_pool_init(&pool, &budget, 1 << 20);
        arena_init(&arena, &pool);
        http_parser_begin(&parser, &limits, &request, &arena,
                          (struct http_body_sink){.take = refuse_piece, .context = &refusal});
        struct bytes stream = bytes_from_string(streams[i]);
        size_t consumed = 0;
        assert_int_equal(http_parser_feed(&parser, stream.data, stream.size, &consumed),
                         PARSER_HEAD);
        size_t at = consumed;
        enum http_parser_event event = PARSER_MORE;
        while (event == PARSER_MORE && at < stream.size) {
            event = http_parser_feed(&parser, stream.data + at, 1, &consumed);
            at += consumed;
        }
        assert_int_equal(event, PARSER_FAILED);
        assert_int_equal(parser.problem.status, 413);
        assert_string_equal(parser.problem.detail, "Enough.");
        assert_int_equal(refusal.pieces_left, UINT32_MAX); /* asked once too often, not twice */
        arena_reset(&arena);
        chunk_pool_deinit(&pool);
    }
}

static void test_memory_refused(void **state)
{
    (void)state;
    struct memory_budget budget;
    struct chunk_pool pool;
    struct arena arena;
    struct http_parser parser;
    struct http_request request;
    size_t consumed;
    memory_budget_init(&budget, 1);
    chunk_pool_init(&pool, &budget, 0);
    arena_init(&arena, &pool);
    http_parser_begin(&parser, &limits, &request, &arena,
                      (struct http_body_sink){.take = refuse_piece});
    struct bytes stream = BYTES(GET "\r\n");
    assert_int_equal(http_parser_feed(&parser, stream.data, stream.size, &consumed), PARSER_FAILED);
    assert_int_equal(parser.problem.status, 503);
    assert_true(parser.request_line_complete);
    assert_int_equal(request.method, HTTP_GET);

    /* A detail that would quote a name goes without. */
    http_parser_begin(&parser, &limits, &request, &arena,
                      (struct http_body_sink){.take = refuse_piece});
    stream = BYTES(GET "Abc: \x01");
    assert_int_equal(http_parser_feed(&parser, stream.data, stream.size, &consumed), PARSER_FAILED);
    assert_int_equal(parser.problem.status, 400);
    assert_null(strstr(parser.problem.detail, "Abc"));
    chunk_pool_deinit(&pool);
}

/* The head's bytes move at every byte of its coming, and once more before the body. */
static void test_rebase(void **state)
{
    (void)state;
    static const char head[] = "POST http://h/a?b=c HTTP/1.1\r\nHost: x\r\nContent-Type: t/u\r\n"
                               "Accept: v\r\nX-Request-Id: w\r\nContent-Length: 1\r\n\r\n";
    const size_t size = sizeof(head) - 1;
    static char places[2][sizeof(head)];
    struct memory_budget budget;
    struct chunk_pool pool;
    struct arena arena;
    struct http_parser parser;
    struct http_request request;
    struct refusal refusal = {1};
    memory_budget_init(&budget, 1 << 20);
    chunk_pool_init(&pool, &budget, 1 << 20);
    arena_init(&arena, &pool);
    http_parser_begin(&parser, &limits, &request, &arena,
                      (struct http_body_sink){.take = refuse_piece, .context = &refusal});
    enum http_parser_event event = PARSER_MORE;
    char *place = places[0];
    for (size_t at = 0; at < size; at++) {
        size_t consumed;
        assert_int_equal(event, PARSER_MORE);
        place[at] = head[at];
        event = http_parser_feed(&parser, place + at, 1, &consumed);
        char *next = place == places[0] ? places[1] : places[0];
        memcpy(next, place, at + 1);
        if (event == PARSER_HEAD) {
            request.params[request.param_count++] = bytes_of(request.path.data + 1, 1);
            request.params[request.param_count++] = BYTES("static");
        }
        http_parser_rebase(&parser, place, next);
        memset(place, 0, at + 1);
        place = next;
    }
    assert_int_equal(event, PARSER_HEAD);
    assert_true(bytes_equal(request.target, BYTES("http://h/a?b=c")));
    assert_true(bytes_equal(request.path, BYTES("/a")));
    assert_true(bytes_equal(request.query, BYTES("b=c")));
    assert_true(bytes_equal(request.host, BYTES("h")));
    assert_true(bytes_equal(request.content_type, BYTES("t/u")));
    assert_true(bytes_equal(request.accept, BYTES("v")));
    assert_true(bytes_equal(request.request_id, BYTES("w")));
    assert_true(bytes_equal(request.params[0], BYTES("a")));
    assert_true(bytes_equal(request.params[1], BYTES("static")));
    assert_true(bytes_equal(http_request_header(&request, BYTES("host")), BYTES("x")));
    assert_true(bytes_equal(http_request_header(&request, BYTES("content-length")), BYTES("1")));
    arena_reset(&arena);
    chunk_pool_deinit(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_valid),
        cmocka_unit_test(test_incomplete),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_request_id_length),
        cmocka_unit_test(test_head_limit),
        cmocka_unit_test(test_request_line_limit),
        cmocka_unit_test(test_header_count_limit),
        cmocka_unit_test(test_chunk_limits),
        cmocka_unit_test(test_trailer_limits),
        cmocka_unit_test(test_sink_refuses),
        cmocka_unit_test(test_memory_refused),
        cmocka_unit_test(test_rebase),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
