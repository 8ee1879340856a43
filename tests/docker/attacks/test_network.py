"""What a function with a network reaches, tried from inside a real container.

What is public, private, or a cloud's metadata is played by a network namespace (see `outside`);
the host, its ports, its other containers and the other environments are real.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest

from tests.support import outside
from tests.support.functions import until
from tests.support.instance import Function, Instance, Start, docker
from tests.support.outside import HOST, METADATA, NAMES, PORT, PRIVATE, PUBLIC, WELCOME

pytestmark = pytest.mark.skipif(not outside.possible(), reason="makes network namespaces: be root")

PROBE = """
import errno, os, socket, struct
listening = socket.create_server(("0.0.0.0", 8000))  # what others may try to reach

def reach(address, port, family=socket.AF_INET):
    try:
        with socket.socket(family, socket.SOCK_STREAM) as client:
            client.settimeout(10)
            client.connect((address, port))
            return client.recv(100).decode()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))

def resolve(name):
    try:
        return socket.gethostbyname(name)
    except OSError:
        return None

def reverse(address):
    try:
        return socket.gethostbyaddr(address)[0]
    except OSError:
        return ""

def refused(*arguments):
    try:
        socket.socket(*arguments).close()
    except OSError as error:
        return errno.errorcode[error.errno]

def gateway():
    for line in open("/proc/net/route").read().splitlines()[1:]:
        fields = line.split()
        if fields[1] == "00000000":
            return socket.inet_ntoa(struct.pack("<I", int(fields[2], 16)))

def handler(event, context):
    return eval(event)
"""

REFUSED = {"ECONNREFUSED", "ENETUNREACH", "EHOSTUNREACH", "EACCES"}
SERVER = (
    "import socket\nlistener = socket.create_server(('0.0.0.0', 8000))\n"
    f"while True: listener.accept()[0].sendall({WELCOME!r})"
)


@pytest.fixture(scope="module", autouse=True)
def _world() -> Iterator[None]:
    with outside.outside():
        yield


@pytest.fixture(scope="module")
def networked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """An instance whose functions may choose their network, which leaves nothing of it."""
    own = Instance(
        tmp_path_factory.mktemp("networked") / "state",
        network_choices="internet,full",
        network_dns=PUBLIC[0],
        spares=0,
    )
    try:
        yield own.start()
    finally:
        own.stop()
    assert left(own) == ""


@pytest.fixture(scope="module")
def functions(networked: Instance) -> dict[str, Function]:
    """One of each policy, and another of it."""
    made = {}
    for policy in ("none", "internet", "full"):
        for name in (policy, f"other-{policy}"):
            made[name] = networked.deploy(PROBE, f"f-{name}", Tags={"fnbox:network": policy})
    return made


@pytest.fixture(scope="module")
def host_port() -> Iterator[int]:
    """Of a server of the host's that listens on all its addresses."""
    with socket.create_server(("0.0.0.0", 0)) as listener:

        def greet() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client:
                    client.sendall(WELCOME)

        thread = threading.Thread(target=greet)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


class Neighbour:
    """A container of somebody else's, on Docker's own bridge, with a port of the host."""

    def __init__(self) -> None:
        self.name = f"neighbour-{uuid.uuid4().hex[:8]}"
        image = "fnbox/python3.13"
        options = ["--rm", "--detach", "--name", self.name, "--publish", "0.0.0.0::8000"]
        options += ["--entrypoint", "/usr/bin/env"]
        docker("run", *options, image, "python3", "-c", SERVER)
        found = json.loads(docker("inspect", self.name))[0]["NetworkSettings"]
        self.address = found["Networks"]["bridge"]["IPAddress"]
        self.gateway = found["Networks"]["bridge"]["Gateway"]
        self.port = int(found["Ports"]["8000/tcp"][0]["HostPort"])
        until(self._answers, 30)

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self.address, 8000), 1) as client:
                return client.recv(100) == WELCOME
        except OSError:
            return False


@pytest.fixture(scope="module")
def neighbour() -> Iterator[Neighbour]:
    made = Neighbour()
    yield made
    docker("rm", "--force", made.name)


def short(instance: Instance) -> str:
    from sandbox.engines.networks import Networks

    return Networks(None, instance.id, local=True)._chain  # type: ignore[arg-type]


def left(instance: Instance) -> str:
    """What there is of an instance's networks: rules and bridges."""
    rules = "".join(
        line
        for program in ("iptables", "ip6tables")
        for line in subprocess.check_output([program, "-w", "-S"], text=True).splitlines()
        if short(instance) in line
    )
    label = f"label=dev.fnbox.instance={instance.id}"
    return rules + docker("network", "ls", "--quiet", "--filter", label)


def ask(function: Function, expression: str) -> Any:
    answer = function.invoke(expression)
    assert answer.error is None, answer.body
    return answer.document


def reached(function: Function, *places: tuple[str, int]) -> set[str]:
    """At which of these addresses something answers; elsewhere the function is told at once."""
    found = ask(function, f"{{f'{{a}} {{p}}': reach(a, p) for a, p in {places!r}}}")
    assert set(found.values()) <= REFUSED | {WELCOME.decode()}, found
    return {place.split()[0] for place, said in found.items() if said == WELCOME.decode()}


WORLD = [(address, PORT) for address in (*PUBLIC, *PRIVATE, *METADATA)]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("none", set()), ("internet", set(PUBLIC)), ("full", {*PUBLIC, *PRIVATE})],
)
def test_a_function_reaches_what_its_policy_says(
    functions: dict[str, Function], policy: str, expected: set[str]
) -> None:
    assert reached(functions[policy], *WORLD) == expected


@pytest.mark.parametrize("policy", ["none", "internet", "full"])
def test_no_port_of_the_host_can_be_reached(
    functions: dict[str, Function], policy: str, host_port: int, neighbour: Neighbour
) -> None:
    function = functions[policy]
    mine = {HOST, neighbour.gateway, "127.0.0.1", "0.0.0.0", lan_address()}
    if own := ask(function, "gateway()"):
        mine.add(own)
    ports = (host_port, neighbour.port, function.instance.port)
    assert reached(function, *((address, port) for address in mine for port in ports)) == set()


def lan_address() -> str:
    """By which other machines know this one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.254", 9))
        return str(probe.getsockname()[0])


@pytest.mark.parametrize("policy", ["none", "internet", "full"])
def test_no_other_container_can_be_reached(
    functions: dict[str, Function], policy: str, neighbour: Neighbour
) -> None:
    others = [(neighbour.address, 8000)]
    for other in ("other-internet", "other-full"):
        assert ask(functions[other], "listening.getsockname()[1]") == 8000
        others.append((address_of(functions[other]), 8000))
    assert reached(functions[policy], *others) == set()


def address_of(function: Function) -> str:
    container = ask(function, "socket.gethostname()")
    networks = json.loads(docker("inspect", container))[0]["NetworkSettings"]["Networks"]
    [network] = networks.values()
    return str(network["IPAddress"])


@pytest.mark.parametrize("policy", ["internet", "full"])
def test_nothing_but_ordinary_sockets_can_be_made(
    functions: dict[str, Function], policy: str
) -> None:
    function = functions[policy]
    for kind in ("AF_INET, socket.SOCK_RAW, 1", "AF_INET, socket.SOCK_RAW, 255"):
        assert ask(function, f"refused(socket.{kind})") == "EPERM", kind
    assert ask(function, "refused(socket.AF_PACKET, socket.SOCK_RAW, 0x0300)") == "EPERM"


def test_a_scan_does_not_fill_the_hosts_table_of_connections(networked: Instance) -> None:
    def tracked() -> int:
        return int(Path("/proc/sys/net/netfilter/nf_conntrack_count").read_text())

    scanner = networked.deploy(PROBE, "scanner", Tags={"fnbox:network": "internet"})
    assert reached(scanner, (PUBLIC[0], PORT)) == {PUBLIC[0]}
    before = tracked()
    send = f"s.sendto(b'x', ('{PUBLIC[0]}', 20_000 + i))"
    made = f"[s := socket.socket(socket.AF_INET, socket.SOCK_DGRAM), [{send} for i in range(8000)]]"
    assert ask(scanner, f"len({made})") == 2
    assert tracked() - before < 2000
    # whoever did that has no room for others of its own, for half a minute
    assert reached(scanner, (PUBLIC[0], PORT)) == set()


@pytest.mark.parametrize("policy", ["internet", "full"])
def test_there_is_no_ipv6(functions: dict[str, Function], policy: str) -> None:
    function = functions[policy]
    inet6 = "/proc/net/if_inet6"
    assert ask(function, f"os.path.exists({inet6!r}) and open({inet6!r}).read()") in ("", False)
    for address in (*link_local(), "fd00::2", "2001:db8::1", "::1"):
        said = ask(function, f"reach({address!r}, 22, socket.AF_INET6)")
        assert said in {"EADDRNOTAVAIL", "ENETUNREACH", "EAFNOSUPPORT", "EINVAL", "EACCES"}, said


def link_local() -> list[str]:
    """Addresses of the host's end of fnbox's bridges, as a container would write them."""
    shown = subprocess.check_output(["ip", "-6", "-json", "addr"], text=True)
    return [
        f"{one['local']}%eth0"
        for device in json.loads(shown)
        if device.get("ifname", "").startswith("fnbox")
        for one in device["addr_info"]
        if "local" in one
    ]


def test_under_internet_names_are_asked_of_public_servers_only(
    functions: dict[str, Function], neighbour: Neighbour
) -> None:
    function, other = functions["internet"], functions["other-internet"]
    assert ask(function, "resolve('public.example')") == NAMES["public.example"]
    assert ask(function, "reach('public.example', 8088)") == WELCOME.decode()
    # a name that is made to lead inside leads nowhere
    assert ask(function, "resolve('rebound.example')") == NAMES["rebound.example"]
    assert ask(function, "reach('rebound.example', 8088)") in REFUSED
    hidden = [neighbour.name, socket.gethostname(), "host.docker.internal", other.name]
    hidden += [f"fnbox-{other.name}", f"fnbox-{functions['other-full'].name}", "gateway"]
    assert ask(function, f"[resolve(name) for name in {hidden!r}]") == [None] * len(hidden)
    # A neighbour's address has a name, as Docker has it; it tells nothing.
    name = ask(function, f"reverse({address_of(other)!r})")
    assert other.name not in name


def test_the_way_to_fnbox_is_open_under_every_policy(functions: dict[str, Function]) -> None:
    for policy in ("none", "internet", "full"):
        name = functions[policy].name
        call = f"invoke(FunctionName={name!r}, InvocationType='DryRun')['StatusCode']"
        assert ask(functions[policy], f"__import__('boto3').client('lambda').{call}") == 204


def test_another_tag_is_another_network_from_the_next_call_on(networked: Instance) -> None:
    function = networked.deploy(PROBE, "changing")
    published = function.publish()
    assert reached(function, (PUBLIC[0], PORT)) == set()
    networked.client.tag_resource(Resource=function.arn, Tags={"fnbox:network": "internet"})
    assert reached(function, (PUBLIC[0], PORT)) == {PUBLIC[0]}
    answer = function.invoke(f"reach('{PUBLIC[0]}', {PORT})", published)
    assert answer.document == WELCOME.decode()
    networked.client.untag_resource(Resource=function.arn, TagKeys=["fnbox:network"])
    assert reached(function, (PUBLIC[0], PORT)) == set()


def test_a_function_chooses_among_what_the_instance_allows(networked: Instance) -> None:
    refused = botocore.exceptions.ClientError
    for name in ("bridge", "host", "container:x", ""):
        with pytest.raises(refused, match="fnbox:network may be none, internet, full here"):
            networked.deploy(PROBE, "choosing", Tags={"fnbox:network": name})
    function = networked.deploy(PROBE, "choosing")
    with pytest.raises(refused, match="FNBOX_NETWORK_CHOICES"):
        networked.client.tag_resource(Resource=function.arn, Tags={"fnbox:network": "bridge"})


def test_a_docker_network_may_be_named(start: Start, neighbour: Neighbour) -> None:
    function = start(network="bridge", spares=0).deploy(PROBE)
    assert reached(function, (neighbour.address, 8000)) == {neighbour.address}


@pytest.mark.thorough
def test_rules_that_somebody_has_removed_are_put_back(
    functions: dict[str, Function], networked: Instance
) -> None:
    function = functions["full"]
    assert reached(function, *WORLD) == {*PUBLIC, *PRIVATE}
    chain = f"{short(networked)}-f"
    subprocess.run(["iptables", "-w", "-F", chain], check=True)
    until(lambda: reached(function, (METADATA[0], PORT)) == set(), 40)


@pytest.mark.thorough
def test_a_crash_leaves_nothing_after_the_next_end(start: Start) -> None:
    instance = start(network="internet", network_dns=PUBLIC[0])
    function = instance.deploy(PROBE)
    assert reached(function, *WORLD) == set(PUBLIC)
    instance.kill()
    assert left(instance) != ""  # and the containers that are left are as fenced as before
    instance.start()
    assert reached(function, *WORLD) == set(PUBLIC)
    worker = instance.worker
    assert worker is not None
    os.kill(worker, signal.SIGKILL)
    until(lambda: instance.worker not in (None, worker), 20)
    until(lambda: answers(instance), 20)
    assert reached(function, *WORLD) == set(PUBLIC)
    instance.kill()
    down = subprocess.run(
        instance.command("down"), env=instance.variables, capture_output=True, text=True
    )
    assert down.returncode == 1, "containers are left, which down names"
    for container in instance.containers():
        docker("rm", "--force", container)
    subprocess.run(instance.command("down"), env=instance.variables, check=True)
    assert left(instance) == ""


def answers(instance: Instance) -> bool:
    with ExitStack() as stack:
        try:
            stack.enter_context(socket.create_connection(("127.0.0.1", instance.port), 1))
        except OSError:
            return False
        return True


def test_a_policy_that_cannot_be_had_is_refused_and_never_open(tmp_path: Path) -> None:
    """As in a container: the engine answers, its firewall is not there."""
    with outside.elsewhere() as there:
        instance = Instance(tmp_path / "state", network="internet", spares=0)
        instance.command = lambda *words: [*there, *Instance.command(*words)]  # type: ignore
        try:
            instance.start()
            code = tmp_path / "code"
            code.mkdir()
            (code / "handler.py").write_text(PROBE)

            def fnbox(*words: str) -> subprocess.CompletedProcess[str]:
                command, env = instance.command(*words), instance.variables
                return subprocess.run(command, env=env, capture_output=True, text=True)

            words = ("--name", "f", "--handler", "handler.handler")
            deployed = fnbox("deploy", str(code), *words)
            assert deployed.returncode == 0, deployed.stderr
            called = fnbox("invoke", "f", "--payload", '"1"')
            assert called.returncode != 0
            assert "the network policy internet cannot be had" in called.stderr
            assert "no firewall of a Docker Engine" in called.stderr
            assert instance.containers() == set()
        finally:
            instance.stop()
    assert left(instance) == ""
