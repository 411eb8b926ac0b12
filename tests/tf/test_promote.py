"""Who bears which alias and why: first champions, better and worse ones, kills halfway, promotion by hand, roll-back."""

import os
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest

from model import promotion, tracking
from model.config import TrackingSettings
from model.evaluate import Evaluation
from model.gates import Candidate, Verdict
from model.metrics import Scores
from model.run import resume, train
from model.tracking import registry

pytestmark = [pytest.mark.tf, pytest.mark.slow]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made(store, digits, quick, light):
    """A run that made version 1 of the model glyphmill, which is champion."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.trainer.build", light)
        yield train(digits, quick(), "preset")


@pytest.fixture
def line(made, request):
    """Makes versions of a registered model of this test's own."""
    source = mlflow.MlflowClient().get_model_version("glyphmill", "1").source
    name = request.node.name.replace("[", "-").replace("]", "")

    def line(count: int) -> list:
        return [mlflow.register_model(source, name) for _ in range(count)]

    return line


def facts(name: str) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """The aliases of a model, and the tags of each version."""
    client = mlflow.MlflowClient()
    versions = client.search_model_versions(f"name='{name}'")
    aliases = client.get_registered_model(name).aliases
    return {key: str(value) for key, value in aliases.items()}, {str(found.version): found.tags for found in versions}


def test_a_version_tells_where_it_comes_from(made, digits):
    version = mlflow.MlflowClient().get_model_version("glyphmill", "1")
    run = mlflow.get_run(made.run_id)
    expected = {
        "run": made.run_id,
        "dataset": digits.manifest.fingerprint,
        "alphabet": "0123456789",
        "git_commit": run.data.tags["git_commit"],
        "preset": "preset",
        "test_exact_match": f"{made.evaluation.scores.exact_match:.6f}",
        "test_cer": f"{made.evaluation.scores.cer:.6f}",
        "ms_per_image": f"{made.evaluation.ms_per_image:.4f}",
        "reason": "there was no champion",
    }
    assert {key: version.tags[key] for key in expected} == expected
    assert (version.run_id, version.description) == (made.run_id, "champion: there was no champion")


def test_a_run_tells_on_what_it_ran_and_how_long(made):
    found = mlflow.get_run(made.run_id).data
    assert found.tags["stack"].startswith("python 3.")
    assert ", tensorflow 2." in found.tags["stack"]
    assert "CPU" in found.tags["device"]
    low, high = found.metrics["test_exact_match_low"], found.metrics["test_exact_match_high"]
    assert 0 <= low <= found.metrics["test_exact_match"] <= high <= 1
    assert found.metrics["weights"] == made.trained.model.count_params()
    assert 0 < found.metrics["minutes_trained"] < 5


# --- the aliases


def test_a_challenger_waits_and_a_champion_takes_the_place_of_the_one_before(line):
    one, two, three = line(3)
    tracking.settle(one, "champion", "there was no champion")
    tracking.settle(two, "challenger", "not better")
    assert facts(one.name)[0] == {"champion": "1", "challenger": "2"}
    registered = tracking.settle(three, "champion", "better")
    assert registered == tracking.Registered(f"models:/{one.name}/3", "3", "champion", "better")
    aliases, tags = facts(one.name)
    assert aliases == {"champion": "3", "challenger": "2"}
    assert (tags["3"]["previous_champion"], tags["3"]["reason"]) == ("1", "better")
    assert tags["1"]["champion_until"] == tags["3"]["champion_since"]
    assert "previous_champion" not in tags["1"]
    client = mlflow.MlflowClient()
    assert client.get_model_version(one.name, "3").description == "champion: better"
    told = client.get_model_version(one.name, "1").description
    assert told.startswith(f"champion until {tags['1']['champion_until']}, when version 3 took its place: there was no")


def test_a_challenger_that_is_followed_does_not_go_on_saying_that_it_is_one(line):
    one, two = line(2)
    for version in (one, two):
        tracking.settle(version, "challenger", "not better")
    client = mlflow.MlflowClient()
    told = client.get_model_version(one.name, "1")
    until = told.tags["challenger_until"]
    assert told.description == f"challenger until {until}, when version 2 took its place: not better"
    tracking.settle(one, "challenger", "once more")
    aliases, tags = facts(one.name)
    assert (aliases, "challenger_until" in tags["1"], "challenger_until" in tags["2"]) == ({"challenger": "1"}, False, True)


def test_one_without_an_alias_takes_none_away(line):
    one, two, three = line(3)
    tracking.settle(one, "champion", "there was no champion")
    tracking.settle(two, "challenger", "not better")
    tracking.settle(three, "no alias", "tracking.promote is never")
    assert facts(one.name)[0] == {"champion": "1", "challenger": "2"}
    assert mlflow.MlflowClient().get_model_version(one.name, "3").description == "no alias: tracking.promote is never"


@pytest.mark.parametrize(
    ("alias", "given"),
    [(None, "challenger"), ("no alias", "challenger"), ("champion", "champion"), ("challenger", "challenger")],
)
def test_the_best_of_a_sweep_challenges_unless_it_has_an_alias(line, alias, given):
    one, two = line(2)
    if alias:
        tracking.settle(two, alias, "as it was")
    registered = tracking.challenge(f"models:/{one.name}/2", "the best")
    assert (registered.alias, registered.reason) == (given, "as it was" if alias == given else "the best")
    assert facts(one.name)[0] == {given: "2"}


def test_a_challenger_that_becomes_champion_is_no_challenger(line):
    one, two = line(2)
    tracking.settle(one, "champion", "there was no champion")
    tracking.settle(two, "challenger", "not better")
    tracking.settle(two, "champion", "forced")
    assert facts(one.name)[0] == {"champion": "2"}


def test_settling_again_changes_nothing(line):
    one, two = line(2)
    for version in (one, two):
        tracking.settle(version, "champion", "better")
    before = facts(one.name)
    tracking.settle(two, "champion", "better")
    assert facts(one.name) == before


@pytest.mark.parametrize(
    ("promote", "passed", "reason"),
    [("always", True, "tracking.promote is always"), ("never", False, "tracking.promote is never")],
)
def test_what_is_said_is_not_judged(made, digits, promote, passed, reason):
    new = Candidate("version 2", "", np.zeros(0), 0, 9e9)
    champion = tracking.champion_version("glyphmill")
    assert promotion.verdict(TrackingSettings(promote=promote), new, champion, digits) == (passed, reason)


@pytest.mark.parametrize(("promote", "aliases"), [("always", {"champion": "2"}), ("never", {"champion": "1"})])
def test_what_is_said_is_done(made, digits, line, promote, aliases):
    one, two = line(2)
    tracking.settle(one, "champion", "there was no champion")
    promotion.place(two, TrackingSettings(promote=promote), _Reads("0123456789"), made.evaluation, digits)
    assert facts(one.name)[0] == aliases


@pytest.mark.parametrize(
    ("change", "passed", "reason"),
    [
        ({}, False, "not better by more than the noise"),
        ({"edits": 0}, True, "better: exact match 1.0000 (CER 0.0000) against"),
        ({"edits": 9}, False, "not better by more than the noise"),
        ({"edits": 0, "alphabet": "012345678"}, False, "does not read '9'"),
        ({"edits": 0, "ms_per_image": 9e9}, False, "too slow: "),
    ],
)
def test_a_challenger_is_judged_on_the_rows_that_the_champion_reads_too(made, digits, change, passed, reason):
    new = promotion.candidate("version 2", _Reads("0123456789"), made.evaluation)
    if "edits" in change:
        change = change | {"edits": np.full(12, change["edits"], np.uint16)}
    champion = tracking.champion_version("glyphmill")
    found = promotion.verdict(TrackingSettings(max_slowdown=1e6), new._replace(**change), champion, digits)
    assert (found.passed, found.reason[: len(reason)]) == (passed, reason)


class _Reads:
    def __init__(self, alphabet):
        self.charset = type("Charset", (), {"alphabet": alphabet})


def test_edits_of_all_rows_add_up_to_the_scores(made):
    evaluation: Evaluation = made.evaluation
    scores: Scores = evaluation.scores
    assert len(evaluation.edits) == scores.rows == 12
    assert (int((evaluation.edits == 0).sum()), int(evaluation.edits.sum())) == (scores.exact, scores.edits)


# --- another champion meanwhile


@pytest.fixture
def asked(monkeypatch) -> list[str]:
    """The champions that versions were judged against; nothing is better than version 3."""
    asked: list[str] = []

    def verdict(settings, new, champion, dataset, load=None) -> Verdict:
        asked.append(str(champion.version) if champion else "")
        return Verdict(asked[-1] != "3", f"judged against {asked[-1]}")

    monkeypatch.setattr(promotion, "verdict", verdict)
    return asked


@pytest.mark.parametrize(
    ("meanwhile", "champions", "aliases", "reason"),
    [
        ([], ["1"], {"champion": "4"}, "judged against 1"),
        ([2], ["1", "2"], {"champion": "4"}, "judged against 2"),
        ([2, 3], ["1", "2", "3"], {"champion": "3", "challenger": "4"}, "judged against 3"),
        ([3, 4], ["1", "3"], {"champion": "4"}, "forced by hand"),
    ],
    ids=["none", "another", "two-others", "itself"],
)
def test_one_that_was_judged_against_a_former_champion_is_judged_again(
    made, digits, line, asked, monkeypatch, meanwhile, champions, aliases, reason
):
    versions = line(4)
    tracking.settle(versions[0], "champion", "there was no champion")
    judge = promotion.verdict

    def slow(*args: object) -> Verdict:
        found = judge(*args)
        if meanwhile:
            tracking.settle(versions[meanwhile.pop(0) - 1], "champion", "forced by hand")
        return found

    monkeypatch.setattr(promotion, "verdict", slow)
    registered = promotion.place(versions[3], TrackingSettings(), _Reads("0123456789"), made.evaluation, digits)
    found, tags = facts(versions[0].name)
    assert (asked, found, tags["4"]["reason"]) == (champions, aliases, reason)
    assert aliases[registered.alias] == "4"
    assert tags["4"].get("previous_champion") == (None if registered.alias == "challenger" else champions[-1])


def begun(name: str, number: str, alias: str, before: str = "") -> None:
    """What a version has of `settle` that is killed before the alias is given."""
    tags = {"reason": "as it was", "verdict": alias} | ({"previous_champion": before} if before else {})
    for key, value in tags.items():
        mlflow.MlflowClient().set_model_version_tag(name, number, key, value)


@pytest.mark.parametrize(
    ("steps", "alias", "champions", "aliases"),
    [
        (["champion 2", "champion 3"], "former champion", [], {"champion": "3"}),
        (["champion 1", "champion 2", "back"], "former champion", [], {"champion": "1"}),
        (["champion 1", "champion 2", "back", "champion 2"], "champion", [], {"champion": "2"}),
        (["challenger 2", "challenger 3"], "former challenger", [], {"challenger": "3"}),
        (["champion 1", "begun 2"], "champion", [], {"champion": "2"}),
        (["champion 1", "begun 2", "champion 3"], "challenger", ["3"], {"champion": "3", "challenger": "2"}),
    ],
)
def test_a_run_that_goes_on_takes_no_alias_back(made, digits, line, asked, steps, alias, champions, aliases):
    versions = line(3)
    name = versions[0].name
    for step in steps:
        if step == "back":
            tracking.roll_back(name)
        elif step == "begun 2":
            begun(name, "2", "champion", "1")
        else:
            what, number = step.split()
            tracking.settle(versions[int(number) - 1], what, "as it was")
    version = tracking.version_of(f"models:/{name}/2")
    registered = promotion.place(version, TrackingSettings(), _Reads("0123456789"), made.evaluation, digits)
    assert (registered.alias, asked, facts(name)[0]) == (alias, champions, aliases)


# --- kills


@pytest.mark.parametrize("place", ["_settle", "_tell_run", "_leave"])
def test_a_run_that_is_killed_while_it_registers_makes_one_version(made, digits, quick, light, monkeypatch, place):
    """Just before the verdict is written, after the alias is given, and before the champion before is told."""
    name = f"killed{place}"
    settings = quick(tracking={"registered_model": name, "promote": "always"}, train={"seed": len(place)})
    monkeypatch.setattr("model.trainer.build", light)

    def die(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(registry, place, die)
        with pytest.raises(KeyboardInterrupt):
            train(digits, settings, "preset")
    run_id = mlflow.MlflowClient().get_model_version(name, "1").run_id
    result = resume(run_id)
    assert result.run_id == run_id
    assert result.registered == tracking.Registered(f"models:/{name}/1", "1", "champion", "tracking.promote is always")
    aliases, tags = facts(name)
    assert (aliases, [*tags]) == ({"champion": "1"}, ["1"])
    assert "previous_champion" not in tags["1"]
    assert len(mlflow.search_logged_models(filter_string=f"source_run_id='{run_id}'", output_format="list")) == 1
    assert {key: mlflow.get_run(run_id).data.tags[key] for key in ("registered_version", "alias")} == {
        "registered_version": "1",
        "alias": "champion",
    }


# --- by hand


def test_by_hand_the_champion_stays_what_it_is(made):
    registered = promotion.promote("models:/glyphmill@champion", TrackingSettings())
    assert (registered.version, registered.alias, registered.reason) == ("1", "champion", "it was before")


def test_by_hand_an_equal_one_is_refused_and_then_forced(line):
    one, _ = line(2)
    tracking.settle(one, "champion", "there was no champion")
    slow = TrackingSettings(max_slowdown=1e6)
    registered = promotion.promote(f"models:/{one.name}/2", slow)  # on the dataset that its run was trained on
    assert registered.alias == "challenger"
    assert registered.reason.startswith("not better by more than the noise: exact match ")
    assert "on the same 12 rows: +0.00 points" in registered.reason
    forced = promotion.promote(f"models:/{one.name}/2", slow.model_copy(update={"promote": "always"}))
    assert (forced.alias, forced.reason) == ("champion", "forced by hand")
    assert facts(one.name)[0] == {"champion": "2"}


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("models:/glyphmill/99", "no such version"),
        ("models:/glyphmill@nobody", "no such version"),
        ("models:/nothing/1", "registered models: "),
        ("some/folder", "expected a URI such as models:/glyphmill/3"),
    ],
)
def test_what_is_not_registered_cannot_be_promoted(made, told, uri, said):
    message = told(promotion.promote, uri, TrackingSettings())
    assert message.startswith(f"{uri}: ")
    assert said in message


def test_a_dataset_that_is_gone_is_told(line, told, monkeypatch):
    _, two = line(2)
    tracking.settle(two, "champion", "forced")
    monkeypatch.setattr(tracking, "data_of", lambda run_id: ("/no/such/folder", "f" * 32))
    assert "/no/such/folder" in told(promotion.promote, f"models:/{two.name}/1", TrackingSettings())


def test_another_version_of_the_dataset_is_not_taken_for_it(line, digits, told, monkeypatch):
    _, two = line(2)
    tracking.settle(two, "champion", "forced")
    monkeypatch.setattr(tracking, "data_of", lambda run_id: (digits.location.uri, "e" * 32))
    assert "no version of it is the dataset eeeeeeeeeeee" in told(
        promotion.promote, f"models:/{two.name}/1", TrackingSettings()
    )


# --- roll-back


def test_a_roll_back_puts_the_champions_before_back_one_by_one(line, told):
    one, two, three = line(3)
    name = one.name
    for version, reason in ((one, "there was no champion"), (two, "better"), (three, "forced by hand")):
        tracking.settle(version, "champion", reason)
    registered, before = tracking.roll_back(name)
    assert registered == tracking.Registered(f"models:/{name}/2", "2", "champion", "put back in place of version 3")
    assert before == "3"
    aliases, tags = facts(name)
    assert aliases == {"champion": "2"}
    assert (tags["3"]["rolled_back_to"], tags["3"]["reason"]) == ("2", "forced by hand")
    assert tags["3"]["champion_until"] >= tags["3"]["champion_since"]
    assert (tags["2"]["previous_champion"], tags["2"]["reason"]) == ("1", "put back in place of version 3")
    assert "champion_until" not in tags["2"]
    assert tracking.roll_back(name)[0].version == "1"
    assert facts(name)[0] == {"champion": "1"}
    message = told(tracking.roll_back, name)
    assert message.startswith(f"models:/{name}/1: no champion is known before it; jobs.promote --model")
    tracking.settle(three, "champion", "forced by hand")
    assert not {"champion_until", "rolled_back_to"} & {*facts(name)[1]["3"]}
    assert tracking.roll_back(name)[0].version == "1"


def test_back_and_forth_ends(line, told):
    one, two = line(2)
    for version in (one, two, one):
        tracking.settle(version, "champion", "forced by hand")
    assert [tracking.roll_back(one.name)[0].version, tracking.roll_back(one.name)[0].version] == ["2", "1"]
    assert "no champion is known before it" in told(tracking.roll_back, one.name)


def test_a_champion_before_that_was_deleted_is_told(line, told):
    one, two = line(2)
    for version in (one, two):
        tracking.settle(version, "champion", "better")
    mlflow.MlflowClient().delete_model_version(one.name, "1")
    assert f"models:/{one.name}/1: " in told(tracking.roll_back, one.name)
    assert facts(one.name)[0] == {"champion": "2"}


def test_a_model_without_champion_has_none_to_roll_back(line, told):
    (one,) = line(1)
    assert "has no champion of it" in told(tracking.roll_back, one.name)
    assert "has no champion of it" in told(tracking.roll_back, "nothing")


@pytest.mark.parametrize(
    ("args", "code", "out", "err"),
    [
        ("--model models:/{name}/2 --force", 0, "models:/{name}/2 is champion: forced by hand\n", ""),
        ("--model models:/{name}/2", 1, "models:/{name}/2 is challenger: not better by more than the noise", ""),
        ("--roll-back --name {name}", 1, "", "error: models:/{name}/1: no champion is known before it"),
        ("--roll-back --force", 2, "", "usage: "),
        ("--model models:/{name}/9", 1, "", "error: models:/{name}/9: "),
        ("--model models:/{name}/2 --set slow=1", 2, "", "error: settings with --set: unknown key slow"),
        ("--model models:/{name}/2 --set tracking.promote=never", 2, "", "promote=never promotes nothing"),
    ],
    ids=["forced", "judged", "none-before", "nonsense", "unknown", "setting", "never"],
)
def test_the_command(line, store, args, code, out, err):
    one, _ = line(2)
    tracking.settle(one, "champion", "there was no champion")
    command = [sys.executable, "-m", "jobs.promote", *args.format(name=one.name).split()]
    if code == 1 and "is challenger" in out:
        command += ["--set", "tracking.max_slowdown=1000"]  # as the reason names it
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=store, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert done.stdout.startswith(out.format(name=one.name))
    assert err.format(name=one.name) in done.stderr


@pytest.mark.parametrize(
    "args",
    ["--model models:/glyphmill/1", "--model models:/glyphmill@champion --force", "--roll-back"],
    ids=lambda args: args.split()[-1],
)
def test_a_store_that_cannot_be_read_is_told_in_a_line(tmp_path, args):
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 1000)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    command = [sys.executable, "-m", "jobs.promote", *args.split()]
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=False, capture_output=True, text=True)
    said = done.stderr.splitlines()[-1]
    assert (done.returncode, said[:7], "Traceback" in done.stderr) == (1, "error: ", False), done.stderr
    assert "file is not a database" in said
