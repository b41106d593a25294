"""What the verbs of `xl` call: libxl's job seen from outside, over the daemon's socket.

Every call is one request to `xenolithd` (docs/daemon.md), which is started when none answers. This
module is on the path of each `xl` command, so it imports little.
"""

from __future__ import annotations

import builtins
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from xenolith.toolstack import paths
from xenolith.toolstack.config_source import ConfigAnswer, ConfigSource
from xenolith.toolstack.records import DeviceInfo, DomainEnd, DomainInfo, NicInfo, VcpuInfo
from xenolith.toolstack.rpc import Connection, ProtocolError, RemoteError

if TYPE_CHECKING:
    from xenolith.toolstack.client_cpus import CpuRequests


class ToolstackError(Exception):
    """A verb failed; the message is one sentence for the user, without "Error:" or full stop."""


class Toolstack:
    """A connection to the daemon of this user; also a context manager.

    Every method raises :class:`ToolstackError` when the daemon refuses or cannot be reached.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    def connect(cls) -> Toolstack:
        """Connect to the daemon, starting it first when none answers."""
        try:
            return cls(Connection.connect(paths.daemon_socket()))
        except (OSError, ProtocolError):
            # Rare, and it needs more modules than `xl list` may afford.
            from xenolith.toolstack import daemon_start  # noqa: PLC0415

        try:
            return cls(daemon_start.start_and_connect())
        except daemon_start.DaemonStartError as error:
            raise ToolstackError(str(error)) from None

    @property
    def cpus(self) -> CpuRequests:
        """The requests about weights, caps and CPU pools."""
        from xenolith.toolstack.client_cpus import CpuRequests  # noqa: PLC0415 - few verbs need them

        return CpuRequests(self._call)

    def close(self) -> None:
        """Close the connection; sockets handed out by it stay open."""
        self._connection.close()

    def __enter__(self) -> Toolstack:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def load_config(self, source: ConfigSource) -> ConfigAnswer:
        """What domain a configuration describes."""
        return ConfigAnswer(*self._call("load_config", **source._asdict()))

    def create(self, config: dict[str, Any], *, paused: bool = False) -> int:
        """Build and start a domain; return its domid once the guest runs (or stands paused).

        ``config`` is the checked configuration in xl.cfg's own words, in JSON types. Paths are
        absolute. Keys used here: ``name`` ``uuid`` ``type`` ``kernel`` ``ramdisk`` ``cmdline``
        ``memory`` ``maxmem`` (MiB) ``vcpus`` ``maxvcpus`` ``on_poweroff`` ``on_reboot``
        ``on_crash`` ``on_watchdog`` ``on_soft_reset``; the domain process sees all the others too.
        """
        result = self._call("create", config=config, paused=paused)
        return int(result["domid"])

    def create_choosing(
        self,
        config: dict[str, Any],
        size: os.terminal_size,
        show: Callable[[socket.socket], None],
        *,
        paused: bool = False,
    ) -> int:
        """As :meth:`create`, of a domain whose boot loader may have a menu to choose from.

        ``show`` gets a stream socket to the menu, which is made for a terminal of that size; it returns
        when that ends, or leaves it to boot the default.
        """
        params = {"config": config, "paused": paused, "columns": size.columns, "rows": size.lines}
        ours, theirs = socket.socketpair()
        with ours:
            with theirs, _failures("create"):
                self._connection.begin("create", params, [theirs.fileno()])
            show(ours)
        with _failures("create"):
            result, _ = self._connection.finish()
        return int(result["domid"])

    def list(self) -> builtins.list[DomainInfo]:
        """Every domain by rising domid, Domain-0 first."""
        return [DomainInfo(*row) for row in self._call("list")]

    def config(self, domid: int) -> dict[str, Any]:
        """The configuration that a domain was created with (`xl list -l`)."""
        config: dict[str, Any] = self._call("config", domid=domid)
        return config

    def resolve(self, name_or_id: str) -> int:
        """The domid of a domain given by name or by number, as libxl tells them apart."""
        return int(self._call("resolve", domain=name_or_id))

    def info(self) -> dict[str, str]:
        """The values of `xl info` by key, in the order in which xl prints them."""
        info: dict[str, str] = self._call("info")
        return info

    def vcpus(self, domid: int) -> builtins.list[VcpuInfo]:
        """The virtual CPUs of one domain, by number."""
        return [VcpuInfo(*row) for row in self._call("vcpus", domid=domid)]

    def pin_vcpu(self, domid: int, vcpu: int | None, hard: str | None, soft: str | None) -> None:
        """Set the host CPUs of one vCPU, or of all (None), in xl's notation; None: as before."""
        self._call("pin_vcpu", domid=domid, vcpu=vcpu, hard=hard, soft=soft)

    def set_vcpus(self, domid: int, count: int) -> None:
        """Have the guest run on its first ``count`` vCPUs (`xl vcpu-set`)."""
        self._call("set_vcpus", domid=domid, count=count)

    def destroy(self, domid: int) -> None:
        """End a domain now; return once all it held is free again."""
        self._call("destroy", domid=domid)

    def shutdown(self, domid: int) -> None:
        """Ask the guest to power off, through control/shutdown; does not wait."""
        self._call("shutdown", domid=domid)

    def reboot(self, domid: int) -> None:
        """Ask the guest to reboot, through control/shutdown; does not wait."""
        self._call("reboot", domid=domid)

    def pause(self, domid: int) -> None:
        """Stop the domain's vCPUs; its memory and devices stay."""
        self._call("pause", domid=domid)

    def unpause(self, domid: int) -> None:
        """Let a paused domain run."""
        self._call("unpause", domid=domid)

    def rename(self, domid: int, name: str) -> None:
        """Give a domain another unique name."""
        self._call("rename", domid=domid, name=name)

    def console(self, domid: int) -> socket.socket:
        """A stream socket to the guest's console.

        It yields all that the guest has printed since the domain started, then what it prints,
        and ends when the domain has ended and every byte was read. What is sent into it is typed.
        """
        return self._open("console", domid=domid)

    def console_of(self, name_or_id: str) -> socket.socket:
        """Like :meth:`console`; also of a domain that ended by itself a moment ago."""
        return self._open("console_of", domain=name_or_id)

    def strace(self, domid: int) -> socket.socket:
        """A stream socket of text lines, one for each hypercall of the domain from now on."""
        return self._open("strace", domid=domid)

    def nics(self, domid: int) -> builtins.list[NicInfo]:
        """The network interfaces of a domain, by number."""
        return [NicInfo(*row) for row in self._call("nics", domid=domid)]

    def attach_nic(self, domid: int, nic: str) -> None:
        """Attach a network interface, described as in a string of ``vif=``."""
        self._call("attach_nic", domid=domid, nic=nic)

    def detach_nic(self, domid: int, nic: str, *, force: bool = False) -> None:
        """Detach a network interface given by number or address, ``force``: from a deaf guest."""
        self._call("detach_nic", domid=domid, nic=nic, force=force)

    def capture_nic(self, domid: int, nic: str) -> socket.socket:
        """A stream socket of the packets of an interface from now on, in the format of pcap."""
        return self._open("capture_nic", domid=domid, nic=nic)

    def set_memory_target(self, domid: int, kib: int) -> None:
        """Ask the guest's balloon driver for this size (`xl mem-set`)."""
        self._call("set_memory_target", domid=domid, kib=kib)

    def set_max_memory(self, domid: int, kib: int) -> None:
        """Limit what the domain may ever hold (`xl mem-max`)."""
        self._call("set_max_memory", domid=domid, kib=kib)

    def trigger(self, domid: int, name: str, vcpu: int = 0) -> str | None:
        """Send a trigger: nmi, reset, init, power, sleep or s3resume.

        Returns what was done instead, in one sentence, where the domain has no such button.
        """
        instead: str | None = self._call("trigger", domid=domid, name=name, vcpu=vcpu)
        return instead

    def sysrq(self, domid: int, letter: str) -> None:
        """Press a magic SysRq key in the guest, through control/sysrq."""
        self._call("sysrq", domid=domid, letter=letter)

    def devices(self, domid: int, kind: str) -> builtins.list[DeviceInfo]:
        """A domain's devices of a kind (``vbd``, ``vif``), by number."""
        return [DeviceInfo(*row) for row in self._call("devices", domid=domid, kind=kind)]

    def attach_disk(self, domid: int, disk: str, directory: str) -> None:
        """Attach the disk that a string of xl.cfg describes; relative paths begin at ``directory``."""
        self._call("attach_disk", domid=domid, disk=disk, directory=directory)

    def detach_disk(self, domid: int, vdev: str, *, force: bool = False) -> None:
        """Have the guest let go of a disk, or with ``force`` take it away."""
        self._call("detach_disk", domid=domid, vdev=vdev, force=force)

    def insert_medium(self, domid: int, vdev: str, target: str) -> None:
        """Put a medium, at an absolute path, into a drive in place of what is in there."""
        self._call("insert_medium", domid=domid, vdev=vdev, target=target)

    def eject_medium(self, domid: int, vdev: str) -> None:
        """Take the medium out of a drive."""
        self._call("eject_medium", domid=domid, vdev=vdev)

    def measure_disk(self, domid: int, vdev: str) -> None:
        """Tell the guest how long a disk's image is now."""
        self._call("measure_disk", domid=domid, vdev=vdev)

    def snapshot_disk(self, domid: int, vdev: str, path: str) -> None:
        """Keep a VHD that a domain writes to as it is now, under another name, an absolute path."""
        self._call("snapshot_disk", domid=domid, vdev=vdev, path=path)

    def coalesce_disk(self, domid: int, vdev: str, path: str | None) -> socket.socket:
        """Begin to move a file of a disk, at an absolute path, or with None its leaf, into its parent.

        The stream tells how that goes on (toolstack/progress_stream.py). Closing it ends the work.
        """
        return self._open("coalesce_disk", domid=domid, vdev=vdev, path=path)

    def dump_core(self, domid: int, path: str) -> None:
        """Write the domain's memory as an ELF core file at an absolute path."""
        self._call("dump_core", domid=domid, path=path)

    def dmesg(self) -> str:
        """The hypervisor's log ring."""
        return str(self._call("dmesg"))

    def clear_dmesg(self) -> str:
        """The hypervisor's log ring, emptied by this call."""
        return str(self._call("clear_dmesg"))

    def debug_keys(self, keys: str) -> None:
        """Press debug keys, which answer in the hypervisor's log."""
        self._call("debug_keys", keys=keys)

    def wait(self, domid: int) -> DomainEnd:
        """Wait until the domain has ended; return at once for one that ended a while ago."""
        return DomainEnd(*self._call("wait", domid=domid))

    def _call(self, method: str, **params: Any) -> Any:
        result, fds = self._request(method, params)
        if fds:
            raise ToolstackError(f"The daemon's answer to {method} makes no sense")
        return result

    def _open(self, method: str, **params: Any) -> socket.socket:
        _, fds = self._request(method, params)
        if len(fds) != 1:
            raise ToolstackError(f"The daemon's answer to {method} makes no sense")
        return socket.socket(fileno=fds[0])

    def _request(self, method: str, params: dict[str, Any]) -> tuple[Any, builtins.list[int]]:
        with _failures(method):
            return self._connection.call(method, params)


@contextmanager
def _failures(method: str) -> Iterator[None]:
    """Turns what can go wrong with a request into a ToolstackError."""
    try:
        yield
    except RemoteError as error:
        raise ToolstackError(str(error)) from None
    except (OSError, ProtocolError) as error:
        raise ToolstackError(f"The daemon went away during {method}: {error}") from None
