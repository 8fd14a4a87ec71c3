"""A systemd of its own for a test: it boots as PID 1 of new namespaces, with none of this machine's services.

The mounts that were made before it boots are there inside too, and what is frozen on either side is frozen on both.
What it mounts, unmounts and kills stays inside. Only its /run, /proc and cgroups are not this machine's.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Runs outside the new PID namespace until the machine has ended, and then takes its cgroups away.
LAUNCH = r"""
set -e
mkdir -p "$1"
mount -t cgroup2 cgroup2 "$1"
cgroup=$1/machine-$$
mkdir "$cgroup"
(
    echo 0 >"$cgroup/cgroup.procs"
    exec setpriv --pdeathsig KILL unshare --pid --fork --kill-child --cgroup --mount --uts --ipc $4 \
        sh -c "$2" boot "$3" "$1"
) || :
find "$cgroup" -depth -type d -exec rmdir {} +
"""

# Runs as PID 1, and becomes systemd. The process id that it writes is the one that this machine knows it by.
BOOT = r"""
set -e
read -r pid rest </proc/self/stat
umount "$2"
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -o remount,bind,ro /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for file in /dev/console /dev/kmsg /proc/swaps /proc/sysrq-trigger; do
    [ ! -e "$file" ] || mount --bind /dev/null "$file"
done
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/lock /run/machine /run/machine/units /run/machine/none
cd /usr/lib/systemd/system
cp -P sysinit.target basic.target local-fs-pre.target local-fs.target swap.target sockets.target timers.target \
    paths.target slices.target shutdown.target umount.target final.target poweroff.target systemd-poweroff.service \
    halt.target systemd-halt.service /run/machine/units
mount --bind /run/machine/units /usr/lib/systemd/system
for kind in lib local/lib; do
    for name in system-generators system-environment-generators system-shutdown system.conf.d; do
        [ ! -d "/usr/$kind/systemd/$name" ] || mount --bind /run/machine/none "/usr/$kind/systemd/$name"
    done
done
mount -t tmpfs -o mode=755 tmpfs /etc/systemd
mkdir /etc/systemd/system
printf '[Manager]\nShowStatus=no\nRuntimeWatchdogSec=off\nRebootWatchdogSec=off\n' >/etc/systemd/system.conf
cd /
echo "$pid" >"$1.new"
mv "$1.new" "$1"
exec env -i container=lxc PATH="$PATH" /usr/lib/systemd/systemd --system --unit=basic.target --log-target=null
"""


@dataclass(frozen=True)
class Machine:
    """A booted systemd: `prefix` goes before a command that is to run inside, `root` is its / as seen from outside."""

    launcher: subprocess.Popen[bytes]
    pid: int

    @property
    def prefix(self) -> tuple[str, ...]:
        # A shell forks, since nsenter would stop with what it started, as systemd shuts down, and then stay stopped.
        # That shell is in the outer PID namespace itself, where its builtins would run (kill!): hence the exec.
        namespaces = ("--mount", "--pid", "--cgroup", "--uts", "--ipc", "--net")
        enter = ("nsenter", f"--target={self.pid}", *namespaces, "--no-fork", "--")
        return (*enter, "sh", "-c", '(exec "$@"); exit $?', "sh")

    @property
    def root(self) -> Path:
        return Path(f"/proc/{self.pid}/root")

    def run(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self.prefix, *argv], check=check, capture_output=True, text=True, timeout=60)

    def state(self) -> str:
        """`running`, `degraded` and so on, or nothing as long as it does not answer."""
        return self.run("systemctl", "is-system-running", check=False).stdout.strip()

    def power_off(self, seconds: float = 30) -> None:
        """Shuts down as an instance does that is stopped, and waits for the end."""
        os.kill(self.pid, signal.SIGRTMIN + 4)
        end = time.monotonic() + seconds
        while self.launcher.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGCHLD)  # else it learns late of ends that parents outside hear of
        self.launcher.wait(timeout=0)

    def close(self) -> None:
        """Ends it at once, with all that runs inside."""
        if self.launcher.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        self.launcher.wait(timeout=30)


@contextlib.contextmanager
def booted(base: Path, *unshare_options: str, seconds: float = 20) -> Iterator[Machine]:
    """Boots a machine; more options of unshare(1), such as `--net`, give it more namespaces of its own."""
    pid_file, log, end = base / "systemd.pid", base / "systemd.log", time.monotonic() + seconds
    pid_file.unlink(missing_ok=True)
    command = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation=private", "sh", "-c", LAUNCH)
    with log.open("wb") as output:
        launcher = subprocess.Popen(
            [*command, "launch", str(base / "systemd-cgroup"), BOOT, str(pid_file), " ".join(unshare_options)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        while not pid_file.exists():
            if launcher.poll() is not None or time.monotonic() > end:
                raise TimeoutError(f"systemd did not start: {log.read_text()}")
            time.sleep(0.01)
        machine = Machine(launcher, int(pid_file.read_text()))
        while (state := machine.state()) not in {"running", "degraded"}:
            if launcher.poll() is not None or time.monotonic() > end:
                raise TimeoutError(f"systemd did not boot, its state is {state!r}: {log.read_text()}")
            time.sleep(0.02)
        yield machine
    finally:
        if pid_file.exists():
            Machine(launcher, int(pid_file.read_text())).close()
        else:
            launcher.kill()
            launcher.wait(timeout=30)
