/* SPDX-License-Identifier: Apache-2.0
 *
 * An image's user, /etc/passwd and /etc/group, in this order, with a NUL after the first and a form
 * feed between the others. Whoever comes out has numbers in range and the primary group in front.
 */
#include "exec/user.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *spec = (const char *)data;
	const char *end = size > 0 ? memchr(spec, '\0', size) : NULL, *passwd, *cut;
	struct user_request req = {.image_user = spec};
	struct user_of_image image = {0};
	struct user_file files[2];
	struct err err = {0};
	struct user u;

	if (end == NULL)
		return 0;
	passwd = end + 1;
	size -= (size_t)(passwd - spec);
	cut = size > 0 ? memchr(passwd, '\f', size) : NULL;
	files[0] = (struct user_file){passwd, cut != NULL ? (size_t)(cut - passwd) : size};
	files[1] = (struct user_file){
	    cut != NULL ? cut + 1 : NULL, cut != NULL ? size - files[0].len - 1 : 0};
	if (user_of_image(spec, &image, &err) < 0)
		assert(err.code == ERR_INVALID_ARGUMENT);
	else
		assert(image.uid >= 0 && image.uid <= USER_MAX_ID);
	if (user_resolve_in(&files[0], &files[1], &req, &u, &err) == 0) {
		assert(u.uid <= USER_MAX_ID && u.gid <= USER_MAX_ID && *u.home == '/');
		assert(u.n_groups >= 1 && u.n_groups <= USER_MAX_GROUPS && u.groups[0] == u.gid);
		for (size_t i = 2; i < u.n_groups; i++)
			assert(u.groups[i - 1] < u.groups[i] && u.groups[i] != u.gid);
		user_release(&u);
	}
	free(image.username);
	return 0;
}
