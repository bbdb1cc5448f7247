#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The gRPC server with the JavaScript client (@grpc/grpc-js from npm, installed once per build tree).

set -u
builddir=${builddir:-.} srcdir=${srcdir:-$(dirname "$0")/..}

skip() {
	echo "1..0 # SKIP $1"
	exit 0
}

command -v node >/dev/null || skip "no node"
command -v npm >/dev/null || skip "no npm"

# Two builds may run at once: install aside, then rename.
modules=$builddir/t/node-grpc
if ! [ -e "$modules/node_modules/@grpc/grpc-js/package.json" ]; then
	fresh=$(mktemp -d "$builddir/t/node-grpc.XXXXXX") || exit 1
	cp "$srcdir/t/data/node/package.json" "$fresh/"
	if ! npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$fresh" >"$fresh/log" 2>&1; then
		sed 's/^/# /' "$fresh/log"
		rm -rf "$fresh"
		[ "${CI:-}" = true ] && exit 1
		skip "npm cannot install @grpc/grpc-js"
	fi
	mv -T "$fresh" "$modules" 2>/dev/null || rm -rf "$fresh"
fi

dir=$(mktemp -d /tmp/coracle-grpc-XXXXXX)
server=
trap '[ -n "$server" ] && kill "$server" 2>/dev/null; rm -rf "$dir"' EXIT
mkfifo "$dir/ready"
"$builddir/t/grpc-echo" "$dir/s" >"$dir/ready" 2>"$dir/log" &
server=$!
read -r line <"$dir/ready"
[ "$line" = listening ] || { echo "Bail out! grpc-echo did not start"; exit 1; }

NODE_PATH=$modules/node_modules node "$srcdir/t/lib/grpc-node.js" "$dir/s" "$srcdir/t/echo.proto"
result=$?
kill "$server"
wait "$server" || { sed 's/^/# /' "$dir/log"; result=1; }
server=
exit $result
