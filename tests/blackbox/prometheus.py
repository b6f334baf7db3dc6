"""A strict reader of Prometheus' text format 0.0.4, and of the names in its expressions."""

import math
import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')
NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?|Inf)|NaN")
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}


class Family:
    def __init__(self, name, text):
        self.name, self.help, self.type = name, text, None
        self.samples = {}  # (suffix, ((label, value), ...)) -> value

    def label_values(self):
        """Label name -> its values, in the order in which they came; without a histogram's `le`."""
        values = {}
        for _, labels in self.samples:
            for name, value in labels:
                if name != "le":
                    values.setdefault(name, {})[value] = True
        return {name: list(found) for name, found in values.items()}


def parse_labels(text):
    labels, at = [], 0
    while at < len(text):
        found = LABEL.match(text, at)
        assert found, f"not a label: {text[at:]!r}"
        labels.append((found.group(1), re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), found.group(2))))
        at = found.end()
    names = [name for name, _ in labels]
    assert len(names) == len(set(names)) and not any(name.startswith("__") for name in names), text
    return tuple(labels)


def parse_sample(line, family):
    found = re.fullmatch(rf"({NAME})(?:\{{(.*)\}})? (\S+)", line)
    assert found, f"not a sample: {line!r}"
    name, labels, number = found.groups()
    assert family and family.type and name.startswith(family.name), f"outside of its family: {line!r}"
    suffix = name[len(family.name) :]
    assert suffix in SUFFIXES[family.type], line
    assert NUMBER.fullmatch(number), line
    assert labels is None or labels, f"empty braces: {line!r}"
    key = (suffix, parse_labels(labels or ""))
    assert key not in family.samples, f"twice: {line!r}"
    family.samples[key] = float(number)


def check_histogram(family):
    series = {}
    for (suffix, labels), value in family.samples.items():
        assert ("le" in dict(labels)) == (suffix == "_bucket"), (family.name, labels)
        rest = tuple(label for label in labels if label[0] != "le")
        series.setdefault(rest, {"_bucket": []})
        if suffix == "_bucket":
            series[rest]["_bucket"].append((float(dict(labels)["le"]), value))
        else:
            series[rest][suffix] = value
    for labels, parts in series.items():
        bounds = [bound for bound, _ in parts["_bucket"]]
        counts = [count for _, count in parts["_bucket"]]
        assert bounds == sorted(set(bounds)) and bounds[-1] == math.inf, (family.name, labels)
        assert counts == sorted(counts) and counts[-1] == parts["_count"], (family.name, labels)
        assert parts["_sum"] >= 0 and (parts["_sum"] == 0 or parts["_count"] > 0), (family.name, labels)


def check_family(family):
    assert family.type, f"{family.name} has no type"
    assert len({tuple(n for n, _ in labels if n != "le") for _, labels in family.samples}) <= 1, family.name
    assert (family.type == "counter") == family.name.endswith("_total"), family.name
    if family.type == "histogram":
        check_histogram(family)
    if family.type == "counter":
        assert all(value >= 0 for value in family.samples.values()), family.name
    # Base units only.
    assert not re.search(r"_(ms|millis\w*|micros\w*|us|nanos\w*|ns|percent|kb|mb|kib|mib)(_|$)", family.name), family.name


def parse(text):
    """Families by name, in order. Everything that the format or its conventions do not allow fails."""
    assert text.endswith("\n")
    families, family = {}, None
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            name, _, about = line[7:].partition(" ")
            assert re.fullmatch(NAME, name) and name not in families, line
            assert len(about) > 8 and about.endswith("."), f"{name} needs a sentence of help"
            families[name] = family = Family(name, re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), about))
        elif line.startswith("# TYPE "):
            name, _, kind = line[7:].partition(" ")
            assert family and name == family.name and family.type is None and not family.samples, line
            assert kind in SUFFIXES, line
            family.type = kind
        else:
            parse_sample(line, family)
    for family in families.values():
        check_family(family)
    return families


WORDS_OF_THE_LANGUAGE = set(
    "and or unless by without on ignoring group_left group_right offset bool sum min max avg count rate increase "
    "irate delta deriv predict_linear histogram_quantile label_replace clamp_min clamp_max changes time absent abs "
    "topk bottomk quantile sort sort_desc vector scalar avg_over_time max_over_time min_over_time inf nan".split()
)


def selectors(expression):
    """The (metric, {label: (operator, value)}) that an expression reads, and the labels that it groups by."""
    plain = re.sub(r"\[(?:\d+[smhd]|\$__rate_interval)\]", "", expression)  # ranges
    grouped = []
    for names in re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", plain):
        grouped += [name.strip() for name in names.split(",") if name.strip()]
    plain = re.sub(r"\b(?:by|without|on|ignoring)\s*\([^)]*\)", "", plain)
    found = []
    for match in re.finditer(rf"({NAME})\s*(?:\{{([^}}]*)\}})?", plain):
        name, matchers = match.groups()
        if name.lower() in WORDS_OF_THE_LANGUAGE:
            continue
        labels = re.findall(r'([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*"([^"]*)"', matchers or "")
        found.append((name, {label: (operator, value) for label, operator, value in labels}))
    return found, grouped


def check_expression(expression, families, free_labels):
    """Every metric exists with every label; a matcher for equality meets a series. `free_labels` come from
    the scrape (job, instance) or the dashboard's variables."""
    found, grouped = selectors(expression)
    all_labels = {"le", *free_labels}
    for name, matchers in found:
        family = next((f for f in families.values() if name.startswith(f.name)
                       and name[len(f.name):] in SUFFIXES[f.type]), None)
        assert family, f"there is no metric {name}: {expression}"
        values = family.label_values()
        all_labels |= set(values)
        for label, (operator, value) in matchers.items():
            if label in free_labels or "$" in value:
                continue
            assert label in values, f"{name} has no label {label}: {expression}"
            if operator == "=":
                assert value in values[label], f"{name} has no {label}={value}: {expression}"
            elif operator == "=~":
                assert any(re.fullmatch(value, v) for v in values[label]), f"{name}: {label}=~{value}: {expression}"
    for label in grouped:
        assert label in all_labels, f"nothing has the label {label}: {expression}"
    return found
