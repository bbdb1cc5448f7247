# SPDX-License-Identifier: Apache-2.0
#
# TAP for test scripts in Python: ok(), is_(), skip_all(), and done() at the end, which exits.

import sys
import traceback

_count = 0
_failed = 0


def ok(good, what):
    global _count, _failed
    _count += 1
    print("%sok %d - %s" % ("" if good else "not ", _count, what))
    if not good:
        _failed += 1
        frame = traceback.extract_stack(limit=3)
        for f in frame:
            if not f.filename.endswith("tap.py"):
                print("# failed at %s:%d" % (f.filename, f.lineno))
    sys.stdout.flush()
    return good


def is_(got, want, what):
    good = ok(got == want, what)
    if not good:
        print("#  got: %.500r\n# want: %.500r" % (got, want))
    return good


def diag(text):
    for line in str(text).splitlines():
        print("# " + line)
    sys.stdout.flush()


def skip_all(why):
    print("1..0 # SKIP " + why)
    sys.exit(0)


def done():
    print("1..%d" % _count)
    sys.exit(1 if _failed else 0)
