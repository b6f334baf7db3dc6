"""Holds exchanges with weaseldb against api/openapi.yaml.

wire.Connection hands over what was sent and what came back. Whatever deviates is noted and fails the test that made the
exchange (conftest.py); and what was seen is counted, so that the whole suite can be asked what it never saw."""

import re
import urllib.parse

import jsonschema
import yaml

import formats

PATH = formats.API / "openapi.yaml"
LIST_MAX = 16  # of a longer list, only both ends are looked at
METHODS = {"get", "put", "post", "delete", "patch", "trace"}  # HEAD goes with GET, OPTIONS is a common answer
FRAMING = {"connection", "content-length", "transfer-encoding", "content-type"}  # not declared: HTTP's own

complaints = []  # of exchanges since the last look
seen = set()  # (path, method, status); path and method are "*" for common answers


def load(text):
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def resolve(node, root, above=()):
    """`node` with what its references point to in their place."""
    if isinstance(node, list):
        return [resolve(item, root, above) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        place = node["$ref"]
        assert place.startswith("#/") and place not in above, f"{place}: not of this document, or a circle"
        target = root
        for step in place[2:].split("/"):
            target = target[step.replace("~1", "/").replace("~0", "~")]
        beside = {name: value for name, value in node.items() if name != "$ref"}
        return {**resolve(target, root, (*above, place)), **resolve(beside, root, above)}
    return {name: resolve(value, root, above) for name, value in node.items()}


SOURCE = load(PATH.read_text())
DOCUMENT = resolve(SOURCE, SOURCE)
COMMON = DOCUMENT["x-common-responses"]


# ---- bodies ----


def shortened(value):
    if isinstance(value, list):
        ends = value if len(value) <= LIST_MAX else value[: LIST_MAX // 2] + value[-LIST_MAX // 2 :]
        return [shortened(item) for item in ends]
    return {name: shortened(item) for name, item in value.items()} if isinstance(value, dict) else value


validators = {}


def check_value(value, schema, what):
    """One complaint at most."""
    key = id(schema)  # schemas live as long as the document
    if key not in validators:
        validators[key] = jsonschema.Draft202012Validator(schema)
    worst = jsonschema.exceptions.best_match(validators[key].iter_errors(shortened(value)))
    return [] if worst is None else [f"{what}: {worst.json_path}: {worst.message[:500]}"]


def check_named(value, name):
    """For what the helpers do not see, such as events of a stream: `value` against a schema of the components."""
    complaints.extend(check_value(value, DOCUMENT["components"]["schemas"][name], name))


def check_body(data, media_type, content, what):
    try:
        if "x-protobuf-message" in content:
            value = formats.parse_protobuf(data, content["x-protobuf-message"])
        elif "msgpack" in media_type:
            value = formats.parse_msgpack(data)
        elif "json" in media_type and "ndjson" not in media_type:
            value = formats.parse_json(data)
        else:
            value = data.decode("utf-8")
    except Exception as error:  # whatever the three libraries find wrong
        return [f"{what}: not well formed as {media_type}: {error!r}"]
    return check_value(value, content.get("schema", {}), what)


# ---- requests, from the bytes that were sent ----


class Request:
    def __init__(self, method, target, fields):
        self.method, self.fields, self.body, self.complete = method, fields, b"", False
        self.path, _, query = target.partition("?")
        self.query = urllib.parse.parse_qs(query, keep_blank_values=True)

    def field(self, name):
        return self.fields.get(name.lower())


UNREADABLE = Request("", "", {})  # only what any request can be answered is an answer to it


def take_chunks(data):
    """The body, and what follows it; None, data: it is not whole."""
    body, rest = b"", data
    while True:
        line, mark, rest = rest.partition(b"\r\n")
        size = re.match(rb"[0-9a-fA-F]+", line)
        if not mark or not size:
            return None, data
        size = int(size.group(), 16)
        if size == 0:
            trailers, mark, after = (b"\r\n" + rest).partition(b"\r\n\r\n")
            return (body, after) if mark else (None, data)
        body, rest = body + rest[:size], rest[size + 2 :]


def take_request(data):
    """The request that `data` begins with, and what follows it."""
    head, mark, rest = data.lstrip(b"\r\n").partition(b"\r\n\r\n")
    line, _, lines = head.decode("latin-1").partition("\r\n")
    words = re.fullmatch(r"([A-Z]+) (\S+) HTTP/1\.[01]", line)
    if not mark or not words:
        return UNREADABLE, b""
    fields = {}
    for field in lines.split("\r\n") if lines else ():
        name, _, value = field.partition(":")
        fields[name.lower()] = value.strip()
    request = Request(*words.groups(), fields)
    size = int(fields["content-length"]) if fields.get("content-length", "").isdecimal() else 0
    if "transfer-encoding" in fields:
        body, rest = take_chunks(rest)
        request.body, request.complete = body or b"", body is not None
    else:
        request.body, rest = rest[:size], rest[size:]
        request.complete = len(request.body) == size
    return request, rest


# ---- exchanges ----


def matches(template, path):
    pattern = "".join(r"[^/]+" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{[^}]*\})", template))
    return re.fullmatch(pattern, path)


def find_path(path):
    """Literal paths go before those with parameters."""
    return next((template for template in sorted(DOCUMENT["paths"], key=lambda t: t.count("{")) if matches(template, path)), None)


class Exchange:
    """A request and the head of its answer; the body follows, unless it is a stream."""

    def __init__(self, request, response):
        self.request, self.response = request, response
        self.title = f"{request.method} {request.path}: {response.status}"
        self.found = []
        self.content = None
        try:
            self.check_head()
        except Exception as error:  # so that no mistake in here passes for a good answer
            self.complain(f"cannot be checked: {error!r}")

    def complain(self, text):
        complaints.append(f"{self.title}: {text}")

    def declared(self):
        """The documented answer of this status, or None."""
        status, request = str(self.response.status), self.request
        template = find_path(request.path) if request.method else None
        method = "get" if request.method == "HEAD" else request.method.lower()
        operation = DOCUMENT["paths"][template].get(method) if template and method in METHODS else None
        if operation and status in operation["responses"]:
            seen.add((template, method, status))
            self.check_request(template, operation)
            return operation["responses"][status]
        if status in COMMON:
            if status == "404" and template:
                self.complain("the path is documented, and nothing is there")
            if status == "405" and operation:
                self.complain("the method is documented, and is not taken")
            if status == "204" and request.method != "OPTIONS":
                self.complain("204 is the answer to OPTIONS")
            seen.add(("*", "*", status))
            return COMMON[status]
        self.complain(f"not documented; this path has {sorted(operation['responses']) if operation else 'no such method'}")
        return None

    def check_head(self):
        answer, request, response = self.declared(), self.request, self.response
        sent = request.field("X-Request-Id")
        if sent and re.fullmatch("[!-~]{1,128}", sent) and response.header("X-Request-Id") != sent:
            self.complain(f"X-Request-Id is {response.header('X-Request-Id')!r} and not {sent!r}")
        if answer is None:
            return
        for name, header in answer.get("headers", {}).items():
            value = response.header(name)
            if value is None:
                if header.get("required"):
                    self.complain(f"the header {name} is missing")
                continue
            if header["schema"].get("type") == "integer" and re.fullmatch("[0-9]+", value):
                value = int(value)
            for text in check_value(value, header["schema"], f"header {name}"):
                self.complain(text)
        known = FRAMING | {name.lower() for name in answer.get("headers", {})}
        for name, _ in response.headers:
            if name.lower() not in known:
                self.complain(f"the header {name} is not documented here")
        kind = response.header("Content-Type")
        content = answer.get("content")
        if (kind is not None) != bool(content):
            self.complain(f"Content-Type is {kind!r}; documented are {sorted(content or ())}")
        elif content:
            self.content = content.get(kind)
            if self.content is None:
                self.complain(f"Content-Type is {kind!r}; documented are {sorted(content)}")

    def check_request(self, template, operation):
        """What was accepted must be documented too."""
        request = self.request
        if not 200 <= self.response.status < 300:
            return
        item = DOCUMENT["paths"][template]
        parameters = [*item.get("parameters", ()), *operation.get("parameters", ())]
        for name in set(request.query) - {parameter["name"] for parameter in parameters if parameter["in"] == "query"}:
            self.complain(f"the query parameter {name} is not documented, and was accepted")
        for parameter in parameters:
            values = request.query.get(parameter["name"], [])
            if parameter["in"] == "header":
                values = [value for value in [request.field(parameter["name"])] if value is not None]
            elif parameter["in"] == "path":
                continue
            if parameter.get("required") and not values:
                self.complain(f"{parameter['name']} is required, was not sent, and that was accepted")
            schema = parameter["schema"].get("items", parameter["schema"])
            for value in values:
                value = int(value) if schema.get("type") == "integer" and re.fullmatch("[0-9]+", value) else value
                for text in check_value(value, schema, f"{parameter['name']}, which was accepted"):
                    self.complain(text)
        if "requestBody" in operation and request.complete:
            kind = (request.field("Content-Type") or "").partition(";")[0].strip().lower()
            content = operation["requestBody"]["content"].get(kind)
            if content is None:
                self.complain(f"a body of type {kind!r} is not documented, and was accepted")
            else:
                for text in check_body(request.body, kind, content, "the request's body, which was accepted"):
                    self.complain(text)

    def check_body(self):
        """When the whole answer is there."""
        response = self.response
        if self.request.method == "HEAD" or self.content is None:
            if response.body:
                self.complain("it has a body")
            return
        kind = response.header("Content-Type")
        for text in check_body(response.body, kind, self.content, "the body"):
            self.complain(text)
        if kind == "application/problem+json" and f'"status":{response.status},'.encode() not in response.body:
            self.complain("the body names another status")


# ---- the whole suite ----


def documented():
    """Every (path, method, status) that the suite should see."""
    for template, item in DOCUMENT["paths"].items():
        for method in METHODS & set(item):
            yield from ((template, method, status) for status in item[method]["responses"])
    yield from (("*", "*", status) for status in COMMON)
