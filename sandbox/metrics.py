"""What is counted, and shown on `/_fnbox/metrics` in Prometheus's format.

What happens is counted where it happens; what is the case is read when somebody asks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST

_DURATIONS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 900)
_AGES = (0.01, 0.1, 1, 10, 60, 300, 1800, 21_600)


class Metrics:
    """The counters of one control plane."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self.function_errors = Counter(
            "fnbox_function_errors", "Runs in which the function failed", registry=registry
        )
        self.throttles = Counter(
            "fnbox_throttles", "Calls that were refused for want of concurrency", registry=registry
        )
        self.platform_errors = Counter(
            "fnbox_platform_errors", "Calls that fnbox or the engine failed", registry=registry
        )
        self.runs = Runs()
        registry.register(self.runs)
        self.events_accepted = Counter(
            "fnbox_events_accepted", "Events put on disk", registry=registry
        )
        self.events_retried = Counter(
            "fnbox_events_retried", "Runs of events that are to be repeated", registry=registry
        )
        self.events_dropped = Counter(
            "fnbox_events_dropped", "Events given up", ["condition"], registry=registry
        )
        self.dead_events_dropped = Counter(
            "fnbox_dead_events_dropped",
            "Dead events that made room for newer ones",
            registry=registry,
        )
        self.event_age = Histogram(
            "fnbox_event_age_seconds",
            "Time from the acceptance of an event to its runs",
            buckets=_AGES,
            registry=registry,
        )
        self.deliveries = Counter(
            "fnbox_deliveries",
            "Tries to tell a destination or a dead-letter queue",
            ["result"],
            registry=registry,
        )

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Show what `read` answers whenever somebody asks."""
        Gauge(name, text, registry=self._registry).set_function(read)

    def watch(
        self, name: str, text: str, label: str, read: Callable[[], Mapping[str, float]]
    ) -> None:
        """Show numbers by a label's values."""
        self._registry.register(_Watched(name, text, label, read))

    def counter(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Show a count that somebody else keeps."""
        self._registry.register(_Counted(name, text, read))

    def exposition(self) -> bytes:
        return generate_latest(self._registry)


class Runs:
    """How many runs of functions there were and how long they took: counted at each call, so
    without the locks of the client library. The control plane is one thread."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_DURATIONS) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(_DURATIONS, seconds)] += 1
        self._sum += seconds

    def describe(self) -> Iterator[Metric]:
        yield CounterMetricFamily("fnbox_invocations", "Runs of functions, for events too")
        yield HistogramMetricFamily("fnbox_invocation_seconds", "Time that functions took")

    def collect(self) -> Iterator[Metric]:
        total, durations = self.describe()
        reached = list(accumulate(self._counts))
        bounds = [*(str(float(bound)) for bound in _DURATIONS), "+Inf"]
        total.add_sample("fnbox_invocations_total", {}, reached[-1])
        for bound, count in zip(bounds, reached, strict=True):
            durations.add_sample("fnbox_invocation_seconds_bucket", {"le": bound}, count)
        durations.add_sample("fnbox_invocation_seconds_count", {}, reached[-1])
        durations.add_sample("fnbox_invocation_seconds_sum", {}, self._sum)
        yield total
        yield durations


class _Watched:
    def __init__(
        self, name: str, text: str, label: str, read: Callable[[], Mapping[str, float]]
    ) -> None:
        self._name, self._text, self._label, self._read = name, text, label, read

    def describe(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(self._name, self._text, labels=[self._label])

    def collect(self) -> Iterator[Metric]:
        [family] = self.describe()
        for value, number in self._read().items():
            family.add_sample(self._name, {self._label: value}, number)
        yield family


class _Counted:
    def __init__(self, name: str, text: str, read: Callable[[], float]) -> None:
        self._name, self._text, self._read = name, text, read

    def describe(self) -> Iterator[Metric]:
        yield CounterMetricFamily(self._name, self._text)

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(self._name, self._text, value=self._read())
