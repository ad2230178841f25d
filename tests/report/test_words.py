"""What the report says in sentences."""

from collections.abc import Callable

from mutransfer.report import Section
from mutransfer.report._words import caption, costs, headline, warnings
from mutransfer.sweep import Runs


def test_the_headline_tells_the_planted_drifts(widths: Runs, depths: Runs) -> None:
    width, depth = Section.of(widths), Section.of(depths)
    assert headline([width]) == "From width 32 to 512 the best rate moves -3.2 octaves under sp and 0.0 under default."
    assert headline([depth]).startswith("From depth 2 to 8 the best rate moves -2.0 octaves under sp")
    assert headline([width, depth]) == f"{headline([width])} {headline([depth])}"


def test_titles_tell_studies_of_one_axis_apart(widths: Runs) -> None:
    told = headline([Section.of(widths, title="MLP"), Section.of(widths, title="GPT")])
    assert told.startswith("MLP: From width 32") and " GPT: From width 32" in told


def test_a_rule_without_optima_is_told(unbracketed: Runs) -> None:
    section = Section.of(unbracketed)
    assert "under sp is not known" in headline([section])
    assert warnings(section)[0] == section.refusals()[0]


def test_the_cost_of_the_small_rate_is_told(widths: Runs) -> None:
    section = Section.of(widths)
    (told,) = costs(section)
    regret = section.transfers[1].regret.value
    assert told.startswith(f"At width 512, the best rate of width 32 diverges under sp and gives away {regret:.3f} [")


def test_two_axes_are_named_both(widths: Runs) -> None:
    rows = widths.rows + [{**row, "depth": 8} for row in widths.rows]
    assert headline([Section.of(Runs(header={}, rows=rows))]).startswith("From width 32, depth 4 to width 512, depth 8 the best")


def test_few_seeds_are_told(make: Callable[..., Runs], widths: Runs) -> None:
    assert "3 seeds; with so few they are too narrow." in caption([Section.of(widths)])
    assert "over 6 seeds." in caption([Section.of(make({"sp": 0.0}, seeds=6))])
