"""Which tests start no process: what `make test-fast` (pytest --phase=fast) runs while you write code.

There is no list to keep. A test is fast if it has no time limit of its own, and if nothing that it or its fixtures name
leads to a module of STARTERS, followed through the functions and classes of this repository.
"""

import functools
import itertools
import multiprocessing
import pathlib
import subprocess
import types
from collections.abc import Iterable, Iterator

import pytest

ROOT = pathlib.Path(__file__).parents[2]
STARTERS = (subprocess, multiprocessing)


@functools.cache
def is_ours(file: str) -> bool:
    """Whether the code is of this repository and not of its environment."""
    path = pathlib.Path(file)
    return path.is_relative_to(ROOT) and not path.is_relative_to(ROOT / ".venv")


def functions_of(value: object) -> Iterator[types.FunctionType]:
    """The function itself, also below a decorator, or the methods of a class; of this repository's."""
    if isinstance(value, type):
        for member in itertools.chain.from_iterable(vars(base).values() for base in value.__mro__):
            method = getattr(member, "fget", None) or getattr(member, "__func__", member)
            if not isinstance(method, type):
                yield from functions_of(method)
        return
    while value is not None:
        if isinstance(value, types.FunctionType) and is_ours(value.__code__.co_filename):
            yield value
        value = getattr(value, "__wrapped__", None)


def names_in(code: types.CodeType) -> set[str]:
    """Every global and attribute that it names, the functions inside it included."""
    inner = (names_in(constant) for constant in code.co_consts if isinstance(constant, types.CodeType))
    return set(code.co_names).union(*inner)


@functools.cache
def named_by(function: types.FunctionType) -> tuple[object, ...]:
    """The values of the names: globals, attributes of modules, and what a closure holds."""
    names = names_in(function.__code__)
    found = [function.__globals__[name] for name in names if name in function.__globals__]
    found += [cell.cell_contents for cell in function.__closure__ or () if cell.cell_contents is not function]
    modules = [value for value in found if isinstance(value, types.ModuleType)]
    return (*found, *(getattr(module, name) for module in modules for name in names if hasattr(module, name)))


def starts_a_process(functions: Iterable[object]) -> bool:
    """Whether one of them leads to a module that starts processes."""
    waiting, seen = list(functions), set()
    while waiting:
        value = waiting.pop()
        if any(value is starter for starter in STARTERS):
            return True
        if id(value) not in seen:
            seen.add(id(value))
            waiting += value.values() if isinstance(value, dict) else ()
            for function in functions_of(value):
                waiting += named_by(function)
    return False


@functools.cache
def lead_to_a_process(uses: tuple[object, ...]) -> bool:
    """`starts_a_process`, remembered: the cases of a parametrised test use the same functions."""
    return starts_a_process(uses)


def is_fast(item: pytest.Item) -> bool:
    """Whether the test has no time limit of its own and starts no process."""
    if not isinstance(item, pytest.Function) or item.get_closest_marker("timeout"):
        return False
    fixtures = [definitions[-1].func for definitions in item._fixtureinfo.name2fixturedefs.values()]  # noqa: SLF001
    return not lead_to_a_process((item.function, *fixtures))
