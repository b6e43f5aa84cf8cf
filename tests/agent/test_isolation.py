"""Generations side by side in one process, and what the rest of the process sees of them."""

import importlib
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from taskroll_agent import Generation, LoadFailed, Registry
from taskroll_agent.fronts import ModuleFront

Load = Callable[[Mapping[str, str]], Generation]


def library(root: str, version: int) -> dict[str, str]:
    return {
        f"{root}.unit.Unit": f"class Unit:\n    version = {version}\n",
        f"{root}.comp.Comp": f"""
            import importlib, sys
            class Comp:
                version = {version}
                def by_statement(self):
                    from {root}.unit import Unit
                    return Unit.version
                def by_function(self):
                    return importlib.import_module("{root}.unit").Unit.version
                def by_exec(self):
                    scope = dict(globals())
                    exec("from {root}.unit import Unit", scope)
                    return scope["Unit"].version
                def by_eval(self):
                    return eval("__import__('{root}.unit').unit.Unit.version")
                def by_sys_modules(self):
                    return sys.modules["{root}.unit"].Unit.version
        """,
    }


@pytest.fixture
def registry() -> Iterator[Registry]:
    made = Registry()
    yield made
    made.close()


def activate(registry: Registry, generation: Generation) -> None:
    registry.activate(generation, epoch=registry.active.epoch + 1, release="r", request_id="q")


@pytest.mark.parametrize("way", ["by_statement", "by_function", "by_exec", "by_eval"])
def test_functions_of_an_old_generation_go_on_importing_from_it(
    load: Load, root: str, registry: Registry, way: str
) -> None:
    old, new = load(library(root, 1)), load(library(root, 2))
    activate(registry, old)
    running = old.get("Comp")()
    assert getattr(running, way)() == 1
    activate(registry, new)
    assert getattr(running, way)() == 1
    assert getattr(new.get("Comp")(), way)() == 2


def test_sys_modules_shows_the_leased_generation_to_the_call_and_the_current_one_to_others(
    load: Load, root: str, registry: Registry
) -> None:
    old, new = load(library(root, 1)), load(library(root, 2))
    activate(registry, old)
    with registry.lease():
        activate(registry, new)
        assert old.get("Comp")().by_sys_modules() == 1
        assert importlib.import_module(f"{root}.unit").Unit is old.get("Unit")
        others: list[int] = []
        thread = threading.Thread(target=lambda: others.append(sys.modules[f"{root}.unit"].Unit.version))
        thread.start()
        thread.join()
        assert others == [2]
    assert importlib.import_module(f"{root}.unit").Unit is new.get("Unit")


def test_code_outside_imports_the_current_generation(load: Load, root: str, registry: Registry) -> None:
    activate(registry, load(library(root, 1)))
    scope: dict[str, object] = {}
    exec(f"import {root}.comp\nfrom {root} import unit\nfrom {root}.unit import Unit", scope)
    assert scope[root].comp.Comp.version == 1  # type: ignore[attr-defined]
    activate(registry, load(library(root, 2)))
    assert scope[root].comp.Comp.version == 2, "a module got by import follows the flip"  # type: ignore[attr-defined]
    assert scope["unit"].Unit.version == 2  # type: ignore[attr-defined]
    assert scope["Unit"].version == 1, "a class got by import stays what it is"  # type: ignore[attr-defined]


def test_nothing_is_left_in_sys_modules_after_a_load_that_is_not_activated(load: Load, root: str) -> None:
    before = set(sys.modules)
    load(library(root, 1))
    assert {name for name in set(sys.modules) - before if name.startswith(root)} == set()


def test_during_a_load_other_threads_see_what_they_saw(
    load: Load, root: str, registry: Registry, until: Callable[..., object]
) -> None:
    activate(registry, load(library(root, 1)))
    inside, go_on = threading.Event(), threading.Event()
    sys.modules[gates := f"gates_{root}"] = types.SimpleNamespace(inside=inside, go_on=go_on)  # type: ignore[assignment]
    slow = library(root, 2) | {
        f"{root}.slow.Slow": f"import {gates} as g\ng.inside.set()\ng.go_on.wait(10)\nclass Slow: pass\n"
    }
    loaded: list[Generation] = []
    thread = threading.Thread(target=lambda: loaded.append(load(slow)))
    thread.start()
    try:
        assert inside.wait(10)
        assert sys.modules[f"{root}.unit"].Unit.version == 1
        assert not hasattr(sys.modules[f"{root}.slow"], "Slow"), "what only the load has is not shown to others"
    finally:
        go_on.set()
        thread.join()
        del sys.modules[gates]
    assert loaded[0].get("Unit").version == 2
    assert f"{root}.slow" not in sys.modules


def test_names_come_and_go_with_the_flip(load: Load, root: str, registry: Registry) -> None:
    activate(registry, load({f"{root}.a.A": "class A: pass", f"{root}.b.B": "class B: pass"}))
    activate(registry, load({f"{root}.b.B": "class B: pass", f"{root}.c.C": "class C: pass"}))
    assert f"{root}.a" not in sys.modules
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(f"{root}.a")
    assert importlib.import_module(f"{root}.c").C
    registry.close()
    assert root not in sys.modules


def test_a_new_generation_does_not_find_a_module_that_only_the_current_one_has(
    load: Load, root: str, registry: Registry
) -> None:
    activate(registry, load({f"{root}.gone.Gone": "class Gone: pass", f"{root}.m.M": "class M: pass"}))
    with pytest.raises(LoadFailed) as caught:
        load({f"{root}.m.M": f"import {root}.gone\nclass M: pass"})
    assert caught.value.problems[0].error == "ModuleNotFoundError"
    assert f"no module named {root}.gone" in caught.value.problems[0].message
    with pytest.raises(LoadFailed) as caught:
        load({f"{root}.m.M": f"from {root} import gone\nclass M: pass"})
    assert caught.value.problems[0].error == "ImportError"


@pytest.fixture
def disk(tmp_path: Path, root: str) -> Iterator[Path]:
    """A package of the process's own, on disk, under the same root as released modules."""
    package = tmp_path / root
    (package / "sub").mkdir(parents=True)
    (package / "__init__.py").write_text("constant = 'from disk'\n")
    (package / "plain.py").write_text("value = 'plain'\n")
    (package / "sub" / "__init__.py").write_text("")
    (package / "sub" / "deep.py").write_text(f"import {root}.plain\nvalue = {root}.plain.value + ' deep'\n")
    (package / "unit.py").write_text("class Unit:\n    version = 'stale, on disk'\n")
    sys.path.insert(0, str(tmp_path))
    importlib.invalidate_caches()
    yield package
    sys.path.remove(str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == root]:
        del sys.modules[name]


@pytest.mark.parametrize("imported_before", [False, True])
def test_ordinary_modules_beside_released_ones_stay_the_process_s_own(
    load: Load, root: str, disk: Path, registry: Registry, imported_before: bool
) -> None:
    if imported_before:
        importlib.import_module(f"{root}.plain")
        importlib.import_module(f"{root}.unit")
    sources = library(root, 2) | {
        f"{root}.sub.more.More": f"""
            import {root}.plain, {root}.sub.deep
            from {root} import constant, plain, unit
            from .. import plain as relative
            from .deep import value
            class More:
                seen = [constant, plain.value, {root}.plain.value, relative.value, value, unit.Unit.version]
                def late(self):
                    import {root}.sub.deep
                    return {root}.sub.deep.value
        """
    }
    for _ in range(2):
        generation = load(sources)
        assert generation.get("More").seen == ["from disk", "plain", "plain", "plain", "plain deep", 2]
        activate(registry, generation)
        assert generation.get("More")().late() == "plain deep"
    plain = sys.modules[f"{root}.plain"]
    assert not isinstance(plain, ModuleFront)
    assert importlib.import_module(f"{root}.unit").Unit.version == 2, "a released module wins over one on disk"
    assert importlib.import_module(root).constant == "from disk"
    registry.close()
    assert importlib.import_module(f"{root}.unit").Unit.version == "stale, on disk", "put back as it was"


def test_a_released_module_cannot_be_reloaded(load: Load, root: str, registry: Registry) -> None:
    activate(registry, load(library(root, 1)))
    with pytest.raises(ImportError):
        importlib.reload(sys.modules[f"{root}.unit"])


def test_setting_an_attribute_on_a_module_reaches_the_live_one(load: Load, root: str, registry: Registry) -> None:
    generation = load(library(root, 1))
    activate(registry, generation)
    shown = sys.modules[f"{root}.unit"]
    shown.extra = 5
    assert generation.modules[f"{root}.unit"].extra == 5
    assert "extra" in dir(shown)
    assert vars(shown)["extra"] == 5
    del shown.extra
    assert not hasattr(shown, "extra")
    assert repr(shown).startswith(f"<module '{root}.unit'")


def test_unchanged_modules_share_their_code_and_changed_ones_do_not(load: Load, root: str) -> None:
    first = load(library(root, 1))
    second = load(library(root, 1) | {f"{root}.unit.Unit": "class Unit: version = 9"})
    assert first.get("Comp").by_exec.__code__ is second.get("Comp").by_exec.__code__
    assert first.get("Comp") is not second.get("Comp")
    assert second.get("Comp")().by_statement() == 9


def test_two_registries_in_one_process_each_answer_for_themselves(load: Load, root: str, registry: Registry) -> None:
    other = Registry()
    activate(registry, load(library(root, 1)))
    activate(other, load(library(root, 2)))
    assert registry.get("Unit").version == 1
    assert other.get("Unit").version == 2
    with registry.lease(), other.lease():
        assert registry.get("Unit").version == 1
        assert other.get("Unit").version == 2
        assert sys.modules[f"{root}.unit"].Unit.version == 2
    with other.lease(), registry.lease():
        assert sys.modules[f"{root}.unit"].Unit.version == 1
    other.close()
    assert sys.modules[f"{root}.unit"].Unit.version == 1
