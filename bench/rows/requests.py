"""Row 4: how many requests reach the daemon for one operation. Counted, so that no clock is needed."""

import os

from bench.figures import Row, Table
from bench.setting import Setting
from bench.umbra import Share

TITLE = "Requests to the daemon for each operation"
COUNT = 200
# Nobody waits for these: the kernel sends them when it drops what it knows.
WITHOUT_ANSWER = ("forget", "forget_multi")


def counted(share: Share, operation) -> dict[str, float]:
    before = share.requests()
    operation()
    after = share.requests()
    return {
        name: (number - before.get(name, 0)) / COUNT
        for name, number in after.items()
        if number != before.get(name, 0) and name not in WITHOUT_ANSWER
    }


def read_once(setting: Setting, directory: str) -> None:
    setting.workload.run("open-read", directory, COUNT)


def look_once(setting: Setting, directory: str) -> None:
    """A file's attributes are known once they were asked for after it was last written or read."""
    setting.workload.run("stat", directory, COUNT)


def rename_back(setting: Setting, directory: str) -> None:
    setting.workload.run("rename-back", directory, COUNT)


OPEN_READ, STAT = "open-read-close of a cached file", "stat of a known file"
CHMOD = "chmod"
PREPARED = {OPEN_READ: read_once, STAT: look_once, CHMOD: rename_back}


def run(setting: Setting) -> Row:
    row = Row(4, TITLE)
    with setting.images.mounted("ext4", 1) as image, setting.umbra.share(f"{image}/share") as share:
        directory = f"{share.path}/directory"
        os.mkdir(directory)
        # The first of their kind ask for what holds for all later ones.
        for load in (("create", 1, 100), ("open-read", 1), ("unlink", 1)):
            setting.workload.run(load[0], directory, *load[1:])

        def load(name: str, *arguments: object):
            return lambda: setting.workload.run(name, directory, COUNT, *arguments)

        operations = [
            ("create, write and close of a small file", 4, load("create", 1024)),
            (OPEN_READ, 2, load("open-read")),
            (STAT, 0, load("stat")),
            ("rename", 1, load("rename")),
            (CHMOD, 1, load("chmod", "600")),
            ("unlink", 1, load("unlink")),
        ]
        details = []
        for what, target, operation in operations:
            if what in PREPARED:
                PREPARED[what](setting, directory)
            by_kind = counted(share, operation)
            total = sum(by_kind.values())
            # What a whole run of the load needs once (its directory) is no operation's.
            row.add(what, f"at most {target}", f"{total:.2f}", round(total, 1) <= target)
            kinds = ", ".join(f"{name} {number:.2f}" for name, number in sorted(by_kind.items()))
            details.append([what, kinds])
    row.tables.append(Table("By kind of request", ["operation", "requests"], details))
    row.notes.append(
        "A getattr here is the kernel asking for the directory's mode before the next change in it: it "
        "forgets all attributes of a directory that changed, and checks permissions by them. A lookup "
        "of the new name comes before every create and rename, even where the kernel knows that it is "
        "free. No FUSE filesystem whose permissions the kernel checks can spare either."
    )
    return row

