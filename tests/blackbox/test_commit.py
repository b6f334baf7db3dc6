"""Transactions over HTTP: each answer of the contract, from a real server with a real log."""

import base64
import concurrent.futures
import json
import random
import signal
import threading

import pytest

import wire

JSON = "Content-Type: application/json\r\n"


def b64(data):
    return base64.b64encode(data if isinstance(data, bytes) else data.encode()).decode()


def write(key, value="v"):
    return {"type": "write", "key": b64(key), "value": b64(value)}


def delete(key):
    return {"type": "delete", "key": b64(key)}


def range_delete(begin, end):
    return {"type": "range_delete", "begin": b64(begin), "end": b64(end)}


def point(key, **version):
    return {"type": "point_read", "key": b64(key), **version}


def range_read(begin, end, **version):
    return {"type": "range_read", "begin": b64(begin), "end": b64(end), **version}


def post(where, target, document, headers=""):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return where.get(target, "POST", JSON + headers, body)


def commit(where, *operations, preconditions=(), headers="", **fields):
    document = {**fields, "preconditions": list(preconditions), "operations": list(operations)}
    return post(where, "/v1/commit", document, headers)


def committed(where, *operations, **fields):
    response = commit(where, *operations, **fields)
    assert response.status == 200, response.body
    answer = response.json()
    assert answer["status"] == "committed"
    return answer["version"]


def version(where):
    return where.get("/v1/version").json()["version"]


def status(where, request_id, **parameters):
    query = "".join(f"&{name}={value}" for name, value in parameters.items())
    response = where.get(f"/v1/status?request_id={request_id}{query}")
    assert response.status == 200, response.body
    return response.json()


@pytest.fixture(scope="module", params=[1, 4])
def database(request):
    """All stages on one thread, and each on its own."""
    with wire.weaseldb(f"http.pipelines.commit_status.threads={request.param}", "http.network_threads=2") as running:
        yield running


fresh = iter(range(10**9))


def key():
    return f"key-{next(fresh)}"


# ---- what a commit answers ----


def test_a_commit_and_its_version(database):
    before = version(database)
    response = commit(database, write(key()), request_id="first")
    assert response.status == 200
    assert response.header("Content-Type") == "application/json"
    answer = response.json()
    assert set(answer) == {"request_id", "status", "version", "leader"}
    assert answer["request_id"] == "first"
    assert answer["version"] > before
    info = database.get("/v1/version").json()
    assert info["version"] == answer["version"]
    assert info["leader"] == answer["leader"]
    assert info["log_start_version"] <= answer["version"]


def test_a_commit_without_an_id_gets_one(database):
    first = commit(database, write(key())).json()
    second = commit(database, write(key())).json()
    assert first["request_id"] != second["request_id"]
    assert status(database, first["request_id"]) == {
        "request_id": first["request_id"],
        "status": "committed",
        "version": first["version"],
    }


def test_a_conflict_names_its_preconditions_and_a_version_to_retry_at(database):
    mine, other = key(), key()
    read_at = committed(database, write(mine), write(other))
    committed(database, write(mine))
    response = commit(
        database, write(mine), preconditions=[point(other), point(mine), range_read(mine, mine + "\0")], read_version=read_at
    )
    assert response.status == 409
    answer = response.json()
    assert answer["status"] == "not_committed"
    assert answer["reason"] == "conflict"
    assert answer["conflicts"] == [1, 2]
    committed(database, write(mine), preconditions=[point(mine)], read_version=answer["version"])


def test_each_precondition_may_have_its_own_version(database):
    mine, other = key(), key()
    old = committed(database, write(mine), write(other))
    new = committed(database, write(mine))
    committed(database, write(key()), preconditions=[point(mine, version=new), point(other, version=old)])
    response = commit(database, write(key()), preconditions=[point(mine, version=old), point(other, version=new)])
    assert response.json()["conflicts"] == [0]


def test_a_check_without_operations_changes_nothing(database):
    mine = key()
    read_at = committed(database, write(mine))
    answer = commit(database, preconditions=[point(mine)], read_version=read_at).json()
    assert answer["status"] == "committed"
    assert answer["version"] == read_at == version(database)
    committed(database, write(mine))
    assert commit(database, preconditions=[point(mine)], read_version=read_at).status == 409


def test_an_unread_key_is_no_conflict(database):
    read_at = version(database)
    committed(database, write(key()))
    committed(database, write(key()), preconditions=[point(key()), range_read("zz", "zzz")], read_version=read_at)


EDGES = [
    # written, read begin, read end, conflict
    ("m", "m", "n", True),
    ("n", "m", "n", False),
    ("l", "m", "n", False),
    ("m\0", "m", "n", True),
    ("m", "m", "m\0", True),
    ("m\0", "m", "m\0", False),
    ("", "", "a", True),
    ("a", "", "a", False),
    (b"\xff", b"\xff", b"\xff\xff", True),
    (b"\xff\xff", b"\xff", b"\xff\xff", False),
    (b"m\x00\xff", b"m\x00", b"m\x01", True),
    ("k" * 1024, "k" * 1023, "k" * 1024, False),
    ("k" * 1024, "k" * 1024, "k" * 1023 + "l", True),
]


@pytest.mark.parametrize("written, begin, end, conflict", EDGES)
def test_edges_of_a_range_read(database, written, begin, end, conflict):
    read_at = committed(database, write(key()))
    committed(database, write(written))
    response = commit(database, preconditions=[range_read(begin, end)], read_version=read_at)
    assert response.status == (409 if conflict else 200), response.body


@pytest.mark.parametrize(
    "begin, end, read, conflict",
    [
        ("m", "p", "m", True),
        ("m", "p", "p", False),
        ("m", "p", "l", False),
        ("m", "p", "o\xff", True),
        ("", "b", "", True),
        (b"\x00", b"\xff", b"\xfe\xff", True),
        (b"\x00", b"\xff", b"\xff", False),
    ],
)
def test_edges_of_a_range_delete(database, begin, end, read, conflict):
    read_at = committed(database, write(key()))
    committed(database, range_delete(begin, end))
    response = commit(database, preconditions=[point(read)], read_version=read_at)
    assert response.status == (409 if conflict else 200), response.body


def test_a_delete_is_a_write_of_its_key(database):
    mine = key()
    read_at = committed(database, write(mine))
    committed(database, delete(mine))
    assert commit(database, preconditions=[point(mine)], read_version=read_at).status == 409


def test_a_version_from_the_future(database):
    response = commit(database, write(key()), preconditions=[point("a")], read_version=version(database) + 1000)
    assert response.status == 400
    problem = response.json()
    assert problem["outcome"] == "not_committed"
    assert "/v1/version" in problem["detail"]


def test_another_leader(database):
    response = commit(database, write(key()), leader="somebody-else")
    assert response.status == 409
    answer = response.json()
    assert answer["reason"] == "wrong_leader"
    committed(database, write(key()), leader=answer["leader"])


# ---- repeats ----


def test_a_repeat_gets_the_original_answer(database):
    mine = key()
    first = commit(database, write(mine), request_id="again").json()
    between = committed(database, write(key()))
    assert commit(database, write(mine), request_id="again").json() == first
    assert version(database) == between


def test_a_repeat_of_a_conflict_conflicts(database):
    mine = key()
    read_at = committed(database, write(mine))
    committed(database, write(mine))
    fields = {"preconditions": [point(key()), point(mine)], "read_version": read_at, "request_id": "loser"}
    first = commit(database, write(mine), **fields)
    second = commit(database, write(mine), **fields)
    assert first.status == second.status == 409
    assert first.json()["conflicts"] == second.json()["conflicts"] == [1]
    assert status(database, "loser") == {"request_id": "loser", "status": "not_committed"}
    assert commit(database, write(mine), **fields).json()["reason"] in ("conflict", "fenced")


def test_another_payload_under_the_same_id(database):
    mine = key()
    committed(database, write(mine), request_id="taken")
    response = commit(database, write(mine, "other"), request_id="taken")
    assert response.status == 422
    assert response.json()["outcome"] == "not_committed"
    assert commit(database, write(mine), request_id="taken").status == 200


def test_the_header_idempotency_key(database):
    mine = key()
    first = commit(database, write(mine), headers="Idempotency-Key: by-header\r\n").json()
    assert first["request_id"] == "by-header"
    assert commit(database, write(mine), request_id="by-header").json() == first
    assert commit(database, write(mine), headers='Idempotency-Key: "by-header"\r\n').json() == first
    both = commit(database, write(mine), request_id="x", headers="Idempotency-Key: y\r\n")
    assert both.status == 400 and "differ" in both.json()["detail"]
    same = commit(database, write(mine), request_id="by-header", headers="Idempotency-Key: by-header\r\n")
    assert same.json() == first
    long = commit(database, write(mine), headers=f"Idempotency-Key: {'k' * 129}\r\n")
    assert long.status == 400


def test_many_repeats_at_once_commit_once(database):
    mine = key()
    before = version(database)
    connections = [database.connect() for _ in range(40)]
    document = json.dumps({"request_id": "crowd", "operations": [write(mine)]}).encode()
    for connection in connections:
        connection.send(wire.request("/v1/commit", "POST", JSON, document))
    answers = [connection.read().json() for connection in connections]
    assert all(answer == answers[0] for answer in answers), answers
    assert version(database) == answers[0]["version"] == before + 1
    for connection in connections:
        connection.close()


# ---- questions ----


def test_an_unknown_id_is_fenced_for_good(database):
    assert status(database, "late") == {"request_id": "late", "status": "not_committed"}
    response = commit(database, write(key()), request_id="late")
    assert response.status == 409
    assert response.json()["reason"] == "fenced"
    assert status(database, "late")["status"] == "not_committed"


@pytest.mark.parametrize(
    "query, what",
    [
        ("", "request_id"),
        ("?request_id=", "request_id"),
        ("?request_id=" + "x" * 129, "request_id"),
        ("?request_id=a%20b", "request_id"),
        ("?request_id=a&min_version=-1", "min_version"),
        ("?request_id=a&min_version=9007199254740992", "min_version"),
        ("?request_id=a&request_id=b", "once"),
        ("?request_id=a&other=1", "other"),
        ("?request_id=%zz", ""),
    ],
)
def test_bad_questions(database, query, what):
    response = database.get("/v1/status" + query)
    assert response.status == 400
    assert what in response.json()["detail"]


def test_questions_racing_their_commits(database):
    """Whatever the question hears, the commit hears the same."""
    for number in range(100):
        name = f"race-{number}"
        with database.connect() as one, database.connect() as two:
            document = json.dumps({"request_id": name, "operations": [write(key())]}).encode()
            order = [(one, wire.request("/v1/commit", "POST", JSON, document)), (two, wire.request(f"/v1/status?request_id={name}"))]
            random.shuffle(order)
            for connection, data in order:
                connection.send(data)
            answer, said = one.read().json(), two.read().json()
            assert answer["status"] == said["status"]
            if said["status"] == "committed":
                assert said["version"] == answer["version"]
            else:
                assert answer["reason"] == "fenced"


# ---- batches ----


def test_a_batch_is_answered_in_order(database):
    mine = key()
    read_at = committed(database, write(mine))
    transactions = [
        {"request_id": "b1", "operations": [write(mine)]},
        {"request_id": "b2", "read_version": read_at, "preconditions": [point(mine)], "operations": [write(mine)]},
        {"request_id": "b1", "operations": [write(mine)]},
        {"request_id": "b1", "operations": [write(mine, "x")]},
        {"operations": []},
        {"read_version": read_at + 1000, "preconditions": [point(mine)], "operations": [write(mine)]},
    ]
    response = post(database, "/v1/commits", {"transactions": transactions})
    assert response.status == 200
    results = response.json()["results"]
    assert [result["http_status"] for result in results] == [200, 409, 200, 422, 200, 400]
    assert results[0]["version"] == results[2]["version"] == results[4]["version"] == read_at + 1
    assert results[1]["conflicts"] == [0]
    assert results[3]["status"] == "not_committed"
    assert version(database) == read_at + 1


def test_an_empty_batch(database):
    assert post(database, "/v1/commits", {"transactions": []}).json() == {"results": []}


# ---- what is refused ----


def test_a_malformed_body_says_where(database):
    response = post(database, "/v1/commit", b'{"operations": [{"type": "write", "key": "YQ==" "value": ""}]}')
    assert response.status == 400
    problem = response.json()
    assert response.header("Content-Type") == "application/problem+json"
    assert problem["outcome"] == "not_committed"
    response = post(database, "/v1/commit", {"operations": [write("a"), {"type": "write", "key": "!", "value": ""}]})
    assert response.status == 400
    assert "operations[1].key" in response.json()["detail"]


def test_an_unknown_type_lists_the_known_ones(database):
    response = database.get("/v1/commit", "POST", "Content-Type: text/plain\r\n", b"{}")
    assert response.status == 415
    accepted = response.header("Accept-Post")
    assert "application/json" in accepted and "application/msgpack" in accepted and "application/protobuf" in accepted
    assert response.json()["outcome"] == "not_committed"


@pytest.mark.parametrize("target", ["/v1/commit", "/v1/commits"])
@pytest.mark.parametrize("framing", ["", "Content-Length: 0\r\n", "Transfer-Encoding: chunked\r\n"])
def test_no_body_at_all(database, target, framing):
    end = b"0\r\n\r\n" if "chunked" in framing else b""
    with database.connect() as connection:
        for kind, wanted in (("", 415), ("Content-Type: text/plain\r\n", 415), (JSON, 400), ("Content-Type: application/protobuf\r\n", None)):
            connection.send(wire.request(target, "POST", kind + framing) + end)
            response = connection.read()
            if wanted:
                assert response.status == wanted
                assert response.json()["outcome"] == "not_committed"
            else:
                assert response.status == 200, "a Protobuf message without fields has no bytes"
            if response.header("Connection") == "close":
                return


def test_on_a_fresh_log_the_version_is_0():
    with wire.weaseldb() as server:
        assert version(server) == 0
        assert commit(server).json()["version"] == 0
        refused = commit(server, write("a"), leader="somebody-else")
        assert refused.json()["reason"] == "wrong_leader" and refused.json()["version"] == 0
        assert commit(server, preconditions=[point("a")], read_version=0).json()["version"] == 0


def test_other_methods(database):
    response = database.get("/v1/commit")
    assert response.status == 405 and response.header("Allow") == "POST, OPTIONS"
    response = database.get("/v1/version", "POST", JSON, b"{}")
    assert response.status == 405 and "GET" in response.header("Allow")


def test_unknown_query_parameters(database):
    for target in ("/v1/version?x=1", "/v1/commit?x=1", "/v1/commits?x=1"):
        method = "GET" if "version" in target else "POST"
        response = database.get(target, method, JSON if method == "POST" else "", b"{}" if method == "POST" else b"")
        assert response.status == 400, target
        assert "x" in response.json()["detail"]


def test_limits_one_below_at_and_one_above():
    settings = {"max_key_bytes": 16, "max_value_bytes": 20, "max_operations": 3, "max_preconditions": 4, "max_batch_transactions": 5}
    with wire.weaseldb(*(f"commit.{name}={value}" for name, value in settings.items()), "http.max_body_bytes=4096") as server:

        def try_all(name, limit, make):
            for size in (limit - 1, limit):
                assert make(size).status == 200, (name, size)
            response = make(limit + 1)
            assert response.status == 413, response.body
            problem = response.json()
            assert f"commit.{name}" in json.dumps(problem), problem
            assert limit in problem.values() and limit + 1 in problem.values(), problem
            assert problem["outcome"] == "not_committed"

        try_all("max_key_bytes", 16, lambda n: commit(server, write("k" * n)))
        try_all("max_key_bytes", 16, lambda n: commit(server, range_delete("a", "k" * n)))
        try_all("max_key_bytes", 16, lambda n: commit(server, preconditions=[point("p" * n, version=0)]))
        try_all("max_value_bytes", 20, lambda n: commit(server, write("k", "v" * n)))
        try_all("max_operations", 3, lambda n: commit(server, *[write("k")] * n))
        try_all("max_preconditions", 4, lambda n: commit(server, preconditions=[point("p", version=0)] * n))
        try_all("max_batch_transactions", 5, lambda n: post(server, "/v1/commits", {"transactions": [{"operations": []}] * n}))

        def body(size):
            padding = size - len(json.dumps({"operations": []}))
            return post(server, "/v1/commit", json.dumps({"operations": []}).encode() + b" " * padding)

        for size in (4095, 4096):
            assert body(size).status == 200
        assert body(4097).status == 413


# ---- concurrency ----


def test_counters_are_serializable(database):
    """Clients add to shared counters by read, modify, write; every addition counts once."""
    shared = [key() for _ in range(3)]
    state = {name: (0, 0) for name in shared}  # value, version: what a read side would hold
    lock = threading.Lock()
    start = version(database)
    for name in shared:
        state[name] = (0, start)

    def client(seed):
        chance = random.Random(seed)
        added = 0
        with database.connect() as connection:
            while added < 30:
                name = chance.choice(shared)
                with lock:
                    value, seen = state[name]
                answer = commit(connection, write(name, str(value + 1)), preconditions=[point(name, version=seen)]).json()
                if answer["status"] == "committed":
                    added += 1
                    with lock:
                        state[name] = (value + 1, answer["version"])
        return added

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        total = sum(pool.map(client, range(8)))
    assert sum(value for value, _ in state.values()) == total


# ---- restarts ----


def test_a_restart_keeps_everything(tmp_path):
    mine = key()
    with wire.weaseldb(cwd=tmp_path) as server:
        first = commit(server, write(mine), request_id="before").json()
        read_at = first["version"]
        newer = committed(server, write(mine))
        assert status(server, "nobody")["status"] == "not_committed"
        leader = first["leader"]
    with wire.weaseldb(cwd=tmp_path) as server:
        assert version(server) == newer
        again = commit(server, write(mine), request_id="before").json()
        assert again["version"] == read_at and again["leader"] != leader
        assert status(server, "before")["version"] == read_at
        assert commit(server, write(mine), request_id="nobody").json()["reason"] == "fenced"
        refused = commit(server, write(mine), preconditions=[point(mine)], read_version=read_at)
        assert refused.json()["reason"] == "conflict"
        assert committed(server, write(mine), preconditions=[point(mine)], read_version=newer) > newer
        assert commit(server, write(mine), leader=leader).json()["reason"] == "wrong_leader"


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_kill_in_the_middle_of_load(tmp_path, threads):
    """Every acknowledged commit is there after kill -9, under its version and id; none twice."""
    rounds = max(2, round(5 * wire.SCALE))
    known = {}
    highest = 0
    for number in range(rounds):
        with wire.weaseldb(f"http.pipelines.commit_status.threads={threads}", cwd=tmp_path) as server:
            start = version(server)
            assert start >= highest, "an acknowledged version is gone"
            for name, (at, mine) in known.items():
                answer = commit(server, write(mine), request_id=name).json()
                assert (answer["status"], answer["version"]) == ("committed", at), name
            assert version(server) == start, "a repeat committed again"
            gained = load_until_killed(server, number)
            server.expect_exit = -signal.SIGKILL
        known.update(gained)
        versions = [at for at, _ in known.values()]
        assert len(versions) == len(set(versions))
        highest = max(versions)
    assert len(known) > rounds


def load_until_killed(server, number):
    gained = {}
    enough = threading.Event()

    def client(which):
        try:
            with server.connect() as connection:
                for count in range(100000):
                    name, mine = f"k{number}-{which}-{count}", f"{which}-{count}"
                    answer = commit(connection, write(mine), request_id=name).json()
                    gained[name] = (answer["version"], mine)
                    if len(gained) >= 60:
                        enough.set()
        except (OSError, wire.Closed):
            pass

    threads = [threading.Thread(target=client, args=(which,)) for which in range(6)]
    for thread in threads:
        thread.start()
    assert enough.wait(wire.PATIENCE)
    server.process.kill()
    for thread in threads:
        thread.join()
    server.process.wait()
    return dict(gained)


def test_a_stop_under_load_answers_everyone(tmp_path):
    with wire.weaseldb(cwd=tmp_path) as server:
        connections = [server.connect() for _ in range(50)]
        for number, connection in enumerate(connections):
            document = json.dumps({"request_id": f"s{number}", "operations": [write(key())]}).encode()
            connection.send(wire.request("/v1/commit", "POST", JSON, document))
        server.signal()
        answers = [connection.read() for connection in connections]
        assert all(answer.status in (200, 503) for answer in answers)
        known = {answer.json()["request_id"]: answer.json()["version"] for answer in answers if answer.status == 200}
        assert server.wait() == 0
    with wire.weaseldb(cwd=tmp_path) as server:
        for name, at in known.items():
            assert status(server, name) == {"request_id": name, "status": "committed", "version": at}


def test_only_one_process_at_a_directory(tmp_path):
    import subprocess

    with wire.weaseldb(cwd=tmp_path) as server:
        second = subprocess.run(
            [wire.BUILD / "weaseldb", "--set", "http.port=0"], cwd=tmp_path, capture_output=True, timeout=wire.PATIENCE, text=True
        )
        assert second.returncode == 1
        assert str(server.pid) in second.stderr
        assert server.get("/livez").status == 200


def test_the_relaxed_mode_says_so(tmp_path):
    with wire.weaseldb("log.durability=none", cwd=tmp_path) as server:
        response = commit(server, write("a"))
        assert response.header("WeaselDB-Durability") == "none"
        assert server.metric("weaseldb_log_durable") == 0
        assert b"durability" in server.stderr()
    with wire.weaseldb(cwd=tmp_path) as server:
        response = commit(server, write("a"))
        assert response.header("WeaselDB-Durability") is None
        assert server.metric("weaseldb_log_durable") == 1


# ---- windows ----


def test_ids_beyond_the_window_are_expired(tmp_path):
    with wire.weaseldb("commit.request_id_window_count=1024", cwd=tmp_path) as server:
        first = commit(server, write("a"), request_id="oldest").json()
        transactions = [{"operations": [write(f"{n}")]} for n in range(1000)]
        for _ in range(2):
            post(server, "/v1/commits", {"transactions": transactions})
        assert status(server, "oldest") == {"request_id": "oldest", "status": "expired"}
        assert status(server, "never") == {"request_id": "never", "status": "expired"}
        window = server.get("/v1/version").json()["request_id_window"]
        assert window["count"] == 1024 and window["min_version"] > first["version"]
        newest = version(server)
        assert status(server, "never", min_version=newest)["status"] == "not_committed"
        assert commit(server, write("a"), request_id="never").json()["reason"] == "fenced"


def test_a_full_conflict_window_forgets_the_oldest(tmp_path):
    with wire.weaseldb(f"commit.conflict_window_bytes={4 << 20}", cwd=tmp_path) as server:
        start = committed(server, write("start"))
        number = 0
        while server.get("/v1/version").json()["oldest_read_version"] <= start:
            transactions = [{"operations": [write(f"{number}-{n}-{'x' * 400}")]} for n in range(1000)]
            assert post(server, "/v1/commits", {"transactions": transactions}).status == 200
            number += 1
            assert number < 200
        response = commit(server, write("a"), preconditions=[point("start")], read_version=start)
        assert response.status == 409
        answer = response.json()
        assert answer["reason"] == "too_old" and answer["conflicts"] == [0]
        committed(server, write("a"), preconditions=[point("start")], read_version=answer["version"])
        assert server.metric("weaseldb_conflict_window_bytes") <= 4 << 20
