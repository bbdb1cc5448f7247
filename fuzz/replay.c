/* SPDX-License-Identifier: Apache-2.0
 *
 * Stands in for libFuzzer in the ordinary test run: gives every file of a corpus to the harness
 * this is linked with. A crash or a sanitizer's report is the failure.
 */
#include <dirent.h>
#include <fcntl.h>

#include "base/buf.h"
#include "base/fd.h"
#include "tap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
main(void)
{
	DIR *dir = opendir(CORPUS);
	struct dirent *ent;
	unsigned n = 0;

	while (dir != NULL && (ent = readdir(dir)) != NULL) {
		cleanup_buf struct buf bytes = BUF_INIT;
		char *exact;
		struct err err;

		if (*ent->d_name == '.')
			continue;
		if (fd_read_file(dirfd(dir), ent->d_name, 1 << 20, &bytes, &err) < 0) {
			ok(false, "%s", err.msg);
			continue;
		}
		/* of the exact size, so that a read past the end is one of the allocation */
		exact = malloc(bytes.len > 0 ? bytes.len : 1);
		if (bytes.len > 0)
			memcpy(exact, bytes.data, bytes.len);
		is_int(LLVMFuzzerTestOneInput((const uint8_t *)exact, bytes.len), 0, ent->d_name);
		free(exact);
		n++;
	}
	if (dir != NULL)
		closedir(dir);
	ok(n > 0, "%u inputs of %s", n, CORPUS);
	return tap_done();
}
