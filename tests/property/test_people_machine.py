"""Users and admins do anything, in any order, with the real command in real processes, some of which are killed.

Each example has two ledgers at one account, perhaps a copy of the first or one of an older version, and two servers
with the same ids. A person may bring about a second remote job where the provider is opaque and the person resends or
discards, or after a ledger's file was copied and both copies send; this is their own risk. What nobody may bring about
is in `people_laws`.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import currently_in_test_context, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from people_laws import Book, Laws, Row, Server
from people_processes import Act, Done
from people_stage import EXPERIMENTS, PLACES, Stage

from qjobs.lifecycle import JobStatus
from qjobs.model import RemoteRetryStrategy
from qjobs.testing.faults import Action, Fault, Route
from qjobs.testing.store import Habits, Refused

OLD_LEDGER = Path(__file__).parents[1] / "ledgers" / "ledger_schema_4.db"
SETTINGS = ("device reference", "device reference, without noise")
LEDGERS = ("one", "two", "copy")
FAULTS = (
    Fault(route=Route.SUBMIT, action=Action.DROP_AFTER),
    Fault(route=Route.SUBMIT, action=Action.DROP_BEFORE),
    Fault(route=Route.SUBMIT, action=Action.CODE_AFTER, code=502),
    Fault(route=Route.SUBMIT, action=Action.CODE_BEFORE, code=401),
    Fault(route=Route.SUBMIT, action=Action.CODE_BEFORE, code=400, proved=True),
    Fault(route=Route.SUBMIT, action=Action.DONE_LATE, seconds=10.0),
    Fault(route=Route.STATUS, action=Action.CODE_BEFORE, code=502),
    Fault(route=Route.STATUS, action=Action.CODE_BEFORE, code=401),
    Fault(route=Route.STATUS, action=Action.NOTHING),
    Fault(route=Route.FIND, action=Action.NOTHING),
    Fault(route=Route.RESULTS, action=Action.CUT),
    Fault(route=Route.CANCEL, action=Action.DROP_AFTER),
    Fault(route=Route.CANCEL, action=Action.CODE_BEFORE, code=502),
)
HAPPENINGS = ["time", "time", "faults", "faults", "broken", "block", "block", "copy", "retry there", "retry there"]
HAPPENINGS += ["delete there", "restore there"]
DAY_S = 86_400.0
UNSETTLED = {"UNKNOWN", "LOST"}
FORCEFUL = {RemoteRetryStrategy.FORCE_RESUBMIT, RemoteRetryStrategy.FULL_RESTART}
WAYS = st.sampled_from(list(RemoteRetryStrategy))
WHO = st.sampled_from(["one", "one", "one", "one", "two", "copy"])
WHICH = st.integers(0, 7)
FILES = st.sampled_from(list(EXPERIMENTS))
DEATH = st.one_of(st.just(0), st.just(0), st.integers(1, 60), st.integers(1, 2500))


class PeopleMachine(RuleBasedStateMachine):
    stage: Stage

    @initialize(
        variant=st.sampled_from(["findable", "opaque", "deduplicated"]),
        is_old=st.sampled_from([False, False, True]),
        faults=st.one_of(st.just([]), st.lists(st.sampled_from(FAULTS), min_size=1, max_size=2)),
        file=FILES,
        death=DEATH,
    )
    def begin(self, variant: str, is_old: bool, faults: list[Fault], file: str, death: int) -> None:
        self.stage.n_examples += 1
        self.folder = self.stage.folder / f"example-{self.stage.n_examples}"
        self.folder.mkdir()
        self.variant = variant
        for server in self.stage.servers:
            server.begin(variant)
        self.place, self.settings = PLACES[0], SETTINGS[0]
        self.places = {self.place}
        self.save_block()
        self.books = {name: Book(name, self.folder / f"{name}.db") for name in LEDGERS[:2]}
        if is_old:
            shutil.copy(OLD_LEDGER, self.books["one"].path)
        self.laws = Laws(self.stage.servers, list(self.books.values()))
        self.has_failed = False
        self.act(*[(("jobs", "list", "--ledger", str(book.path), "--create"), 0) for book in self.books.values()])
        self.server(self.place).provider.inject(*faults)
        self.run_experiment("one", file, RemoteRetryStrategy.DEFAULT, anew=False, death=death)

    # What is done, and what is looked at afterwards

    def act(self, *acts: tuple[tuple[str, ...], int]) -> list[Done]:
        """Run commands at once and check all laws."""
        if not acts:
            return []
        found = self.stage.people.do(*[Act(words=words, dies_at=dies_at) for words, dies_at in acts])
        for done in found:
            tell(f"{' '.join(done.words)}: {done.status} at {self.stage.people.clock.read():.0f}\n{done.err}{done.out}")
        try:
            for done in found:
                self.laws.check_done(done)
            self.laws.check()
        except BaseException:
            self.has_failed = True
            raise
        return found

    def save_block(self) -> None:
        url = self.server(self.place).url
        self.stage.people.block("one", url=url, lost_reply=self.variant, settings=self.settings)

    def server(self, name: str) -> Server:
        return self.stage.servers[PLACES.index(name)]

    def book(self, who: str) -> Book:
        return self.books.get(who) or self.books["one"]

    def pick(self, who: str, which: int) -> Row | None:
        """One of the newest jobs of a ledger."""
        jobs = self.book(who).jobs()[::-1]
        return jobs[which % len(jobs)] if jobs else None

    # Commands

    def run_words(self, who: str, file: str, way: RemoteRetryStrategy, *, anew: bool) -> tuple[str, ...]:
        words = ["run", str(self.stage.folder / f"{file}.json"), "--ledger", str(self.book(who).path), "--json"]
        words += ["--out", str(self.folder / "out"), "--strategy", way, "--max-submissions", "12"]
        return (*words, "--new") if anew else tuple(words)

    @rule(
        who=WHO, file=FILES, way=st.one_of(st.just(RemoteRetryStrategy.DEFAULT), WAYS), anew=st.booleans(), death=DEATH
    )
    def run_experiment(self, who: str, file: str, way: RemoteRetryStrategy, anew: bool, death: int) -> None:
        self.sanction_run(who, way)
        self.act((self.run_words(who, file, way, anew=anew), death))

    def sanction_run(self, who: str, way: RemoteRetryStrategy) -> None:
        """A run with such a strategy may end what its jobs have at the provider."""
        if way in FORCEFUL:
            self.laws.sanctioned |= {row.wish for row in self.book(who).jobs()}

    @rule(who=WHO, files=st.tuples(FILES, FILES), deaths=st.tuples(DEATH, DEATH))
    def run_two_at_once(self, who: str, files: tuple[str, str], deaths: tuple[int, int]) -> None:
        way = RemoteRetryStrategy.DEFAULT
        self.act(
            *[(self.run_words(who, file, way, anew=False), dies) for file, dies in zip(files, deaths, strict=True)]
        )

    def retry_words(self, row: Row, who: str, way: RemoteRetryStrategy, statuses: list[JobStatus]) -> tuple[str, ...]:
        words = ["jobs", "retry", row.job_id, "--ledger", str(self.book(who).path), "--strategy", way]
        for status in statuses:
            words += ["--status", status]
        return (*words, "--max-submissions", "12")

    @rule(who=WHO, which=WHICH, way=WAYS, statuses=st.lists(st.sampled_from(JobStatus), max_size=3), death=DEATH)
    def retry(self, who: str, which: int, way: RemoteRetryStrategy, statuses: list[JobStatus], death: int) -> None:
        if row := self.pick(who, which):
            if way in FORCEFUL:
                self.laws.sanctioned.add(row.wish)
            self.act((self.retry_words(row, who, way, statuses), death))

    @rule(who=WHO, which=WHICH, ways=st.tuples(WAYS, WAYS), deaths=st.tuples(DEATH, DEATH))
    def retry_twice_at_once(
        self,
        who: str,
        which: int,
        ways: tuple[RemoteRetryStrategy, RemoteRetryStrategy],
        deaths: tuple[int, int],
    ) -> None:
        if row := self.pick(who, which):
            if FORCEFUL & {*ways}:
                self.laws.sanctioned.add(row.wish)
            self.act(*[(self.retry_words(row, who, way, []), death) for way, death in zip(ways, deaths, strict=True)])

    @rule(who=WHO, which=WHICH, items=st.lists(st.integers(0, 2), max_size=2, unique=True), death=DEATH)
    def cancel(self, who: str, which: int, items: list[int], death: int) -> None:
        if row := self.pick(who, which):
            self.laws.sanctioned.add(row.wish)
            words = ["jobs", "cancel", row.job_id, "--ledger", str(self.book(who).path)]
            for item in items:
                words += ["--item", str(item)]
            self.act((tuple(words), death))

    @rule(who=WHO, which=WHICH, death=DEATH)
    def rerun(self, who: str, which: int, death: int) -> None:
        if row := self.pick(who, which):
            self.act((("jobs", "rerun", row.job_id, "again", "--ledger", str(self.book(who).path)), death))

    def unknown(self, who: str, which: int) -> Row | None:
        """A job in UNKNOWN or LOST, if there is one, else any."""
        rows = [row for row in self.book(who).jobs() if row.status in UNSETTLED]
        return rows[which % len(rows)] if rows else self.pick(who, which)

    @rule(who=WHO, which=WHICH, given=WHICH, is_adopted=st.booleans(), is_right=st.booleans(), death=DEATH)
    def decide(self, who: str, which: int, given: int, is_adopted: bool, is_right: bool, death: int) -> None:
        row = self.unknown(who, which)
        if row is not None and is_adopted:
            self.adopt(row, who, given, is_right=is_right, death=death)
        elif row is not None:
            self.discard(row, who, is_careful=is_right, death=death)

    def adopt(self, row: Row, who: str, given: int, *, is_right: bool, death: int) -> None:
        here = self.server(self.place).made
        ids = [each.remote_id for each in here.values() if not is_right or each.wish == row.wish] or ["r99"]
        remote_id = ids[-1 - given % len(ids)]
        is_wrong = remote_id not in here or here[remote_id].wish != row.wish
        if is_wrong and self.variant == "opaque":  # nothing there shows whose it is: a person says so
            self.laws.said |= {row.wish} | ({here[remote_id].wish} if remote_id in here else set())
        (done,) = self.act((("jobs", "adopt", row.job_id, remote_id, "--ledger", str(self.book(who).path)), death))
        if is_wrong and self.variant != "opaque":
            assert done.status, f"{row.job_id} adopted {remote_id}, which is not its own"

    def discard(self, row: Row, who: str, *, is_careful: bool, death: int) -> None:
        """A careful person looks first whether it is there, and waits for what may be on its way."""
        if is_careful:
            self.pass_time(40)
        server = self.laws.at(row)
        server.store.run_due()
        claimed = self.book(who).claims().get(row.job_id, [])
        there = [each for each in server.made.values() if each.wish == row.wish]
        alive = [each for each in there if each.remote_id not in claimed or server.is_running(each.remote_id)]
        if alive and is_careful:
            return
        if alive or not is_careful:
            self.laws.said.add(row.wish)
        self.act((("jobs", "discard", row.job_id, "--ledger", str(self.book(who).path)), death))

    @rule(who=WHO, what=st.sampled_from(["sensor", "reconcile", "orphans"]), death=DEATH)
    def look(self, who: str, what: str, death: int) -> None:
        path = str(self.book(who).path)
        self.act((("sensor", path) if what == "sensor" else (what, "--ledger", path), death))

    @rule(who=WHO, file=FILES, death=DEATH)
    def sensor_beside_a_run(self, who: str, file: str, death: int) -> None:
        run = self.run_words(who, file, RemoteRetryStrategy.DEFAULT, anew=False)
        self.act((("sensor", str(self.book(who).path)), 0), (run, death))

    # What happens elsewhere

    def pass_time(self, seconds: float) -> None:
        self.stage.people.clock.advance(seconds)

    @rule(what=st.sampled_from(HAPPENINGS), data=st.data())
    def something_happens(self, what: str, data: st.DataObject) -> None:
        """Time, the provider and its own page, the block, a copy of the ledger's file."""
        where = self.server(data.draw(st.sampled_from([PLACES[0], *PLACES]), label="where"))
        match what:
            case "time":
                self.pass_time(data.draw(st.sampled_from([1, 10, 40, 400, 4000, DAY_S]), label="seconds"))
            case "faults":
                faults = st.lists(st.sampled_from(FAULTS), min_size=1, max_size=2)
                where.provider.inject(*data.draw(faults, label="faults"))
            case "broken":
                where.provider.break_items(dict.fromkeys(data.draw(st.sets(st.integers(0, 1))), "the device lost it"))
            case "block":
                if data.draw(st.sampled_from([True, True, False]), label="another server"):
                    self.place = PLACES[1 - PLACES.index(self.place)]
                else:
                    self.settings = SETTINGS[1 - SETTINGS.index(self.settings)]
                self.places.add(self.place)
                self.save_block()
            case "copy":
                self.copy_ledger()
            case _:
                self.touch_there(where, data.draw(WHICH, label="which"), what)

    def touch_there(self, server: Server, which: int, what: str) -> None:
        """Somebody presses Retry, or deletes a job, at the provider's own page."""
        ids = list(server.made)[::-1]
        if not ids:
            return
        remote_id = ids[which % len(ids)]
        if what == "retry there":
            with contextlib.suppress(Refused):
                server.provider.revive(remote_id)
                server.revived.add(remote_id)
        else:
            server.provider.forget(remote_id, forgotten=what == "delete there")

    def copy_ledger(self) -> None:
        """Both files go on; they have one id, so that they make the same keys."""
        if "copy" in self.books:
            return
        book = Book("copy", self.folder / "copy.db")
        with closing(sqlite3.connect(self.books["one"].path)) as ours, closing(sqlite3.connect(book.path)) as copy:
            ours.backup(copy)
        self.books["copy"] = book
        self.laws.books.append(book)
        self.laws.is_cloned = True

    # The end

    def teardown(self) -> None:
        if self.has_failed:
            return
        for server in self.stage.servers:
            server.provider.inject()
            server.store.habits = Habits()
        self.settings = SETTINGS[0]
        for place in sorted(self.places):
            self.place = place
            self.save_block()
            self.follow()
            self.enter_again()
            self.follow()
        self.laws.check_end()

    def follow(self) -> None:
        """Sensors look after all ledgers, until nothing is left to look after, or for some hours."""
        for seconds in (60, 700, 4000, 4000):
            open_ones = [book for book in self.books.values() if book.has_open()]
            self.stage.people.clock.advance(seconds)
            self.act(*[(("sensor", str(book.path)), 0) for book in open_ones])

    def enter_again(self) -> None:
        """Each job is entered once more, as a run does; of a copied ledger that of the first file."""
        for name in LEDGERS[:2]:
            for row in self.books[name].jobs():
                if row.status != "COMPLETED" and row.place == self.server(self.place).url:
                    self.act((self.retry_words(row, name, RemoteRetryStrategy.DEFAULT, []), 0))


def tell(words: str) -> None:
    """Show it with the steps of a failure."""
    if currently_in_test_context():
        note(words)


def check(stage: Stage, n_examples: int, n_steps: int) -> None:
    class Machine(PeopleMachine):
        pass

    Machine.stage = stage
    examples = settings(
        max_examples=n_examples, stateful_step_count=n_steps, deadline=None, derandomize=True, database=None
    )
    run_state_machine_as_test(Machine, settings=examples)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    made = Stage(tmp_path_factory.mktemp("people"))
    yield made
    made.close()


@pytest.mark.timeout(120)
def test_block_of_another_server(stage: Stage) -> None:
    """A block that opens another server gives a job no result of that one's job of the same id."""

    class Machine(PeopleMachine):
        pass

    Machine.stage = stage
    machine = Machine()
    ordinary = RemoteRetryStrategy.DEFAULT
    machine.begin("findable", False, [], "pair", 400)
    machine.retry("one", 0, ordinary, [], 0)
    machine.place = PLACES[1]
    machine.places.add(machine.place)
    machine.save_block()
    machine.run_experiment("two", "pair", ordinary, anew=False, death=0)
    machine.pass_time(100)
    machine.look("one", "sensor", 0)
    machine.teardown()


@pytest.mark.timeout(400)
def test_people(stage: Stage) -> None:
    """Whatever people do, no job is lost, none runs twice by itself, and every command says what happened."""
    check(stage, 6, 8)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_people_for_long(stage: Stage) -> None:
    """The same, with many more examples, and longer ones."""
    check(stage, 10, 12)
