/* SPDX-License-Identifier: Apache-2.0
 *
 * Any text as an image reference: what is accepted is normalised once and for all, and holds
 * nothing that could leave a path or a request line.
 */
#include "image/ref.h"

#include <string.h>

#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "fuzz.h"
#include "image/digest.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_free char *s = xcalloc(1, size + 1), *once = NULL, *twice = NULL;
	struct image_ref ref = {0}, again = {0};
	struct err err = {0};

	memcpy(s, data, size);
	image_id_like(s);
	if (image_ref_parse(s, &ref, &err) < 0) {
		must(err.code == ERR_INVALID_ARGUMENT && err.msg[0] != '\0');
		return 0;
	}
	once = image_ref_string(&ref);
	must(ref.digest == NULL || digest_valid(ref.digest));
	must(ref.digest != NULL || ref.tag != NULL);
	must(strstr(ref.name, "..") == NULL && strlen(ref.name) <= 255);
	for (const char *p = once; *p != '\0'; p++)
		must(*p > ' ' && *p < 0x7f && strchr("?#%\\\"'&;", *p) == NULL);
	must(image_ref_parse(once, &again, &err) == 0);
	twice = image_ref_string(&again);
	must(strcmp(once, twice) == 0);
	image_ref_release(&ref);
	image_ref_release(&again);
	return 0;
}
