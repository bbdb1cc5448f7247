/* SPDX-License-Identifier: Apache-2.0
 *
 * Capabilities: names, and the rules of ALL.
 */
#include <linux/capability.h>

#include "base/macros.h"
#include "exec/caps.h"
#include "tap.h"

#define BIT(n) (UINT64_C(1) << (n))

static const struct row {
	const char *what;
	const char *add[3], *drop[3];
	uint64_t want;
} rows[] = {
    {"nothing asked",         {0},                      {0},              0xa80425fb              },
    {"add",                   {"NET_ADMIN"},            {0},              0xa80425fb | BIT(12)    },
    {"add with prefix",       {"cap_net_admin"},        {0},              0xa80425fb | BIT(12)    },
    {"drop",                  {0},                      {"CHOWN"},        0xa80425fa              },
    {"drop wins",             {"SYS_ADMIN"},            {"SYS_ADMIN"},    0xa80425fb              },
    {"drop ALL",              {0},                      {"ALL"},          0                       },
    {"drop all, add one",     {"NET_BIND_SERVICE"},     {"all"},          BIT(10)                 },
    {"add ALL",               {"ALL"},                  {0},              BIT(41) - 1             },
    {"add ALL, drop one",     {"ALL"},                  {"SYS_ADMIN"},    (BIT(41) - 1) & ~BIT(21)},
    {"both ALL, one and one", {"ALL", "KILL", "CHOWN"}, {"ALL", "CHOWN"}, BIT(5)                  },
};

static size_t
length(const char *const *list)
{
	size_t n = 0;

	while (n < 3 && list[n] != NULL)
		n++;
	return n;
}

int
main(void)
{
	const uint64_t available = BIT(41) - 1;
	const char *bad[] = {"NET_ADMIN", "FLY"}, *all[] = {"ALL"};
	struct err err = {0};
	uint64_t mask = 7;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct row *r = &rows[i];

		ok(caps_resolve(r->add, length(r->add), r->drop, length(r->drop), caps_default,
		       available, &mask, &err) == 0 &&
		        mask == r->want,
		    "%s: %#llx", r->what, (unsigned long long)mask);
	}
	ok(caps_resolve(all, 1, NULL, 0, caps_default, BIT(0) | BIT(5), &mask, &err) == 0 &&
	        mask == (BIT(0) | BIT(5)),
	    "never more than is available");
	mask = 7;
	ok(caps_resolve(bad, 2, NULL, 0, caps_default, available, &mask, &err) < 0 && mask == 7 &&
	        err.code == ERR_INVALID_ARGUMENT,
	    "unknown name");
	is_str(err.msg, "add_capabilities: no capability is called \"FLY\"", "says which");
	ok(caps_resolve(NULL, 0, bad, 2, caps_default, available, &mask, &err) < 0,
	    "in drop as well");
	ok(caps_of_names(bad, 1, "add_ambient_capabilities", &mask, &err) == 0 && mask == BIT(12),
	    "names alone");
	ok(caps_of_names(all, 1, "add_ambient_capabilities", &mask, &err) < 0, "ALL is no name");
	for (int i = 0; i <= CAP_LAST_CAP; i++)
		if (caps_name(i) == NULL || caps_number(caps_name(i)) != i)
			ok(false, "round trip of %d", i);
	ok(caps_name(64) == NULL && caps_name(-1) == NULL, "no name");
	is_int(caps_number("CHECKPOINT_RESTORE"), CAP_CHECKPOINT_RESTORE, "the last one");
	is_int(caps_number("CAP_"), -1, "no number");
	ok((caps_available() & BIT(CAP_CHOWN)) != 0, "available: %#llx",
	    (unsigned long long)caps_available());
	return tap_done();
}
