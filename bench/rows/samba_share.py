"""Row 13: the same loads by SMB, through Debian's smbd, on the plain filesystem, Umbra and bindfs."""

import os
import shutil
import time
from contextlib import ExitStack

from bench import samba
from bench.figures import Row, Table, rate
from bench.filesystems import BINDFS, PLAIN, UMBRA, peer
from bench.machine import drop_caches
from bench.rounds import Samples, interleave
from bench.setting import MIB, Setting
from bench.umbra import Share

TITLE = "Through Samba, a snapshot before each round"
WRITE, READ = "streaming write", "streaming read"
CREATE, FETCH, DELETE = "small files created", "small files read", "small files deleted"
SESSIONS = 4
SMALL_FILE_BYTES = 4096
TARGETS = {WRITE: (PLAIN, 0.8), READ: (PLAIN, 0.8), CREATE: (BINDFS, 1.5), FETCH: (BINDFS, 1.5), DELETE: (BINDFS, 1.5)}


class Load:
    def __init__(self, setting: Setting, scratch: str):
        self.stream_bytes = setting.sizes.sequential_bytes
        self.files = setting.sizes.small_files // SESSIONS
        self.scratch = scratch
        os.mkdir(f"{scratch}/files")
        os.mkdir(f"{scratch}/fetched")
        with open(f"{scratch}/stream", "wb") as file:
            for _ in range(self.stream_bytes // MIB):
                file.write(os.urandom(MIB))
        for number in range(self.files):
            with open(f"{scratch}/files/file{number}", "wb") as file:
                file.write(os.urandom(SMALL_FILE_BYTES))

    def stream(self, client: samba.Client) -> dict[str, float]:
        """MiB a second. The client's start is in it, as that of the others."""
        rates = {WRITE: self.stream_bytes / MIB / timed(lambda: client.run(f"put {self.scratch}/stream stream"))}
        os.sync()
        drop_caches()
        rates[READ] = self.stream_bytes / MIB / timed(lambda: client.run("get stream /dev/null"))
        client.run("del stream")
        return rates

    def small_files(self, client: samba.Client) -> dict[str, float]:
        """Files a second, by several clients at once, each in a folder of its own."""
        client.run("; ".join(f"mkdir s{session}" for session in range(SESSIONS)))
        count = self.files * SESSIONS
        rates = {CREATE: count / self.together(client, f"lcd {self.scratch}/files; prompt off; cd s%d; mput *")}
        os.sync()
        drop_caches()
        rates[FETCH] = count / self.together(client, f"lcd {self.scratch}/fetched; prompt off; cd s%d; mget *")
        rates[DELETE] = count / self.together(client, "cd s%d; del *")
        client.run("; ".join(f"rmdir s{session}" for session in range(SESSIONS)))
        return rates

    @staticmethod
    def together(client: samba.Client, commands: str) -> float:
        began = time.perf_counter()
        running = [client.start(commands % session) for session in range(SESSIONS)]
        for process in running:
            client.finish(process)
        return time.perf_counter() - began


def timed(work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def contender(load: Load, client: samba.Client, share: Share | None):
    def measure(_number: int) -> dict[str, float]:
        if share is not None:
            share.snapshot()
        return {**load.stream(client), **load.small_files(client)}

    return measure


def measure(setting: Setting) -> Samples:
    with ExitStack() as stack:
        image = stack.enter_context(setting.images.mounted("ext4", 8))
        os.mkdir(f"{image}/plain")
        bindfs = stack.enter_context(peer(BINDFS, image))
        share = stack.enter_context(setting.umbra.share(f"{image}/umbra"))
        section = samba.section_of(setting.umbra.program, share.path, "umbra")
        scratch = f"{setting.images.folder}/samba"
        os.makedirs(scratch)
        stack.callback(shutil.rmtree, scratch)
        server = stack.enter_context(
            samba.serving(
                f"{scratch}/server",
                [
                    section,
                    samba.without_versions(section, "plain", f"{image}/plain"),
                    samba.without_versions(section, "bindfs", bindfs),
                ],
            )
        )
        load = Load(setting, scratch)
        contenders = {
            PLAIN: contender(load, server.client("plain"), None),
            BINDFS: contender(load, server.client("bindfs"), None),
            UMBRA: contender(load, server.client("umbra"), share),
        }
        return interleave(setting.sizes.rounds // 2 + 1, contenders)  # each takes long


def run(setting: Setting) -> Row:
    row = Row(13, TITLE)
    samples = measure(setting)
    for measured, (reference, target) in TARGETS.items():
        ratio = samples.ratio(measured, UMBRA, reference)
        row.add(f"{measured}, against {reference}", f"{target}x", ratio, ratio.median >= target)
    contenders = [PLAIN, UMBRA, BINDFS]
    row.tables.append(
        Table(
            f"MiB, or files of {SMALL_FILE_BYTES // 1024} KiB by {SESSIONS} clients, a second, medians",
            ["", *contenders],
            [[measured, *(rate(samples.median(measured, name)) for name in contenders)] for measured in TARGETS],
        )
    )
    row.notes.append(
        "smbd shares all three with the same options, but for those that show previous versions."
    )
    return row
