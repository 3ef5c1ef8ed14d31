"""What is built is built once, from pins, and what cannot be built is said with the tool's own words."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cluster_rig import cache, modules, pip_settings, programs, releases, requirements, toolchain
from cluster_rig.errors import BuildError, MachineLacksError, RefusedError
from cluster_rig.releases import RELEASES, Release

RIG = Path(__file__).parents[2] / "rig"


def rig(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """One call of the rig's command line."""
    command = [sys.executable, "-m", "cluster_rig", *arguments]
    everything = {**os.environ, "PYTHONPATH": str(RIG), **environ}
    return subprocess.run(command, env=everything, capture_output=True, text=True)


def test_a_built_program_is_found_without_building(control_plane: object) -> None:
    first = rig("path", "kubectl")
    assert Path(first.stdout.strip()).is_file()
    assert first.stderr == ""


def test_an_unknown_program_is_refused_with_the_known_ones() -> None:
    done = rig("build", "etcdd")
    assert done.returncode == 1
    assert (
        "no such program: etcdd (there are containerd, containerd-shim-runc-v2, coredns, ctr, etcd, helm,"
        in done.stderr
    )


def test_a_program_that_does_not_compile_says_what_go_said(control_plane: object) -> None:
    broken = programs.Program(name="broken", package="./not-there")
    with pytest.raises(BuildError, match=r"broken did not build:\n.*not-there"):
        programs.build([broken])


def test_a_release_is_chosen_by_its_minor_version_or_by_its_whole_one() -> None:
    assert releases.chosen({}) is releases.NEWEST
    for release in RELEASES:
        assert releases.chosen({releases.VARIABLE: release.minor}) is release
        assert releases.chosen({releases.VARIABLE: release.version}) is release


def test_a_release_that_the_rig_does_not_build_is_refused_with_the_known_ones() -> None:
    message = r"the rig builds no Kubernetes 1\.31: set O365MAILER_TEST_KUBERNETES to one of 1\.32, .*, 1\.37"
    with pytest.raises(RefusedError, match=message):
        releases.chosen({releases.VARIABLE: "1.31"})


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.version)
def test_each_release_is_pinned_with_its_libraries_and_containerd(release: Release) -> None:
    kubernetes = modules.kubernetes(release)
    pinned = {tuple(line.split()[:2]) for line in kubernetes.pins()}
    for path in ("k8s.io/api", "k8s.io/apiserver", "k8s.io/client-go", "k8s.io/kubelet", "k8s.io/cri-client"):
        assert {(path, release.libraries), (path, f"{release.libraries}/go.mod")} <= pinned
    assert ("k8s.io/kubernetes", f"v{release.version}") in pinned
    assert release.containerd is None or len(modules.containerd(release.containerd).pins()) == 2


def test_nothing_is_pinned_that_no_release_uses() -> None:
    used = {line for release in RELEASES for line in modules.kubernetes(release).pins()}
    used |= {
        line for release in RELEASES if release.containerd for line in modules.containerd(release.containerd).pins()
    }
    assert set(modules.PINS.read_text(encoding="utf-8").splitlines()) == used


def test_a_published_module_that_differs_from_its_pin_is_refused(
    control_plane: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, version = toolchain.find(), releases.chosen().libraries
    assert modules.download(go, "k8s.io/api", version)["Sum"]
    text = modules.PINS.read_text(encoding="utf-8")
    (tmp_path / "go.mod").write_text((modules.PINS.parent / "go.mod").read_text(encoding="utf-8"))
    (tmp_path / "go.sum").write_text(text.replace(f"k8s.io/api {version} h1:", f"k8s.io/api {version} h1:AAAA"))
    monkeypatch.setattr(modules, "PINS", tmp_path / "go.sum")
    with pytest.raises(BuildError, match=r"k8s.io/api v\S+ could not be had:\n.*checksum mismatch"):
        modules.download(go, "k8s.io/api", version)


def test_the_libraries_of_kubernetes_get_versions() -> None:
    upstream = """\
\tk8s.io/api v0.0.0
\tk8s.io/sample-apiserver v0.0.0
\tk8s.io/utils v0.0.0-20260626114624-be93311217bd
\tk8s.io/api => ./staging/src/k8s.io/api
\tk8s.io/sample-apiserver => ./staging/src/k8s.io/sample-apiserver
"""
    assert (
        modules.kubernetes(releases.NEWEST).with_versions(upstream)
        == f"""\
\tk8s.io/api {releases.NEWEST.libraries}
\tk8s.io/utils v0.0.0-20260626114624-be93311217bd
\tk8s.io/api => k8s.io/api {releases.NEWEST.libraries}
"""
    )


def test_the_version_of_go_is_compared_to_the_patch() -> None:
    assert toolchain.version_in("go version go1.26.8 linux/amd64") == (1, 26, 8) >= toolchain.needed_version()
    assert toolchain.version_in("module x\n\ngo 1.26.6\n") == (1, 26, 6)
    assert toolchain.version_in("no such program") == ()


def assets(folder: Path, *, version: str) -> Path:
    """A directory as setup-envtest makes it, whose API server knows its version alone."""
    for name in programs.IN_ASSETS:
        (folder / name).write_text(f"#!/bin/sh\necho Kubernetes {version}\n")
        (folder / name).chmod(0o755)
    return folder


def test_programs_that_are_there_already_are_used(tmp_path: Path) -> None:
    given = str(assets(tmp_path, version=f"v{releases.chosen().version}"))
    for name in programs.IN_ASSETS:
        done = rig("path", name, KUBEBUILDER_ASSETS=given)
        assert (done.stdout.strip(), done.stderr) == (f"{given}/{name}", "")


def test_another_version_of_the_given_programs_is_said(tmp_path: Path) -> None:
    done = rig("path", "kubectl", KUBEBUILDER_ASSETS=str(assets(tmp_path, version="v1.30.0")))
    run_with = f"the tests run with Kubernetes v{releases.chosen().version}"
    assert done.returncode == 0
    assert done.stderr == f"cluster: KUBEBUILDER_ASSETS has Kubernetes v1.30.0; {run_with}\n"


def test_given_programs_that_are_not_complete_are_refused(tmp_path: Path) -> None:
    (assets(tmp_path, version="v1.30.0") / "etcd").unlink()
    done = rig("path", "kubectl", KUBEBUILDER_ASSETS=str(tmp_path))
    assert done.returncode == 3
    assert "has no etcd: name one that `setup-envtest use` made" in done.stderr


def test_a_cache_that_cannot_be_written_says_which_variable_to_set(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MachineLacksError, match="set O365MAILER_CACHE to one you may write"):
        cache.directory({"O365MAILER_CACHE": str(tmp_path / "file" / "below")})


def test_the_cache_follows_the_users_setting(tmp_path: Path) -> None:
    assert cache.directory({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "o365mailer"
    assert cache.directory({"O365MAILER_CACHE": str(tmp_path / "x")}) == tmp_path / "x"


@pytest.mark.parametrize("changed", [[b"a", b"c"], [b"b", b"a"], [b"ab"], [b"a", b"b", b""]])
def test_the_fingerprint_changes_with_every_part_and_their_order(changed: list[bytes]) -> None:
    assert cache.fingerprint([b"a", b"b"]) == cache.fingerprint([b"a", b"b"])
    assert cache.fingerprint(changed) != cache.fingerprint([b"a", b"b"])


def test_a_second_run_waits_for_the_first_and_says_so(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from cluster_rig import cache\nwith cache.locked(pathlib.Path(sys.argv[1])): print('in')"
    )
    environ = {**os.environ, "PYTHONPATH": str(RIG)}
    command = [sys.executable, "-c", program, str(tmp_path / "build.lock")]
    with cache.locked(tmp_path / "build.lock"):
        second = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert second.stderr
        assert second.stderr.readline() == "cluster: another run holds build.lock: waiting for it\n"
        assert second.poll() is None
    assert second.communicate(timeout=20)[0] == "in\n"


def test_what_the_node_lacks_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = requirements.Package(name="absent-package", brings="absent-program", reason="nothing")
    monkeypatch.setattr(requirements, "PACKAGES", (absent,))
    with pytest.raises(MachineLacksError, match=r"missing: absent-package \(`make setup-node` as root on Debian"):
        requirements.check_node()


def test_a_service_that_a_package_starts_is_stopped_now_and_at_the_next_boot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for program in ("systemctl", "service", "update-rc.d"):
        path = tmp_path / program
        path.write_text(f'#!/bin/sh\necho {program} "$@" >> {tmp_path}/said\nexit 1\n')
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    requirements.switch_off("prometheus")
    with_systemd = ["systemctl disable --now prometheus"]
    without = ["service prometheus stop", "update-rc.d prometheus disable"]
    booted = Path("/run/systemd/system").is_dir()
    assert (tmp_path / "said").read_text().splitlines() == (with_systemd if booted else without)


def test_pips_settings_reach_a_build_whatever_they_are() -> None:
    listed = [
        "global.index-url='https://index.example/simple'",
        "global.cert='/etc/corporate.pem'",
        "install.find-links='/opt/one\\n/opt/two'",
        "global.target='/home/someone'",
        ":env:.default-timeout='180'",
        ":env:.index-url='https://other.example/simple'",
        "not a setting",
    ]
    assert pip_settings.render(pip_settings.parse(listed)) == (
        "[global]\n"
        "index-url = https://other.example/simple\n"
        "cert = /run/pip-ca.crt\n"
        "default-timeout = 180\n"
        "[install]\n"
        "find-links = /opt/one /opt/two\n"
    )
