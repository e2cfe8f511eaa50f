"""The one drawer of bars: linear and logarithmic lengths, escaped words."""

from xml.etree import ElementTree

from bench.bars import Bar, Picture, draw

PICTURE = Picture(title="Requests a second", heading="Requests", subtitle="64 connections")
LOGARITHMIC = Picture(title="Gas", heading="Gas", subtitle="whole", is_logarithmic=True)


def lengths(drawn: str) -> list[float]:
    root = ElementTree.fromstring(drawn)
    bars = [one for one in root.findall("{*}rect") if one.attrib["class"] != "back"]
    return [float(bar.attrib["width"]) for bar in bars]


def test_draw__linear__lengths_are_as_the_values_and_never_nothing() -> None:
    bars = [Bar("a", 200, "200", True), Bar("b", 50, "50", False), Bar("c", 0.001, "0", False)]

    assert lengths(draw(PICTURE, bars)) == [400.0, 100.0, 2.0]


def test_draw__logarithmic__each_power_of_ten_is_as_long() -> None:
    bars = [Bar(str(n), n, str(n), False) for n in (10, 100, 1_000)]

    assert lengths(draw(LOGARITHMIC, bars)) == [110.0, 220.0, 330.0]


def test_draw__ours__is_marked_and_words_are_escaped() -> None:
    drawn = draw(PICTURE, [Bar("a < b & c", 1, "<1>", True), Bar("d", 1, "1", False)])
    root = ElementTree.fromstring(drawn)

    classes = [one.attrib["class"] for one in root.findall("{*}rect")]
    assert classes == ["back", "ours", "other"]
    assert "a < b & c" in "".join(root.itertext())
