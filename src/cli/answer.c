/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/answer.h"

#include <yyjson.h>

static struct bytes text_of(yyjson_val *object, const char *name)
{
    yyjson_val *value = yyjson_obj_get(object, name);
    return yyjson_is_str(value) ? bytes_of(yyjson_get_str(value), yyjson_get_len(value))
                                : bytes_of(NULL, 0);
}

bool answer_number(const struct answer *answer, const char *name, uint64_t *out)
{
    yyjson_val *value = yyjson_obj_get(yyjson_doc_get_root(answer->doc), name);
    if (!yyjson_is_uint(value)) {
        return false;
    }
    *out = yyjson_get_uint(value);
    return true;
}

enum err answer_read(struct bytes body, struct answer *out)
{
    *out = (struct answer){0};
    yyjson_doc *doc = yyjson_read(body.data, body.size, 0);
    yyjson_val *root = yyjson_doc_get_root(doc);
    if (!yyjson_is_obj(root)) {
        yyjson_doc_free(doc);
        return ERR_INVALID;
    }
    *out = (struct answer){
        .doc = doc,
        .status = text_of(root, "status"),
        .request_id = text_of(root, "request_id"),
        .leader = text_of(root, "leader"),
        .reason = text_of(root, "reason"),
        .detail = text_of(root, "detail"),
        .outcome = text_of(root, "outcome"),
    };
    out->has_version = answer_number(out, "version", &out->version);
    yyjson_val *conflicts = yyjson_obj_get(root, "conflicts");
    out->conflicts = yyjson_is_arr(conflicts) ? conflicts : NULL;
    return OK;
}

void answer_deinit(struct answer *answer)
{
    yyjson_doc_free(answer->doc);
    *answer = (struct answer){0};
}

bool answer_is(struct bytes field, const char *text)
{
    return bytes_equal(field, bytes_from_string(text));
}
