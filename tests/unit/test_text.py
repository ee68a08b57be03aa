from hypothesis import given
from hypothesis import strategies as st

from labkit.backends.text import StopFilter


def run(pieces: list[bytes], stop: list[str]) -> tuple[list[str], bool]:
    text = StopFilter(stop)
    out = []
    for piece in pieces:
        out.append(text.feed(piece))
        if text.stopped:
            break
    return [*out, text.rest()], text.stopped


def test_a_character_split_over_tokens_appears_whole() -> None:
    out, _ = run([b"a\xf0\x9f", b"\x98", b"\x80b"], [])
    assert out == ["a", "", "😀b", ""]


def test_a_stop_string_split_over_tokens_is_never_shown() -> None:
    out, stopped = run([b"one ", b"EN", b"D two"], ["END"])
    assert "".join(out) == "one "
    assert stopped


def test_what_only_begins_like_a_stop_string_comes_later() -> None:
    out, stopped = run([b"EN", b"ough"], ["END"])
    assert out == ["", "ENough", ""]
    assert not stopped


@given(st.text(max_size=40), st.lists(st.text("abE", min_size=1, max_size=4), max_size=3), st.data())
def test_any_split_gives_the_text_up_to_the_first_stop_string(
    text: str, stop: list[str], data: st.DataObject
) -> None:
    raw = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    out, stopped = run(pieces, stop)
    # a stop string counts as soon as it is complete, so the first to end decides, then the first to begin
    ends = [(text.find(s) + len(s), text.find(s)) for s in stop if s in text]
    shown = "".join(out)
    assert stopped == bool(ends)
    assert text.startswith(shown)
    if ends:
        assert not any(s in shown for s in stop)
    else:
        assert shown == text
