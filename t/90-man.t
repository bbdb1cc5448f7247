#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The man pages and the programs agree: each option that a program's --help names, or its option tables have,
is in its page, and each option in the page is in its --help; the same for the commands of coracle, and for
the keys of coracle.yaml, of which the example is valid. The pages format without a warning."""

import glob
import os
import re
import subprocess
import sys
import tempfile

SRC = os.environ.get("srcdir", os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("builddir", os.getcwd())
sys.path.insert(0, SRC + "/t/lib")
from tap import diag, done, is_, ok  # noqa: E402

LONG = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")
SHORT = re.compile(r"(?<![\w-])-[A-Za-z](?![\w-])")


def read(path):
    with open(path) as f:
        return f.read()


def page(name):
    """The source without fonts and escapes: what a reader sees, requests still in front."""
    text = read(SRC + "/man/" + name)
    text = re.sub(r'^\.\\".*\n', "", text, flags=re.M)
    text = re.sub(r"\\f[RBI]", "", text).replace("\\-", "-").replace("\\&", "")
    # .BR a b: the arguments are set without blanks between them; quoted ones keep theirs
    return re.sub(r"^\.(?:BR|RB|BI|IB|RI|IR|B|I) (.*)$",
                  lambda m: "".join(a or b for a, b in re.findall(r'"([^"]*)"|([^" ]+)', m.group(1))),
                  text, flags=re.M)


def section(text, name):
    """From .SH NAME to the next .SH."""
    m = re.search(r"^\.SH %s\n(.*?)(?=^\.SH |\Z)" % name, text, flags=re.M | re.S)
    return m.group(1) if m else ""


def help_of(program):
    r = subprocess.run([BUILD + "/" + program, "--help"], capture_output=True, text=True, timeout=20)
    is_((r.returncode, r.stderr), (0, ""), program + " --help")
    return r.stdout


def same_sets(got, want, what):
    if not ok(got == want, what):
        diag("only in the page: " + ", ".join(sorted(got - want)))
        diag("not in the page: " + ", ".join(sorted(want - got)))


for program, name in (("coracled", "coracled.8"), ("coracle", "coracle.1"), ("coracle-bench", "coracle-bench.1")):
    usage = help_of(program)
    options = section(page(name), "OPTIONS") + section(page(name), "COMMANDS")
    ok(len(LONG.findall(usage)) > 3, program + " --help has options at all")
    # elsewhere in the text a page may quote another program's option
    same_sets(set(LONG.findall(options)), set(LONG.findall(usage)), name + ": the long options of --help")
    same_sets(set(SHORT.findall(section(page(name), "OPTIONS"))), set(SHORT.findall(usage)),
              name + ": the short options of --help")

# What getopt takes, and --help has to tell.
for program, pattern in (("coracled", "src/main.c"), ("coracle", "src/cli/*.c"),
                         ("coracle-bench", "bench/coracle-bench.c")):
    taken = set()
    for path in glob.glob(SRC + "/" + pattern):
        taken |= set("--" + o for o in re.findall(r'\{"([a-z-]+)",\s*(?:no|required|optional)_argument', read(path)))
    ok(taken, program + " has option tables")
    same_sets(set(LONG.findall(help_of(program))), taken, program + ": --help has what getopt takes")

# The commands of coracle.
usage = help_of("coracle")
commands = set(re.findall(r"^  ([a-z][a-z-]*)", usage[usage.index("commands:"):], flags=re.M))
ok(len(commands) > 20, "coracle --help has %d commands" % len(commands))
in_page = set(re.findall(r"^\.TP\n([a-z][a-z-]*)", section(page("coracle.1"), "COMMANDS"), flags=re.M))
same_sets(in_page, commands, "coracle.1: the commands of --help")

# The keys of the configuration.
source = read(SRC + "/src/config.c")
FIELD = re.compile(r'(?:STR|BOOL|INT|UINT|LIST|CYAML_FIELD_(?!END)(?!SEQUENCE\b)\w+)\(\s*"(\w+)",')
tables = {m.group(1): set(FIELD.findall(m.group(2))) for m in
          re.finditer(r"^static const cyaml_schema_field_t (\w+)_fields\[\] = \{(.*?)^\};", source, flags=re.M | re.S)}
sections = set(re.findall(r'SECTION\("(\w+)"', source))
keys = set(tables["top"])
for s in sections:
    keys |= set(s + "." + k for k in tables[s])
keys |= set("containers.rlimits." + k for k in tables["rlimit"])
ok(len(keys) > 30 and set(tables) == sections | {"top", "rlimit"}, "%d keys in the schema" % len(keys))
described = set()
for line in re.findall(r"^\.TP\n(.*)$", section(page("coracle.yaml.5"), "KEYS"), flags=re.M):
    described |= set(line.split(", "))
same_sets(described, keys, "coracle.yaml.5: the keys of the schema")

example = section(read(SRC + "/man/coracle.yaml.5"), "EXAMPLE")
with tempfile.NamedTemporaryFile("w", suffix=".yaml") as f:
    f.write(re.search(r"^\.nf\n(.*?)^\.fi", example, flags=re.M | re.S).group(1))
    f.flush()
    r = subprocess.run([BUILD + "/coracled", "--config", f.name, "--check-config"], capture_output=True, text=True)
    is_((r.returncode, r.stderr), (0, ""), "the example is valid")

# Defaults that both tell.
with tempfile.NamedTemporaryFile("w", suffix=".yaml") as f:
    r = subprocess.run([BUILD + "/coracled", "--config", f.name, "--print-config"], capture_output=True, text=True)
defaults = dict(re.findall(r"^ *(\w+): (\S+)$", r.stdout, flags=re.M))
told = page("coracle.yaml.5").replace("\n", " ")
for key, dotted in (("stats_period", "stats_period"), ("log_max_line", "containers.log_max_line"),
                    ("pids_limit", "containers.pids_limit"), ("progress_timeout", "images.progress_timeout"),
                    ("downloads_per_image", "images.downloads_per_image"), ("cgroup_driver", "containers.cgroup_driver"),
                    ("downloads_per_node", "images.downloads_per_node"), ("mode", "network.mode"), ("root", "root"),
                    ("state", "state"), ("listen", "listen"), ("log_level", "log_level"), ("events", "events"),
                    ("port", "streaming.port"), ("address", "streaming.address"), ("instance", "instance")):
    text = re.search(r"\.TP %s (.*?)(?=\.TP |\.SS |\.SH )" % re.escape(dotted), told).group(1)
    ok("(%s)" % defaults[key] in text, "the default of %s is %s" % (dotted, defaults[key]))

for path in sorted(glob.glob(SRC + "/man/*.[158]")):
    r = subprocess.run(["groff", "-man", "-Tutf8", "-ww", path], capture_output=True, text=True)
    ok(r.returncode == 0 and r.stderr == "" and "SEE ALSO" in re.sub(r"\x1b\[[0-9;]*m|.\x08", "", r.stdout),
       os.path.basename(path) + " formats")
done()
