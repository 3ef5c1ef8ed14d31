"""Part of `make soak`: mutmut breaks the pure modules in every way it knows, and this prints what no test noticed.

The result is advice and no gate: some of these changes alter nothing that matters, and some tests that would notice run
the code in another process, which mutmut cannot see. Read a module's survivors when you have changed it.

mutmut finds code in `src` alone, so the packages are laid out there, in a copy of the tree.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parents[2]
PACKAGES = ("contract", "operator", "sidecar", "cli", "emulator")
BESIDE = ("rig", "benchmarks", "docs", "demo", "crds", "charts", "examples")

MODULES = (
    "o365mailer_contract/quantities.py",
    "o365mailer_contract/settings.py",
    "o365mailer_operator/controller/decision.py",
    "o365mailer_operator/token/credential.py",
    "o365mailer_operator/token/endpoints.py",
    "o365mailer_operator/token/schedule.py",
    "o365mailer_operator/webhook/patch.py",
    "o365mailer_operator/webhook/resources.py",
    "o365mailer_sidecar/backoff.py",
    "o365mailer_sidecar/message/address_list.py",
    "o365mailer_sidecar/message/policy.py",
    "o365mailer_sidecar/queue/retry.py",
    "o365mailer_sidecar/upstream/blocks.py",
    "o365mailer_sidecar/upstream/classify.py",
    "o365mailer_sidecar/upstream/refusal_cache.py",
)
TESTS = (
    "tests/contract",
    "tests/controller/test_decisions.py",
    "tests/token/test_credential.py",
    "tests/token/test_endpoints.py",
    "tests/token/test_hostile_secrets.py",
    "tests/token/test_schedule.py",
    "tests/webhook/test_injected_resources.py",
    "tests/webhook/test_injection_properties.py",
    "tests/sidecar/test_addresses.py",
    "tests/sidecar/test_author.py",
    "tests/sidecar/test_backoffs.py",
    "tests/sidecar/test_cooldown.py",
    "tests/sidecar/test_policy.py",
    "tests/sidecar/test_retry.py",
    "tests/sidecar/test_verdict.py",
)


def lay_out(tree: pathlib.Path, modules: list[str]) -> None:
    """The copy that mutmut works in."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package / f"o365mailer_{package}", tree / "src" / f"o365mailer_{package}")
    for name in (*BESIDE, "tests"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    settings = {
        "source_paths": ["src"],
        "only_mutate": [f"src/{module}" for module in modules],
        "also_copy": list(BESIDE),
        "pytest_add_cli_args_test_selection": list(TESTS),
    }
    table = "".join(f"{name} = {value}\n" for name, value in settings.items())
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (tree / "pyproject.toml").write_text(f"{project}\n[tool.mutmut]\n{table}", encoding="utf-8")


def main(modules: list[str]) -> int:
    """1 if mutmut could not run; survivors are no failure."""
    with tempfile.TemporaryDirectory(prefix="mutmut-") as folder:
        tree = pathlib.Path(folder)
        lay_out(tree, modules)
        mutmut = [sys.executable, "-m", "mutmut"]
        with (tree / "log").open("w+", encoding="utf-8") as log:
            if subprocess.run([*mutmut, "run"], cwd=tree, stdout=log, stderr=log).returncode:
                print((tree / "log").read_text(encoding="utf-8")[-3000:], file=sys.stderr)
                return 1
        results = subprocess.run([*mutmut, "results", "--all", "true"], cwd=tree, capture_output=True, text=True).stdout
        told = dict(line.strip().rsplit(": ", 1) for line in results.splitlines() if ": " in line)
        survived = [name for name, result in told.items() if result == "survived"]
        for name in survived:
            print(subprocess.run([*mutmut, "show", name], cwd=tree, capture_output=True, text=True).stdout)
        print(f"{len(told)} changes, {len(survived)} noticed by no test")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(MODULES)))
