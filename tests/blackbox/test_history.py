"""Concurrent clients, cut connections, stops and kills; then every answer anybody had is judged (see history.py)."""

import base64
import copy
import itertools
import json
import random
import signal
import threading
import time

import pytest

import feed
import wire
from history import ANY, History, Read, Seen, Transaction, Write

KEYS = [b"", b"\x00", b"a", b"a\x00", b"b", b"c", b"\x7f", b"\x80", b"\xff", b"\xff" * 40]
BOUNDS = sorted(KEYS + [b"a\x00\x00", b"aa", b"\xfe", b"\xff" * 41])
JSON = "Content-Type: application/json\r\n"
GONE = (ConnectionError, wire.Closed)  # not a time-out: an answer that never comes is a failure


def b64(data):
    return base64.b64encode(data).decode()


def document(one):
    """The transaction as it is sent; checks have no request_id."""
    reads = [
        {"type": "point_read", "key": b64(read.begin), "version": read.version}
        if read.end is None
        else {"type": "range_read", "begin": b64(read.begin), "end": b64(read.end), "version": read.version}
        for read in one.reads
    ]
    writes = [
        {"type": "range_delete", "begin": b64(write.begin), "end": b64(write.end)}
        if write.end is not None
        else {"type": "delete", "key": b64(write.begin)}
        if write.value is None
        else {"type": "write", "key": b64(write.begin), "value": b64(write.value)}
        for write in one.writes
    ]
    return {**({"request_id": one.name} if one.writes else {}), "preconditions": reads, "operations": writes}


class Knowledge:
    """What the clients together have learnt: for each key, values with the versions that wrote them."""

    def __init__(self, version):
        self.lock = threading.Lock()
        self.values = {key: [(version, None)] for key in KEYS}
        self.version = version

    def learn(self, one, version):
        with self.lock:
            self.version = max(self.version, version)
            for key, known in self.values.items():
                for write in one.writes:
                    if write.begin == key if write.end is None else write.begin <= key < write.end:
                        known[:] = [each for each in known if each[0] != version] + [(version, write.value)]
                known.sort(key=lambda each: each[0])

    def pick(self, chance, key):
        """What is known last, mostly; now and then something older."""
        with self.lock:
            known = self.values[key]
            return known[-1] if chance.random() < 0.85 else chance.choice(known[-4:])


class Service:
    """The server that clients talk to: whichever runs now."""

    def __init__(self):
        self.changed = threading.Condition()
        self.server = None
        self.answers = 0
        self.is_over = False

    def start(self, server):
        with self.changed:
            self.server = server
            self.changed.notify_all()

    def end(self):
        with self.changed:
            self.server = None

    def connect(self):
        with self.changed:
            assert self.changed.wait_for(lambda: self.server is not None or self.is_over, wire.PATIENCE)
            if self.is_over:
                return None
            return self.server.connect()

    def count_answer(self):
        with self.changed:
            self.answers += 1
            self.changed.notify_all()

    def wait_answers(self, more):
        with self.changed:
            target = self.answers + more
            assert self.changed.wait_for(lambda: self.answers >= target, wire.PATIENCE * 3), "no answers come"

    def finish(self):
        with self.changed:
            self.is_over = True
            self.changed.notify_all()


class Over(Exception):
    """The run has ended."""


class Client(threading.Thread):
    """Sends one transaction after the other; whatever goes wrong on the way is part of it."""

    def __init__(self, number, seed, service, knowledge):
        super().__init__()
        self.number, self.service, self.knowledge = number, service, knowledge
        self.chance = random.Random(seed)
        self.transactions, self.versions = [], []
        self.connection = None
        self.failure = None

    def run(self):
        try:
            for count in itertools.count():
                self.step(count)
        except Over:
            pass
        except BaseException as failure:  # told by the main thread
            self.failure = failure
        finally:
            self.drop()

    def drop(self, reset=False):
        if self.connection is not None:
            (self.connection.reset if reset else self.connection.close)()
        self.connection = None

    def ask(self, data, connection=None, cut=False):
        """Sends, and returns what was seen: without an answer when the connection ended before it, or was cut."""
        while True:
            try:
                where = connection or self.connection
                if where is None:
                    where = self.connection = self.service.connect()
                    if where is None:
                        raise Over
            except OSError:
                if connection is not None:
                    return None
                time.sleep(0.001)  # between two servers: the port is there no more, or not yet
                continue
            break
        seen = Seen(time.monotonic())
        try:
            where.send(data)
            if cut:
                raise wire.Closed
            response = where.read()
            seen.ended = time.monotonic()
            seen.http_status = response.status
            seen.answer = response.json()
            if response.header("Connection") == "close" and connection is None:
                self.drop()
            self.service.count_answer()
        except GONE:
            if connection is None:
                self.drop(reset=cut)
        return seen

    # ---- what is sent ----

    def reads(self, count):
        chance, reads = self.chance, []
        for key in chance.sample(KEYS, count):
            version, value = self.knowledge.pick(chance, key)
            reads.append(Read(key, None, version, value))
        if chance.random() < 0.3:
            begin, end = sorted(chance.sample(BOUNDS, 2))
            behind = chance.choice((0, 0, 0, 1, 3))
            reads.append(Read(begin, end, max(0, self.knowledge.version - behind), ANY))
        return reads

    def transaction(self, name):
        chance, kind = self.chance, self.chance.random()
        if kind < 0.15:
            return Transaction(name, self.reads(chance.randrange(0, 3)), [])
        value = name.encode()
        if kind < 0.25:
            begin, end = sorted(chance.sample(BOUNDS, 2))
            writes = [Write(begin, None, end)]
            if chance.random() < 0.5:
                writes.append(Write(chance.choice(KEYS), value))
            return Transaction(name, self.reads(chance.randrange(0, 2)), writes)
        if kind < 0.35:
            return Transaction(name, [], [Write(chance.choice(KEYS), value if chance.random() < 0.8 else None)])
        reads = self.reads(chance.randrange(1, 4))
        return Transaction(name, reads, [Write(read.begin, value) for read in reads[:2] if read.end is None])

    def step(self, count):
        chance = self.chance.random()
        name = f"c{self.number}-{count}"
        if chance < 0.05:
            seen = self.ask(wire.request("/v1/version"))
            if seen.answer is not None:
                self.versions.append(seen)
        elif chance < 0.15:
            self.send_batch([self.transaction(f"{name}-{place}") for place in range(3)])
        else:
            self.send_one(self.transaction(name))

    def note(self, one, seen):
        if seen is None:
            return
        one.seen.append(seen)
        if seen.outcome() == "committed" and one.writes:
            self.knowledge.learn(one, seen.answer["version"])

    def send_one(self, one):
        self.transactions.append(one)
        data = wire.request("/v1/commit", "POST", JSON, json.dumps(document(one)).encode())
        question = wire.request(f"/v1/status?request_id={one.name}")
        for attempt in range(4):
            chance = self.chance.random()
            if chance < 0.1 and one.writes:
                self.race(one, data, question if chance < 0.05 else data)
            else:
                self.note(one, self.ask(data, cut=chance < 0.2))
            if not one.writes or one.seen[-1].outcome():
                break
            if self.chance.random() < 0.4:
                self.note(one, self.ask_question(question))
        # Repeats of what is decided, long after.
        if one.writes and self.chance.random() < 0.1:
            old = self.chance.choice(self.transactions[-20:])
            if old.writes:
                self.note(old, self.ask(wire.request("/v1/commit", "POST", JSON, json.dumps(document(old)).encode())))

    def ask_question(self, question):
        seen = self.ask(question)
        seen.is_question = True
        return seen

    def race(self, one, data, other_data):
        """Two requests for one transaction at once, on two connections."""
        try:
            other = self.service.connect()
        except OSError:
            return
        if other is None:
            raise Over
        seen = Seen(time.monotonic(), is_question=other_data is not data)
        try:
            with other:
                if self.chance.random() < 0.5:
                    other.send(other_data)
                    self.note(one, self.ask(data))
                else:
                    self.note(one, self.ask_behind(data, other, other_data))
                response = other.read()
                seen.ended, seen.http_status, seen.answer = time.monotonic(), response.status, response.json()
        except GONE:
            pass
        self.note(one, seen)

    def ask_behind(self, data, other, other_data):
        """The first is sent, then the other, then the first is read."""
        if self.connection is None:
            other.send(other_data)
            return self.ask(data)
        seen = Seen(time.monotonic())
        try:
            self.connection.send(data)
            other.send(other_data)
            response = self.connection.read()
            seen.ended, seen.http_status, seen.answer = time.monotonic(), response.status, response.json()
            if response.header("Connection") == "close":
                self.drop()
        except GONE:
            self.drop()
        return seen

    def send_batch(self, batch):
        self.transactions += batch
        body = json.dumps({"transactions": [document(one) for one in batch]}).encode()
        for attempt in range(3):
            whole = self.ask(wire.request("/v1/commits", "POST", JSON, body), cut=self.chance.random() < 0.1)
            for place, one in enumerate(batch):
                seen = copy.copy(whole)
                if whole.http_status == 200:
                    seen.answer = whole.answer["results"][place]
                    seen.http_status = seen.answer["http_status"]
                self.note(one, seen)
            if whole.http_status == 200:
                return


class Follower(threading.Thread):
    """Follows the feed, and goes on behind the last event wherever it was cut."""

    def __init__(self, accept, service, version):
        super().__init__()
        self.accept, self.service, self.first = accept, service, version
        self.events = []
        self.failure = None

    def run(self):
        try:
            while (connection := self.connect()) is not None:
                after = self.events[-1].version if self.events else self.first
                try:
                    with feed.Feed(None, after, self.accept, connection=connection) as subscription:
                        self.take(subscription)
                except GONE:
                    pass
        except BaseException as failure:  # told by the main thread
            self.failure = failure

    def connect(self):
        while True:
            try:
                return self.service.connect()
            except OSError:
                time.sleep(0.001)  # between two servers

    def take(self, subscription):
        while True:
            event = subscription.next()
            if event.kind == "transaction":
                self.events.append(event)
            if event.kind == "end":
                return


# ---- runs ----


def run(tmp_path, settings, rounds, clients, answers_a_round, stop, seed, tell):
    """Clients go on over all rounds; after each the server is stopped or killed. Returns the judged history."""
    chance = random.Random(seed)
    service, knowledge, kills = Service(), None, 0
    threads, followers = [], []
    try:
        for number in range(rounds):
            with wire.weaseldb(*settings, cwd=tmp_path) as server:
                if knowledge is None:
                    first = server.get("/v1/version").json()["version"]
                    knowledge, history = Knowledge(first), History(first)
                service.start(server)
                if not threads:
                    threads = [Client(which, f"{seed}-{which}", service, knowledge) for which in range(clients)]
                    followers = [Follower(accept, service, first) for accept in feed.FORMATS]
                    for thread in threads + followers:
                        thread.start()
                service.wait_answers(answers_a_round)
                how = stop if stop is not None else chance.choice((signal.SIGTERM, signal.SIGKILL))
                service.end()
                if how == signal.SIGKILL:
                    server.expect_exit = -signal.SIGKILL
                    kills += 1
                server.signal(how)
                server.wait()
    finally:
        service.finish()
        for thread in threads + followers:
            thread.join()
    for thread in threads + followers:
        if thread.failure is not None:
            raise thread.failure
    assert all(follower.events for follower in followers), "they follow live"
    for thread in threads:
        history.transactions += thread.transactions
        history.versions += thread.versions
    settle(history, tmp_path, settings, followers)
    acknowledged, lost = acknowledgements(history)
    tell(f"{kills} rounds of kill -9 under load, {acknowledged} commits acknowledged, {lost} lost")
    history.must_be_good()
    assert lost == 0
    return history


def acknowledgements(history):
    """How many transactions that write were answered as committed, and how many of them are not so in the end."""
    answers = [(one, seen.answer["version"]) for one in history.transactions if one.writes
               for seen in one.seen if seen.outcome() == "committed"]
    lost = {one.name for one, version in answers if (one.final["status"], one.final.get("version")) != ("committed", version)}
    return len({one.name for one, _ in answers}), len(lost)


def settle(history, tmp_path, settings, followers):
    """Asks what became of everything. That must outlast a kill, whatever is sent under the same ids afterwards."""
    ours = [one for one in history.transactions if one.writes]
    with wire.weaseldb(*settings, cwd=tmp_path) as server, server.connect() as connection:
        for one in ours:
            one.final = connection.get(f"/v1/status?request_id={one.name}").json()
        info = connection.get("/v1/version").json()
        for follower in followers:
            after = follower.events[-1].version if follower.events else history.first_version
            with feed.Feed(server, after, follower.accept) as subscription:
                history.feeds[f"{follower.accept} since {history.first_version}"] = follower.events + subscription.until(info["version"])
        server.process.kill()
        server.expect_exit = -signal.SIGKILL
    history.last_version = info["version"]
    history.oldest_read_version = info["oldest_read_version"]
    with wire.weaseldb(*settings, cwd=tmp_path) as server, server.connect() as connection:
        for one in ours:
            again = connection.get("/v1/commit", "POST", JSON, json.dumps(document(one)).encode()).json()
            assert (again["status"], again["version"]) == (one.final["status"], one.final.get("version", info["version"])), (again, one.describe())
            # Another transaction under the same id, that nothing else could speak against.
            other = {"request_id": one.name, "operations": [{"type": "write", "key": "", "value": b64(b"other")}]}
            response = connection.get("/v1/commit", "POST", JSON, json.dumps(other).encode())
            if one.final["status"] == "committed":
                assert response.status == 422, (response.body, one.describe())
            else:
                assert response.json().get("reason") == "fenced", (response.body, one.describe())
            assert connection.get(f"/v1/status?request_id={one.name}").json() == one.final, one.describe()
        assert connection.get("/v1/version").json()["version"] == info["version"]


def outcomes(history):
    found = {}
    for one in history.transactions:
        for seen in one.seen:
            what = seen.reason() or seen.outcome() or "unseen"
            found[what] = found.get(what, 0) + 1
    return found


@pytest.mark.parametrize("stages", [1, 4])
def test_a_history_without_disturbance(tmp_path, stages, tell):
    settings = (f"http.pipelines.commit_status.threads={stages}", "http.network_threads=2")
    answers = round(1500 * max(wire.SCALE, 0.2))
    found = outcomes(run(tmp_path, settings, 1, 8, answers, signal.SIGTERM, f"calm-{stages}", tell))
    assert found["committed"] > answers / 5 and found["conflict"] > answers / 50, found


@pytest.mark.parametrize("stages", [1, 2, 4])
def test_histories_over_kills(tmp_path, stages, tell):
    """kill -9 under load, again and again; every answer that anybody ever got still holds."""
    rounds = max(3, round(20 * wire.SCALE / 3))
    settings = (f"http.pipelines.commit_status.threads={stages}", "http.network_threads=2")
    history = run(tmp_path, settings, rounds, 8, 120, signal.SIGKILL, f"kill-{stages}", tell)
    assert history.last_version > rounds * 20
    assert outcomes(history)["unseen"] > rounds


def test_a_history_over_stops_and_kills(tmp_path, tell):
    """With a small ring that sheds now and then, and small segments."""
    rounds = max(3, round(6 * wire.SCALE))
    settings = (
        "http.pipelines.commit_status.ring_buffer_size=16",
        "http.max_body_bytes=65536",
        "commit.max_operations=100",
        "log.segment_bytes=1048576",
    )
    run(tmp_path, settings, rounds, 24, 200, None, "mixed", tell)


# ---- the judge is judged ----


def invented(seed, count=400):
    """A good history, of a server that exists here only: one thing after the other, with answers that overlap."""
    chance = random.Random(seed)
    history = History(10)
    knowledge = Knowledge(10)
    moment, version, fences, commits = 0.0, 10, set(), []
    client = Client(0, seed, None, knowledge)
    for number in range(count):
        one = client.transaction(f"t{number}")
        history.transactions.append(one)
        moment += 1.0
        seen = Seen(moment - chance.random() * 3, moment + chance.random() * 3)
        if one.writes and chance.random() < 0.05:
            one.seen.append(Seen(seen.started - 1, seen.started - 0.5, 200, {"status": "not_committed"}, True))
            fences.add(one.name)
        conflicts = [at for at, read in enumerate(one.reads) if any(w.hits(read) for other, v in commits if v > read.version for w in other.writes)]
        if one.name in fences:
            seen.http_status, seen.answer = 409, {"status": "not_committed", "reason": "fenced", "version": version}
        elif conflicts:
            seen.http_status = 409
            seen.answer = {"status": "not_committed", "reason": "conflict", "conflicts": conflicts, "version": version}
        else:
            version += 1 if one.writes else 0
            seen.http_status, seen.answer = 200, {"status": "committed", "version": version}
            if one.writes:
                commits.append((one, version))
                knowledge.learn(one, version)
        if one.writes:
            one.final = {"status": seen.answer["status"]}
            if one.final["status"] == "committed":
                one.final["version"] = version
        one.seen.append(seen)
        if chance.random() < 0.1:
            history.versions.append(Seen(moment - 0.2, moment + 0.3, 200, {"version": version}))
    history.last_version = version
    history.feeds["the follower"] = [
        feed.Event("transaction", {"version": v, "request_id": one.name, "operations": [w.operation() for w in one.writes]}) for one, v in commits
    ]
    return history


def commits_of(history):
    return sorted((one for one in history.transactions if one.version() is not None), key=Transaction.version)


def refusals_of(history, least=1):
    return [one for one in history.transactions if one.seen[-1].reason() == "conflict" and len(one.seen[-1].answer["conflicts"]) >= least]


def set_version(one, version):
    one.final = {"status": "committed", "version": version}
    for seen in one.seen:
        if seen.outcome():
            seen.http_status, seen.answer = 200, {"status": "committed", "version": version}


def swap_far_apart(history):
    commits = commits_of(history)
    first, second = commits[3].version(), commits[-3].version()
    set_version(commits[3], second)
    set_version(commits[-3], first)


def tell_another_version(history):
    commits_of(history)[5].seen[-1].answer["version"] += 1


def take_back(history):
    one = commits_of(history)[-1]
    one.final = {"status": "not_committed"}
    history.last_version -= 1


def give_twice(history):
    commits = commits_of(history)
    set_version(commits[8], commits[7].version())


def lose_one(history):
    history.transactions.remove(commits_of(history)[9])


def commit_again(history):
    history.last_version += 1


def let_stale_pass(history):
    one = next(each for each in reversed(refusals_of(history)) if each.writes)
    history.last_version += 1
    set_version(one, history.last_version)


def refuse_for_nothing(history):
    one = next(each for each in history.transactions if not each.writes and each.reads and each.seen[-1].http_status == 200)
    one.seen[-1].http_status = 409
    one.seen[-1].answer = {"status": "not_committed", "reason": "conflict", "conflicts": [0], "version": one.seen[-1].answer["version"]}


def name_none(history):
    refusals_of(history)[0].seen[-1].answer["conflicts"] = []


def name_a_future_conflict(history):
    """The conflict is real by now, but was not when it was told of."""
    for one in refusals_of(history):
        answer = one.seen[-1].answer
        if len(answer["conflicts"]) == 1:
            answer["version"] = one.reads[answer["conflicts"][0]].version
            return
    raise AssertionError("no such refusal")


def hide_a_conflict(history):
    for one in refusals_of(history, 2):
        known = history.known_before(one.started())
        for index in one.seen[-1].answer["conflicts"]:
            if any(w.hits(one.reads[index]) for c in commits_of(history) if one.reads[index].version < c.version() <= known for w in c.writes):
                one.seen[-1].answer["conflicts"].remove(index)
                return
    raise AssertionError("no such refusal")


def read_another_value(history):
    one = next(each for each in commits_of(history) if each.reads and each.reads[0].value not in (ANY, None))
    one.reads[0].value = b"never written"


def lose_a_write(history):
    """A commit without effect: who read it sees something else than the model."""
    for one in commits_of(history):
        for later in commits_of(history):
            if any(read.value == one.name.encode() for read in later.reads):
                one.writes = [Write(b"elsewhere", b"")]
                return
    raise AssertionError("nobody read anything")


def shed_a_commit(history):
    one = commits_of(history)[4]
    one.seen[-1].http_status, one.seen[-1].answer = 503, {"status": 503}


def fence_for_nothing(history):
    one = refusals_of(history)[1]
    one.seen[-1].answer = {"status": "not_committed", "reason": "fenced", "version": one.seen[-1].answer["version"]}


def go_back(history):
    history.versions[-1].answer["version"] = 11


def see_the_future(history):
    history.versions[1].answer["version"] = history.last_version


def answer_a_question_wrong(history):
    one = commits_of(history)[6]
    one.seen.append(Seen(one.seen[-1].ended + 1, one.seen[-1].ended + 2, 200, {"status": "not_committed"}, True))


def call_it_too_old(history):
    refusals_of(history)[2].seen[-1].answer["reason"] = "too_old"


def tell_a_feed_nothing(history):
    del history.feeds["the follower"][20]


def tell_a_feed_twice(history):
    events = history.feeds["the follower"]
    events.insert(20, events[20])


def tell_a_feed_too_much(history):
    events = history.feeds["the follower"]
    events.append(feed.Event("transaction", {**events[-1].fields, "version": history.last_version + 1}))


def tell_a_feed_another_value(history):
    event = next(each for each in history.feeds["the follower"] if each.operations[-1][0] == "write")
    event.fields["operations"] = event.operations[:-1] + [("write", event.operations[-1][1], b"other")]


TAMPERINGS = [
    (swap_far_apart, "real time"),
    (tell_another_version, "changed"),
    (take_back, "changed"),
    (give_twice, "twice"),
    (lose_one, "gap"),
    (commit_again, "gap"),
    (let_stale_pass, "stale"),
    (refuse_for_nothing, "false"),
    (name_none, "false"),
    (name_a_future_conflict, "false"),
    (hide_a_conflict, "missed"),
    (read_another_value, "value"),
    (lose_a_write, "value"),
    (shed_a_commit, "shed"),
    (fence_for_nothing, "fenced"),
    (go_back, "real time"),
    (see_the_future, "real time"),
    (answer_a_question_wrong, "changed"),
    (call_it_too_old, "too old"),
    (tell_a_feed_nothing, "feed"),
    (tell_a_feed_twice, "feed"),
    (tell_a_feed_too_much, "feed"),
    (tell_a_feed_another_value, "feed"),
]


@pytest.mark.parametrize("seed", range(5))
def test_a_good_history_is_good(seed):
    history = invented(seed)
    history.must_be_good()
    assert acknowledgements(history) == (len(commits_of(history)), 0)
    assert len(commits_of(history)) > 100 and len(refusals_of(history)) > 20


@pytest.mark.parametrize("tamper, kind", TAMPERINGS, ids=lambda value: getattr(value, "__name__", None))
@pytest.mark.parametrize("seed", range(3))
def test_a_bad_history_is_refused(tamper, kind, seed):
    history = invented(seed)
    assert history.check() == []
    tamper(history)
    complaints = history.check()
    if tamper in (take_back, tell_another_version):
        assert acknowledgements(history)[1] == 1
    assert kind in [one.kind for one in complaints], complaints
    with pytest.raises(AssertionError) as told:
        history.must_be_good()
    about = complaints[0].about
    assert len(about) <= 2 and all(one.name in str(told.value) for one in about)
    assert str(told.value).count("in the end") == len(about)
