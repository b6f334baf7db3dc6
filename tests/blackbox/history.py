"""Judges what clients have seen of a server: was it strictly serializable, exactly once, and final?

A history holds every transaction that was sent, with each sending of it, each question for it and what was answered, with
times; what /v1/version said meanwhile; what the feed told; and, from the end, what became of each. Versions give the order, so nothing
has to be searched for: all commits are replayed in it, against a model of keys and values.

    complaints = history.check()      # [] if all is well
    history.must_be_good()            # raises, with the transactions concerned and no others

What is checked:

    gap           versions from the first to the last are all somebody's
    twice         each is one transaction's
    changed       whatever was ever told of a transaction stays so: one outcome, one version
    stale         each precondition of a commit held at its place
    value         what a client took a key to hold, it held there
    false         a conflict that was told of had happened, and before the version that was told with it
    missed        a conflict that every client might have known of was told of
    real time     what began after an answer comes after what the answer told of
    shed          what was answered by 503 only never happened
    fenced        only what somebody had asked for is refused as fenced
    too old       nothing above the window's floor is refused as too old
    feed          each subscriber was told of all commits, whole and in order, and of nothing else
"""

import bisect
import dataclasses
import itertools
import math

ANY = object()  # the client does not say what the key holds


@dataclasses.dataclass
class Read:
    """begin <= key < end, or the key `begin` alone; the version it was read at; the value it is taken to hold."""

    begin: bytes
    end: bytes = None
    version: int = 0
    value: object = ANY


@dataclasses.dataclass
class Write:
    """A value, None for a deletion; with an end: the deletion of a range."""

    begin: bytes
    value: bytes = None
    end: bytes = None

    def operation(self):
        """As the feed tells it."""
        if self.end is not None:
            return ("range_delete", self.begin, self.end)
        return ("delete", self.begin) if self.value is None else ("write", self.begin, self.value)

    def hits(self, read):
        if self.end is None and read.end is None:
            return self.begin == read.begin
        last = self.end if self.end is not None else self.begin + b"\0"
        read_last = read.end if read.end is not None else read.begin + b"\0"
        return self.begin < read_last and read.begin < last


@dataclasses.dataclass
class Seen:
    """A request and its answer; `ended` and `answer` are None when the answer was never seen."""

    started: float
    ended: float = None
    http_status: int = None
    answer: dict = None
    is_question: bool = False

    def outcome(self):
        """"committed", "not_committed", or None: nothing final was said."""
        if self.answer is None or self.http_status not in (200, 409):
            return None
        return self.answer["status"]

    def reason(self):
        return None if self.answer is None else self.answer.get("reason")


@dataclasses.dataclass
class Transaction:
    name: str
    reads: list
    writes: list
    seen: list = dataclasses.field(default_factory=list)
    final: dict = None  # what /v1/status said at the end; of a check, which writes nothing: None

    def sent(self):
        return [one for one in self.seen if not one.is_question]

    def started(self):
        return min((one.started for one in self.sent()), default=math.inf)

    def version(self):
        """Of a commit. A check that passed has none of its own."""
        if self.writes and self.final is not None and self.final["status"] == "committed":
            return self.final["version"]
        return None

    def describe(self, origin=0.0):
        def span(begin, end):
            return repr(begin) if end is None else f"[{begin!r}, {end!r})"

        lines = [f"{self.name}: {'checks' if not self.writes else 'transaction'}, in the end {self.final}"]
        for read in self.reads:
            held = "" if read.value is ANY else f" holding {read.value!r}"
            lines.append(f"    reads {span(read.begin, read.end)} at version {read.version}{held}")
        for write in self.writes:
            lines.append(f"    {'deletes' if write.value is None else 'writes'} {span(write.begin, write.end)} {write.value or ''}")
        for one in sorted(self.seen, key=lambda one: one.started):
            end = "never answered" if one.ended is None else f"answered at {(one.ended - origin) * 1e3:.3f} ms"
            what = "asked for" if one.is_question else "sent"
            lines.append(f"    {what} at {(one.started - origin) * 1e3:.3f} ms, {end}: {one.http_status} {one.answer}")
        return "\n".join(lines)


@dataclasses.dataclass
class Complaint:
    kind: str
    text: str
    about: list


class History:
    def __init__(self, first_version):
        self.first_version = first_version  # what /v1/version said before all of it
        self.last_version = first_version  # and after
        self.oldest_read_version = 0  # the window's floor at the end
        self.transactions = []
        self.versions = []  # Seen, of /v1/version
        self.feeds = {}  # who followed: the events that came, each with its version, request_id and operations

    def must_be_good(self):
        complaints = self.check()
        if complaints:
            first = complaints[0]
            origin = min((one.started() for one in self.transactions), default=0.0)
            kinds = ", ".join(f"{kind}: {sum(one.kind == kind for one in complaints)}" for kind in dict.fromkeys(one.kind for one in complaints))
            parts = [f"the history of {len(self.transactions)} transactions is not good ({kinds})", f"{first.kind}: {first.text}"]
            raise AssertionError("\n".join(parts + [one.describe(origin) for one in first.about]))

    def check(self):
        """All complaints, those that explain others first."""
        self.complaints = []
        self._learn()
        self._judge_finality()
        self._put_in_order()
        self._judge_order()
        has_order = not self.complaints
        self._judge_times()
        if has_order:
            self._replay()
            self._judge_refusals()
            for follower, events in self.feeds.items():
                self._judge_feed(follower, events)
        return self.complaints

    def _complain(self, kind, text, *about):
        self.complaints.append(Complaint(kind, text, list(about)))

    # ---- one transaction by itself ----

    def _judge_finality(self):
        for one in self.transactions:
            told = [(seen.outcome(), seen.answer.get("version")) for seen in one.seen if seen.outcome()]
            if one.final is not None:
                told.append((one.final["status"], one.final.get("version")))
            outcomes = {outcome for outcome, _ in told}
            if one.writes and len(outcomes) > 1:
                self._complain("changed", f"{one.name} was told to be {' and '.join(sorted(outcomes))}", one)
            versions = {version for outcome, version in told if outcome == "committed"}
            if one.writes and len(versions) > 1:
                self._complain("changed", f"{one.name} has the versions {sorted(versions)}", one)
            answered = [seen.http_status for seen in one.sent()]
            if answered and set(answered) == {503} and one.version() is not None:
                self._complain("shed", f"{one.name} was answered by 503 only, and committed", one)
            self._judge_fences(one)

    def _judge_fences(self, one):
        asked = min((seen.started for seen in one.seen if seen.is_question), default=math.inf)
        for seen in one.sent():
            if seen.reason() == "fenced" and asked > seen.ended:
                self._complain("fenced", f"{one.name} was refused as fenced, and nobody had asked for it", one)

    # ---- the order ----

    def _put_in_order(self):
        self.owners = {}
        for one in self.transactions:
            version = one.version()
            if version is None:
                continue
            if version in self.owners:
                self._complain("twice", f"version {version} was given to two", self.owners[version], one)
            self.owners[version] = one

    def _judge_order(self):
        for version in range(self.first_version + 1, self.last_version + 1):
            if version not in self.owners:
                around = [self.owners[near] for near in (version - 1, version + 1) if near in self.owners]
                self._complain("gap", f"nobody has version {version}, of {self.first_version + 1} to {self.last_version}", *around)
                return
        for version in self.owners:
            if not self.first_version < version <= self.last_version:
                self._complain("gap", f"version {version} is beyond {self.first_version + 1} to {self.last_version}", self.owners[version])
                return

    # ---- against the model ----

    def _writer(self, read, after, until):
        """The first commit with a version above `after`, at most `until`, that wrote in what was read; None: none did."""
        for version in range(max(after, self.first_version) + 1, min(until, self.last_version) + 1):
            if any(write.hits(read) for write in self.owners[version].writes):
                return self.owners[version]
        return None

    def _judge_place(self, one, until, values):
        """`one` is placed behind the commit `until`, where `values` hold."""
        for read in one.reads:
            writer = self._writer(read, read.version, until)
            if writer is not None:
                text = f"{one.name} was let pass behind version {until}, although {writer.name} had written after version {read.version}"
                self._complain("stale", text, one, writer)
            elif read.value is not ANY and values.get(read.begin) != read.value:
                text = f"{one.name} took {read.begin!r} to hold {read.value!r}, but behind version {until} it held {values.get(read.begin)!r}"
                self._complain("value", text, one)

    def _replay(self):
        checks = {}
        for one in self.transactions:
            if not one.writes:
                for seen in one.sent():
                    if seen.outcome() == "committed":
                        checks.setdefault(seen.answer["version"], []).append(one)
        values = {}
        for version in range(self.first_version, self.last_version + 1):
            if version > self.first_version:
                one = self.owners[version]
                self._judge_place(one, version - 1, values)
                for write in one.writes:
                    if write.end is None:
                        values[write.begin] = write.value
                    else:
                        for key in values:
                            if write.begin <= key < write.end:
                                values[key] = None
            for check in checks.pop(version, ()):
                self._judge_place(check, version, values)
        for version, wrong in checks.items():
            self._complain("gap", f"{wrong[0].name} was checked at version {version}, which never was", wrong[0])

    def _judge_refusals(self):
        for one in self.transactions:
            for seen in one.sent():
                if seen.http_status == 409 and seen.reason() == "conflict":
                    self._judge_conflict(one, seen)
                elif seen.http_status == 409 and seen.reason() == "too_old":
                    for index in seen.answer["conflicts"]:
                        if one.reads[index].version >= self.oldest_read_version:
                            self._complain("too old", f"precondition {index} of {one.name} is within the window", one)

    def _judge_conflict(self, one, seen):
        known = self.known_before(one.started())
        if not seen.answer.get("conflicts"):
            self._complain("false", f"{one.name} was refused for nothing", one)
        for index, read in enumerate(one.reads):
            writer = self._writer(read, read.version, seen.answer["version"])
            if index in seen.answer["conflicts"]:
                if writer is None:
                    text = f"nobody wrote what precondition {index} of {one.name} names, up to version {seen.answer['version']}"
                    self._complain("false", text, one)
            else:
                writer = self._writer(read, read.version, known)
                if writer is not None:
                    text = f"precondition {index} of {one.name} is not told of, although {writer.name} had been answered before"
                    self._complain("missed", text, one, writer)

    def _judge_feed(self, follower, events):
        expected = range(self.first_version + 1, self.last_version + 1)
        for version, event in itertools.zip_longest(expected, events):
            if event is None or version is None or event.version != version:
                told = "nothing" if event is None else f"version {event.version}"
                owner = self.owners.get(version)
                self._complain("feed", f"{follower} was told of {told} instead of version {version}", *([owner] if owner else []))
                return
            owner = self.owners[version]
            operations = [write.operation() for write in owner.writes]
            if event.request_id != owner.name or event.operations != operations:
                text = f"{follower} was told that version {version} is {event.request_id} with {event.operations}"
                self._complain("feed", text, owner)
                return

    # ---- time ----

    def _learn(self):
        """What was known when: the highest version that any answer had told of by then."""
        told = []
        for one in self.transactions:
            told += [seen for seen in one.seen if seen.answer is not None and seen.answer.get("version") is not None]
        told += [seen for seen in self.versions if seen.answer is not None]
        told.sort(key=lambda seen: seen.ended)
        self._ends, self._highest = [], []
        for seen in told:
            self._ends.append(seen.ended)
            self._highest.append(max(seen.answer["version"], self._highest[-1] if self._highest else self.first_version))

    def known_before(self, moment):
        at = bisect.bisect_left(self._ends, moment)
        return self._highest[at - 1] if at else self.first_version

    def _judge_times(self):
        for one in self.transactions:
            known = self.known_before(one.started())
            if one.version() is not None and one.version() <= known:
                earlier = self.owners.get(known)
                text = f"{one.name} has version {one.version()}, but version {known} had been told of before it was sent"
                self._complain("real time", text, one, *([earlier] if earlier else []))
            for seen in one.sent():
                fresh = seen.http_status == 409 or (seen.http_status == 200 and not one.writes)
                if fresh and seen.answer["version"] < self.known_before(seen.started):
                    text = f"{one.name} was told of version {seen.answer['version']}, older than {self.known_before(seen.started)}"
                    self._complain("real time", text, one)
        for seen in self.versions:
            if seen.answer is not None and seen.answer["version"] < self.known_before(seen.started):
                self._complain("real time", f"/v1/version said {seen.answer}, older than {self.known_before(seen.started)}")
