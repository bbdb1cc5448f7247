/* SPDX-License-Identifier: Apache-2.0
 *
 * What has to be known of URLs to follow redirects safely: see fetch.h.
 */
#include <arpa/inet.h>
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "loop/fetch.h"

enum { URL_MAX = 16 << 10 };

/* On the heap; NULL when the URL has no such part. */
static char *
url_part(const char *url, CURLUPart part, unsigned flags)
{
	CURLU *u = curl_url();
	char *s = NULL, *ret = NULL;

	if (u == NULL)
		abort(); /* out of memory */
	if (curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
	    curl_url_get(u, part, &s, flags) == CURLUE_OK)
		ret = xstrdup(s);
	curl_free(s);
	curl_url_cleanup(u);
	return ret;
}

bool
fetch_url_is_loopback(const char *url)
{
	cleanup_free char *host = url_part(url, CURLUPART_HOST, 0);
	struct in_addr v4;

	return host != NULL &&
	       (strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 ||
	           (inet_pton(AF_INET, host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127));
}

bool
fetch_url_same_origin(const char *a, const char *b)
{
	static const CURLUPart parts[] = {CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT};

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		cleanup_free char *x = url_part(a, parts[i], CURLU_DEFAULT_PORT);
		cleanup_free char *y = url_part(b, parts[i], CURLU_DEFAULT_PORT);

		if (x == NULL || y == NULL || strcasecmp(x, y) != 0)
			return false;
	}
	return true;
}

char *
fetch_url_join(const char *base, const char *location)
{
	CURLU *u = curl_url();
	char *s = NULL, *ret = NULL;

	if (u == NULL)
		abort(); /* out of memory */
	if (strlen(location) <= URL_MAX && curl_url_set(u, CURLUPART_URL, base, 0) == CURLUE_OK &&
	    curl_url_set(u, CURLUPART_URL, location, CURLU_DISALLOW_USER) == CURLUE_OK &&
	    curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0) == CURLUE_OK &&
	    curl_url_get(u, CURLUPART_URL, &s, 0) == CURLUE_OK &&
	    (str_starts(s, "https://") || str_starts(s, "http://")))
		ret = xstrdup(s);
	curl_free(s);
	curl_url_cleanup(u);
	return ret;
}
