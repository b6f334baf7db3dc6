"""/metrics: its form, that it counts what happens, and that documentation, alerts and dashboard name what exists."""

import json
import re
import shutil
import subprocess
import sys

import pytest
import yaml

import prometheus
import wire
from test_commit import commit, committed, key, point, status, write

PACKAGING = wire.ROOT / "packaging"
SMALL = ("log.segment_bytes=1048576", "http.max_body_bytes=262144", "commit.max_operations=1000")
FROM_THE_SCRAPE = {"job", "instance"}
UP = prometheus.parse("# HELP up By Prometheus itself.\n# TYPE up gauge\nup 1\n")


@pytest.fixture(scope="module")
def families():
    with wire.weaseldb() as server:
        server.get("/v1/retention/example", "PUT", "Content-Type: application/json\r\n", b'{"version":0}')
        return {**prometheus.parse(server.get("/metrics").body.decode()), **UP}


def alert_rules():
    groups = yaml.safe_load((PACKAGING / "prometheus/alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard_panels():
    return json.loads((PACKAGING / "grafana/weaseldb.json").read_text())["panels"]


def test_the_page_of_metrics_is_up_to_date():
    checked = subprocess.run(
        [sys.executable, wire.ROOT / "scripts/gen-metrics-docs", "--check"], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr


def test_the_form_holds_after_all_kinds_of_traffic():
    with wire.weaseldb() as server:
        with server.connect() as connection:
            committed(connection, write(key()))
            for target in ("/", "/nothing", "/v1/version", "/v1/status?request_id=x", "/livez", "/metrics"):
                connection.get(target)
        text = server.get("/metrics").body.decode()
        prometheus.parse(text)
        if promtool := shutil.which("promtool"):
            checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True)
            assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    "text",
    [
        "up 1\n",
        "# HELP a_total Some help.\n# TYPE a_total counter\na_total 1\na_total 2\n",
        "# HELP a_total Some help.\n# TYPE a_total counter\na_total -1\n",
        "# HELP a Some help.\n# TYPE a counter\na 1\n",
        "# HELP a_ms Some help.\n# TYPE a_ms gauge\na_ms 1\n",
        '# HELP a Some help.\n# TYPE a gauge\na{b="c} 1\n',
        '# HELP a Some help.\n# TYPE a gauge\na{b="c",b="d"} 1\n',
        '# HELP a Some help.\n# TYPE a histogram\na_bucket{le="1"} 2\na_bucket{le="+Inf"} 1\na_sum 1\na_count 1\n',
        '# HELP a Some help.\n# TYPE a histogram\na_bucket{le="1"} 1\na_sum 1\na_count 1\n',
        "# HELP a Some help.\n# TYPE a gauge\na one\n",
    ],
)
def test_the_reader_refuses(text):
    with pytest.raises((AssertionError, KeyError)):
        prometheus.parse(text)


def test_what_commits_leave(tmp_path):
    with wire.weaseldb(*SMALL, cwd=tmp_path) as server:
        before = server.metrics()
        name = key()
        with server.connect() as connection:
            first = committed(connection, write(name))
            assert commit(connection, write(name), preconditions=[point(name)], read_version=0).status == 409
            assert status(connection, "nobody")["status"] == "not_committed"
            for _ in range(3):
                committed(connection, write(key(), "v" * 5000))
        after = server.metrics()

        def grown(metric):
            return after[metric] - before[metric]

        assert after["weaseldb_version"] == first + 3
        # Five batches: four commits and a fence; what was refused is not in the log, and is not timed.
        for histogram in ("weaseldb_log_sync_seconds", "weaseldb_log_batch_records", "weaseldb_log_batch_bytes", "weaseldb_persist_seconds"):
            assert grown(histogram + "_count") == 5, histogram
        assert grown("weaseldb_log_batch_records_sum") == 5
        assert 15000 < grown("weaseldb_log_batch_bytes_sum") < 15000 + 5 * 4096 * 2
        assert 0 < grown("weaseldb_log_sync_seconds_sum") <= grown("weaseldb_persist_seconds_sum")
        assert grown('weaseldb_outcomes_total{outcome="committed"}') == 4
        assert grown('weaseldb_outcomes_total{outcome="conflict"}') == 1
        assert grown("weaseldb_request_ids") == 6
        assert grown("weaseldb_conflict_entries") >= 4
        assert after["weaseldb_log_start_version"] == 1
        assert after["weaseldb_log_segments"] == 1
        assert after["weaseldb_log_bytes"] == 1 << 20
        size = shutil.disk_usage(tmp_path)
        assert after["weaseldb_log_filesystem_size_bytes"] == size.total
        assert 0 < after["weaseldb_log_filesystem_free_bytes"] <= size.total
        while server.metric("weaseldb_log_segments") == 1:
            committed(server, write(key(), "v" * 100000))
        assert server.metric("weaseldb_log_bytes") == 2 << 20
    with wire.weaseldb(*SMALL, cwd=tmp_path) as server:
        again = server.metrics()
        assert again["weaseldb_recovery_seconds"] > 0
        assert again["weaseldb_request_ids"] >= 6 and again["weaseldb_conflict_entries"] >= 4


def test_without_syncs_none_is_timed():
    with wire.weaseldb("log.durability=none") as server:
        committed(server, write(key()))
        assert server.metric("weaseldb_log_durable") == 0
        assert server.metric("weaseldb_log_sync_seconds_count") == 0
        assert server.metric("weaseldb_log_batch_records_count") == 1


def test_limits_are_shown():
    with wire.weaseldb(
        "http.max_connections=77", "commit.conflict_window_bytes=8388608", "commit.request_id_window_count=2048"
    ) as server:
        assert server.metric("http_connections_limit") == 77
        assert server.metric("weaseldb_conflict_window_limit_bytes") == 8388608
        assert server.metric("weaseldb_request_ids_limit") == 2048


# ---- what names metrics ----


def test_alerts_read_what_exists(families):
    rules = alert_rules()
    assert len({rule["alert"] for rule in rules}) == len(rules) > 10
    for rule in rules:
        read = prometheus.check_expression(rule["expr"], families, FROM_THE_SCRAPE)
        assert read and all("job" in labels for _, labels in read), rule["expr"]
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "description"}


def test_each_alert_is_explained():
    page = (wire.ROOT / "docs/operations.md").read_text()
    explained = set(re.findall(r"`(Weaseldb\w+)`", page))
    assert explained == {rule["alert"] for rule in alert_rules()}


def test_the_operators_page_names_what_exists(families):
    page = (wire.ROOT / "docs/operations.md").read_text()
    named = set(re.findall(r"`((?:http|weaseldb|log|process)_[a-z_]+[a-z])(?:\{[^}]*\})?`", page))
    assert len(named) > 15
    assert named <= set(families), named - set(families)


def test_the_dashboard_reads_what_exists(families):
    expressions = [target["expr"] for panel in dashboard_panels() for target in panel.get("targets", ())]
    assert len(expressions) > 30
    read = set()
    for expression in expressions:
        for name, labels in prometheus.check_expression(expression, families, FROM_THE_SCRAPE):
            assert set(labels) >= FROM_THE_SCRAPE, expression
            read.add(re.sub("_(bucket|sum|count)$", "", name))
    # What is not drawn is left out on purpose.
    left_out = {
        *("weaseldb_build_info", "weaseldb_repeats_total", "weaseldb_conflict_entries", "weaseldb_recovery_seconds"),
        *("weaseldb_conflict_floor_raises_total", "http_connections_open", "http_connections_closed_total"),
        *("weaseldb_retention_removed_bytes_total", "http_stale_events_total", "http_memory_chunks", "log_dropped_lines_total", "process_start_time_seconds"),
    }
    assert set(families) - read == left_out
    ids = [panel["id"] for panel in dashboard_panels()]
    assert len(ids) == len(set(ids))


def test_the_dashboard_is_up_to_date():
    checked = subprocess.run([sys.executable, wire.ROOT / "scripts/gen-dashboard", "--check"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


def test_the_check_of_expressions_finds_mistakes(families):
    for wrong in (
        "rate(http_request_total[5m])",
        'http_requests_total{klass="5xx"}',
        'http_requests_total{class="6xx"}',
        'http_requests_total{class=~"[67].."}',
        "weaseldb_version_bucket",
        "sum by (rout) (http_requests_total)",
    ):
        with pytest.raises(AssertionError):
            prometheus.check_expression(wrong, families, FROM_THE_SCRAPE)
