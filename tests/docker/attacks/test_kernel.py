"""What a hostile function may ask of the kernel, and what is refused.

Every attempt is made in a real container, by the function. Why each is refused is in
`sandbox/engines/SECCOMP.md`.
"""

from __future__ import annotations

import json
import os
import platform

import pytest

from sandbox.engines import docker as engine_module
from tests.support.hostile import inspect, run, value
from tests.support.instance import Function

DENIED = ("EPERM", "EACCES", "ENOSYS", "EAFNOSUPPORT", "EPROTONOSUPPORT")
CALLS = {
    "mount": "165, b'none', b'/tmp', b'tmpfs', 0, None",
    "umount2": "166, b'/proc', 2",
    "pivot_root": "155, b'/tmp', b'/tmp'",
    "move_mount": "429, -1, b'', -1, b'', 0",
    "open_tree": "428, -100, b'/', 1",
    "fsopen": "430, b'tmpfs', 0",
    "mount_setattr": "442, -100, b'/', 0, ctypes.create_string_buffer(32), 32",
    "chroot": "161, b'/tmp'",
    "ptrace of the init": "101, 16, 1, 0, 0",
    "ptrace of itself": "101, 0, 0, 0, 0",
    "process_vm_readv": "310, 1, None, 0, None, 0, 0",
    "process_vm_writev": "311, 1, None, 0, None, 0, 0",
    "kcmp": "312, 1, os.getpid(), 0, 0, 0",
    "pidfd_getfd": "438, 0, 0, 0",
    "unshare of users": "272, 0x10000000",
    "unshare of mounts": "272, 0x20000",
    "clone with users": "56, 0x10000000 | 17, None, None, None, 0",
    "clone3": "435, ctypes.create_string_buffer(88), 88",
    "setns": "308, 0, 0",
    "setuid 0": "105, 0",
    "setgid 0": "106, 0",
    "setgroups": "116, 1, ctypes.byref(ctypes.c_uint(0))",
    "capset": "126, ctypes.byref(ctypes.c_ulong(0x20080522)), b'\\xff' * 24",
    "bpf": "321, 0, None, 0",
    "keyctl": "250, 0, 0, 0, 0, 0",
    "add_key": "248, b'user', b'x', b'y', 1, -3",
    "request_key": "249, b'user', b'x', None, 0",
    "io_uring_setup": "425, 8, ctypes.create_string_buffer(120)",
    "io_uring_enter": "426, 0, 0, 0, 0, None, 0",
    "io_uring_register": "427, 0, 0, None, 0",
    "perf_event_open": "298, ctypes.create_string_buffer(128), 0, -1, -1, 0",
    "userfaultfd": "323, 0",
    "name_to_handle_at": "303, -100, b'/tmp', None, None, 0",
    "open_by_handle_at": "304, -100, ctypes.create_string_buffer(32), 0",
    "kexec_load": "246, 0, 0, None, 0",
    "kexec_file_load": "320, 0, 0, 0, None, 0",
    "init_module": "175, None, 0, b''",
    "finit_module": "313, 0, b'', 0",
    "delete_module": "176, b'x', 0",
    "personality without randomized addresses": "135, 0x0040000",
    "personality of another system": "135, 0x0010",
    "reboot": "169, 0xfee1dead, 672274793, 0x89abcdef, None",
    "swapon": "167, b'/tmp/x', 0",
    "sethostname": "170, b'x', 1",
    "setdomainname": "171, b'x', 1",
    "settimeofday": "164, None, None",
    "clock_settime": "227, 0, ctypes.create_string_buffer(16)",
    "adjtimex": "159, ctypes.create_string_buffer(256)",
    "acct": "163, b'/tmp/x'",
    "quotactl": "179, 0, b'/', 0, None",
    "syslog": "103, 3, ctypes.create_string_buffer(64), 64",
    "iopl": "172, 3",
    "ioperm": "173, 0, 1, 1",
    "lookup_dcookie": "212, 0, None, 0",
    "fanotify_init": "300, 0, 0",
    "memfd_secret": "447, 0",
    "process_madvise": "440, 0, None, 0, 0, 0",
    "migrate_pages": "256, 1, 0, None, None",
    "move_pages": "279, 1, 0, None, None, None, 0",
    "uselib": "134, b'/tmp/x'",
    "vhangup": "153",
}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are those of x86-64")
@pytest.mark.parametrize("name", CALLS)
def test_refused_is_the_system_call(hostile: Function, name: str) -> None:
    assert value(hostile, f"refused(syscall, {CALLS[name]})") in DENIED


SOCKETS = {
    "vsock": "40, 1, 0",
    "packet": "17, 3, 0",
    "raw IPv4": "2, 3, 1",
    "raw IPv6": "10, 3, 58",
    "the kernel's cryptography": "38, 5, 0",
    "bluetooth": "31, 3, 1",
    "CAN": "29, 3, 1",
    "XDP": "44, 3, 0",
    "key management": "15, 3, 2",
    "TIPC": "30, 1, 0",
}


@pytest.mark.parametrize("name", SOCKETS)
def test_refused_is_a_socket_of(hostile: Function, name: str) -> None:
    assert value(hostile, f"refused(socket.socket, {SOCKETS[name]})") in DENIED


def test_by_netlink_nothing_can_be_changed(hostile: Function) -> None:
    # RTM_NEWLINK of loopback, with an acknowledgement: its error is what the kernel says of it.
    code = """
end = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
end.settimeout(5)
end.send(struct.pack("=IHHIIBxHiII", 32, 16, 5, 1, 0, 0, 0, 1, 0, 1))
result = errno.errorcode[-struct.unpack_from("=i", end.recv(4096), 16)[0]]
"""
    assert run(hostile, code) == "EPERM"


@pytest.mark.parametrize("kind", ["stat.S_IFCHR", "stat.S_IFBLK"])
def test_no_device_can_be_made(hostile: Function, kind: str) -> None:
    made = f"refused(os.mknod, '/tmp/device', {kind} | 0o666, os.makedev(1, 3))"
    assert value(hostile, made) == "EPERM"


def test_no_terminal_takes_what_is_pushed_into_it(hostile: Function) -> None:
    code = """
import fcntl
result = [refused(open, path, "rb") for path in ("/dev/tty", "/dev/console")]
result.insert(1, refused(fcntl.ioctl, 0, 0x5412, b"x"))
"""
    tty, stdin, console = run(hostile, code)
    assert tty in ("ENXIO", "ENOENT", "EACCES")
    assert stdin == "ENOTTY"
    assert console in ("ENOENT", "EACCES", "EPERM")


def test_the_profile_that_runs_is_the_one_in_the_package(hostile: Function) -> None:
    options = inspect(hostile)["HostConfig"]["SecurityOpt"]
    (profile,) = [option.removeprefix("seccomp=") for option in options if "seccomp=" in option]
    file = os.path.join(os.path.dirname(engine_module.__file__), "seccomp.json")
    with open(file, encoding="utf-8") as packaged:
        assert json.loads(profile) == json.load(packaged)
    assert "Seccomp:\t2" in value(hostile, "open('/proc/self/status').read()")
