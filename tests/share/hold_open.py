"""A client that holds a file open, with an oplock and a byte-range lock, while others work.

    hold_open.py PORT USER PASSWORD SHARE FILE

Writes "held 1" at the start of the file, locks its first 100 bytes and says "ready". At a line on stdin it
writes "held 2" through the same handle, tries to take the lock a second time (which must be refused), gives
it back, closes, and says "done".
"""

import sys

from impacket.nt_errors import STATUS_SUCCESS
from impacket.smb3 import SessionError
from impacket.smbconnection import SMBConnection
from impacket.smb3structs import SMB2_LOCK, SMB2_LOCK_ELEMENT, SMB2Lock

EXCLUSIVE, UNLOCK, FAIL_AT_ONCE = 0x2, 0x4, 0x10
OPLOCK_BATCH = 0x09


def lock(smb, tree, handle, flags):
    element = SMB2_LOCK_ELEMENT()
    element["Offset"], element["Length"], element["Flags"] = 0, 100, flags
    request = SMB2Lock()
    request["LockCount"] = 1
    request["FileID"] = handle
    request["Locks"] = element.getData()
    packet = smb.SMB_PACKET()
    packet["Command"] = SMB2_LOCK
    packet["TreeID"] = tree
    packet["Data"] = request
    smb.recvSMB(smb.sendSMB(packet)).isValidAnswer(STATUS_SUCCESS)


def main():
    port, user, password, share, name = sys.argv[1:]
    connection = SMBConnection("127.0.0.1", "127.0.0.1", sess_port=int(port))
    connection.login(user, password)
    smb = connection.getSMBServer()
    tree = smb.connectTree(share)
    handle = smb.create(
        tree, name, 0x0012019F, 0x7, 0x40, 0x3, 0, oplockLevel=OPLOCK_BATCH
    )
    smb.write(tree, handle, b"held 1", 0, 6)
    lock(smb, tree, handle, EXCLUSIVE | FAIL_AT_ONCE)
    print("ready", flush=True)
    sys.stdin.readline()
    smb.write(tree, handle, b"held 2", 0, 6)
    try:
        lock(smb, tree, handle, EXCLUSIVE | FAIL_AT_ONCE)
        print("the lock was lost", flush=True)
    except SessionError:
        pass
    lock(smb, tree, handle, UNLOCK)
    smb.close(tree, handle)
    print("done", flush=True)


main()
