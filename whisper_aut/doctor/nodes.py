"""``doctor --nodes``: the machines of a hostfile looked at over ssh, held against the first; what would break a run."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

from whisper_aut.doctor.hostfile import Host
from whisper_aut.doctor.report import MachineReport
from whisper_aut.doctor.ssh import Agent, NoAnswer, agent_on, ask_doctor, last_line

MASTER_PORT = 29500  # DeepSpeed's and torch's
MAX_CLOCK_DIFFERENCE_SEC = 2.0
# Two checkpoints of large-v3: float32 weights and both of Adam's moments.
MIN_FREE_GB = 2 * 19
_WAIT_FOR_FILE_SEC = 5.0
# All ranks run one program and speak one protocol; a driver only has to be new enough for the CUDA that torch brings.
_MAY_DIFFER = {"driver"}


@dataclass(frozen=True)
class Request:
    """How to look. ``shared`` is a folder that all machines should see as the same, or empty."""

    python: str = sys.executable
    shared: str = ""
    port: int = MASTER_PORT
    timeout_sec: float = 120.0


@dataclass(frozen=True)
class Problem:
    """Something that would break the run, or, where ``breaks`` is False, only deserves a look."""

    host: str
    what: str
    remedy: str
    breaks: bool = True


@dataclass(frozen=True)
class Seen:
    """What was found on one machine; None is what was not asked or not answered.

    ``clock_sec`` is its clock minus a steady one here: of use against another machine's only. ``shared`` and ``port``
    hold "" where all is well, else what is wrong.
    """

    host: Host
    report: MachineReport | None = None
    silence: NoAnswer | None = None
    clock_sec: float | None = None
    free_gb: float | None = None
    shared: str | None = None
    port: str | None = None


@dataclass(frozen=True)
class Survey:
    """All machines in the hostfile's order, and the problems."""

    request: Request
    seen: list[Seen]
    problems: list[Problem] = field(default_factory=list)

    @property
    def breaks(self) -> bool:
        """Whether a run would not come to its first step."""
        return any(problem.breaks for problem in self.problems)

    @property
    def first(self) -> Seen | None:
        """The machine that the others are held against: the first that answered."""
        return next((seen for seen in self.seen if seen.report), None)


def survey(hosts: list[Host], request: Request) -> Survey:
    """Look at all machines at once.

    Raises:
        EnvironmentProblem: there is no ssh on this machine.
    """
    seen = asyncio.run(_look(hosts, request))
    return Survey(request, seen, judge(seen, request) + _launcher(hosts))


async def _look(hosts: list[Host], request: Request) -> list[Seen]:
    seen = await asyncio.gather(*(_doctor(host, request) for host in hosts))
    answered = [index for index, one in enumerate(seen) if one.report]
    async with AsyncExitStack() as stack:
        agents = await asyncio.gather(
            *(
                stack.enter_async_context(agent_on(hosts[index].name, request.python, request.timeout_sec))
                for index in answered
            )
        )
        looked = await asyncio.gather(
            *(_clock_and_disk(agent, seen[index], request) for agent, index in zip(agents, answered, strict=True))
        )
        if answered and answered[0] == 0:  # what others share with the first machine, only it can show
            looked = await _together(agents, list(looked), request)
    found = dict(zip(answered, looked, strict=True))
    return [found.get(index, one) for index, one in enumerate(seen)]


async def _doctor(host: Host, request: Request) -> Seen:
    try:
        return Seen(host, report=await ask_doctor(host.name, request.python, request.timeout_sec))
    except NoAnswer as silence:
        return Seen(host, silence=silence)


async def _clock_and_disk(agent: Agent, seen: Seen, request: Request) -> Seen:
    loop = asyncio.get_running_loop()
    rounds = []
    for _ in range(3):
        before = loop.time()
        answer = await agent.ask("clock")
        took = loop.time() - before
        if "error" not in answer:
            # The answer was given about half-way; the shortest of three rounds knows best.
            rounds.append((took, answer["time_sec"] - (before + took / 2)))
    disk = await agent.ask("disk", folder=request.shared)
    return replace(
        seen,
        clock_sec=min(rounds)[1] if rounds else None,
        free_gb=None if "error" in disk else disk["free_bytes"] / 1e9,
    )


async def _together(agents: list[Agent], seen: list[Seen], request: Request) -> list[Seen]:
    """The first machine leaves a file and opens the port; the others look for both."""
    first, *others = agents
    token = secrets.token_hex(16)
    if request.shared:
        path = f"{request.shared.rstrip('/')}/.whisper-aut-doctor-{token}"
        left = await first.ask("leave", path=path, token=token)
        if "error" in left:
            seen[0] = replace(seen[0], shared=f"cannot be written to: {left['error']}")
        else:
            looks = await asyncio.gather(
                *(agent.ask("look", path=path, token=token, wait_sec=_WAIT_FOR_FILE_SEC) for agent in others)
            )
            seen = [
                replace(one, shared=_shared(look)) for one, look in zip(seen, [{"same": True}, *looks], strict=True)
            ]
    if others:
        opened = await first.ask("listen", port=request.port, token=token)
        if "error" in opened:
            seen[0] = replace(seen[0], port=f"cannot be opened: {opened['error']}")
        else:
            seen[0] = replace(seen[0], port="")
            where = {"address": opened["address"], "port": request.port}
            reached = await asyncio.gather(*(agent.ask("reach", token=token, **where) for agent in others))
            for index, answer in enumerate(reached, start=1):
                wrong = f"{where['address']}:{request.port}: {answer['error']}" if "error" in answer else ""
                seen[index] = replace(seen[index], port=wrong)
    return seen


def _shared(look: dict[str, object]) -> str:
    if look.get("same"):
        return ""
    if "error" in look:
        return str(look["error"])
    return "the folder is another one: a file of the first machine is not in it" if look["folder"] else "no such folder"


def differences(report: MachineReport, first: MachineReport) -> dict[str, tuple[str, str]]:
    """Versions that differ: name → (there, on the first machine), with "none" for what is missing on one."""
    names = [*first.versions, *(name for name in report.versions if name not in first.versions)]
    pairs = {name: (report.versions.get(name, "none"), first.versions.get(name, "none")) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def judge(seen: list[Seen], request: Request) -> list[Problem]:
    """What is wrong with machines that were looked at, in their order."""
    first = next((one for one in seen if one.report), None)
    return [problem for one in seen for problem in _problems(one, first, request)]


def _problems(seen: Seen, first: Seen | None, request: Request) -> list[Problem]:
    name = seen.host.name
    if seen.silence:
        return [Problem(name, seen.silence.what, seen.silence.remedy)]
    assert seen.report is not None and first is not None and first.report is not None
    problems = [
        Problem(name, f"{check.name} is {check.status}: {last_line(check.found)}", last_line(check.remedy))
        for check in seen.report.checks
        if (check.needed or check.name == "deepspeed") and check.status != "ok"  # only training needs DeepSpeed
    ]
    if len(seen.report.gpus) < seen.host.slots:
        problems.append(
            Problem(
                name,
                f"{seen.host.slots} ranks are asked for, {len(seen.report.gpus)} GPUs were found",
                f"slots={len(seen.report.gpus)} in the hostfile, or mend the driver: ssh {name} nvidia-smi",
            )
        )
    for what, (there, reference) in differences(seen.report, first.report).items():
        problems.append(
            Problem(
                name,
                f"{what} is {last_line(there)}, on {first.host.name} it is {last_line(reference)}",
                "one driver on all machines saves guessing"
                if what in _MAY_DIFFER
                else f"make {what} the same on all machines: the same environment, or one on a shared disk",
                breaks=what not in _MAY_DIFFER,
            )
        )
    problems += _clock_problems(seen, first)
    if request.shared and seen.free_gb is not None and seen.free_gb < MIN_FREE_GB:
        problems.append(
            Problem(
                name,
                f"{seen.free_gb:.0f} GB are free at {request.shared}",
                f"{MIN_FREE_GB} GB hold two checkpoints of large-v3",
                breaks=False,
            )
        )
    if seen.shared:
        problems.append(
            Problem(name, f"{request.shared}: {seen.shared}", "one network file system at this path on every machine")
        )
    if seen.port:
        problems.append(
            Problem(
                name,
                f"port {request.port} of the first machine: {seen.port}",
                "let nothing else use it, and let it through firewalls and security groups between the machines",
            )
        )
    if seen.clock_sec is None:
        problems.append(Problem(name, "the connection was lost after its doctor had answered", "try again"))
    return problems


def _clock_problems(seen: Seen, first: Seen) -> list[Problem]:
    apart_sec = clock_difference_sec(seen, first)
    if apart_sec is None or abs(apart_sec) <= MAX_CLOCK_DIFFERENCE_SEC:
        return []
    what = f"its clock is {abs(apart_sec):.0f} s {'ahead of' if apart_sec > 0 else 'behind'} that of {first.host.name}"
    return [Problem(seen.host.name, what, "let chrony or ntpd set it: logs and file times mislead", breaks=False)]


def clock_difference_sec(seen: Seen, first: Seen) -> float | None:
    """How far its clock is ahead of the first machine's."""
    return None if seen.clock_sec is None or first.clock_sec is None else seen.clock_sec - first.clock_sec


def _launcher(hosts: list[Host]) -> list[Problem]:
    if len(hosts) == 1 or shutil.which("pdsh"):
        return []
    return [Problem("here", "pdsh is not on PATH; DeepSpeed starts the ranks with it", "apt-get install pdsh")]
