from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from llmastool.filler.text import clean_block, clean_line

ANY = st.text(st.characters(), max_size=200)


@given(ANY, st.integers(1, 50))
def test_a_line_is_one_bounded_printable_line(text: str, limit: int) -> None:
    line = clean_line(text, limit)
    assert len(line) <= limit and len(line.splitlines()) <= 1
    assert not any(unicodedata.category(c).startswith("C") for c in line)
    assert clean_line(line, limit) == line
    line.encode()


@given(ANY, st.integers(1, 300))
def test_a_block_keeps_only_line_feeds_of_the_control_characters(text: str, limit: int) -> None:
    block = clean_block(text, limit)
    assert len(block) <= limit
    assert not any(unicodedata.category(c).startswith("C") for c in block if c != "\n")


def test_reordering_and_hidden_characters_go_and_letters_stay() -> None:
    assert clean_line("a\u202eb\u200b\x1b[31m c\r\n  ünïcode 模块", 99) == "ab[31m c ünïcode 模块"
    assert clean_line("abcdef", 4) == "abc…"
    assert clean_block("a\r\nb\tc\n", 9) == "a\nb c"
