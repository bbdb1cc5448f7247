// SPDX-License-Identifier: Apache-2.0
//
// grpc-node.js SOCKET PROTO: calls of t/grpc-echo by @grpc/grpc-js, as TAP.
'use strict';
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const [socket, proto] = process.argv.slice(2);
const options = {'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1, 'grpc.enable_retries': 0};
const echo = grpc.loadPackageDefinition(loader.loadSync(proto, {keepCase: true, longs: Number, defaults: true})).coracle.test.Echo;
const client = new echo('unix:' + socket, grpc.credentials.createInsecure(), options);

let count = 0, failed = 0;
function ok(good, what) {
	console.log(`${good ? 'ok' : 'not ok'} ${++count} - ${what}`);
	if (!good)
		failed++;
}
function is(got, want, what) {
	const same = JSON.stringify(got) === JSON.stringify(want);
	ok(same, what);
	if (!same)
		console.log(`#  got: ${JSON.stringify(got)}\n# want: ${JSON.stringify(want)}`);
}

function call(method, request, extra = {}) {
	return new Promise(resolve => {
		const c = client[method](request, new grpc.Metadata(), extra, (err, response) => resolve([err, response]));
		if (extra.cancelAfter)
			setTimeout(() => c.cancel(), extra.cancelAfter);
	});
}
function stream(request, extra = {}) {
	return new Promise(resolve => {
		const got = [];
		const c = client.Stream(request, new grpc.Metadata(), extra);
		c.on('data', m => {
			got.push(m.payload.length);
			if (extra.cancelAt === got.length)
				c.cancel();
			if (extra.slow) {
				c.pause();
				setTimeout(() => c.resume(), 1);
			}
		});
		c.on('error', err => resolve([err, got]));
		c.on('end', () => setTimeout(() => resolve([null, got]), 50));
	});
}
async function eventually(test) {
	for (let i = 0; i < 200; i++) {
		const [, c] = await call('Counters', {});
		if (test(c))
			return true;
		await new Promise(r => setTimeout(r, 20));
	}
	return false;
}

async function main() {
	let [err, r] = await call('Unary', {payload: Buffer.from('abc'), text: 'caf\u00e9', labels: {a: '1'}});
	is([err, r && r.payload.toString(), r && r.text, r && r.labels], [null, 'abc', 'caf\u00e9', {a: '1'}], 'a message echoed');
	is(r.path, '/coracle.test.Echo/Unary', 'its path');
	for (const n of [0, 1, 16379, 16384, 65535, 65536, 1 << 20, (16 << 20) - 200]) {
		const data = Buffer.alloc(n, 'z');
		[err, r] = await call('Unary', {payload: data});
		ok(!err && data.equals(Buffer.from(r.payload)), `${n} bytes there and back`);
	}
	[err] = await call('Unary', {payload: Buffer.alloc((16 << 20) + 1)});
	is(err && err.code, grpc.status.RESOURCE_EXHAUSTED, 'a request over 16 MiB');
	for (let code = 1; code <= 16; code++) {
		[err] = await call('Fail', {code, message: 'why: 50% caf\u00e9'});
		is([err && err.code, err && err.details], [code, 'why: 50% caf\u00e9'], grpc.status[code]);
	}
	[err] = await call('Slow', {delay_ms: 20000}, {deadline: Date.now() + 100});
	is(err && err.code, grpc.status.DEADLINE_EXCEEDED, 'a deadline');
	[err] = await call('Slow', {delay_ms: 20000}, {cancelAfter: 50});
	is(err && err.code, grpc.status.CANCELLED, 'a call cancelled');
	ok(await eventually(c => (c.running || 0) === 0 && (c.cancelled || 0) + (c.expired || 0) === 2), 'both reach the op');

	let all = await Promise.all(Array.from({length: 1000}, (_, i) => call('Unary', {text: String(i)})));
	ok(all.every(([e, m], i) => !e && m.text === String(i)), '1000 calls at once');
	all = await Promise.all(Array.from({length: 500}, () => call('Slow', {delay_ms: 100})));
	ok(all.every(([e, m]) => !e && m.text === 'slept'), '500 slow calls at once');

	let got;
	[err, got] = await stream({count: 200, size: 20000});
	is([err, got.length, got.every(n => n === 20000)], [null, 200, true], 'a stream of 200 messages');
	[err, got] = await stream({count: 300, size: 20000}, {slow: true});
	is([err, got.length], [null, 300], 'read slowly');
	[err, got] = await stream({count: 2, size: 1, fail_code: 9});
	is([err && err.code, got.length], [9, 2], 'a stream that fails');
	[err, got] = await stream({count: 1 << 30, size: 100, interval_ms: 5}, {cancelAt: 3});
	is(err && err.code, grpc.status.CANCELLED, 'a stream cancelled');
	ok(await eventually(c => (c.running || 0) === 0), 'its handler is told');
	client.close();
	console.log(`1..${count}`);
	process.exit(failed ? 1 : 0);
}
main().catch(e => {
	console.log('Bail out! ' + e.stack);
	process.exit(1);
});
