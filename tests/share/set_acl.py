"""A client that gives a file an NT ACL, as Windows' security tab does.

    set_acl.py PORT USER PASSWORD SHARE FILE ACE...

ACE is allow:SID:MASK or deny:SID:MASK, the mask in hexadecimal; they are set in this order.
"""

import sys

from impacket.ldap import ldaptypes
from impacket.smbconnection import SMBConnection

INFO_SECURITY, DACL = 3, 0x4
WRITE_DAC, OPEN, SHARE_ALL = 0x00040000, 0x1, 0x7
SELF_RELATIVE, DACL_PRESENT = 0x8000, 0x0004
KINDS = {"allow": ldaptypes.ACCESS_ALLOWED_ACE, "deny": ldaptypes.ACCESS_DENIED_ACE}


def entry(text):
    kind, sid, mask = text.split(":")
    body = KINDS[kind]()
    body["Mask"] = ldaptypes.ACCESS_MASK()
    body["Mask"]["Mask"] = int(mask, 16)
    body["Sid"] = ldaptypes.LDAP_SID()
    body["Sid"].fromCanonical(sid)
    made = ldaptypes.ACE()
    made["AceType"] = body.ACE_TYPE
    made["AceFlags"] = 0
    made["Ace"] = body
    return made


def descriptor(entries):
    dacl = ldaptypes.ACL()
    dacl["AclRevision"], dacl["Sbz1"], dacl["Sbz2"] = 2, 0, 0
    dacl.aces = [entry(text) for text in entries]
    made = ldaptypes.SR_SECURITY_DESCRIPTOR()
    made["Revision"], made["Sbz1"] = b"\x01", b"\x00"
    made["Control"] = SELF_RELATIVE | DACL_PRESENT
    made["OwnerSid"] = made["GroupSid"] = made["Sacl"] = b""
    made["Dacl"] = dacl
    return made.getData()


def main():
    port, user, password, share, name = sys.argv[1:6]
    connection = SMBConnection("127.0.0.1", "127.0.0.1", sess_port=int(port))
    connection.login(user, password)
    smb = connection.getSMBServer()
    tree = smb.connectTree(share)
    handle = smb.create(tree, name, WRITE_DAC, SHARE_ALL, 0, OPEN, 0)
    smb.setInfo(tree, handle, descriptor(sys.argv[6:]), INFO_SECURITY, 0, DACL)
    smb.close(tree, handle)


main()
