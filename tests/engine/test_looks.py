"""What was known when: each way to choose among results after seeing them is listed in the next report."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from support.lab import Lab
from support.small_study import small_study
from support.text_report import write_text

from study.analysis.findings import Findings, LimitCode
from study.analysis.known.findings import Setting
from study.engine import conductor, gc
from study.executors.inprocess import InProcess
from study.files import write
from study.ledger import looks
from study.ledger.store import Ledger

STUDY = small_study(epochs=1, seeds=3, claim=True)
THREE = STUDY.replace('splitter = ["even-odd", "issm"]', 'splitter = ["even-odd", "issm", "offsets"]')


class Shop(Lab):
    """A lab in which several study files share one ledger."""

    def ask(self, text: str = STUDY, *changes: str, file: str = "s.toml") -> Findings:
        """Run a study and return its findings."""
        self.file = self.folder / file
        write(self.file, text)
        return self.run(*changes)

    @property
    def looks(self) -> looks.Looks:
        return looks.read(self.ledger.root)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def changed(found: Findings) -> dict[str, tuple[str, str]]:
    assert found.known is not None
    assert found.known.declared_before == (not found.known.changes)
    shown = [limit for limit in found.limits if limit.code == LimitCode.CHANGED_AFTER_LOOK]
    assert [limit.sentence for limit in shown] == [change.sentence for change in found.known.changes]
    return {change.setting: (change.before, change.now) for change in found.known.changes}


def analysis(line: str) -> str:
    return f"{STUDY}\n[analysis]\n{line}\n"


def test_a_study_that_changes_nothing_declared_all_before_however_often_it_is_reported(shop: Shop) -> None:
    first = shop.ask()
    assert changed(first) == {}
    again = shop.ask()
    assert again.known == first.known
    conductor.report("s", shop.ledger, shop.folder / "reports", lambda event: None, write=write_text)
    assert len(shop.looks.looks) == 1


@pytest.mark.parametrize(
    ("setting", "text", "before", "now"),
    [
        (Setting.ROPE, analysis("rope = 3.0"), "0.5 points", "3.0 points"),
        (Setting.ALPHA, analysis("alpha = 0.2"), "0.05", "0.2"),
        (Setting.METRIC, analysis('metric = "uar"'), "war", "uar"),
        (Setting.SEED, f"seed = 7\n{STUDY}", "0", "7"),
        (Setting.CLAIMS, small_study(epochs=1, seeds=3), "issm beats even-odd", "none"),
        (Setting.FAMILY, THREE, "issm against even-odd", "issm against even-odd; offsets against even-odd"),
        (Setting.REPETITIONS, STUDY.replace("repetitions = 3", "repetitions = 2"), "3", "2"),
    ],
)
@pytest.mark.parametrize("file", ["s.toml", "renamed.toml"])
def test_a_setting_that_changed_after_the_results_is_listed(
    shop: Shop, setting: Setting, text: str, before: str, now: str, file: str
) -> None:
    shop.ask()
    if file != "s.toml":
        shop.file.unlink()
    found = shop.ask(text, file=file)
    assert changed(found) == {setting: (before, now)}
    change = found.known.changes[0]
    assert change.look.study == "s"
    assert set(change.look.verdicts) == {"issm"}
    assert change.look.verdicts["issm"]


FACTORIAL = (
    STUDY.replace('kind = "one-factor"', 'kind = "factorial"')
    .replace(
        'reference = { splitter = "even-odd" }', 'reference = { splitter = "even-odd", lifting = "none" }'
    )
    .replace('splitter = ["even-odd", "issm"]', 'splitter = ["even-odd", "issm"]\nlifting = ["none", "haar"]')
)
TURNED = 'reference = { splitter = "issm", lifting = "haar" }'
"""Another reference: no variant is compared with the same one as before, and the effects are the same."""


def turned(text: str = FACTORIAL) -> str:
    return text.replace('reference = { splitter = "even-odd", lifting = "none" }', TURNED)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({Setting.ROPE}, f"{FACTORIAL}\n[analysis]\nrope = 3.0\n"),
        ({Setting.ALPHA}, f"{FACTORIAL}\n[analysis]\nalpha = 0.2\n"),
        ({Setting.METRIC}, f'{FACTORIAL}\n[analysis]\nmetric = "uar"\n'),
        ({Setting.SEED}, f"seed = 7\n{FACTORIAL}"),
        ({Setting.FAMILY}, f'{FACTORIAL}\n[analysis]\neffects = ["splitter"]\n'),
        ({Setting.CLAIMS}, FACTORIAL.split("[[claims]]")[0]),
        ({Setting.REPETITIONS}, FACTORIAL.replace("repetitions = 3", "repetitions = 2")),
    ],
)
@pytest.mark.parametrize("file", ["s.toml", "renamed.toml"])
def test_what_changed_after_an_effect_was_shown_is_listed(
    shop: Shop, settings: set[Setting], text: str, file: str
) -> None:
    shop.ask(FACTORIAL)
    assert set(changed(shop.ask(text, file=file))) == settings


def test_effects_are_known_again_where_no_variant_has_the_same_reference(shop: Shop) -> None:
    shop.ask(FACTORIAL)
    found = shop.ask(f"{turned()}\n[analysis]\nrope = 3.0\n", file="turned.toml")
    assert Setting.ROPE in changed(found)
    (look,) = {change.look.time: change.look for change in found.known.changes}.values()
    assert look.study == "s"
    assert len(look.verdicts) == 3, "two main effects and their interaction"
    assert all(look.verdicts.values())


def test_repetitions_added_after_the_verdict_on_an_effect_leave_it_as_it_was(shop: Shop) -> None:
    first = shop.ask(FACTORIAL)
    more = shop.ask(FACTORIAL.replace("repetitions = 3", "repetitions = 5"))
    assert more.known.first_repetitions == 3
    assert more.effects == first.effects
    assert more.claims == first.claims
    assert [(figure.variant, figure.n) for figure in more.known.later] == [
        (effect.name, 5) for effect in first.effects
    ]


OTHER_REFERENCE = THREE.replace('reference = { splitter = "even-odd" }', 'reference = { splitter = "issm" }')
DIFFERENCES = f'{FACTORIAL}\n[analysis]\neffects = ["differences"]\n'
WITHIN = (
    FACTORIAL.split("[[claims]]")[0]
    .replace('kind = "factorial"', 'kind = "factorial"\nwithin = ["lifting"]')
    .replace(', lifting = "none" }', " }")
)
ONE_FACTOR = STUDY.replace("[design]", '[base]\nlifting = "haar"\n\n[design]')
"""The two cells of the factorial that have the lifting; neither is its reference."""


@pytest.mark.parametrize(
    ("first", "then"),
    [
        pytest.param(THREE, OTHER_REFERENCE, id="another reference"),
        pytest.param(FACTORIAL, DIFFERENCES, id="effects, then variants"),
        pytest.param(FACTORIAL, WITHIN, id="effects, then strata"),
        pytest.param(WITHIN, turned(), id="strata, then effects"),
    ],
)
def test_results_that_were_judged_by_other_contrasts_before_are_no_fresh_ones(
    shop: Shop, first: str, then: str
) -> None:
    shop.ask(first)
    found = shop.ask(then, file="then.toml")
    assert Setting.FAMILY in changed(found)
    assert all(found.known.changes[0].look.verdicts.values())
    more = shop.ask(then.replace("repetitions = 3", "repetitions = 5"), file="more.toml")
    assert {Setting.FAMILY, Setting.REPETITIONS} <= set(changed(more))
    assert more.known.first_repetitions == 3, "a verdict was shown after three, whatever it was on"
    assert (more.answer, more.effects) == (found.answer, found.effects)


def test_two_cells_of_a_design_that_was_reported_whole_are_no_fresh_results(shop: Shop) -> None:
    shop.ask(FACTORIAL)
    assert Setting.FAMILY in changed(shop.ask(ONE_FACTOR, file="two.toml"))


def test_runs_of_two_reports_that_were_never_shown_together_are_a_study_of_their_own(shop: Shop) -> None:
    shop.ask()
    assert changed(shop.ask(STUDY.replace('"issm"', '"offsets"'), file="offsets.toml")) == {}


def test_fresh_runs_of_another_family_are_a_study_of_their_own_that_a_campaign_counts(shop: Shop) -> None:
    shop.ask()
    fresh = shop.ask(f"seed = 7\n{THREE}", file="three.toml")
    assert changed(fresh) == {}
    assert fresh.known.campaigns[0].comparisons == 3
    assert set(changed(shop.ask(f"seed = 8\n{STUDY}", file="again.toml"))) == {Setting.SEED}


def test_a_value_given_by_set_is_seen_as_one_in_the_file(shop: Shop) -> None:
    shop.ask()
    found = shop.ask(STUDY, "analysis.rope=3.0")
    assert found.name != "s"
    assert changed(found) == {Setting.ROPE: ("0.5 points", "3.0 points")}


def test_a_renamed_file_that_asks_the_same_has_declared_it_before(shop: Shop) -> None:
    shop.ask()
    shop.file.unlink()
    assert changed(shop.ask(file="renamed.toml")) == {}


def test_a_variant_that_is_left_out_of_the_family_is_seen(shop: Shop) -> None:
    shop.ask(THREE)
    assert set(changed(shop.ask())) == {Setting.FAMILY}


def test_a_claim_that_is_turned_round_after_the_results_is_seen(shop: Shop) -> None:
    shop.ask()
    turned = small_study(epochs=1, seeds=3) + (
        '[[claims]]\nthat = { splitter = "even-odd" }\nbeats = { splitter = "issm" }\n'
    )
    assert changed(shop.ask(turned)) == {Setting.CLAIMS: ("issm beats even-odd", "even-odd beats issm")}


def test_a_search_that_is_repeated_with_more_trials_is_seen(shop: Shop) -> None:
    shop.ask(small_study(epochs=1, seeds=3, trials=2, claim=True))
    assert set(changed(shop.ask(small_study(epochs=1, seeds=3, trials=3, claim=True)))) == {Setting.SEARCH}


def test_settings_that_are_put_back_are_those_that_were_declared(shop: Shop) -> None:
    shop.ask()
    shop.ask(analysis("rope = 3.0"))
    assert changed(shop.ask()) == {}
    assert len(shop.looks.looks) == 2


def test_another_training_is_another_comparison(shop: Shop) -> None:
    shop.ask()
    longer = small_study(epochs=2, seeds=3, claim=True) + "[analysis]\nrope = 3.0\n"
    assert changed(shop.ask(longer)) == {}


def test_repetitions_added_after_a_verdict_leave_it_as_it_was_and_stand_beside(shop: Shop) -> None:
    first = shop.ask()
    more = shop.ask(STUDY.replace("repetitions = 3", "repetitions = 6"))
    for later in (more, shop.ask(STUDY.replace("repetitions = 3", "repetitions = 8"))):
        assert later.known.first_repetitions == 3
        assert later.variants[1].difference == first.variants[1].difference
        assert later.claims == first.claims
        assert LimitCode.EXPLORATORY in {limit.code for limit in later.limits}
    assert [(figure.variant, figure.n) for figure in more.known.later] == [("issm", 6)]
    fresh = Shop(shop.folder / "fresh")
    fresh.ledger = Ledger(fresh.folder / "ledger")
    alone = fresh.ask(STUDY.replace("repetitions = 3", "repetitions = 6"))
    assert alone.known.first_repetitions is None
    assert more.known.later[0].mean == pytest.approx(alone.variants[1].difference.interval.mean)


def test_repetitions_added_under_another_name_are_seen(shop: Shop) -> None:
    first = shop.ask()
    found = shop.ask(STUDY, "repetitions=6")
    assert found.known.first_repetitions == 3
    assert found.variants[1].difference == first.variants[1].difference


def test_a_study_that_is_reported_half_way_and_goes_on_keeps_its_declared_repetitions(shop: Shop) -> None:
    class Half(InProcess):
        left = 9

        def submit(self, task):  # type: ignore[no-untyped-def]
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            super().submit(task)

    write(shop.file, STUDY)
    with pytest.raises(KeyboardInterrupt):
        shop.run(executor=Half())
    conductor.report("s", shop.ledger, shop.folder / "reports", lambda event: None, write=write_text)
    (half,) = shop.looks.looks
    assert 0 < len(half.comparisons[0].runs) < 6
    found = shop.run()
    assert found.known.declared_before
    assert found.known.first_repetitions is None
    assert len(found.variants[1].repetitions) == 3


def test_looks_outlive_gc_and_end_with_the_ledger(shop: Shop) -> None:
    shop.ask()
    before = shop.looks
    assert before.looks
    gc.free(gc.reclaimable(shop.ledger, unreferenced=True), shop.ledger)
    shutil.rmtree(shop.ledger.root / "studies")
    shop.ledger = Ledger(shop.ledger.root)
    assert shop.looks == before
    assert set(changed(shop.ask(analysis("rope = 3.0")))) == {Setting.ROPE}


def test_a_look_that_two_processes_record_keeps_its_first_time(shop: Shop) -> None:
    shop.ask()
    (first,) = shop.looks.looks
    looks.save(shop.ledger.root, replace(first, time="2099-01-01T00:00:00+00:00", study="renamed"))
    assert shop.looks.looks == (first,)


def test_a_damaged_record_leaves_it_open_what_was_declared_before(shop: Shop) -> None:
    shop.ask()
    record = next((shop.ledger.root / "looks").glob("*.json"))
    record.write_text(record.read_text().replace('"rope": 0.5', '"rope": 3.0'))
    found = shop.ask(analysis("rope = 3.0"))
    assert not found.known.declared_before
    assert LimitCode.LOOKS_DAMAGED in {limit.code for limit in found.limits}


def test_comparisons_with_one_reference_are_counted_across_studies(shop: Shop) -> None:
    assert shop.ask().known.campaigns == ()
    second = shop.ask(STUDY.replace('"issm"', '"offsets"'), file="second.toml")
    (campaign,) = second.known.campaigns
    assert (campaign.reference, campaign.comparisons, campaign.here) == ("even-odd", 2, 1)
    assert campaign.chance == pytest.approx(1 - 0.95**2)
    for seed in range(1, 6):  # another seed is another draw
        last = shop.ask(f"seed = {seed}\n{STUDY}", file=f"seed{seed}.toml")
    (campaign,) = last.known.campaigns
    assert campaign.comparisons == 7
    assert campaign.chance == pytest.approx(0.30, abs=0.005)
    text = (shop.folder / "reports" / "seed5" / "report.md").read_text()
    assert "7th comparison" in text
    assert "0.30" in text


def test_a_report_that_is_written_again_and_one_on_other_data_add_nothing_to_a_campaign(shop: Shop) -> None:
    shop.ask()
    assert shop.ask().known.campaigns == ()
    other = STUDY.replace("test_clips = 14", "test_clips = 21")
    assert shop.ask(other, file="other.toml").known.campaigns == ()


def test_the_searches_of_repetitions_added_after_a_verdict_are_left_out_with_them(shop: Shop) -> None:
    searched = small_study(epochs=1, seeds=3, trials=2, claim=True)
    first = shop.ask(searched)
    later = shop.ask(searched.replace("repetitions = 3", "repetitions = 5"))
    assert later.known.first_repetitions == 3
    assert later.variants == first.variants
    assert len(shop.started()) == 2 * 2 * 2, "more repetitions train only their own searches"


def test_repetitions_that_a_study_adds_itself_while_a_comparison_is_open_are_no_later_ones(
    shop: Shop,
) -> None:
    adaptive = STUDY.replace("repetitions = 3", "repetitions = { min = 5, max = 12 }")
    found = shop.ask(adaptive)
    assert found.known.declared_before
    assert shop.looks.looks[0].declared.repetitions == (5, 12)
    again = shop.ask(adaptive)
    assert again.known == found.known
    n = found.variants[1].difference.n
    more = shop.ask(STUDY.replace("repetitions = 3", "repetitions = 14"))
    assert more.known.first_repetitions == n
    assert set(changed(more)) == {Setting.REPETITIONS}
