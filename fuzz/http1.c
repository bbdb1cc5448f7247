/* SPDX-License-Identifier: Apache-2.0
 *
 * A request head. Whatever is accepted has a path without blanks, sane fields and lists that end.
 */
#include "stream/http1.h"

#include <string.h>

#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http1_request r;
	struct err err = {0};
	char element[32];
	int status = 0;
	size_t i = 0;
	char *p = malloc(size > 0 ? size : 1);

	memcpy(p, data, size);
	if (http1_parse(p, size, &r, &status, &err) < 0) {
		must(status >= 400 && status <= 599 && err.msg[0] != '\0');
	} else {
		must(r.length <= size && r.path[0] == '/' && strpbrk(r.path, " ?\r\n\t") == NULL);
		must(r.n_fields > 0 && r.n_fields <= HTTP1_FIELDS_MAX);
		for (size_t k = 0; k < r.n_fields; k++) {
			must(r.fields[k].name[0] != '\0');
			must(strpbrk(r.fields[k].value, "\r\n") == NULL);
			for (i = 0;
			     http1_element(&r, r.fields[k].name, i, element, sizeof(element)); i++)
				must(element[0] != '\0' && strchr(element, ',') == NULL);
			http1_has_token(&r, r.fields[k].name, "upgrade");
		}
	}
	free(p);
	return 0;
}
