"""Section 1: events/s from topic to topic, beside the bare model, which is the limit of each engine."""

from collections.abc import Callable
from functools import partial
from statistics import median
from typing import NamedTuple

from benchmarks.arithmetic import bound
from benchmarks.bare import bare_model
from benchmarks.harness import JOIN_TOGETHER, Backlog, Parts, Run, backlog, parts, run
from benchmarks.rounds import interleaved
from benchmarks.section import Row, Size, Table
from models.bundle import ONNX, load_bundle, starter
from models.runtime import MissingRuntimeError, RuntimeName

_USERS = 5_000
_BARE_EVENTS = 60_000


class Configuration(NamedTuple):
    """One way to run the scorer."""

    delivery: str
    runtime: RuntimeName
    threads: int
    processes: int

    @property
    def name(self) -> str:
        return f"{self.delivery}, {self.runtime}, threads {self.threads}, processes {self.processes}"


#: The first is the default; bf16 changes scores (docs/settings.md) and is for those who ask for it.
CONFIGURATIONS = [
    *(
        configuration
        for delivery in ("exactly-once", "at-least-once")
        for configuration in (
            Configuration(delivery, "onnxruntime", 1, 1),
            Configuration(delivery, "onnxruntime", 1, 2),
            Configuration(delivery, "openvino", 1, 1),
            Configuration(delivery, "openvino", 2, 1),
            Configuration(delivery, "openvino", 1, 2),
        )
    ),
    Configuration("exactly-once", "openvino-bf16", 1, 1),
    Configuration("exactly-once", "openvino-bf16", 1, 2),
]


def measure(size: Size) -> list[Table]:
    """Measure every configuration that this machine can run, and every engine's bare model, in turns."""
    missing = _missing_engines()
    configurations = [each for each in CONFIGURATIONS if each.runtime not in missing]
    with parts(JOIN_TOGETHER) as on:
        waiting = backlog(on, size.events, _USERS)
        engines = sorted({each.runtime for each in configurations})
        variants: dict[str, Callable[[], Run | float]] = {
            **{_bare(engine): partial(_bare_model, engine) for engine in engines},
            **{each.name: partial(_run, on, waiting, each) for each in configurations},
        }
        run(on, waiting)  # until Java has compiled the broker, it takes two to four times the CPU
        found = interleaved(variants, size.rounds)
    notes = [_NOTE, *(f"Not measured, {engine}: {why}." for engine, why in missing.items())]
    bare = median(each for each in found[_bare("onnxruntime")] if isinstance(each, float))
    return [
        Table("Events/s", [_row(found, each) for each in configurations], " ".join(notes)),
        Table("What the arithmetic allows", _bound(bare), _BOUND_NOTE),
    ]


_NOTE = (
    "Median of the rounds, with their range. The limit is the same engine on one thread with ready arrays and nothing "
    "else to do; the ratio is the median of the rounds' ratios. CPU is in microseconds an event."
)

_BOUND_NOTE = (
    "In float32. The model's activations, Kafka, Redis and everything else come on top, on the same cores: nothing "
    "that computes this model on them can be faster than this times the cores."
)


def _missing_engines() -> dict[str, str]:
    """Return the engines that are not installed or not for this CPU, and why."""
    missing: dict[str, str] = {}
    for engine in {each.runtime for each in CONFIGURATIONS}:
        try:
            load_bundle(starter("default"), engine)
        except MissingRuntimeError as error:
            missing[engine] = str(error)
    return missing


def _run(on: Parts, waiting: Backlog, configuration: Configuration) -> Run:
    return run(
        on,
        waiting,
        configuration.processes,
        TENFOLD_DELIVERY=configuration.delivery,
        TENFOLD_RUNTIME=configuration.runtime,
        TENFOLD_RUNTIME_THREADS=str(configuration.threads),
    )


def _bare(engine: RuntimeName) -> str:
    return f"bare model, {engine}"


def _bare_model(engine: RuntimeName) -> float:
    return bare_model(load_bundle(starter("default"), engine, threads=1), _BARE_EVENTS)


def _bound(bare_events_per_s: float) -> list[Row]:
    bundle = starter("default")
    return bound(bundle / ONNX, load_bundle(bundle).spec.sequence_length, bare_events_per_s)


def _row(found: dict[str, list[Run | float]], configuration: Configuration) -> Row:
    runs = [each for each in found[configuration.name] if isinstance(each, Run)]
    limits = [each for each in found[_bare(configuration.runtime)] if isinstance(each, float)]
    rates = [each.events_per_s for each in runs]
    return {
        "delivery": configuration.delivery,
        "engine": configuration.runtime,
        "threads": configuration.threads,
        "processes": configuration.processes,
        "events/s": round(median(rates)),
        "range": f"{min(rates):.0f} to {max(rates):.0f}",
        "limit": round(median(limits)),
        "ratio": round(median(rate / limit for rate, limit in zip(rates, limits, strict=True)), 2),
        **{f"CPU {part}": round(median(each.cpu_us[part] for each in runs), 1) for part in runs[0].cpu_us},
    }
