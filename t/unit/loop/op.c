#include "tap.h"
int
main(void)
{
	ok(true, "builds");
	return tap_done();
}
