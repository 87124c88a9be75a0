"""Odd files: none stops its source, each that Python cannot read is named, and what can be mined is."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from llmastool.mining.mine import Mined, mine_source
from llmastool.mining.sources import SourceSpec
from llmastool.registry.loading import load_bundle
from tests.mining.conftest import write_source

GOOD = "import torch\nfrom torch import nn\nclass Net(nn.Module):\n    def forward(self, x):\n        return x * 2\n"

BROKEN: dict[str, bytes] = {
    "syntax_error.py": GOOD.encode() + b"def f(:\n",
    "python_two.py": b"print 'hello'\nexec 'x = 1'\ntry:\n    pass\nexcept ValueError, e:\n    raise e, 'x'\n",
    "python_two_accepted_by_the_grammar.py": b"x = 0777\n",
    "null_bytes.py": GOOD.encode() + b"x = '\x00'\n\x00\n",
    "not_utf8.py": GOOD.encode() + b"x = '\xff\xfe'\n",
    "wrong_coding.py": b"# -*- coding: no-such-thing -*-\n" + GOOD.encode(),
    "utf16.py": GOOD.encode("utf-16"),
    "deep_sum.py": GOOD.encode() + b"x = " + b"+".join([b"1"] * 50_000) + b"\n",
    "deep_brackets.py": GOOD.encode() + b"x = " + b"(" * 3_000 + b"1" + b")" * 3_000 + b"\n",
    "deep_unary.py": GOOD.encode() + b"x = " + b"-" * 20_000 + b"1\n",
    "deep_calls.py": GOOD.encode() + b"x = a" + b".b()" * 20_000 + b"\n",
    "deep_lookup.py": GOOD.encode() + b"x = globals()[" + b"'a' + " * 20_000 + b"'b']\n",
    "deep_lambda.py": GOOD.encode() + b"x = " + b"lambda: " * 20_000 + b"1\n",
    "deep_condition.py": b"if " + b"+".join([b"1"] * 20_000) + b":\n    y = 1\n" + GOOD.encode(),
    "noise.py": bytes(range(256)) * 20,
}

FINE: dict[str, bytes] = {
    "empty.py": b"",
    "blank.py": b"\n\n  \n# nothing\n",
    "bom.py": b"\xef\xbb\xbf" + GOOD.encode(),
    "latin.py": b"# -*- coding: latin-1 -*-\n" + (GOOD + "NAME = 'Zoë'\n").encode("latin-1"),
    "shift_jis.py": b"# coding: shift_jis\n" + GOOD.replace("Net", "網").encode("shift_jis"),
    "dos.py": GOOD.replace("\n", "\r\n").encode(),
    "mac.py": GOOD.replace("\n", "\r").encode(),
    "scripts.py": GOOD.replace("Net", "Сеть").replace("x", "変数").encode(),
    "form_feed.py": GOOD.replace("class", "\x0cclass").encode(),
    "escapes.py": GOOD.encode() + b"x = '\\d'\ny = Net('\\d')\n",
}


@pytest.fixture(autouse=True)
def usual_depth() -> Iterator[None]:
    """The depth to which Python recurses by itself: PyMC raises it for the whole process when it is imported."""
    depth = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    yield
    sys.setrecursionlimit(depth)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_named_and_stops_nothing(name: str, mine_files: Callable[..., Mined]) -> None:
    mined = mine_files({name: BROKEN[name], "good.py": GOOD})
    assert mined.broken_files == (name,)
    assert "net.good.Net" in {b.name for b in mined.bundles}


def test_what_a_broken_file_holds_beside_its_error_is_mined(mine_files: Callable[..., Mined]) -> None:
    mined = mine_files({"half.py": BROKEN["syntax_error.py"]})
    (bundle,) = mined.bundles
    assert load_bundle(bundle)()(torch.ones(1)).item() == 2


@pytest.mark.parametrize("name", FINE)
def test_a_fine_file_is_not_called_broken(name: str, mine_files: Callable[..., Mined]) -> None:
    mined = mine_files({name: FINE[name], "good.py": GOOD})
    assert mined.broken_files == ()
    for bundle in mined.bundles:
        assert load_bundle(bundle)()(torch.ones(1)).item() == 2
    found = {b.name for b in mined.bundles} - {"net.good.Net"}
    assert len(found) == (0 if name in ("empty.py", "blank.py") else 1)


def test_texts_keep_the_characters_of_their_encoding(mine_files: Callable[..., Mined]) -> None:
    source = GOOD.replace("* 2", "* len(NAME)") + "NAME = 'Zoë'\n"
    mined = mine_files({"latin.py": b"# coding: latin-1\n" + source.encode("latin-1")})
    (bundle,) = mined.bundles
    assert "Zoë" in bundle.files[-1].text
    assert load_bundle(bundle)()(torch.ones(1)).item() == 3


def test_cyclic_imports_load_as_they_did(mine_files: Callable[..., Mined]) -> None:
    one = f"{GOOD.replace('* 2', '* two()')}def one(): return 1\nfrom .other import two\n"
    mined = mine_files({"main.py": one, "other.py": "from . import main\ndef two(): return main.one() + 1\n"})
    (bundle,) = mined.bundles
    assert load_bundle(bundle)()(torch.ones(1)).item() == 2


def test_classes_that_are_their_own_bases_and_long_lines_of_them(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "circle.py": "class A(B): pass\nclass B(A): pass\n",
        "line.py": GOOD + "C0 = Net\n" + "".join(f"class C{i}(C{i - 1}): pass\n" for i in range(1, 1_500)),
        "alias.py": GOOD + "d0 = Net\n" + "".join(f"d{i} = d{i - 1}\n" for i in range(1, 1_500)),
        "last.py": "from .line import C1499\nfrom .alias import d1499\nclass E(C1499): pass\nclass F(d1499): pass\n",
    }
    root = write_source(tmp_path, files)
    mined = mine_source(SourceSpec(kind="path", path=str(root), include=("last.py", "circle.py")))
    assert [b.name for b in mined.bundles] == ["net.last.E", "net.last.F"]
    assert load_bundle(mined.bundles[0])()(torch.ones(1)).item() == 2


def test_symbolic_links_in_a_circle_end(tmp_path: Path) -> None:
    root = write_source(tmp_path, {"main.py": GOOD})
    (root / "loop").symlink_to(root)
    (root / "self.py").symlink_to(root / "self.py")
    (root / "gone.py").symlink_to(root / "nothing.py")
    assert [b.name for b in mine_source(SourceSpec(kind="path", path=str(root))).bundles] == ["net.main.Net"]


def large(lines: int) -> str:
    """A file of many functions, wide classes, long lists and a function with many names."""
    part = lines // 4
    functions = "".join(f"def f{i}(a): return [b for b in a if f{max(i - 1, 0)}(b)]\n" for i in range(part))
    methods = "".join(f"    def m{i}(self): return self.m{max(i - 1, 0)}() + len(DATA)\n" for i in range(part))
    names = "".join(f"    v{i} = lambda a: a + v{max(i - 1, 0)}\n" for i in range(part))
    data = "".join(f"    ({i}, 'x{i}'),\n" for i in range(part))
    return f"{GOOD}{functions}class Wide(Net):\n{methods}def huge():\n{names}    return v0\nDATA = [\n{data}]\n"


def test_a_file_of_fifty_thousand_lines_takes_linear_time(tmp_path: Path) -> None:
    seconds = []
    for lines in (12_500, 50_000):
        root = write_source(tmp_path / str(lines), {"large.py": large(lines)})
        start = time.process_time()
        mined = mine_source(SourceSpec(kind="path", path=str(root)))
        seconds.append(time.process_time() - start)
        assert {b.name for b in mined.bundles} == {"net.large.Net", "net.large.Wide"}
        assert mined.broken_files == ()
    assert seconds[1] < 4 * 2 * seconds[0], f"four times the lines took {seconds} CPU seconds"
