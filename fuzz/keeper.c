/* SPDX-License-Identifier: Apache-2.0
 *
 * What the keeper reads from others. First byte even: a request, with the second byte's number of
 * descriptors; what passes has ids that are file names, and a plan that can be checked further.
 * Odd: a process's output, cut into records with limits from the next two bytes; nothing of it is
 * lost.
 */
#include <string.h>

#include "base/macros.h"
#include "exec/keeper/crilog.h"
#include "exec/keeper/decode.h"
#include "exec/keeper/launch_check.h"
#include "exec/keeper/parcel.h"
#include "exec/keeper/proc.h"
#include "fuzz.h"

static void
try_request(const uint8_t *data, size_t size, size_t n_fds)
{
	Coracle__Launch__Request *r;
	struct launch_failure fail;
	struct err err = {0};
	uint64_t serial;

	r = decode_request(data, size, n_fds, &serial, &err);
	if (r == NULL) {
		must(err.code == ERR_INVALID_ARGUMENT || err.code == ERR_UNIMPLEMENTED ||
		     (err.code == ERR_RESOURCE_EXHAUSTED && n_fds == PARCEL_CUT));
		must(err.msg[0] != '\0');
		return;
	}
	must(serial == r->serial);
	if (r->what_case == CORACLE__LAUNCH__REQUEST__WHAT_LAUNCH) {
		const Coracle__Launch__Launch *l = r->launch;

		must(l->id[0] != '.' && l->id[0] != '\0' && strchr(l->id, '/') == NULL);
		must(l->plan_fd <= n_fds && (l->plan != NULL) != (l->plan_fd != 0));
		must(strstr(l->log_path, "/../") == NULL);
		if (l->plan != NULL && launch_check(l->plan, n_fds, &fail) < 0)
			must(fail.text[0] != '\0');
	}
	coracle__launch__request__free_unpacked(r, NULL);
}

static void
try_log(const uint8_t *data, size_t size)
{
	static char out[1 << 20], back[1 << 20];
	struct crilog_style style = {.stream = "stderr", .max_line = (size_t)data[1] + 1};
	size_t used, n, records, at = 0, to = 0;
	bool final = data[0] & 1;

	data += 2;
	size -= 2;
	used =
	    crilog_format(&style, final, (const char *)data, size, out, sizeof(out), &n, &records);
	must(used <= size && n <= sizeof(out));
	while (at < n) {
		const char *end = memchr(out + at, '\n', n - at);
		size_t content;

		must(end != NULL);
		content = (size_t)(end - (out + at)) - 40;
		must(content <= style.max_line && records-- > 0);
		memcpy(back + to, out + at + 40, content);
		to += content;
		must(out[at + 38] == 'F' || out[at + 38] == 'P');
		if (out[at + 38] == 'F')
			back[to++] = '\n';
		at = (size_t)(end - out) + 1;
	}
	must(records == 0 && to == used && memcmp(back, data, used) == 0);
	must(!final || used == size || n + style.max_line + CRILOG_OVERHEAD > sizeof(out));
	if (!final && used < size && n + style.max_line + CRILOG_OVERHEAD <= sizeof(out))
		must(size - used <= style.max_line &&
		     memchr(data + used, '\n', size - used) == NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 3 || size > 16384)
		return 0;
	if (data[0] % 2 == 0)
		try_request(data + 2, size - 2, MIN(data[1], PARCEL_CUT));
	else
		try_log(data + 1, size - 1);
	return 0;
}
