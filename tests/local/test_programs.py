"""Where the Kubernetes programs are looked for, and which versions count."""

from __future__ import annotations

from pathlib import Path

from stoker.local import programs

WANTED = programs.KUBERNETES_RELEASE


def install(folder: Path, name: str, version: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho 'Kubernetes v{version}'\n")
    path.chmod(0o755)
    return path


def look(tmp_path: Path, **environ: str) -> Path | None:
    environment = {
        "STOKER_CACHE": str(tmp_path / "cache"),
        "PATH": f"{tmp_path / 'path'}:/usr/bin:/bin",
        **environ,
    }
    return programs.find(["kubelet"], environment).paths.get("kubelet")


def test_nothing_anywhere(tmp_path: Path) -> None:
    assert look(tmp_path) is None


def test_assets_then_path_then_cache(tmp_path: Path) -> None:
    cached = install(tmp_path / "cache/bin", "kubelet", WANTED)
    assert look(tmp_path) == cached
    on_path = install(tmp_path / "path", "kubelet", WANTED)
    assert look(tmp_path) == on_path
    chosen = install(tmp_path / "assets", "kubelet", "1.30.0")
    assert look(tmp_path, KUBEBUILDER_ASSETS=str(tmp_path / "assets")) == chosen


def test_another_release_on_path_does_not_count(tmp_path: Path) -> None:
    install(tmp_path / "path", "kubelet", "1.30.0")
    assert look(tmp_path) is None


def test_a_stale_cache_is_built_again(tmp_path: Path) -> None:
    install(tmp_path / "cache/bin", "kubelet", "1.36.0")
    assert look(tmp_path) is None
    assert [
        p.name for p in programs.find(["kubelet"], {"STOKER_CACHE": str(tmp_path / "cache")}).missing
    ] == ["kubelet"]


def test_a_replaced_program_is_asked_again(tmp_path: Path) -> None:
    path = install(tmp_path / "cache/bin", "kubelet", WANTED)
    assert look(tmp_path) == path
    path.write_text("#!/bin/sh\necho 'Kubernetes v1.30.0, replaced'\n")
    assert look(tmp_path) is None


def test_versions_come_from_the_modules_that_are_built() -> None:
    assert {program.release for name, program in programs.PROGRAMS.items() if name.startswith("kube")} == {
        WANTED
    }
    assert all(program.release.count(".") == 2 for program in programs.PROGRAMS.values())
