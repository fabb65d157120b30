"""Facts about the machine that a reader needs to judge figures, and its caches."""

import os
import platform
import re
import subprocess

PEER_PACKAGES = ("bindfs", "mergerfs", "fuse-overlayfs", "unionfs-fuse", "btrfs-progs", "samba")


def facts() -> list[str]:
    with open("/proc/meminfo") as meminfo:
        memory_kib = int(re.search(r"MemTotal:\s+(\d+)", meminfo.read()).group(1))
    with open("/proc/cpuinfo") as cpuinfo:
        model = re.search(r"model name\s*:\s*(.+)", cpuinfo.read())
    kernel = ".".join(platform.release().split("-")[0].split(".")[:3])
    return [
        f"{os.cpu_count()} cores ({model.group(1).strip() if model else platform.machine()}), "
        f"{memory_kib / 2**20:.0f} GiB memory, Linux {kernel}",
        "Debian packages: " + ", ".join(package_versions()),
    ]


def package_versions() -> list[str]:
    shown = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *PEER_PACKAGES],
        capture_output=True,
        text=True,
    )
    return shown.stdout.split("\n")[:-1]


def busy_share() -> float:
    """How many processes wanted to run in the last minute, for each core."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)


def drop_caches() -> None:
    """Afterwards nothing of any filesystem on a block device, nor of a mount, is cached."""
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as control:
        control.write("3")
