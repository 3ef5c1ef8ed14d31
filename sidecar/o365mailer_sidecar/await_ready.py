#!/app/bin/python3 -IS
"""`o365mailer-await-ready PORT [SECONDS] [TERMINATION_LOG]`: wait until the relay's /readyz answers 200.

It is the postStart hook of the injected container: kubelet starts the pod's next container when it returns
(kubernetes.io, "Container Lifecycle Hooks"). kubelet gives a hook no time limit, so this one has its own. kubelet also
hides a hook's output, so the reason of a failure goes to the termination log, which is shown in the pod's status.

The image has this file as a program. It runs without `site` (-S), so it sees the standard library alone; of that it
imports next to nothing: `socket` or `typing` would take longer than everything else here together.
"""

import _socket
import sys
import time

SECONDS = 30.0
"""How long it waits: a relay listens within a second, on a node that is short of processor time within ten."""
STEP = 0.02
"""Seconds between two questions."""
ANSWER = 1.0
"""Seconds for one answer."""
TERMINATION_LOG = "/dev/termination-log"
LOOPBACK = ((_socket.AF_INET, "127.0.0.1"), (_socket.AF_INET6, "::1"))
"""The health port is on both IP versions where the pod has both."""


def main(arguments: list[str]) -> int:
    """0 when the relay is ready; 1 when it was not in time."""
    port = int(arguments[0])
    seconds = float(arguments[1]) if arguments[1:] else SECONDS
    deadline = time.monotonic() + seconds
    while problem := unready(port):
        if time.monotonic() > deadline:
            fail(
                f"o365mailer: the relay was not ready within {seconds:g} seconds of its start, so the container was "
                f"stopped: port {port} {problem}. Read its log (kubectl logs POD -c o365mailer --previous). If the log "
                "names no error, the container had too little processor time: raise annotation "
                "o365mailer.dev/cpu-limit, or move the pod to a less busy node",
                arguments[2] if arguments[2:] else TERMINATION_LOG,
            )
            return 1
        time.sleep(STEP)
    return 0


def unready(port: int) -> str:
    """What /readyz on this port says instead of 200; empty when it is 200."""
    problem = ""
    for family, host in LOOPBACK:
        try:
            connection = _socket.socket(family, _socket.SOCK_STREAM)
            connection.settimeout(ANSWER)
            connection.connect((host, port))
            connection.send(b"GET /readyz HTTP/1.1\r\n\r\n")
            status = connection.recv(64).partition(b"\r\n")[0]
            connection.close()
        except OSError as error:  # the other IP version may answer
            problem = problem or f"of {host} gives no answer ({error.strerror or error})"
            continue
        return "" if status.startswith(b"HTTP/1.1 200 ") else f"of {host} answers {str(status)[2:-1]!r} to GET /readyz"
    return problem


def fail(text: str, termination_log: str) -> None:
    """Say it where a person looks."""
    sys.stderr.write(f"{text}\n")
    try:
        with open(termination_log, "w", encoding="utf-8") as log:  # noqa: PTH123  # pathlib is not worth its start
            log.write(text)
    except OSError as error:
        sys.stderr.write(f"{termination_log}: {error}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
