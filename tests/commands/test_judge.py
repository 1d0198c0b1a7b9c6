"""``study judge``: scores that were measured elsewhere get the verdicts of a study, and wrong input a reason."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

import study
from study.analysis.findings import LimitCode
from study.analysis.outside.rows import Columns
from study.cli.app import app
from study.errors import InputError

DIRECTIONLESS = {"unit": "K", "scale": 1.0, "direction": "minimize"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "study.toml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(text: str, name: str = "results.csv") -> Path:
    Path(name).write_text(text)
    return Path(name)


def arms(variants: dict[str, float], repetitions: int = 6) -> dict[str, list[float]]:
    generator = random.Random(3)
    common = [0.6 + generator.gauss(0, 0.01) for _ in range(repetitions)]
    return {
        name: [round(score + shift + generator.gauss(0, 0.004), 4) for score in common]
        for name, shift in variants.items()
    }


def as_table(scores: dict[str, list[float]], separator: str = ",") -> str:
    lines = [separator.join(("variant", "repetition", "score"))]
    lines += [
        f"{name}{separator}{n}{separator}{v}" for name, values in scores.items() for n, v in enumerate(values)
    ]
    return "\n".join(lines) + "\n"


def test_two_variants_get_the_paired_t_interval_of_their_differences() -> None:
    scores = arms({"base": 0.0, "new": 0.03})
    found = study.judge(table(as_table(scores)))
    expected = stats.ttest_rel(scores["new"], scores["base"]).confidence_interval(0.95)
    assert [variant.name for variant in found.variants] == ["base", "new"]
    difference = found.variants[1].difference
    assert (difference.corrected.low, difference.corrected.high) == pytest.approx(
        (100 * expected.low, 100 * expected.high)
    )
    assert difference.verdict == "helps"
    assert LimitCode.UNVERIFIED in {limit.code for limit in found.limits}


def test_rows_in_any_order_are_paired_by_repetition() -> None:
    scores = arms({"base": 0.0, "new": 0.03})
    header, *lines = as_table(scores).splitlines()
    random.Random(1).shuffle(lines)
    shuffled = study.judge(table("\n".join([header, *lines])), reference="base")
    ordered = study.judge(table(as_table(scores)), reference="base")
    assert shuffled.variants[-1].difference == ordered.variants[-1].difference


def test_several_variants_are_one_family_with_one_reference() -> None:
    scores = arms({"base": 0.0, "new": 0.03, "other": 0.001})
    found = study.judge(table(as_table(scores)), reference="other")
    assert found.comparisons == 2
    assert {variant.reference for variant in found.variants} == {"other"}
    expected = stats.ttest_rel(scores["new"], scores["other"]).confidence_interval(1 - 0.05 / 2)
    new = next(variant for variant in found.variants if variant.name == "new")
    assert new.difference.corrected.low == pytest.approx(100 * expected.low)


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators_may_have_decimal_commas(separator: str) -> None:
    scores = arms({"base": 0.0, "new": 0.03})
    with_dots = study.judge(table(as_table(scores)))
    with_commas = study.judge(table(as_table(scores, separator).replace(".", ",")))
    assert with_commas.variants == with_dots.variants


def test_folds_are_judged_with_the_correction_of_nadeau_and_bengio() -> None:
    generator = random.Random(5)
    gains = [[generator.gauss(3, 1) for _ in range(2)] for _ in range(5)]
    lines = ["variant,fold,repetition,score"]
    for fold, by_repetition in enumerate(gains):
        for repetition, gain in enumerate(by_repetition):
            lines += [f"base,f{fold},{repetition},60", f"new,f{fold},{repetition},{60 + gain}"]
    found = study.judge(table("\n".join(lines)), metric={"scale": 1.0}, rope=0.5)
    means = np.mean(gains, axis=1)
    error = np.std(means, ddof=1) * np.sqrt(1 / 5 + 1 / 4)  # k folds: one is tested, k - 1 train
    half = stats.t.ppf(0.975, 4) * error
    difference = found.variants[1].difference
    assert (difference.corrected.low, difference.corrected.high) == pytest.approx(
        (means.mean() - half, means.mean() + half)
    )
    assert LimitCode.FOLD_SIZES_UNKNOWN in {limit.code for limit in found.limits}


def test_labels_and_predictions_give_the_accuracy_of_every_run() -> None:
    truth = ["cat", "dog", "cat", "bird"]
    predictions = {
        ("base", 1): ["cat", "cat", "cat", "cat"],
        ("base", 2): ["cat", "dog", "dog", "cat"],
        ("base", 3): ["dog", "dog", "dog", "bird"],
        ("new", 1): ["cat", "dog", "cat", "bird"],
        ("new", 2): ["cat", "dog", "cat", "cat"],
        ("new", 3): ["cat", "dog", "dog", "bird"],
    }
    lines = ["variant,repetition,example,label,prediction"]
    for (variant, repetition), given in predictions.items():
        lines += [
            f"{variant},{repetition},e{n},{label},{prediction}"
            for n, (label, prediction) in enumerate(zip(truth, given, strict=True))
        ]
    found = study.judge(table("\n".join(lines)))
    assert [[run.score for run in variant.repetitions] for variant in found.variants] == [
        pytest.approx([50, 50, 50]),
        pytest.approx([100, 75, 75]),
    ]
    assert found.primary.is_proportion


def test_lower_is_better_for_an_error_in_its_own_unit() -> None:
    scores = {"base": [5.0, 5.2, 4.9, 5.1], "new": [4.0, 4.1, 4.0, 3.9]}
    found = study.judge(table(as_table(scores)), metric=DIRECTIONLESS, rope=0.1, claims=["new"])
    assert found.variants[1].difference.verdict == "helps"
    assert found.variants[1].difference.interval.mean == pytest.approx(-1.05)
    assert [claim.verdict for claim in found.claims] == ["supported"]


def test_the_command_prints_the_verdict_and_writes_the_report_of_a_study(folder: Path) -> None:
    table(as_table(arms({"base": 0.0, "new": 0.03})))
    result = CliRunner().invoke(app, ["judge", "results.csv", "--claim", "new"], catch_exceptions=False)
    assert result.exit_code == 0
    report = folder / "reports" / "results-judged"
    assert {path.name for path in report.iterdir()} >= {"report.md", "report.pdf", "findings.json"}
    found = json.loads((report / "findings.json").read_text())
    assert found["answer"] in result.stdout
    assert found["limits"][0]["code"] == LimitCode.UNVERIFIED


def test_a_verdict_needs_no_torch(folder: Path) -> None:
    table(as_table(arms({"base": 0.0, "new": 0.03})))
    code = "import sys, study; study.judge('results.csv'); sys.exit('torch' in sys.modules)"
    root = Path(study.__file__).parents[1]
    assert (
        subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(root)}, check=False).returncode
        == 0
    )


GOOD = "variant,repetition,score\nbase,1,0.5\nnew,1,0.6\n"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (GOOD.replace("variant", "varaint"), ["'variant'", "Did you mean 'varaint'?"]),
        (GOOD.replace("score", "value"), ["'score'", "--score"]),
        (GOOD.replace("0.6", "high"), ["line 3", "'high'"]),
        (GOOD.replace("0.6", "inf"), ["line 3", "'inf'"]),
        (GOOD.replace("0.6", "60"), ["line 3", "--scale 1"]),
        (GOOD.replace("new,1", "new,2"), ["'new'", "no pair", "repetition 2"]),
        (GOOD + "new,1,0.7\n", ["line 4", "line 3", "twice"]),
        (GOOD + "new,2\n", ["line 4", "2 values"]),
        (GOOD + "new,,0.7\n", ["line 4", "'repetition' is empty"]),
        (GOOD.replace("new", "base").replace("base,1,0.6", "base,2,0.6"), ["'base'", "nothing to compare"]),
        ("", ["empty"]),
        ("variant,repetition,score\n", ["no rows"]),
        ("variant,repetition,score,score\n", ["'score'", "twice"]),
        ("variant,repetition,label,prediction\na,1,x,x\n", ["'example'"]),
        (
            "variant,repetition,example,score\nbase,1,x,1\nbase,1,y,0\nnew,1,x,1\n",
            ["no example 'y'", "'new'"],
        ),
        (
            "variant,repetition,example,source,score\nbase,1,x,v1,1\nnew,1,x,v2,1\n",
            ["'x'", "'v1'", "'v2'"],
        ),
        ('variant,repetition,score\nbase,1,"0.5\n', ["line 2"]),
    ],
)
def test_a_wrong_table_is_refused_with_its_place(text: str, named: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        study.judge(table(text))
    assert [part for part in named if part not in str(caught.value)] == []


def test_a_file_that_is_no_text_is_refused(folder: Path) -> None:
    Path("results.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        study.judge("results.csv")
    with pytest.raises(InputError, match="missing"):
        study.judge("missing.csv")


def test_an_unknown_reference_or_claim_names_the_nearest_variant() -> None:
    path = table(GOOD)
    for given in ({"reference": "bass"}, {"claims": ["bass"]}):
        with pytest.raises(InputError, match="Did you mean 'base'"):
            study.judge(path, **given)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="base"):
        study.judge(path, claims=["base"])


def test_a_metric_whose_direction_or_least_difference_is_unclear_is_refused() -> None:
    text = GOOD.replace("score", "rmse")
    with pytest.raises(InputError, match="--direction"):
        study.judge(table(text), columns=Columns(score="rmse"))
    with pytest.raises(InputError, match="--rope"):
        study.judge(table(text), columns=Columns(score="rmse"), metric={"direction": "minimize"})


def test_a_diverged_and_a_failed_run_are_shown_as_such() -> None:
    scores = as_table(arms({"base": 0.0, "new": 0.03}))
    text = scores.rstrip().rpartition(",")[0] + ",nan\n"
    found = study.judge(table(text))
    assert len(found.variants[1].failures) == 1
    failed = study.judge(table(text.replace("nan", "")))
    assert len(failed.variants[1].failures) == 1
    assert failed.variants[1].failures != found.variants[1].failures


def test_an_mlflow_experiment_gets_the_verdict_of_the_same_table(folder: Path) -> None:
    from mlflow import MlflowClient

    scores = arms({"base": 0.0, "new": 0.03})
    uri = f"sqlite:///{folder / 'runs.db'}"
    client = MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment("mine")
    client.set_terminated(client.create_run(experiment).info.run_id)  # names no variant
    for name, values in scores.items():
        for repetition, value in enumerate(values):
            if repetition == 0:
                crashed = client.create_run(experiment, tags={"model": name}).info.run_id
                client.log_param(crashed, "seed", repetition)
                client.set_terminated(crashed, "FAILED")
            run = client.create_run(experiment, tags={"model": name}).info.run_id
            client.log_param(run, "seed", repetition)
            client.log_metric(run, "acc", value)
            client.set_terminated(run)
    words = ["judge", "--mlflow", uri, "--experiment", "mine", "--variant", "model", "--repetition", "seed"]
    result = CliRunner().invoke(app, [*words, "--score", "acc"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found = json.loads((folder / "reports" / "mine-judged" / "findings.json").read_text())
    expected = study.judge(table(as_table(scores)))
    assert found["variants"][1]["difference"]["interval"]["mean"] == pytest.approx(
        expected.variants[1].difference.interval.mean
    )
    for wrong, named in (
        ([*words[:4], "other"], "mine"),
        ([*words[:-3], "modle"], "Did you mean 'model'"),
        ([*words[:-1], "sede"], "Did you mean 'seed'"),
        ([*words, "--score", "ac"], "Did you mean 'acc'"),
    ):
        with pytest.raises(InputError, match=named):
            CliRunner().invoke(app, wrong, catch_exceptions=False, standalone_mode=False)


def test_a_row_for_each_example_gives_the_interval_for_new_sources_of_examples() -> None:
    generator = np.random.default_rng(2)
    n, sources, clips = 5, 12, 3
    luck = generator.normal(0, 0.3, (sources, 1))
    gains = 0.1 + luck[None] + generator.normal(0, 0.05, (n, sources, clips))
    lines = ["variant,repetition,example,source,score"]
    for repetition, source, clip in np.ndindex(gains.shape):
        where = f"{repetition},s{source}-{clip},s{source}"
        lines += [f"base,{where},0", f"new,{where},{gains[repetition, source, clip]}"]
    path = table("\n".join(lines))
    metric = {"scale": 1.0, "unit": "", "direction": "maximize"}
    found = study.judge(path, metric=metric, rope=0.01)
    assert found.scope == "population"

    def jackknife(values: np.ndarray) -> float:
        left_out = [np.delete(values, source, axis=0).mean() for source in range(sources)]
        return float((sources - 1) / sources * np.sum((left_out - np.mean(left_out)) ** 2))

    by_repetition = gains.mean(axis=(1, 2))
    mean = gains.mean(axis=0)
    shared = sum(jackknife(of_one - mean) for of_one in gains) / (n * (n - 1))
    error = np.sqrt(by_repetition.var(ddof=1) / n + jackknife(mean) - shared)
    interval = found.variants[1].difference.interval
    half = interval.high - interval.mean
    assert stats.t.ppf(0.975, n + sources) < half / error < stats.t.ppf(0.975, n - 1)
    on_test_set = study.judge(path, metric=metric, rope=0.01, scope="test-set").variants[1].difference
    assert on_test_set.interval.high - on_test_set.interval.mean == pytest.approx(
        stats.t.ppf(0.975, n - 1) * by_repetition.std(ddof=1) / np.sqrt(n)
    )


def test_a_scope_that_the_rows_cannot_give_is_refused() -> None:
    with pytest.raises(InputError, match="population"):
        study.judge(table(GOOD), scope="population")
