"""Uses `countersign approvals watch` as a person would, at a terminal of its own.

Decides about the one request that waits, and says what the terminal showed and whether it was put back.
"""

import json
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
import fcntl

program, decision = sys.argv[1:]
child, terminal = pty.fork()
if child == 0:
    os.environ["TERM"] = "xterm"
    # So that the terminal can be looked at once the inbox has ended.
    if os.fork() == 0:
        os.execv(program, [program, "approvals", "watch"])
    os.wait()
    print("ENDED", flush=True)
    time.sleep(60)

fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
before = termios.tcgetattr(terminal)
shown = ""


def until(wanted):
    global shown
    deadline = time.monotonic() + 60
    while wanted not in shown:
        assert time.monotonic() < deadline, f"no {wanted!r} in {shown[-3000:]!r}"
        if select.select([terminal], [], [], 0.1)[0]:
            shown += os.read(terminal, 65536).decode(errors="replace")


def press(keys):
    global shown
    shown = ""
    os.write(terminal, keys.encode())


until("1 waiting")
# Pasted at once, with the key that confirms: nothing may be decided by that.
press(f"{decision[0]}looks right\ry")
until("exactly this")
pasted = shown
time.sleep(1)
press("y")
until(f"your vote to {decision} counts")
told = shown
press("q")
until("ENDED")
restored = termios.tcgetattr(terminal)[3] == before[3]
os.kill(child, signal.SIGKILL)
visible = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", pasted)
print(json.dumps({"pasted": visible, "told": told, "restored": restored}))
