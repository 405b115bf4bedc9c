"""Workers do what they are given, wherever they run; one that dies costs its task's time."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dreamenv
from benchmarks.ray_cluster import ROOT, ray_cluster
from dreamenv.core.backends import LOCAL, Backend
from dreamenv.core.errors import ConfigError, DreamEnvError, MissingDependencyError
from dreamenv.core.worker_pool import Lost, WorkerDiedError, WorkerPool
from tests.core.servants import Clerk, Stillborn

ABSENT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == "dreamenv":
            raise ModuleNotFoundError("No module named 'dreamenv'", name=name)

sys.meta_path.insert(0, Absent())
"""
WITHOUT_RAY = "Ray is not installed: pip install -e '.[ray]'"


@pytest.fixture(scope="module", params=["local", "ray"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    if request.param == "local":
        yield LOCAL
        return
    pytest.importorskip("ray", reason=WITHOUT_RAY)
    with ray_cluster() as cluster:
        yield Backend("ray", cluster.address)


def done(backend: Backend, tasks: list[tuple[str, Any]], workers: int = 2) -> list[Any]:
    """The results of tasks, in order."""
    with WorkerPool(backend.staff(Clerk, 0.0), workers) as pool:
        results = dict(pool.run(tasks))
        assert pool.told == "a clerk"
    assert not multiprocessing.active_children()
    return [results[number] for number in range(len(tasks))]


def test_a_task_whose_worker_dies_is_done_again_and_the_others_are_not_lost(
    backend: Backend, tmp_path: Path
) -> None:
    tasks: list[tuple[str, Any]] = [("double", number) for number in range(5)]
    tasks.insert(2, ("die once", str(tmp_path / "died")))
    assert done(backend, tasks) == [0, 2, "done again", 4, 6, 8]


def test_a_task_that_always_kills_its_worker_is_told_with_its_step(backend: Backend) -> None:
    lost, other = done(backend, [("die", None), ("double", 1)], workers=1)
    assert isinstance(lost, Lost) and lost.cause == "died (exit code 9), 2 times"
    assert (lost.progress.step, lost.progress.action(True)) == (7, 3) and other == 2


def test_an_error_is_raised_as_it_was_and_no_worker_is_waited_for(backend: Backend) -> None:
    with pytest.raises(ConfigError, match="there is no juggle"):
        done(backend, [("sleep", 600), ("juggle", 0)])
    assert not multiprocessing.active_children()
    with pytest.raises(IndexError) as error:
        done(backend, [("foreign", 0)], workers=1)
    assert "servants.py" in error.value.__notes__[0], "it says where it was raised"


def test_workers_that_die_before_they_are_ready_end_it(backend: Backend) -> None:
    with (
        pytest.raises(WorkerDiedError, match=r"died \(exit code 9\) before it was ready"),
        WorkerPool(backend.staff(Stillborn, 0.0), 1) as pool,
    ):
        list(pool.run([("double", 1)]))


def test_workers_of_this_machine_do_not_import_ray() -> None:
    program = (
        "import sys\n"
        "from dreamenv.core.backends import LOCAL\n"
        "from dreamenv.core.worker_pool import WorkerPool\n"
        "from tests.core.servants import Clerk\n"
        "if __name__ == '__main__':\n"
        "    with WorkerPool(LOCAL.staff(Clerk, 0.0), 1) as pool:\n"
        "        assert list(pool.run([('double', 4)])) == [(0, 8)]\n"
        "    assert 'ray' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'dreamenv\[ray\]'"):
        Backend("ray").staff(Clerk, 0.0)


def test_an_address_needs_the_backend() -> None:
    with pytest.raises(ConfigError, match="without --backend ray"):
        Backend(address="head:6379")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1 .*ray start --head"),
        ("ray://head:10001", "is HOST:PORT"),
        ("head", "is HOST:PORT"),
        ("127.0.0.1:123456789", "no Ray cluster answers"),
    ],
)
def test_where_no_cluster_is_one_line_says_so(address: str, message: str) -> None:
    pytest.importorskip("ray", reason=WITHOUT_RAY)
    with pytest.raises(ConfigError, match=message) as error:
        done(Backend("ray", address), [])
    assert "\n" not in str(error.value)


def test_another_version_is_told(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of Ray in the cluster, and of this package on a machine of it."""
    if backend.is_local:
        pytest.skip("about clusters")
    import ray

    with monkeypatch.context() as patch, pytest.raises(ConfigError, match="runs another version"):
        patch.setattr(ray, "__version__", "2.1.0")
        done(backend, [("double", 1)])
    with monkeypatch.context() as patch, pytest.raises(ConfigError, match="has dreamenv"):
        patch.setattr(dreamenv, "__version__", "0.0.1")
        done(backend, [("double", 1)])


def test_a_machine_without_the_package_is_told(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason=WITHOUT_RAY)
    # Ray's workers look where the command looks, and would find it there.
    (tmp_path / "sitecustomize.py").write_text(ABSENT, "utf-8")
    with (
        ray_cluster(1, (str(tmp_path),)) as cluster,
        pytest.raises(
            DreamEnvError, match="lacks the module 'dreamenv'; install dreamenv"
        ) as error,
    ):
        done(Backend("ray", cluster.address), [("double", 1)])
    assert "\n" not in str(error.value)
