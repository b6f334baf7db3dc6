"""The page at /, as bytes; test_dashboard.py is about what a browser makes of it."""

import base64
import hashlib
import html
import re

import pytest

import openapi
import wire

HTML = "text/html; charset=utf-8"
JSON = "application/json"


@pytest.fixture(scope="module")
def server():
    with wire.weaseldb() as running:
        yield running


# ---- as bytes ----


@pytest.mark.parametrize(
    "accept, wanted",
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),  # curl
        ("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8", HTML),  # browsers
        ("text/html", HTML),
        ("text/*", HTML),
        ("TEXT/HTML", HTML),
        ("text/html, application/json", JSON),
        ("text/html;q=0.9, application/json;q=0.899", HTML),
        ("text/html;q=0.9, application/json;q=0.901", JSON),
        ("text/html;q=0, */*", JSON),
        ("application/json;q=0, */*;q=0.1", HTML),
        ("image/png", JSON),
    ],
)
def test_who_gets_the_page(server, accept, wanted):
    headers = "" if accept is None else f"Accept: {accept}\r\n"
    for method in ("GET", "HEAD"):
        response = server.get("/", method, headers)
        assert (response.status, response.header("Content-Type"), response.header("Vary")) == (200, wanted, "Accept")
        assert (response.header("Content-Security-Policy") is None) == (wanted == JSON)
    if wanted == JSON:
        assert server.get("/", headers=headers).json()["name"] == "weaseldb"


def page_of(server):
    return server.get("/", headers="Accept: text/html\r\n")


def test_the_page_is_kept_until_it_changes(server):
    etag = page_of(server).header("ETag")
    with server.connect() as connection:
        response = connection.get("/", headers=f"Accept: text/html\r\nIf-None-Match: {etag}\r\n")
        assert (response.status, response.header("ETag"), response.header("Vary")) == (304, etag, "Accept")
        assert connection.get("/", headers='Accept: text/html\r\nIf-None-Match: "other"\r\n').status == 200
        assert connection.get("/", headers=f"If-None-Match: {etag}\r\n").json()["name"] == "weaseldb"
        assert connection.get("/?x=1", headers="Accept: text/html\r\n").status == 400


def test_the_page_needs_nothing_from_elsewhere(server):
    """Its policy names exactly the scripts and styles in it; no element refers to another server."""
    response = page_of(server)
    text = response.body.decode()
    policy = dict(part.split(" ", 1) for part in response.header("Content-Security-Policy").split("; "))
    for tag, name in (("script", "script-src"), ("style", "style-src")):
        inside = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.S)
        hashes = ["'sha256-" + base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() + "'" for one in inside]
        assert policy[name].split() == (hashes or ["'none'"])
        assert len(re.findall(f"<{tag}\\b", text)) == len(inside), f"a <{tag}> with attributes"
    assert policy["default-src"] == "'none'" and policy["connect-src"] == "'self'"
    assert "unsafe" not in response.header("Content-Security-Policy")
    markup = re.sub(r"<(script|style)>.*?</\1>", "", text, flags=re.S)
    assert set(re.findall(r'(?:href|src|action)="([^"]*)"', markup)) <= {"metrics", "data:,"}
    assert not re.search(r"\bon[a-z]+=|\bstyle=", markup), "what its policy forbids"
    assert "@" not in markup.replace("@media", ""), "something was not filled in"


def test_the_page_lists_the_endpoints(server):
    text = page_of(server).body.decode()
    rows = re.findall(r"<tr><td><code>([A-Z]+) (\S+)</code></td><td>(.*?)</td></tr>", text)
    wanted = {
        (method.upper(), path, item[method]["summary"])
        for path, item in openapi.DOCUMENT["paths"].items()
        for method in openapi.METHODS & set(item)
    }
    assert {tuple(map(html.unescape, row)) for row in rows} == wanted


def test_without_dashboard_the_page_says_how_to_have_it(server):
    text = page_of(server).body.decode()
    assert ("-Ddashboard=enabled" in text) == ("<script" not in text) == (not wire.DASHBOARD)
