"""What the node cluster needs of the machine: asked before anything starts, and installed by `setup-node`."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cluster_rig import cache
from cluster_rig.errors import MachineLacksError

CNI_PLUGINS = Path("/usr/lib/cni")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, kw_only=True)
class Package:
    """A Debian package, found by a program or file that it brings."""

    name: str
    brings: str
    reason: str
    answers: tuple[str, ...] = ()
    """What debconf would ask, in the words of debconf-set-selections."""
    service: str = ""
    """A service that the package starts and that no test needs."""

    def is_installed(self) -> bool:
        """Whether the machine has what the package brings, from whatever source."""
        if self.brings.startswith("/"):
            return Path(self.brings).exists()
        return shutil.which(self.brings, path=search_path()) is not None


PACKAGES = (
    Package(name="containerd", brings="containerd", reason="runs the containers"),
    Package(name="runc", brings="runc", reason="starts them"),
    Package(name="containernetworking-plugins", brings=str(CNI_PLUGINS / "ptp"), reason="gives pods their addresses"),
    Package(name="iptables", brings="iptables", reason="kube-proxy's Service addresses"),
    Package(name="conntrack", brings="conntrack", reason="kube-proxy forgets old connections with it"),
    Package(name="iproute2", brings="ip", reason="the cluster's link to this machine"),
    Package(name="debootstrap", brings="debootstrap", reason="the base image, where no registry is at hand"),
    Package(name="buildah", brings="buildah", reason="builds images where neither docker nor podman answers"),
)

PEERS = (
    Package(name="strace", brings="strace", reason="sees what the spool asks of the disk"),
    Package(name="e2fsprogs", brings="mkfs.ext4", reason="makes the small disk that the tests fill up"),
    Package(name="swaks", brings="swaks", reason="one of the SMTP clients that the tests send with"),
    Package(name="libnet-ssleay-perl", brings="/usr/share/doc/libnet-ssleay-perl", reason="swaks' TLS"),
    Package(name="curl", brings="curl", reason="sends mail from scripts"),
    Package(name="msmtp", brings="msmtp", reason="the sendmail binary of many images"),
    Package(name="s-nail", brings="s-nail", reason="mailx"),
    Package(
        name="postfix",
        brings="postfix",
        reason="a queue in front of the relay, and a second parser after it",
        answers=("postfix postfix/main_mailer_type select No configuration",),  # else it would serve port 25
    ),
    Package(name="libsasl2-modules", brings="/usr/share/doc/libsasl2-modules", reason="Postfix's login"),
    Package(
        name="prometheus",
        brings="promtool",
        reason="reads the metrics, and judges the alerts and the dashboard",
        service="prometheus",
    ),
    Package(name="php-cli", brings="php", reason="PHP's mailers"),
    Package(name="php-mbstring", brings="/usr/share/doc/php-mbstring", reason="their encodings"),
    Package(name="libphp-phpmailer", brings="/usr/share/php/libphp-phpmailer/autoload.php", reason="PHPMailer"),
    Package(
        name="php-symfony-mailer",
        brings="/usr/share/php/Symfony/Component/Mailer/autoload.php",
        reason="the mailer of Symfony and Laravel",
    ),
    Package(name="ruby", brings="ruby", reason="Ruby's net/smtp"),
    Package(name="nodejs", brings="node", reason="runs nodemailer"),
    Package(name="npm", brings="npm", reason="brings nodemailer"),
    Package(name="default-jdk-headless", brings="javac", reason="runs Spring's mail sender"),
    Package(name="maven", brings="mvn", reason="brings Spring's and Jakarta Mail's jars"),
)
"""Real programs that tests talk to; the node does without them."""


def search_path() -> str:
    """PATH with the system directories, which a user's PATH may lack."""
    return f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}"


def missing(packages: Iterable[Package]) -> list[Package]:
    """The requirements that `setup-node` would install."""
    return [package for package in packages if not package.is_installed()]


def check_node() -> None:
    """Returns if a node can run here.

    Raises:
        MachineLacksError: it cannot; the text has every reason at once.
    """
    reasons = []
    if os.uname().sysname != "Linux":
        reasons.append("the node needs Linux")
    if os.geteuid() != 0:
        reasons.append("the node needs root")
    if not Path("/sys/fs/cgroup").is_dir():
        reasons.append("there is no /sys/fs/cgroup")
    if lacking := missing(PACKAGES):
        named = ", ".join(package.name for package in lacking)
        reasons.append(f"missing: {named} (`make setup-node` as root on Debian installs them)")
    if reasons:
        raise MachineLacksError("; ".join(reasons))


def install() -> None:
    """Installs what is missing with apt-get, and says what; does nothing when all is there.

    Raises:
        MachineLacksError: not root, not Debian, or apt-get failed.
    """
    lacking = missing((*PACKAGES, *PEERS))
    if not lacking:
        cache.say("nothing to install: the machine has all that the node and the tests need")
        return
    for package in lacking:
        cache.say(f"will install {package.name}: {package.reason}")
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise MachineLacksError("setup-node needs root and apt-get (Debian, Ubuntu): install the packages named above")
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    answers = "".join(f"{answer}\n" for package in lacking for answer in package.answers)
    subprocess.run(["debconf-set-selections"], input=answers, text=True, check=True)
    options = ["--quiet=2", "--yes", "--no-install-recommends", "--option=Dpkg::Options::=--force-confold"]
    for step in (["update", "--quiet=2"], ["install", *options, *(package.name for package in lacking)]):
        with cache.timed(f"apt-get {step[0]}"):
            done = subprocess.run(
                ["apt-get", *step], env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True
            )
        if done.returncode:
            raise MachineLacksError(f"apt-get {step[0]} failed:\n{done.stderr.strip()[-2000:]}")
    for service in (package.service for package in lacking if package.service):
        switch_off(service)


def switch_off(service: str) -> None:
    """Stops a service that a package has just started, now and at the next boot."""
    commands = [["service", service, "stop"], ["update-rc.d", service, "disable"]]
    if Path("/run/systemd/system").is_dir():  # sd_booted(3)
        commands = [["systemctl", "disable", "--now", service]]
    for command in commands:
        subprocess.run(command, capture_output=True)  # in a container nothing runs that could be stopped
