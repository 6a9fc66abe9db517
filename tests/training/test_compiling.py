"""`compile: true`: what it needs is looked for before anything is spent, and what goes wrong is one line."""

from pathlib import Path

import pytest
from torch._inductor.exc import InvalidCxxCompiler

from ranking.errors import PairsieveError, UsageError
from training import compiling
from training.compiling import check_compiler, clear_of_compiling


def test_a_machine_without_a_compiler_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for variable in ("CC", "CXX"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(UsageError, match=r"compile is set, and there is no C\+\+ compiler") as refused:
        check_compiler("cpu")
    assert "CXX" in refused.value.hint and "compile: false" in refused.value.hint
    monkeypatch.setattr(compiling, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match="triton is not installed"):
        check_compiler("cuda:0")
    monkeypatch.setattr(compiling, "find_spec", lambda _: object())
    with pytest.raises(UsageError, match=r"no C compiler \(clang, gcc, cc\)"):
        check_compiler("cuda:0")
    for name in ("g++-13", "clang"):
        (tmp_path / name).touch(mode=0o755)
    check_compiler("cuda:0")
    monkeypatch.setenv("CXX", "g++-13 -march=native")
    check_compiler("cpu")


def test_a_block_that_cannot_be_compiled_ends_the_run_in_one_line() -> None:
    from torch._inductor.exc import InductorError

    with pytest.raises(PairsieveError, match="cannot be compiled") as ended, clear_of_compiling():
        raise InductorError(InvalidCxxCompiler(), None)
    assert ended.value.code == "not-compiled" and ended.value.hint == "take compile: false"
    assert "\n" not in ended.value.message and "No working C++ compiler" in ended.value.message
