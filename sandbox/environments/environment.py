"""One execution environment: one container, one version, one invocation at a time.

The control plane owns the clock: it gives the runtime its deadlines and kills what
is late. The init owns the processes: it says what became of them and why. Whoever
holds an environment (the pool, then the lessee) is the only one to drive it; a
thread of its own reads the channel.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sandbox.catalog.records import Version
from sandbox.clock import Clock
from sandbox.engines.base import ContainerSpec, ResourceLimits
from sandbox.environments import failures
from sandbox.environments.channel import Channel, Frame, FrameKind
from sandbox.environments.endings import (
    Ending,
    InitFailure,
    ending_of_init,
    ending_of_report,
    ending_of_timeout,
    init_end,
    invocation_end,
    posted_failure,
    undelivered,
)
from sandbox.environments.lifecycle import Event, State, StopReason, after, init_seconds
from sandbox.environments.log import EnvironmentLog, LogWriter
from sandbox.environments.scheduler import Alarm, Scheduler
from sandbox.errors import EnvironmentFailed
from sandbox.identifiers import new_uuid
from sandbox.invocation import (
    STREAM_BYTES,
    WINDOW_BYTES,
    Invocation,
    Outcome,
    ResponseStream,
)
from sandbox.logs.formats import ON_DEMAND, InitEnd, log_format, traced
from sandbox.threads import give_way
from sandbox.traces.record import Startup, Trace

_LOGGER = logging.getLogger(__name__)
_KILL_SECONDS = 4.0
"""For the init to end its processes; extensions take up to two of them."""
_SHUTDOWN_SECONDS = 3.0
_EXIT_SECONDS = 1.0
_TURN_BYTES = 64 * 2**10
"""After as much log of one environment all others have their turn."""
_LATE = Frame(FrameKind.HELLO)
"""Among the reports: a deadline has passed."""
_FRAME_COST = 32 * 2**10
"""A LOG frame, of 100 short records perhaps, costs as much as that many bytes of output."""


class ExecutionEnvironment:
    """A booted container. `assign` a version, `initialize`, then `invoke` as often as wanted."""

    def __init__(
        self,
        identifier: str,
        *,
        container: str,
        spec: ContainerSpec,
        limits: ResourceLimits,
        uid: int,
        channel: Channel,
        clock: Clock,
        scheduler: Scheduler,
        on_lost: Callable[[ExecutionEnvironment], None],
    ) -> None:
        self.id = identifier
        self.container = container
        self.spec = spec
        self.limits = limits
        self.uid = uid
        self.state = after(State.STARTING, Event.BOOTED)
        self.stop_reason: StopReason | None = None
        self.expires_at = math.inf
        self.renew_at = math.inf
        """When another is to take its place, since its keys are not renewed."""
        self.initialization = ON_DEMAND
        """Why it is initialized, in Lambda's words; set before it is."""
        self.tenant_id: str | None = None
        """Whose calls alone it runs; None: anybody's."""
        self._channel = channel
        self._clock = clock
        self._on_lost = on_lost
        self._reports: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._alarm = Alarm(scheduler, clock, functools.partial(self._reports.put, _LATE))
        self._generation = 0
        self._exited = 0
        self._invocations = 0
        self._init_ms: float | None = None
        self._log: EnvironmentLog | None = None
        self._version: Version | None = None
        self._stream: ResponseStream | None = None
        self._trace = Trace()
        """Of the invocation that runs or has run last."""
        self._startup: Startup | None = None
        self._extended = False
        """Whether it has extensions, which get to know when they end."""
        self._followed = False
        """Whether an invocation goes on until extensions have asked for the next event."""
        self._closing = False
        self.settling: Callable[[], None] | None = None
        """The last invocation has been answered, and is not over: the environment is not free
        until this has been called. It waits for the end, and raises EnvironmentFailed."""
        self.asked: tuple[float, bool] | None = None
        """When a call made it start, and whether as a spare, which was there already."""
        self._reader = threading.Thread(
            target=self._read, name=f"channel-{identifier}", daemon=True
        )
        self._reader.start()

    def __repr__(self) -> str:
        what = self.version.arn if self._version else self.spec.image
        return f"<{self.id} {self.state.name} {what}>"

    @property
    def version(self) -> Version:
        assert self._version is not None, "a spare has no version"
        return self._version

    @property
    def log(self) -> EnvironmentLog:
        assert self._log is not None, "a spare has no log"
        return self._log

    @property
    def runtime_lives(self) -> bool:
        return self._exited < self._generation

    def apply(self, event: Event) -> None:
        """Change the state; only the pool does, under its lock."""
        self.state = after(self.state, event)

    def assign(
        self, version: Version, configuration: dict[str, Any], archive: Path | None, log: LogWriter
    ) -> None:
        """Give a spare its version, for good: configuration and code, and where its log goes."""
        self._version = version
        self._log = EnvironmentLog(
            log, log_format(version, log.name, self.initialization), self._clock
        )
        self._log.event(self._log.format.init_start(self._clock.wall()))
        code = archive.read_bytes() if archive else b""
        self._channel.send(Frame(FrameKind.CONFIGURE, configuration, code))

    def initialize(self) -> bool:
        """Start the runtime, for `init_seconds` at most; whether it is ready for an event."""
        began = self._clock.monotonic()
        seconds = init_seconds(self.initialization, self.version.timeout)
        failure = self._start("init", began + seconds)
        ended = self._clock.monotonic()
        if self.initialization == ON_DEMAND:  # else it is of no invocation
            error_type = None if failure is None else failure.error_type or failures.TIMED_OUT
            self._startup = Startup(*self.asked or (began, True), began, ended, error_type)
        if failure is None:
            return True
        self._write_init_end(init_end("init", self._since(began), failure))
        return False

    def invoke(self, invocation: Invocation) -> Outcome:
        """Run one invocation until it is answered. Raises EnvironmentFailed when the container is
        lost. Where extensions follow it, it may not be over: see `settling`.

        A streamed response goes into the invocation's stream, if it has one, from the
        channel's thread; all of it is there when this returns.
        """
        began = self._clock.monotonic()
        trace = self._trace = invocation.trace
        trace.leased = began
        trace.environment = self.id
        trace.startup, self._startup = self._startup, None
        self._open_stream(invocation)
        deadline = began + self.version.timeout
        if self._invocations or self.initialization != ON_DEMAND:
            self.log.begin_tail()  # the first one's on demand begins with what the init printed
        self._invocations += 1
        init_ms, self._init_ms = self._init_ms, None
        self._take_in()
        restart_ms = 0.0
        if not self.runtime_lives:
            failure = self._start("invoke", deadline)
            restart_ms = self._since(began)
            if failure is not None:
                return self._never_ran(invocation, failure, restart_ms)
        self._write_start(invocation)
        report = self._deliver(invocation, deadline)
        if report is not None and report.kind is FrameKind.EXITED and self._closing:
            raise EnvironmentFailed(f"environment {self.id} was ended")
        if report is not None and undelivered(report, invocation.request_id):
            # It ended as the event was on its way: the function has not seen it.
            failure = self._start("invoke", deadline)
            restart_ms = self._since(began)
            if failure is not None:
                return self._never_ran(invocation, failure, restart_ms)
            report = self._deliver(invocation, deadline)
        if report is None:
            ending = ending_of_timeout(self.version.timeout, 0, invocation.request_id)
            if not self._extended:
                ending = self._killed(ending)
                return self._finish(invocation, ending, init_ms)
            return self._answer(invocation, ending, init_ms, lambda: self._killed(ending))
        ending = ending_of_report(report, restart_ms, invocation)
        if self._followed and report.kind is FrameKind.RESULT:
            follow = functools.partial(self._follow, ending, deadline, restart_ms, began)
            return self._answer(invocation, ending, init_ms, follow)
        return self._finish(invocation, ending, init_ms)

    def _answer(
        self,
        invocation: Invocation,
        ending: Ending,
        init_ms: float | None,
        end: Callable[[], Ending],
    ) -> Outcome:
        """What the caller is told, before `end` has waited for how the invocation ends. Its REPORT
        line comes then, and so does the answer to a caller who asks for that line."""

        def settle() -> bytes:
            return self._write_end(invocation, end(), init_ms)

        if invocation.tail:
            return self._outcome(invocation, ending, settle())

        def settle_later() -> None:
            self.settling = None
            settle()

        self.settling = settle_later
        return self._outcome(invocation, ending, b"")

    def _follow(self, ending: Ending, deadline: float, restart_ms: float, began: float) -> Ending:
        """Wait until extensions are done with an invocation that the runtime has answered."""
        report = self._next(deadline)
        if report is None:
            late = ending._replace(
                duration_ms=self.version.timeout * 1000.0, status="timeout", error_type=None
            )
            return self._killed(late)
        meta = report.meta
        ending = ending._replace(memory=meta["maxMemoryBytes"])
        if report.kind is not FrameKind.EXITED:
            return ending._replace(duration_ms=meta["durationMs"] + restart_ms)
        ending = ending._replace(duration_ms=self._since(began))
        if self._closing:
            return ending
        return ending._replace(status="error", error_type=failures.of_exit(meta).error_type)

    def _open_stream(self, invocation: Invocation) -> None:
        stream = self._stream = invocation.stream
        if stream is None:
            return

        def more(count: int) -> None:
            meta = {"requestId": invocation.request_id, "bytes": count}
            # A container that is gone has told its caller so.
            with contextlib.suppress(EnvironmentFailed):
                self._channel.send(Frame(FrameKind.MORE, meta))

        stream.open(self.version.version, more)

    def _take_in(self) -> None:
        """Note what was reported since: a runtime may end after its answer."""
        while self.runtime_lives and not self._reports.empty():
            report = self._reports.get()
            if report is not _LATE:
                self._noted(report)

    def _deliver(self, invocation: Invocation, deadline: float) -> Frame | None:
        meta = self._invoke_meta(invocation, deadline)
        trace = invocation.trace
        trace.delivered = self._clock.monotonic()
        self._channel.send(Frame(FrameKind.INVOKE, meta, invocation.payload))
        report = self._next(deadline)
        trace.answered = self._clock.monotonic()
        return report

    def _never_ran(
        self, invocation: Invocation, failure: InitFailure, duration_ms: float
    ) -> Outcome:
        seconds, request_id = self.version.timeout, invocation.request_id
        ending = ending_of_init(failure, seconds, duration_ms, request_id)
        self._write_init_end(init_end("invoke", ending.duration_ms, failure))
        self._write_start(invocation)
        return self._finish(invocation, ending, None)

    def close(self) -> None:
        """End the container, whatever it does; extensions have their time before."""
        self._closing = True
        if self._extended:
            with contextlib.suppress(EnvironmentFailed):  # it may be gone
                self._channel.send(Frame(FrameKind.SHUTDOWN))
                self._reader.join(_SHUTDOWN_SECONDS)
        self._channel.close()
        if self._log is not None:
            self._log.close()

    def _invoke_meta(self, invocation: Invocation, deadline: float) -> dict[str, Any]:
        remaining = deadline - self._clock.monotonic()
        meta = {
            "requestId": invocation.request_id,
            "deadlineMs": int((self._clock.wall() + remaining) * 1000),
            "invokedFunctionArn": invocation.reference.arn,
            "invocationId": new_uuid(),
        }
        if invocation.trace_id:
            meta["traceId"] = invocation.trace_id
        if invocation.client_context:
            meta["clientContext"] = invocation.client_context
        if invocation.cognito_identity:
            meta["cognitoIdentity"] = invocation.cognito_identity
        if invocation.tenant_id:
            meta["tenantId"] = invocation.tenant_id
        if invocation.stream is not None:
            meta |= {"streamBytes": STREAM_BYTES, "windowBytes": WINDOW_BYTES}
        return meta

    def _start(self, phase: str, deadline: float) -> InitFailure | None:
        """Start the runtime and wait until it asks for an event; None when it did."""
        self._generation += 1
        self._extended = self._followed = False
        self._trace.restarted = phase == "invoke"
        self._channel.send(Frame(FrameKind.START, {"generation": self._generation, "phase": phase}))
        posted: Frame | None = None
        while True:
            report = self._next(deadline)
            if report is None:
                memory = self._kill("TIMEOUT" if posted is None else "FAILURE")
                return InitFailure(memory) if posted is None else posted_failure(posted, memory)
            if report.kind is FrameKind.INITIALIZED:
                if phase == "init" and self.initialization == ON_DEMAND:
                    self._init_ms = report.meta["durationMs"]
                self._write_init_end(InitEnd(phase, report.meta["durationMs"]))
                return None
            if report.kind is FrameKind.INIT_ERROR:
                posted = report
                deadline = min(deadline, self._clock.monotonic() + _EXIT_SECONDS)
            elif report.kind is FrameKind.EXTENSION:
                self._note_extension(report)
            elif report.kind is FrameKind.EXITED:
                memory = report.meta["maxMemoryBytes"]
                if posted is not None:
                    return posted_failure(posted, memory)
                exit_ = failures.of_exit(report.meta)
                return InitFailure(memory, error_type=exit_.error_type, exit_=exit_)

    def _finish(self, invocation: Invocation, ending: Ending, init_ms: float | None) -> Outcome:
        return self._outcome(invocation, ending, self._write_end(invocation, ending, init_ms))

    def _outcome(self, invocation: Invocation, ending: Ending, log_tail: bytes) -> Outcome:
        self._stream = None
        trace = invocation.trace
        trace.status = ending.status
        trace.error_type = failures.TIMED_OUT if ending.status == "timeout" else ending.error_type
        return Outcome(
            payload=ending.payload,
            function_error=None if ending.status == "success" else "Unhandled",
            executed_version=self.version.version,
            log_tail=log_tail,
            duration_ms=ending.duration_ms,
        )

    def _write_end(self, invocation: Invocation, ending: Ending, init_ms: float | None) -> bytes:
        """END and REPORT; the end of the invocation's log."""
        end = invocation_end(self.version, invocation, ending, init_ms)
        return self.log.end(*self.log.format.end(self._clock.wall(), end))

    def _note_extension(self, report: Frame) -> None:
        """An extension has subscribed; or what has become of it, when an initialization ends."""
        self._extended = True
        self._followed = self._followed or "INVOKE" in report.meta.get("events", ())
        self.log.extension(report.meta)

    def _killed(self, ending: Ending) -> Ending:
        return ending._replace(memory=self._kill("TIMEOUT"))

    def _kill(self, reason: str) -> int:
        """End the runtime, what it left and extensions; the most memory seen."""
        meta = {"generation": self._generation, "reason": reason}
        self._channel.send(Frame(FrameKind.KILL, meta))
        deadline = self._clock.monotonic() + _KILL_SECONDS
        while (report := self._next(deadline)) is not None:
            if report.kind is FrameKind.EXTENSION:
                self._note_extension(report)
            elif report.kind is FrameKind.EXITED:
                memory: int = report.meta["maxMemoryBytes"]
                return memory
        raise EnvironmentFailed(f"environment {self.id} did not end its processes")

    def _next(self, deadline: float) -> Frame | None:
        """The init's next report, or None at the deadline."""
        self._alarm.set(deadline)
        report = self._reports.get()
        while report is _LATE:
            if deadline <= self._clock.monotonic():
                return None
            report = self._reports.get()  # that was about an earlier one
        self._alarm.clear()
        return self._noted(report)

    def _noted(self, report: Frame | None) -> Frame:
        if report is None:
            self._reports.put(None)  # for whoever asks next
            raise EnvironmentFailed(f"the container of environment {self.id} ended")
        if report.kind is FrameKind.EXITED:
            self._exited = report.meta["generation"]
        return report

    def _read(self) -> None:
        """Top of the channel's thread."""
        written = 0
        try:
            for frame in self._channel.frames():
                if frame.kind is FrameKind.CHUNK:
                    if (stream := self._stream) is not None:
                        stream.write(frame.payload, frame.meta.get("contentType"))
                    continue
                if frame.kind is not FrameKind.LOG:
                    if frame.kind is FrameKind.SEGMENT:
                        self._trace.segment(bytes(frame.payload), frame.meta.get("dropped", 0))
                        continue
                    self._reports.put(frame)
                    continue
                if self._log is not None:
                    self._log.output(frame)
                # Whoever floods its log always has a next frame ready.
                written += len(frame.payload) + _FRAME_COST
                if written > _TURN_BYTES:
                    written = 0
                    give_way()
        except EnvironmentFailed:
            _LOGGER.exception("environment %s broke the protocol", self.id)
        finally:
            self._reports.put(None)
            self._on_lost(self)

    def _write_start(self, invocation: Invocation) -> None:
        of_trace = traced(self.version, invocation.trace_id)
        arn = invocation.reference.arn
        now = self._clock.wall()
        start = self.log.format.start(
            now, invocation.request_id, arn, of_trace, invocation.tenant_id
        )
        self.log.event(start)

    def _write_init_end(self, end: InitEnd) -> None:
        self.log.event(*self.log.format.init_end(self._clock.wall(), end))

    def _since(self, began: float) -> float:
        return (self._clock.monotonic() - began) * 1000
