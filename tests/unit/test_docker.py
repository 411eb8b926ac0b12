"""The images and the compose file of docker/, without an engine: what they name is there, and they hold no secrets."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
IMAGES = {path.name.removesuffix(".Dockerfile"): path for path in sorted(DOCKER.glob("*.Dockerfile"))}
SCRIPTS = sorted(DOCKER.glob("*.sh"))
MANIFESTS = sorted((DOCKER / "kubernetes").glob("*.yaml"))
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
FILES = [path for path in sorted(DOCKER.rglob("*")) if path.is_file() and path.name != ".env"]
LOCKS = ("spark", "train", "train-gpu", "mlflow")
PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)(\[[a-z,-]+\])?==(\S+)", re.MULTILINE)


def instructions(path):
    """Each instruction of a Dockerfile: its name and the rest, with continued lines joined and comments left out."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip() and not line.startswith("#")]
    return [line.split(None, 1) for line in "\n".join(lines).replace("\\\n", " ").splitlines()]


def documents(path):
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def test_there_is_an_image_for_each_part():
    assert list(IMAGES) == ["mlflow", "spark", "train"]


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_is_of_debian_slim_without_root_and_with_a_health_check(name):
    found = instructions(IMAGES[name])
    bases = {rest.split()[0] for what, rest in found if what == "FROM"}
    assert bases == {"debian:bookworm-slim"}
    assert [rest for what, rest in found if what == "USER"] == ["10001"]
    assert [what for what, _ in found].count("HEALTHCHECK") == 1


@pytest.mark.parametrize("name", IMAGES)
def test_what_an_image_copies_is_there_and_let_through(name):
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_through = {source.relative_to(ROOT) for line in ignored if line.startswith("!") for source in ROOT.glob(line[1:])}
    found = [rest.split() for what, rest in instructions(IMAGES[name]) if what == "COPY"]
    sources = [source for words in found if not words[0].startswith("--from") for source in words[:-1]]
    sources = [source.replace("${LOCK}", lock) for source in sources for lock in ("train", "train-gpu")]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert let_through & {Path(source), *Path(source).parents}, source


@pytest.mark.parametrize("name", IMAGES)
def test_code_comes_after_packages(name):
    found = instructions(IMAGES[name])
    installs = max(i for i, (what, rest) in enumerate(found) if what == "RUN" and ("pip" in rest or "apt-get" in rest))
    code = [i for i, (what, rest) in enumerate(found) if what == "COPY" and rest.split()[0] in ("pipelines", "model", "jobs")]
    assert all(i > installs for i in code)
    assert len(code) == (0 if name == "mlflow" else 3)


@pytest.mark.parametrize("name", IMAGES)
def test_the_entry_is_there(name):
    command = next(json.loads(rest) for what, rest in instructions(IMAGES[name]) if what == "ENTRYPOINT")
    packages = " ".join(rest for what, rest in instructions(IMAGES[name]) if what == "RUN")
    for word in command:
        if word.startswith("/"):
            assert (DOCKER / Path(word).name).stat().st_mode & 0o111, word
        else:
            assert word == "--" or word in packages.split(), word


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_sound_and_may_be_run(script):
    assert script.stat().st_mode & 0o111
    assert subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False).stderr == ""


@pytest.mark.parametrize("lock", LOCKS)
def test_the_locks_of_images_have_the_versions_of_the_default_stack(lock):
    default = set(PIN.findall((ROOT / "requirements/default.txt").read_text(encoding="utf-8")))
    known, pins = {name for name, *_ in default}, PIN.findall((ROOT / f"requirements/{lock}.txt").read_text(encoding="utf-8"))
    assert len(pins) > 30
    assert [pin for pin in pins if pin[0] in known and pin not in default] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_the_locks_of_images_have_hashes_and_no_addresses(lock):
    text = (ROOT / f"requirements/{lock}.txt").read_text(encoding="utf-8")
    assert text.count("--hash=sha256:") >= len(PIN.findall(text))
    assert "://" not in text
    assert not re.search(r"^-", text, re.MULTILINE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_secrets_and_no_addresses_of_others(path):
    text = path.read_text(encoding="utf-8")
    for found in re.findall(r"(?i)(?:password|secret_key|secret_access_key|token)[\"']?\s*[:=]\s*[\"']?([^\s\"'#]+)", text):
        assert found.startswith("$") or not re.fullmatch(r"[\w/+=-]{8,}", found) or found.isupper(), found
    hosts = set(re.findall(r"https?://([\w.-]+)", text))
    assert hosts <= {"127.0.0.1", "store", "mlflow", "kubernetes.default.svc", "HOST", "API"}, hosts
    assert "index-url" not in text


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_limited_restarted_and_published_here_only(name):
    service = SERVICES[name]
    assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}
    assert service["restart"] in ("unless-stopped", "on-failure:5", "no")
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert service.get("networks") == ["cluster"]
    assert not any(str(volume).startswith(("/", ".")) for volume in service.get("volumes", []))


def test_the_compose_file_names_what_there_is():
    volumes = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert volumes == COMPOSE["volumes"].keys()
    assert {needed for service in SERVICES.values() for needed in service.get("depends_on", {})} <= SERVICES.keys()
    builds = {service["build"]["dockerfile"] for service in SERVICES.values() if "build" in service}
    assert builds == {str(path.relative_to(ROOT)) for path in IMAGES.values()}
    assert SERVICES["worker"]["deploy"]["replicas"] == 2


def test_the_database_is_reached_by_the_client_that_the_image_has():
    """SQLAlchemy 2.1 takes another client for a URI that names none."""
    uri = SERVICES["mlflow"]["environment"]["MLFLOW_BACKEND_STORE_URI"]
    client = re.match(r"postgresql\+(\w+)://", uri)[1]
    assert f"{client}-binary" in dict(
        pin[::2] for pin in PIN.findall((ROOT / "requirements/mlflow.txt").read_text(encoding="utf-8"))
    )


def test_volumes_of_our_images_belong_to_their_user():
    """A new volume takes the owner of the folder that the image has there; without one it is root's."""
    for service in SERVICES.values():
        name = service["image"].removeprefix("glyphmill/")
        for volume in service.get("volumes", []):
            if name in IMAGES:
                made = next(rest for what, rest in instructions(IMAGES[name]) if what == "RUN" and "install -d" in rest)
                assert volume.split(":")[1] in made.split("install -d")[1].split()


def test_the_trainers_are_the_workers_that_they_name():
    from model.cluster import VARIABLE, Cluster

    trainers = [SERVICES[name] for name in ("trainer-0", "trainer-1")]
    with pytest.MonkeyPatch.context() as environment:
        for index, trainer in enumerate(trainers):
            environment.setenv(VARIABLE, trainer["environment"][VARIABLE])
            assert Cluster.from_environment() == Cluster(("trainer-0:2222", "trainer-1:2222"), index)
            assert trainer["hostname"] == f"trainer-{index}"


def test_the_compose_file_fits_its_schema():
    pytest.importorskip("check_jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", DOCKER / "compose.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_the_manifests_of_kubernetes_fit_their_schema(path):
    validate = pytest.importorskip("kubernetes_validate")
    for document in documents(path):
        validate.validate(document, validate.latest_version(), strict=True)


def test_pods_find_their_index_and_secrets():
    found = {document["kind"]: document for document in documents(DOCKER / "kubernetes/train.yaml")}
    pod, job = found["Job"]["spec"]["template"]["spec"], found["Job"]["spec"]
    config = next(entry["value"] for entry in pod["containers"][0]["env"] if entry["name"] == "TF_CONFIG")
    workers = json.loads(config.replace("$(INDEX)", "0"))["cluster"]["worker"]
    assert job["completions"] == job["parallelism"] == len(workers)
    assert workers == [f"train-{n}.{pod['subdomain']}:2222" for n in range(len(workers))]
    assert found["Service"]["metadata"]["name"] == pod["subdomain"]
    assert pod["securityContext"]["runAsNonRoot"]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifests_run_jobs_that_there_are(path):
    text = path.read_text(encoding="utf-8") + (DOCKER / "cluster.sh").read_text(encoding="utf-8")
    for name in re.findall(r"/opt/glyphmill/((?:jobs|conf)/[\w/]+\.(?:py|yaml))", text):
        assert (ROOT / name).is_file(), name
    for name in re.findall(r"jobs\.(\w+)", text):
        assert (ROOT / f"jobs/{name}.py").is_file(), name
