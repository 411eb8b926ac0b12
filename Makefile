# Glyphmill. `make` alone prints what there is; every target builds its environment first where that is needed.

STACK ?= default
PYTHON ?=
DEMO_DIR ?= demo
DATASET ?=
CONFIG ?=
SET ?=

ifeq ($(filter default latest,$(STACK)),)
$(error STACK=$(STACK): there are the stacks default and latest)
endif

VENV := $(if $(filter latest,$(STACK)),.venv-latest,.venv)
READY := $(VENV)/.ready

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# Another Spark of this machine, or its settings, would answer for the one that is installed here.
unexport SPARK_HOME SPARK_CONF_DIR
# Everything here runs on one machine. Spark would choose the address of its name, which a VPN or a missing line in
# /etc/hosts makes unreachable. A cluster sets its own.
export SPARK_LOCAL_IP ?= 127.0.0.1
# As in conf/spark/spark-env.sh: said at every start of the latest stack, on which the tests run.
export PYTHONWARNINGS ?= ignore:PySpark does not yet fully support pandas:FutureWarning
# Without byte code, which some images switch off, every process compiles TensorFlow and Spark anew: seconds each.
unexport PYTHONDONTWRITEBYTECODE
# glibc gives large blocks back to the system and takes them again: page faults that cost TensorFlow 15% of its time on a CPU.
export MALLOC_TRIM_THRESHOLD_ ?= 4294967296
export MALLOC_MMAP_THRESHOLD_ ?= 4294967296

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast test-faults test-cluster lint train serve ui package lock clean bench-ingest bench-ingest-million bench-loader bench-trainer bench-train bench-accuracy bench-inference bench-predict bench-batch bench-serve bench-doctor bench-scale audit cluster-up cluster-demo cluster-down

help:  ## this list
	@echo 'make TARGET [VARIABLE=value ...]'
	@echo
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 22
	@echo
	@echo 'STACK=default  the locked stack with petastorm, in .venv; latest: the newest of everything, in .venv-latest'
	@echo 'PYTHON=        the Python 3.10 to 3.12 that a new environment is built with (default: the first that is found)'

setup: $(READY)  ## build the environment: Python packages, and a Java where there is none

demo: $(READY)  ## the whole way on made data: draw, ingest, train, register, download, predict [DEMO_DIR=demo]
	python -m jobs.demo --output '$(DEMO_DIR)'

train: $(READY)  ## train and register; without DATASET on a made sample [DATASET=dir CONFIG=yaml SET="key=value ..."]
	python -m jobs.train $(if $(DATASET),--dataset '$(DATASET)') $(if $(CONFIG),--config '$(CONFIG)') $(foreach s,$(SET),--set '$(s)')

serve: $(READY)  ## the champion behind HTTP [ARGS="--port 8000 --workers 2 ..."]
	python -m jobs.serve $(ARGS)

ui: $(READY)  ## compare the runs in the MLflow UI
	python -m jobs.ui

# Files of tests run side by side: many of them wait, for a Java, a server or a worker that is to be missed. In the order of
# their names, the long ones of e2e come first and do not run alone at the end.
PYTEST := python -m pytest --numprocesses=3 --dist=loadfile --no-loadscope-reorder

test: lint  ## lint, then all tests [ARGS="-k ingest ..."]
	$(PYTEST) $(ARGS)

test-fast: $(READY)  ## the tests that are neither slow nor end to end
	$(PYTEST) -m 'not slow and not e2e' $(ARGS)

test-faults: $(READY)  ## kills, full disks, lost inputs, two writers, damage: all of them, some 45 minutes [ARGS="-k append ..."]
	GLYPHMILL_FAULTS=all $(PYTEST) -m faults tests/faults $(ARGS)

test-cluster: $(READY)  ## images built and run, the demo over a real cluster, faults on it; as root, some 20 minutes [ARGS="images road chaos"]
	python -m tests.cluster $(ARGS)

lint: $(READY)  ## style, types and the borders between the packages
	ruff check
	ruff format --check
	mypy
	lint-imports

package: $(READY)  ## dist/pipelines.zip, for spark-submit --py-files on a cluster
	@mkdir -p dist
	@python -c 'from pathlib import Path; from pipelines.spark.session import package_zip; print(package_zip(Path("dist")))'

bench-ingest: $(READY) .venv-bench/.ready  ## the ingest beside its peers, on made images [COUNT=20000 ROUNDS=3 ARGS="--keep-images ..."]
	python -m benchmarks.ingest $(if $(COUNT),--count '$(COUNT)') $(if $(ROUNDS),--rounds '$(ROUNDS)') $(ARGS)

bench-ingest-million: $(READY)  ## time and memory of a million files in one folder, and of 1,000 more [COUNT=1000000 ARGS="..."]
	python -m benchmarks.million $(if $(COUNT),--count '$(COUNT)') $(ARGS)

bench-loader: $(READY) .venv-bench/.ready  ## the loader beside its peers and the limit [COUNT=20000 ROUNDS=3 ARGS="--keep-images ..."]
	python -m benchmarks.loader $(if $(COUNT),--count '$(COUNT)') $(if $(ROUNDS),--rounds '$(ROUNDS)') $(ARGS)

bench-trainer: $(READY)  ## the training loop beside keras.Model.fit on data in memory [ARGS="--rounds 5 --set train.batch_size=32 ..."]
	python -m benchmarks.trainer $(ARGS)

bench-train: $(READY) .venv-bench/.ready  ## presets and a peer, each for the same time [BUDGET=600 DATASETS="text5 digits4 made captcha36" SYSTEMS="default fast ..." ARGS="--data DIR ..."]
	python -m benchmarks.train $(if $(BUDGET),--budget '$(BUDGET)') $(if $(DATASETS),--datasets $(DATASETS)) $(if $(SYSTEMS),--systems $(SYSTEMS)) $(ARGS)

bench-accuracy: $(READY)  ## what our presets read of unseen images: real ones, letters, made text; hours [PARTS="text5 letters ..." ARGS="..."]
	python -m benchmarks.accuracy $(if $(PARTS),--parts $(PARTS)) $(ARGS)

bench-inference: $(READY)  ## ms of single images and images/s of batches, through onnxruntime and TensorFlow [ARGS="--images 500 ..."]
	python -m benchmarks.inference $(ARGS)

bench-predict: $(READY) .venv-bench/.ready  ## our default preset beside OCR packages on unseen images [ARGS="--minutes 1 --rows 50 ..."]
	python -m benchmarks.predict $(ARGS)

bench-batch: $(READY)  ## the batch job on Spark beside a bare pool of processes [COUNT=20000 ROUNDS=3 ARGS="--preset fast --model URI ..."]
	python -m benchmarks.batch $(if $(COUNT),--count '$(COUNT)') $(if $(ROUNDS),--rounds '$(ROUNDS)') $(ARGS)

bench-serve: $(READY)  ## a served model under load: 8 clients, 60 s [ARGS="--workers 1 2 --threads 1 0 --model model_out ..."]
	python -m benchmarks.serve $(ARGS)

bench-doctor: $(READY)  ## how many planted label errors the doctor ranks first [ARGS="--data DIR --budget 100 ..."]
	python -m benchmarks.doctor $(ARGS)

bench-scale: $(READY)  ## 100,000 shards planned for 64 workers, 10,000,000 paths listed, split and deduplicated [ARGS="--fraction 0.1 ..."]
	python -m benchmarks.scale $(ARGS)

audit: .venv-audit/.ready  ## what pip-audit knows of the locked packages, and bandit finds in the code
	.venv-audit/bin/python requirements/audit.py requirements/default.txt requirements/latest.txt

cluster-up:  ## Spark, MLflow, PostgreSQL and an object store in containers of this machine (Docker, docker/README.md)
	docker/cluster.sh up

cluster-demo:  ## draw, ingest to s3://, train in two workers, register, predict on that cluster
	docker/cluster.sh demo

cluster-down:  ## stop it [VOLUMES=yes: and remove its data]
	docker/cluster.sh down

# train-gpu is for the one platform that NVIDIA has all libraries for.
lock:  ## compile requirements/*.in to the lock files again [UPGRADE=yes: to the newest versions]
	@test -x build/uv/bin/uv || { '$(or $(PYTHON),python3)' -m venv build/uv && build/uv/bin/python -m pip install --quiet uv; }
	@for stack in default latest spark train train-gpu mlflow audit; do \
		case $$stack in \
			train-gpu) for="--python-platform x86_64-manylinux_2_28 --python-version 3.11";; \
			*) for="--universal --python-version 3.10";; \
		esac; \
		(cd requirements && ../build/uv/bin/uv pip compile --quiet $$for --generate-hashes --no-header \
			$(if $(UPGRADE),--upgrade) --output-file $$stack.txt $$stack.in) || exit; \
	done

clean:  ## remove the environments, builds and caches; data, runs and models stay
	rm -rf .venv .venv-latest .venv-bench .venv-audit build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements/$(STACK).txt requirements/setup.sh $(shell find conf/spark -type f)
	@requirements/setup.sh '$(STACK)' '$(VENV)' '$(PYTHON)'

.venv-audit/.ready: requirements/audit.txt | $(READY)
	rm -rf .venv-audit
	python -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/audit.txt
	@touch '$@'

# Peers of the benchmarks that cannot share an environment with petastorm.
.venv-bench/.ready: benchmarks/requirements.txt | $(READY)
	rm -rf .venv-bench
	python -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r benchmarks/requirements.txt
	@touch '$@'
