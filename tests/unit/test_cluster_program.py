"""What `make test-cluster` decides without a cluster: pip's settings for a build, the lock of a client, tables, what is missing."""

import json
from types import SimpleNamespace

import pytest

from tests.cluster import needs, pip
from tests.cluster.postgres_client import locked
from tests.cluster.processes import FailedError
from tests.cluster.report import Fault, Report

LISTED = """:env:.find-links='/opt/wheels'
:env:.index-url='https://index/simple'
global.cert='/etc/ssl/all.pem'
global.extra-index-url='file:///opt/one/simple \\nfile:///opt/two/simple'
global.index-url='https://other/simple'
global.no-color='true'
install.trusted-host='index'
"""
FOUND = {
    "cert": "/etc/ssl/all.pem",
    "extra-index-url": "file:///opt/one/simple  file:///opt/two/simple",
    "find-links": "/opt/wheels",
    "index-url": "https://index/simple",
    "trusted-host": "index",
}


def test_settings_of_pip_are_those_that_count():
    assert pip.settings(LISTED) == FOUND
    assert pip.settings("") == {}


def test_a_build_sees_the_files_that_settings_name():
    assert pip.volumes(FOUND) == {
        "/etc/ssl/all.pem": "/run/glyphmill-pip.pem",
        "/opt/wheels": "/opt/wheels",
        "/opt/one": "/opt/one",
        "/opt/two": "/opt/two",
    }
    assert pip.volumes({"index-url": "https://index/simple"}) == {}


def test_a_build_gets_a_file_of_settings():
    assert pip.configuration({}) == "[global]\n"
    assert pip.configuration(FOUND).splitlines() == [
        "[global]",
        "cert = /run/glyphmill-pip.pem",
        "extra-index-url = file:///opt/one/simple file:///opt/two/simple",
        "find-links = /opt/wheels",
        "index-url = https://index/simple",
        "trusted-host = index",
    ]


def test_the_lock_of_the_client():
    entry = "psycopg2-binary==2.9 ; python_full_version < '3.13' \\\n    --hash=sha256:a \\\n    --hash=sha256:b\n"
    assert locked(f"pandas==2 \\\n    --hash=sha256:c\n{entry}    # via\npyarrow==1 \\\n    --hash=sha256:d\n") == entry
    with pytest.raises(FailedError, match="does not name psycopg2-binary"):
        locked("pandas==2 \\\n    --hash=sha256:c\n")


def test_what_is_missing_is_told_in_one_line(monkeypatch):
    monkeypatch.setattr(needs.shutil, "which", lambda tool: None if tool in ("ip", "buildah") else tool)
    monkeypatch.setattr(needs.os, "geteuid", lambda: 0)
    with pytest.raises(
        needs.MissingError, match=r"^buildah, iproute2: not on this machine; apt-get install .* buildah iproute2$"
    ):
        needs.check(["images", "road"])
    with pytest.raises(needs.MissingError, match=r"^iproute2: "):
        needs.check(["chaos"])


def test_images_need_root(monkeypatch):
    monkeypatch.setattr(needs.shutil, "which", lambda tool: tool)
    monkeypatch.setattr(needs.os, "geteuid", lambda: 1000)
    needs.check(["road", "chaos"])
    with pytest.raises(needs.MissingError, match="as root"):
        needs.check(["images"])


def test_a_report_is_written_however_the_run_ends(tmp_path):
    report = Report(
        images=[SimpleNamespace(name="spark", size=940_000_000, bar=1.6, commands=7, _asdict=lambda: {"name": "spark"})]
    )

    def interrupted() -> None:
        with report.written(tmp_path):
            report.faults.append(Fault("a | b", "went on", 3.4))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / "report.md").read_text().splitlines() == [
        "| image | GB unpacked | bar | commands run |",
        "| --- | --- | --- | --- |",
        "| spark | 0.94 | 1.6 | 7 |",
        "",
        "| fault | what happened | seconds of recovery |",
        "| --- | --- | --- |",
        "| a / b | went on | 3 |",
        "",
    ]
    numbers = json.loads((tmp_path / "report.json").read_text())
    assert numbers["faults"] == [{"name": "a | b", "what": "went on", "seconds": 3.4}]
    assert numbers["road"] is None
