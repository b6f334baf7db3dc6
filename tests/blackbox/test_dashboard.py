"""The live page at /, in a browser. A build without it (-Ddashboard=disabled) leaves this file out; see conftest.py."""

import base64
import json
import threading

import pytest

import browser
import openapi
import wire

POST = "Content-Type: application/json\r\n"


@pytest.fixture(scope="module")
def server():
    with wire.weaseldb() as running:
        yield running


class Load:
    """Commits from a few clients, some of which collide, until the end."""

    def __init__(self, server, clients=3):
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(server, number)) for number in range(clients)]

    def _run(self, server, number):
        with server.connect() as connection:
            while not self.stop.is_set():
                version = connection.get("/v1/version").json()["version"]
                mine = base64.b64encode(f"key {number}".encode()).decode()
                shared = {"read_version": max(0, version - 1), "preconditions": [{"type": "point_read", "key": "YQ=="}]}
                writes = [{"type": "write", "key": key, "value": ""} for key in (mine, "YQ==")]
                for preconditions in ({}, shared):
                    connection.get("/v1/commit", "POST", POST, json.dumps({"operations": writes, **preconditions}).encode())

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()


# How many dots of a chart have the colour of its line number `line`.
DOTS = """(id, line) => {
  const canvas = document.querySelector(`#${id} canvas`);
  const wanted = colour(`--c${line}`).match(/[0-9a-f]{2}/g).map((digits) => parseInt(digits, 16));
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  let count = 0;
  for (let i = 0; i < data.length; i += 4) {
    count += data[i + 3] > 200 && wanted.every((value, j) => Math.abs(data[i + j] - value) < 40);
  }
  return count;
}"""

def dots(page, chart, line=1):
    return page.evaluate(f"({DOTS})('{chart}', {line})")


def live(page):
    page.wait_for("document.getElementById('state').textContent === 'live'")


@pytest.fixture(scope="module")
def shared_page():
    with browser.Browser() as running:
        yield running


@pytest.fixture
def page(shared_page):
    shared_page.complaints.clear()
    yield shared_page
    assert shared_page.complaints == []
    shared_page.prefer("light")
    shared_page.resize(1400, 1000)


def test_the_charts_draw_and_move_under_load(page):
    with wire.weaseldb() as server:
        server.get("/v1/retention/reader", "PUT", POST, b'{"version":0}')
        page.open(server.address)
        live(page)
        page.wait_for("seen.times.length >= 3")
        assert page.text("build") == openapi.DOCUMENT["info"]["version"]
        assert page.evaluate("document.querySelector('#throughput .large').textContent") == "0/s"
        assert dots(page, "latency") == 0, "nothing has happened"
        with Load(server):
            page.wait_for("/^[1-9]/.test(document.querySelector('#throughput .large').textContent)")
            page.wait_for("/^[1-9]/.test(document.querySelector('#conflicts .large').textContent)")
            page.wait_for("seen.times.length >= 8")
            # Each line of each chart has values, so that no metric is asked for by a wrong name.
            empty = "CHARTS.flatMap(({series}, i) => series.filter((_, j) => seen.columns[i][j].every((v) => v === null)))"
            page.wait_for(f"{empty}.length === 0")
            assert page.evaluate("document.querySelectorAll('.card:not([hidden])').length === CHARTS.length")
            for chart, line in (("throughput", 2), ("latency", 3), ("sync", 2), ("cpu", 1), ("lag", 2)):
                wire.wait_for(lambda chart=chart, line=line: dots(page, chart, line) > 50)
            before = page.evaluate("document.querySelector('#throughput canvas').toDataURL()")
            page.wait_for(f"document.querySelector('#throughput canvas').toDataURL() !== {json.dumps(before)}")
        version = f"{server.get('/v1/version').json()['version']:,}"
        page.wait_for(f"document.getElementById('latest').textContent === '{version}'")
        assert page.evaluate("document.title").endswith("/s · WeaselDB")


def test_a_server_that_goes_and_comes_back(page):
    with wire.weaseldb() as server:
        address = server.address
        page.open(address)
        with Load(server):
            live(page)
            page.wait_for("/^[1-9]/.test(document.querySelector('#throughput .large').textContent)")
    page.wait_for("/^(no answer|shut down) since \\d\\d:\\d\\d:\\d\\d$/.test(document.getElementById('state').textContent)")
    assert page.evaluate("document.getElementById('state').className") == "bad"
    assert page.evaluate("seen.columns[0][0].at(-1)") is None, "the chart has a gap"
    with wire.weaseldb(f"http.port={address[1]}"):
        live(page)
        assert "started again" in page.text("event")
        # All rates after it are of the new process alone.
        page.wait_for("seen.columns[0][0].at(-1) === 0")
        assert page.evaluate("seen.columns.flat(2).every((value) => value === null || value >= 0)")


def test_the_first_sight_of_a_server_is_no_rate(page, server):
    page.open(server.address)
    page.wait_for("seen.times.length >= 1")
    assert page.evaluate("seen.columns[0][0][0]") is None
    assert page.evaluate("seen.columns[6][0][0]") >= 1, "but gauges are known at once"


@pytest.mark.parametrize(
    "answer, kind, text",
    [
        ("new Response('http_draining 1')", "warn", "shutting down"),
        ("new Response('weaseldb_log_writable 0')", "bad", "log not writable"),
        ("new Response('weaseldb_log_durable 0')", "warn", "live, not durable"),
        ("new Response('', {status: 503})", "bad", "answers 503 since"),
        ("Promise.reject(new DOMException('', 'TimeoutError'))", "bad", "no answer in time since"),
        ("Promise.reject(new TypeError('refused'))", "bad", "no answer since"),
    ],
)
def test_states(page, server, answer, kind, text):
    page.open(server.address)
    live(page)
    page.evaluate(f"window.fetch = async () => {answer}; 0")
    page.wait_for(f"document.getElementById('state').textContent.startsWith({json.dumps(text)})")
    assert page.evaluate("document.getElementById('state').className") == kind
    assert page.evaluate("document.title.startsWith(document.getElementById('state').textContent)")


def test_hidden_or_paused_it_asks_nothing(page, server):
    page.open(server.address)
    live(page)
    hide = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});"
    told = "document.dispatchEvent(new Event('visibilitychange'));"
    press = "document.getElementById('pause').click();"
    count = "window.asked = 0; {const ask = window.fetch; window.fetch = (...all) => (window.asked++, ask(...all));}"
    for off, on in ((hide % "true" + told, hide % "false" + told), (press, press)):
        page.evaluate(off)
        page.wait_for("document.getElementById('state').textContent === 'paused' && !isPolling")
        page.evaluate(count)
        page.evaluate("new Promise((done) => setTimeout(done, 2 * POLL_MS))")  # only time can show that nothing comes
        assert page.evaluate("window.asked") == 0
        page.evaluate(on)
        live(page)
        assert page.evaluate("window.asked") >= 1


def test_a_long_look_away_leaves_a_gap(page, server):
    page.open(server.address)
    live(page)
    page.wait_for("seen.times.length >= 2")
    page.evaluate("isPaused = true; 0")
    page.wait_for("!isPolling")
    page.evaluate("last.time -= 2 * PAUSE_S; seen.times[seen.times.length - 1] -= 0.5; window.size = seen.times.length")
    page.evaluate("isPaused = false; watch(); 0")
    page.wait_for("seen.times.length >= size + 2")
    assert page.evaluate("[seen.columns[6][0][size], seen.columns[0][0][size + 1]]") == [None, None]
    assert page.evaluate("seen.columns[6][0][size + 1]") >= 1


def test_only_the_last_minutes_are_kept(page, server):
    page.open(server.address)
    live(page)
    page.evaluate("isPaused = true; 0")
    page.wait_for("!isPolling")
    many = "for (let t = 1; t <= 2000; t++) seen.addGap(seen.times.at(-1) + 1);"
    assert page.evaluate(many + "seen.times.at(-1) - seen.times[0] === KEEP_S && seen.times.length === KEEP_S + 1")
    assert page.evaluate("seen.columns.flat().every((column) => column.length === seen.times.length)")
    for span in (60, 300, 600):
        page.evaluate(f"document.querySelector('input[value=\"{span}\"]').click()")
        assert page.evaluate("charts[0].plot.scales.x.max - charts[0].plot.scales.x.min") == span


def test_dark_and_light(page, server):
    with Load(server, clients=1):
        page.open(server.address)
        live(page)
        page.wait_for("seen.times.length >= 5")
        grounds, lines = set(), set()
        for scheme in ("light", "dark"):
            page.prefer(scheme)
            page.wait_for(f"matchMedia('(prefers-color-scheme: {scheme})').matches")
            assert wire.wait_for(lambda: dots(page, "throughput") > 50), scheme
            grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            lines.add(page.evaluate("colour('--c1')"))
        assert len(grounds) == len(lines) == 2


def test_narrow_screens_and_those_who_do_not_see(page, server):
    page.resize(360, 740)
    page.open(server.address)
    live(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.wait_for("charts.every((chart) => chart.plot.width <= 330)")
    assert page.evaluate(
        "[...document.querySelectorAll('.plot')].every((plot) => plot.getAttribute('role') === 'img'"
        " && plot.getAttribute('aria-label').length > 20)"
    )
    assert page.evaluate("document.getElementById('state').getAttribute('role')") == "status"
    assert page.evaluate("document.querySelectorAll('h1').length") == 1
    assert page.evaluate("[...document.querySelectorAll('#controls input, button')].every((one) => one.tabIndex >= 0)")


def test_the_pointer_shows_the_values_of_then(page, server):
    page.open(server.address)
    live(page)
    page.wait_for("seen.times.length >= 3")
    page.evaluate("isPaused = true; seen.columns[6][0][0] = 4321; charts[6].plot.setCursor({left: 0, top: 5}); 0")
    box = page.evaluate("(({x, y, height}) => [x, y + height / 2])(charts[6].plot.over.getBoundingClientRect())")
    first = page.evaluate("charts[6].plot.valToPos(seen.times[0], 'x')")
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=box[0] + first, y=box[1])
    page.wait_for("document.querySelector('#connections .large').textContent === '4.32k'")
    assert page.text("at").startswith("at ")


# ---- numbers ----


def test_parsing(page, server):
    page.open(server.address)
    text = r"""# HELP a_total Text.
a_total 3
b{x="1",y="q\"uo\\te\n"} 2.5e-3
b{x="2",y=""} +Inf
c NaN
"""
    script = f"[...parseMetrics({json.dumps(text)})].map(([name, all]) => [name, all.map((s) => [s.labels, String(s.value)])])"
    assert page.evaluate(script) == [
        ["a_total", [[{}, "3"]]],
        ["b", [[{"x": "1", "y": 'q"uo\\te\n'}, "0.0025"], [{"x": "2", "y": ""}, "Infinity"]]],
        ["c", [[{}, "NaN"]]],
    ]
    # All that a server says is understood.
    body = server.get("/metrics").body.decode()
    lines = [line for line in body.splitlines() if not line.startswith("#")]
    count = f"[...parseMetrics({json.dumps(body)}).values()].flat().filter((s) => !Number.isNaN(s.value)).length"
    assert page.evaluate(count) == len(lines)


def delta(before, after, seconds=2):
    return f"new Delta(parseMetrics({json.dumps(before)}), parseMetrics({json.dumps(after)}), {seconds})"


def test_rates(page, server):
    page.open(server.address)
    two = delta('a{k="x"} 10\na{k="y"} 5\n', 'a{k="x"} 30\na{k="y"} 5\na{k="z"} 4\n')
    assert page.evaluate(f"{two}.rate('a')") == 12
    assert page.evaluate(f"{two}.rate('a', {{k: ['x', 'y']}})") == 10
    assert page.evaluate(f"{two}.rate('a', {{k: 'z'}})") == 2, "a series that is new began at 0"
    assert page.evaluate(f"{two}.rate('nothing')") is None
    assert page.evaluate(f"{delta('a 10', 'a 9')}.rate('a')") is None, "it went back"
    assert page.evaluate(f"{delta('a 1', 'a 1', 0)}.rate('a')") is None
    before, after = "h_sum 1\nh_count 2\n", "h_sum 7\nh_count 5\n"
    assert page.evaluate(f"{delta(before, after)}.mean('h')") == 2
    assert page.evaluate(f"{delta(before, before)}.mean('h')") is None


def histogram(*counts, label=""):
    """Cumulative, of the bounds 1, 2, 4 and infinity."""
    sums = [sum(counts[: i + 1]) for i in range(4)]
    return "".join(f'h_bucket{{{label}le="{le}"}} {n}\n' for le, n in zip(("1", "2", "4", "+Inf"), sums))


@pytest.mark.parametrize(
    "before, after, q, wanted",
    [
        ((0, 0, 0, 0), (10, 0, 0, 0), 0.5, 0.5),
        ((0, 0, 0, 0), (10, 10, 0, 0), 0.75, 1.5),
        ((0, 0, 0, 0), (0, 0, 10, 0), 1, 4),
        ((0, 0, 0, 0), (0, 0, 10, 0), 0.1, 2.2),
        ((7, 7, 7, 7), (7, 7, 17, 7), 0.1, 2.2),  # what was there before does not count
        ((0, 0, 0, 0), (1, 0, 0, 9), 0.99, 4),  # above the last bound
        ((5, 5, 5, 5), (5, 5, 5, 5), 0.5, None),  # nothing happened
    ],
)
def test_quantiles(page, server, before, after, q, wanted):
    page.open(server.address)
    value = page.evaluate(f"{delta(histogram(*before), histogram(*after))}.quantile({q}, 'h')")
    assert value == (None if wanted is None else pytest.approx(wanted))
    # Of two series together.
    halves = [histogram(*counts, label=f'k="{k}",') for k in (1, 2) for counts in (before, after)]
    both = delta(halves[0] + halves[2], halves[1] + halves[3])
    assert page.evaluate(f"{both}.quantile({q}, 'h')") == value


def test_numbers_for_people(page, server):
    page.open(server.address)
    for script, wanted in (
        ("format('rate', 0)", "0/s"),
        ("format('rate', 999)", "999/s"),
        ("format('rate', 999.6)", "1k/s"),
        ("format('count', 12345)", "12.3k"),
        ("format('count', 2.5)", "2.5"),
        ("format('bytes', 1536)", "1.5 KiB"),
        ("format('bytes', 16777216)", "16 MiB"),
        ("format('seconds', 0)", "0 s"),
        ("format('seconds', 0.000012)", "12 µs"),
        ("format('seconds', 0.01234)", "12.3 ms"),
        ("format('seconds', 0.9996)", "1 s"),
        ("format('share', 0.125)", "12.5 %"),
        ("format('rate', null)", "–"),
        ("formatDuration(0.5)", "0 s"),
        ("formatDuration(59)", "59 s"),
        ("formatDuration(3600)", "1 h"),
        ("formatDuration(100000)", "1 d 3 h"),
    ):
        assert page.evaluate(script) == wanted, script
