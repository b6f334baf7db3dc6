/* SPDX-License-Identifier: Apache-2.0 */
/* The only C++ of the project: walks what toml++ has parsed. No exception leaves it. */
#include "weaseldb/toml.h"

#include <algorithm>
#include <new>
#include <sstream>
#include <string>
#include <string_view>
#include <toml++/toml.h>
#include <vector>

namespace
{

struct leaf {
    std::string key;
    const toml::node *node;
};

void collect(const toml::table &table, const std::string &prefix, std::vector<leaf> &leaves)
{
    for (const auto &[key, node] : table) {
        std::string name =
            prefix.empty() ? std::string(key.str()) : prefix + "." + std::string(key.str());
        if (const toml::table *inner = node.as_table()) {
            collect(*inner, name, leaves);
        } else {
            leaves.push_back({name, &node});
        }
    }
}

std::string in_words(const toml::node &node)
{
    if (node.is_array()) {
        return "an array";
    }
    std::ostringstream out;
    node.visit([&out](const auto &value) {
        if constexpr (toml::is_string<decltype(value)>) {
            out << '"' << *value << '"';
        } else if constexpr (toml::is_boolean<decltype(value)>) {
            out << (*value ? "true" : "false");
        } else if constexpr (toml::is_value<decltype(value)>) {
            out << *value;
        }
    });
    return out.str();
}

void visit(const leaf &leaf, const toml_visitor &visitor)
{
    std::string text = in_words(*leaf.node);
    std::string string;
    toml_value value = {};
    value.key = leaf.key.c_str();
    value.type = TOML_OTHER;
    value.text = text.c_str();
    value.line = leaf.node->source().begin.line;
    value.column = leaf.node->source().begin.column;
    if (const auto *integer = leaf.node->as_integer()) {
        value.type = TOML_INTEGER;
        value.integer = integer->get();
    } else if (const auto *boolean = leaf.node->as_boolean()) {
        value.type = TOML_BOOLEAN;
        value.boolean = boolean->get();
    } else if (const auto *held = leaf.node->as_string()) {
        value.type = TOML_STRING;
        string = held->get();
    }
    value.string = string.c_str();
    visitor.value(visitor.context, &value);
}

void visit_all(std::string_view text, const toml_visitor &visitor)
{
    std::vector<leaf> leaves;
    toml::table table;
    try {
        table = toml::parse(text);
    } catch (const toml::parse_error &error) {
        std::string message(error.description());
        visitor.error(visitor.context, message.c_str(), error.source().begin.line,
                      error.source().begin.column);
        return;
    }
    collect(table, "", leaves);
    std::stable_sort(leaves.begin(), leaves.end(), [](const leaf &a, const leaf &b) {
        return a.node->source().begin.line < b.node->source().begin.line;
    });
    for (const leaf &leaf : leaves) {
        visit(leaf, visitor);
    }
}

} // namespace

bool toml_visit(const char *text, size_t size, const toml_visitor *visitor)
{
    try {
        visit_all(std::string_view(text, size), *visitor);
        return true;
    } catch (const std::bad_alloc &) {
        return false;
    }
}
