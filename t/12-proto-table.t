#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# proto/cri.proto against the table of the interface, t/data/cri-wire.tsv: every RPC, message, field
# and enum value, none missing, none too many.

import collections
import os
import subprocess
import sys
import tempfile

srcdir = os.environ.get("srcdir", os.path.dirname(os.path.abspath(__file__)) + "/..")
sys.path.insert(0, os.path.join(srcdir, "t/lib"))
import tap
from tap import ok, is_

try:
    from google.protobuf import descriptor_pb2 as d
except ImportError:
    tap.skip_all("python3-protobuf is not installed")

with tempfile.NamedTemporaryFile() as f:
    subprocess.check_call(["protoc", "-I" + os.path.join(srcdir, "proto"), "--descriptor_set_out=" + f.name,
                           os.path.join(srcdir, "proto/cri.proto")])
    files = d.FileDescriptorSet.FromString(f.read()).file
proto = files[0]
F = d.FieldDescriptorProto

table = collections.defaultdict(list)
package = counts = None
with open(os.path.join(srcdir, "t/data/cri-wire.tsv")) as f:
    for line in f:
        row = line.rstrip("\n").split("\t")
        if row[0] == "#package":
            package = row[1]
        elif row[0].startswith("#counts"):
            counts = dict(p.split("=") for p in row[0].split()[1:])
        elif not row[0].startswith("#"):
            table[row[0]].append(row[1:])

is_(proto.package, package, "the package's name")
is_(proto.syntax, "proto3", "the syntax")

# -- RPCs


def short(name):
    prefix = "." + package + "."
    return name[len(prefix):] if name.startswith(prefix) else name


def kind(stream):
    return "stream" if stream else "unary"


rpcs = [[s.name, m.name, short(m.input_type), kind(m.client_streaming), short(m.output_type),
         kind(m.server_streaming), "/%s.%s/%s" % (package, s.name, m.name)] for s in proto.service for m in s.method]
is_(sorted(rpcs), sorted(table["RPC"]), "the RPCs")
is_(len(rpcs), int(counts["rpcs"]), "... all %s" % counts["rpcs"])

# -- messages, fields and enums, nested ones by their dotted names

messages, enums = {}, {}


def walk(m, prefix):
    name = prefix + m.name
    messages[name] = m
    for e in m.enum_type:
        enums[name + "." + e.name] = e
    for n in m.nested_type:
        if not n.options.map_entry:
            walk(n, name + ".")


for m in proto.message_type:
    walk(m, "")
for e in proto.enum_type:
    enums[e.name] = e

SCALARS = {F.TYPE_STRING: "string", F.TYPE_BYTES: "bytes", F.TYPE_BOOL: "bool", F.TYPE_DOUBLE: "double",
           F.TYPE_INT32: "int32", F.TYPE_INT64: "int64", F.TYPE_UINT32: "uint32", F.TYPE_UINT64: "uint64"}


def map_entry(m, f):
    for n in m.nested_type:
        if n.options.map_entry and f.type_name.endswith("." + n.name):
            return n


def describe(m, f):
    """label, type and wire type as the table writes them."""
    entry = f.type == F.TYPE_MESSAGE and map_entry(m, f)
    if entry:
        key, value = (SCALARS[g.type] for g in entry.field)
        return "map", "map<%s,%s>" % (key, value), "len(map-entry:1=key,2=value)"
    label = "repeated" if f.label == F.LABEL_REPEATED else "optional" if f.proto3_optional else "optional(implicit)"
    if f.type == F.TYPE_MESSAGE:
        return label, short(f.type_name), "len(msg)"
    if f.type == F.TYPE_ENUM:
        return label, short(f.type_name).split(".")[-1], "varint(enum)" if label != "repeated" else "len(packed)"
    scalar = SCALARS[f.type]
    if scalar in ("string", "bytes"):
        return label, scalar, "len"
    if label == "repeated":
        return label, scalar, "len(packed)"
    return label, scalar, "fixed64" if scalar == "double" else "varint"


want = collections.defaultdict(list)
for name, number, label, type_, field, wire, oneof, options in table["FIELD"]:
    want[name].append((int(number), label, type_.split(".")[-1], field, wire))
for (name,) in table["EMPTY"]:
    want[name] = []
is_(sorted(messages), sorted(want), "the messages")
is_(len(messages), int(counts["messages"]), "... all %s" % counts["messages"])
n_fields = 0
for name in sorted(want):
    m = messages.get(name)
    got = []
    for f in m.field if m else ():
        label, type_, wire = describe(m, f)
        got.append((f.number, label, type_.split(".")[-1], f.name, wire))
        n_fields += 1
    is_(sorted(got), sorted(want[name]), name)
is_(n_fields, int(counts["fields"]), "all %s fields" % counts["fields"])
ok(not any(f.HasField("oneof_index") for m in messages.values() for f in m.field), "no oneof")

want = collections.defaultdict(list)
for name, number, value, options in table["ENUM"]:
    want[name].append((int(number), value))
is_(sorted(enums), sorted(want), "the enums")
is_(len(enums), int(counts["enums"]), "... all %s" % counts["enums"])
for name in sorted(want):
    is_(sorted((v.number, v.name) for v in enums[name].value) if name in enums else None, sorted(want[name]),
        "enum " + name)
is_(sum(len(e.value) for e in enums.values()), int(counts["enumvalues"]), "all %s values" % counts["enumvalues"])
tap.done()
