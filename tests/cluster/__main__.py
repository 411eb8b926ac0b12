"""The cluster of docker/, proved without Docker: images built and run, the road of `make demo` across hosts, and faults on it.

python -m tests.cluster                     # all parts
python -m tests.cluster images              # one of them
python -m tests.cluster road chaos --keep   # what was built and written stays

Logs are in build/cluster/logs, the results in build/cluster/report.json and report.md.
"""

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

from tests.cluster import needs, processes
from tests.cluster.console import tell, timed
from tests.cluster.report import Report

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build/cluster"
PARTS = ("images", "road", "chaos")
MIRROR = "http://deb.debian.org/debian"


def main() -> int:
    args = _arguments()
    report = Report()
    try:
        needs.extend_path()
        needs.check(args.parts)
        logs = _empty_logs()
        with report.written(FOLDER):
            if "images" in args.parts:
                _images(report, logs, args)
            if {"road", "chaos"} & set(args.parts):
                _cluster(report, logs, args)
    except needs.MissingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (processes.FailedError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print("\n" + report.text())
    return 0


def _images(report: Report, logs: Path, args: argparse.Namespace) -> None:
    from tests.cluster.images import build_all

    with timed("images", report.seconds):
        build_all(FOLDER, logs, args.mirror, args.keep, report.images, report.seconds)


def _cluster(report: Report, logs: Path, args: argparse.Namespace) -> None:
    from tests.cluster.chaos import run_chaos
    from tests.cluster.road import run_road
    from tests.cluster.services import Cluster

    with Cluster.up(FOLDER, logs, args.keep, args.loopback) as cluster:
        with timed("road", report.seconds):
            report.road = run_road(cluster, report.seconds)
        if "chaos" in args.parts:
            with timed("chaos", report.seconds):
                run_chaos(cluster, report.road, report.faults, args.faults)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all); chaos needs the road, and runs it"
    )
    parser.add_argument("--keep", action="store_true", help="leave the images' storage and the cluster's data")
    parser.add_argument(
        "--mirror", default=MIRROR, metavar="URL", help=f"Debian's mirror for the base image (default {MIRROR})"
    )
    parser.add_argument("--loopback", action="store_true", help="hosts are addresses 127.x, as where namespaces cannot be made")
    parser.add_argument(
        "--faults", nargs="+", default=(), metavar="WORD", help="of chaos: only those with a word of these in the name"
    )
    args = parser.parse_args()
    if unknown := [part for part in args.parts if part not in PARTS]:
        parser.error(f"{unknown[0]}: there are the parts {', '.join(PARTS)}")
    args.parts = args.parts or PARTS
    return args


def _empty_logs() -> Path:
    logs = FOLDER / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    for log in logs.iterdir():
        log.unlink()
    tell(f"logs are in {logs.relative_to(ROOT)}")
    return logs


def _interrupted(number: int, frame: FrameType | None) -> None:
    """What was started is ended, as with Ctrl+C."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    for ending in (signal.SIGINT, signal.SIGTERM):  # a shell starts its background jobs with the first one ignored
        signal.signal(ending, _interrupted)
    sys.exit(main())
