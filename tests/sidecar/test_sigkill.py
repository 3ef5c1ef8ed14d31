"""SIGKILL under load while Exchange comes and goes: what was acknowledged arrives, whatever was going on.

A killed process loses no page cache: that every order of writes is safe is shown elsewhere, on a simulated disk. This
shows that no moment of the relay's own flow loses a message: two sidecars share one spool, die in turn and find what
the other one left.
"""

import os
import random
import threading
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from support.emulator_client import EmulatorClient
from support.seeds import SEED
from support.sidecar_process import MailerDirectory, Sidecar, Wire
from support.spooling import queued, spooling

KILLS = int(os.environ.get("O365MAILER_SOAK_KILLS", "100"))
"""`make soak` asks for more."""

LANES = 2
GRACE = ("--grace", "55s", "--log-level", "debug")
RECIPIENTS = ("a@example.com", "b@example.com")

TROUBLE = (
    {"step": "connect", "reply": "421 4.3.2 Service not available", "times": 4},
    {"step": "body", "reply": "451 4.7.0 Temporary server error", "times": 6},
    {"step": "body", "close": True, "record": True, "times": 3},
    {"step": "body", "delay": 0.3, "times": 4},
    {"step": "mail", "close": True, "times": 3},
    {"step": "mail", "reply": "432 4.3.2 Concurrent connections limit exceeded", "times": 3},
    {"step": "rcpt", "match": "b@*", "reply": "450 4.2.1 Try later", "times": 5},
    {"step": "data", "close": True, "times": 2},
)
"""One of them at a time, all of which time heals."""


class Load:
    """Apps that send until their sidecar dies, and what they were told."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.lock = threading.Lock()
        self.acknowledged: set[str] = set()
        self.sent = 0

    def nonce(self) -> str:
        """A subject that no other message has."""
        with self.lock:
            self.sent += 1
            return f"n{self.sent}"

    def run(self, sidecar: Sidecar, enough: threading.Event) -> None:
        """One app: a message after another over one connection."""
        try:
            with Wire(sidecar.port) as app:
                while True:
                    nonce = self.nonce()
                    own_id = f"Message-ID: <{nonce}@app.example>\r\n" if self.sent % 2 else ""
                    app.begin("noreply@contoso.com", *RECIPIENTS)
                    if app.deliver(f"{own_id}Subject: {nonce}\r\n\r\nbody\r\n".encode()).startswith("250 "):
                        with self.lock:
                            self.acknowledged.add(nonce)
                    enough.set()
        except (OSError, AssertionError):
            enough.set()

    def one_life(self, directory: MailerDirectory, folder: Path) -> None:
        """A sidecar from its start to its kill."""
        sidecar = Sidecar(directory.path, arguments=("--spool-dir", str(folder / "spool")))
        enough = threading.Event()
        apps = [threading.Thread(target=self.run, args=(sidecar, enough)) for _ in range(2)]
        for app in apps:
            app.start()
        enough.wait(20)
        with self.lock:
            longer = self.dice.uniform(0, 0.15)
        threading.Event().wait(longer)
        sidecar.process.kill()
        sidecar.ended()
        for app in apps:
            app.join(30)


def flap(emulator: EmulatorClient, dice: random.Random, over: threading.Event) -> None:
    """Exchange comes and goes."""
    while not over.wait(dice.uniform(0.05, 0.4)):
        emulator.control("DELETE", "/script")
        if dice.random() < 0.7:
            rule = dict(dice.choice(TROUBLE))
            emulator.script(str(rule.pop("step")), **rule)
        if dice.random() < 0.2:
            emulator.disconnect()


@pytest.mark.promise("spool-survives-crash")
@pytest.mark.timeout(120 + 3 * KILLS)
def test_no_acknowledged_message_is_lost_and_none_comes_twice_as_another(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load, over = Load(SEED), threading.Event()
    emulator.settings(keptMessages=10**6)
    directory.write_for(emulator, delivery={"confirmWithin": "100ms"})
    flapping = threading.Thread(target=flap, args=(emulator, random.Random(SEED), over))

    def lane() -> None:
        for _ in range(KILLS // LANES):
            load.one_life(directory, tmp_path)

    lanes = [threading.Thread(target=lane) for _ in range(LANES)]
    for thread in (flapping, *lanes):
        thread.start()
    for thread in lanes:
        thread.join()
    over.set()
    flapping.join()
    emulator.control("DELETE", "/script")
    emulator.release()
    waiting = len(queued(tmp_path))
    # SIGTERM tries everything once more, whatever its schedule; two, because there are two partitions.
    with (
        spooling(directory, tmp_path, arguments=GRACE) as first,
        spooling(directory, tmp_path, arguments=GRACE) as second,
    ):
        first.event("spool_recovered")
        second.event("spool_recovered")

    copies: Counter[tuple[str, str]] = Counter()
    ids: dict[str, set[str]] = defaultdict(set)
    for message in emulator.messages(content=False):
        headers = dict(message["headers"])
        ids[headers["Subject"]].add(headers["Message-ID"])
        copies.update((headers["Subject"], to) for to in message["recipients"])
    lost = [(nonce, to) for nonce in load.acknowledged for to in RECIPIENTS if not copies[nonce, to]]
    twice = sum(count - 1 for count in copies.values())
    with capsys.disabled():
        print(
            f"\nseed {SEED}: {KILLS} kills, {len(load.acknowledged)} of {load.sent} acknowledged, "
            f"{waiting} in the spool at the end, {len(lost)} lost, {twice} copies too many"
        )
    assert load.acknowledged, "there was a load"
    assert lost == []
    assert [nonce for nonce, several in ids.items() if len(several) > 1] == [], "copies have one Message-ID"
