"""Run a function in processes that may die: each death costs one item, never the run.

The children are started as fresh interpreters of this module, not by multiprocessing: nothing of
the caller's script is imported in them (so no torch, and no guard is needed in that script), and
what a decoder prints cannot disturb the answers.
"""

import contextlib
import os
import pickle
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, Any, Generic, TypeVar, cast

from dinonat.errors import DinonatError

Item = TypeVar("Item")
Result = TypeVar("Result")

LENGTH = struct.Struct("<Q")
READY = "ready"
ATTEMPTS = 2
PIPE_BYTES = 2**20  # a whole picture, so that neither side waits for the other (Linux only)
# A picture's memory is kept for the next one: giving it back costs the system more than decoding.
KEPT_BYTES = str(2**28)
CHILD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    **dict.fromkeys(("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"), KEPT_BYTES),  # glibc only
}
SECONDS = 120.0  # a decoder that works longer on one file hangs


class DiedError(Exception):
    """The process ended before it had answered."""


class TooLongError(Exception):
    """The process was stopped, because it took too long to answer."""


def run_in_workers(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    on_death: Callable[[Item, str], Result],
    belongs_to: Callable[[Item], Hashable] = lambda item: item,
    seconds: float = SECONDS,
) -> Iterator[Result]:
    """Yield ``function(item)`` for each item, in order, computed in ``workers`` processes.

    ``function`` must be importable by its module's name. Where the process dies, the item is tried
    once more in a new one, since something else may have killed it; where that dies too, or the item
    needs more than ``seconds``, its result is ``on_death(item, reason)``, and so is that of every later
    item that ``belongs_to`` the same (frames of one file): it is in quarantine. At most four items for
    each worker are read ahead. With ``workers`` 0 all runs here.
    Raises DinonatError where no process can be started.
    """
    if workers < 1:
        yield from map(function, items)
        return
    pool = _Pool(function, on_death, belongs_to, seconds)
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as threads, contextlib.closing(pool):
        try:
            for item in items:
                waiting.append(threads.submit(pool.answer, item))
                if len(waiting) >= 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
            pool.stop()


class Standing(Generic[Item, Result]):
    """Processes that stay, for a server that is asked for one item now and for another later.

    Each is started when it is first needed; arguments and deaths as in ``run_in_workers``.
    """

    def __init__(
        self,
        function: Callable[[Item], Result],
        *,
        workers: int,
        on_death: Callable[[Item, str], Result],
        belongs_to: Callable[[Item], Hashable] = lambda item: item,
        seconds: float = SECONDS,
    ) -> None:
        self._pool = _Pool(function, on_death, belongs_to, seconds)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="reads")

    def submit(self, item: Item) -> Future[Result]:
        """Return the result of one item as it will be; it raises DinonatError where no process starts."""
        return self._threads.submit(self._pool.answer, item)

    def close(self) -> None:
        """End every process; what is still asked for gets a DinonatError."""
        self._pool.stop()
        self._threads.shutdown(cancel_futures=True)
        self._pool.close()


class _Pool(Generic[Item, Result]):
    """One child for each thread, started when the thread first needs it."""

    def __init__(
        self,
        function: Callable[[Item], Result],
        on_death: Callable[[Item, str], Result],
        belongs_to: Callable[[Item], Hashable],
        seconds: float,
    ) -> None:
        self._function, self._on_death, self._seconds = function, on_death, seconds
        self._belongs_to = belongs_to
        self._quarantine: dict[Hashable, str] = {}  # what killed a decoder -> how
        self._own = threading.local()
        self._lock = threading.Lock()
        self._children: list[_Child] = []
        self._stopped = False

    def answer(self, item: Item) -> Result:
        """Return the result of one item, from the child of the calling thread."""
        whole = self._belongs_to(item)
        reason = self._quarantine.get(whole, "")
        for _ in range(0 if reason else ATTEMPTS):
            try:
                outcome = self._ask(item)
            except DiedError as death:
                reason = str(death)
                continue
            except TooLongError as death:
                reason = str(death)
                break
            if isinstance(outcome, BaseException):
                raise outcome
            return cast("Result", outcome)
        self._quarantine[whole] = reason
        return self._on_death(item, reason)

    def _ask(self, item: Item) -> Any:
        try:
            return self._child().ask(item, self._seconds)
        except (DiedError, TooLongError):
            self._own.child = None
            raise

    def _child(self) -> "_Child":
        child: _Child | None = getattr(self._own, "child", None)
        if child is None:
            with self._lock:
                if self._stopped:
                    raise DinonatError("The reading of images was stopped.")
                child = _Child(self._function)
                self._children = [other for other in self._children if other.alive] + [child]
            child.expect_ready()
            self._own.child = child
        return child

    def stop(self) -> None:
        """Let no new child start and end those that run."""
        with self._lock:
            self._stopped = True
            for child in self._children:
                child.kill()

    def close(self) -> None:
        """End every child and wait until it is gone."""
        for child in self._children:
            child.kill()
            child.wait()


class _Child:
    """A process that answers one question at a time through its standard streams."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        # -P: a module in the working folder must not stand in for one of the library's.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the child)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "dinonat.images.workers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            pipesize=PIPE_BYTES,
            env=os.environ | CHILD,
        )
        assert self._process.stdin
        assert self._process.stdout
        self._to, self._from = self._process.stdin, self._process.stdout
        self._function = function

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def expect_ready(self) -> None:
        """Give the child its function; DinonatError with its last words where it does not start."""
        try:
            _send(self._to, self._function)
            if _receive(self._from) == READY:
                return
        except (OSError, EOFError):
            pass
        self.wait()
        self._errors.seek(0)
        last = self._errors.read()[-2000:].decode(errors="replace").strip().splitlines()
        raise DinonatError(
            f"A process for reading images did not start ({last[-1] if last else 'no message'}). "
            "Give workers=0 to read in this process."
        )

    def ask(self, item: object, seconds: float) -> Any:
        """Return the child's answer; raise DiedError or TooLongError where there is none."""
        too_long = threading.Event()

        def stop() -> None:
            too_long.set()
            self.kill()

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()
        try:
            _send(self._to, item)
            return _receive(self._from)
        except (OSError, EOFError, ValueError) as error:
            # Who stopped reading early has closed the pipes; a ValueError while they are open is a defect.
            if isinstance(error, ValueError) and not (self._to.closed or self._from.closed):
                raise
            self.kill()
            code = self.wait()
            if too_long.is_set():
                raise TooLongError(f"reading it took more than {seconds:g} s") from error
            raise DiedError(f"the process that read it ended with code {code}") from error
        finally:
            timer.cancel()

    def kill(self) -> None:
        with contextlib.suppress(OSError):
            self._process.kill()

    def wait(self) -> int:
        for stream in (self._to, self._from):
            with contextlib.suppress(OSError):
                stream.close()
        return self._process.wait()


def _send(stream: IO[bytes], value: object) -> None:
    data = pickle.dumps(value, protocol=5)
    stream.write(LENGTH.pack(len(data)) + data)
    stream.flush()


def _receive(stream: IO[bytes]) -> Any:
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        raise EOFError
    (length,) = LENGTH.unpack(head)
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return pickle.loads(data)  # our own child wrote it, never a file from outside


def serve() -> None:
    """Answer questions until the parent closes the pipe; what else is printed goes to stderr."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    questions = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    function: Any = _receive(questions)
    _send(answers, READY)
    while True:
        try:
            item = _receive(questions)
        except EOFError:
            return
        try:
            result = function(item)
        except Exception as error:
            error.add_note(traceback.format_exc())  # shown by --debug; the frames stay here
            result = error
        _send(answers, result)


if __name__ == "__main__":
    serve()
