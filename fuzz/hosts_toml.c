/* SPDX-License-Identifier: Apache-2.0
 *
 * Any text as a hosts.toml: what is accepted yields hosts that a URL and a header can be made of.
 */
#include "image/hosts.h"

#include <string.h>

#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct registry_hosts h = {0};
	struct err err = {0};

	if (registry_hosts_parse(
	        (const char *)data, size, "hosts.toml", "/nonexistent", "q.io", &h, &err) < 0) {
		must(err.code != ERR_NONE && err.msg[0] != '\0');
		return 0;
	}
	must(h.n >= 1 && h.list[h.n - 1].is_origin);
	for (size_t i = 0; i < h.n; i++) {
		const struct registry_host *x = &h.list[i];

		must(strpbrk(x->authority, "/@?# \r\n\t") == NULL && x->authority[0] != '\0');
		must(strpbrk(x->path, "?# \r\n\t") == NULL &&
		     (x->path[0] == '/' || x->path[0] == '\0'));
		for (size_t k = 0; k < x->n_headers; k++)
			must(strpbrk(x->headers[k], "\r\n") == NULL &&
			     strstr(x->headers[k], ": ") != NULL);
	}
	registry_hosts_release(&h);
	return 0;
}
