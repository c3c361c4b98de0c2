"""A KMIP client on PyKMIP: client.py register FILE | activate UID | revoke UID REASON | destroy UID.

It connects with client.pem and client.key, and prints the Unique Identifier or KMIP's refusal. With
no arguments it reads them from standard input, line by line. KMIP_PORT and KMIP_VERSION may be in
its environment.
"""
import logging
import os
import ssl
import sys

from kmip.core import enums
from kmip.pie import client, exceptions, objects


def run(kmip, operation, what, reason="UNSPECIFIED"):
    if operation == "register":
        with open(what) as file:
            der = ssl.PEM_cert_to_DER_cert(file.read())
        return kmip.register(objects.X509Certificate(der))
    if operation == "activate":
        kmip.activate(what)
    elif operation == "revoke":
        kmip.revoke(enums.RevocationReasonCode[reason], what)
    elif operation == "destroy":
        kmip.destroy(what)
    else:
        kmip.get(what)
    return what


logging.disable(logging.WARNING)  # that there is no pykmip.conf
version = enums.KMIPVersion["KMIP_" + os.environ.get("KMIP_VERSION", "1_4")]
with client.ProxyKmipClient("127.0.0.1", int(os.environ.get("KMIP_PORT", "5696")), "client.pem",
                            "client.key", "ca.pem", kmip_version=version) as kmip:
    for args in [sys.argv[1:]] if len(sys.argv) > 1 else map(str.split, sys.stdin):
        try:
            print(run(kmip, *args), flush=True)
        except exceptions.KmipOperationFailure as failure:
            print("refused:", failure.reason.name, flush=True)
