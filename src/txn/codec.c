/* SPDX-License-Identifier: Apache-2.0 */
/* The registry of formats: a line each in FORMATS, the first being what is spoken by default. */
#include "txn/codec.h"

#include "base/check.h"
#include "http/request.h"

/* The codec's name in the source, then its media types as in its own list (a test compares). */
/* clang-format off */
#define FORMATS(format)                                                                            \
    format(json, "application/json")                                                               \
    format(msgpack, "application/msgpack", "application/x-msgpack", "application/vnd.msgpack")     \
    format(protobuf, "application/protobuf", "application/x-protobuf")
/* clang-format on */

#define DECLARE(name, ...) extern const struct txn_codec txn_codec_##name;
#define POINTER(name, ...) &txn_codec_##name,
#define MEDIA_TYPES(name, ...) __VA_ARGS__,

FORMATS(DECLARE)

static const struct txn_codec *const codecs[] = {FORMATS(POINTER)};

enum { CODECS = sizeof codecs / sizeof codecs[0] };

const char *const txn_codec_media_types[] = {FORMATS(MEDIA_TYPES) NULL};

const struct txn_codec *txn_codec_of(struct bytes content_type)
{
    struct bytes media_type = http_media_type(content_type);
    for (unsigned i = 0; i < CODECS; i++) {
        for (const char *const *known = codecs[i]->media_types; *known != NULL; known++) {
            struct bytes name = bytes_from_string(*known);
            /* Nearly always it is spelt as in the registry, and words compare faster. */
            if (bytes_equal(media_type, name) || bytes_equal_fold(media_type, name)) {
                return codecs[i];
            }
        }
    }
    return NULL;
}

/* A codec's names are one type, so the closest mention of any of them counts. */
static unsigned accept_weight(struct bytes accept, const struct txn_codec *codec)
{
    unsigned weight = 0;
    unsigned closest = 0;
    for (const char *const *known = codec->media_types; *known != NULL; known++) {
        unsigned match;
        unsigned here = http_accept_weight(accept, bytes_from_string(*known), &match);
        if (match > closest || (match == closest && here > weight)) {
            weight = here;
            closest = match;
        }
    }
    return weight;
}

const struct txn_codec *txn_codec_for_answer(struct bytes accept, const struct txn_codec *preferred)
{
    const struct txn_codec *best = preferred == NULL ? codecs[0] : preferred;
    if (accept.size == 0) {
        return best;
    }
    unsigned weight = accept_weight(accept, best);
    for (unsigned i = 0; i < CODECS; i++) {
        unsigned here = accept_weight(accept, codecs[i]);
        if (here > weight) {
            best = codecs[i];
            weight = here;
        }
    }
    return best;
}
