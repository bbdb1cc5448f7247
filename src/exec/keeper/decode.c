/* SPDX-License-Identifier: Apache-2.0
 *
 * From bytes to a checked request: see decode.h.
 */
#include "exec/keeper/decode.h"

#include <string.h>

#include "base/buf.h"
#include "base/fd.h"
#include "exec/keeper/crilog.h"
#include "exec/keeper/parcel.h"
#include "exec/keeper/proc.h"

static int
check_id(const char *id, struct err *err)
{
	if (!proc_id_ok(id))
		return err_set(err, ERR_INVALID_ARGUMENT, "\"%.128s\" is not an id", id);
	return 0;
}

static int
check_fd(uint32_t index, size_t n_fds, const char *name, struct err *err)
{
	if (index > n_fds)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "%s is %u, but %zu descriptors came with it", name, index, n_fds);
	return 0;
}

static int
check_io_dir(const char *path, struct err *err)
{
	if (path[0] != '\0' && path[0] != '/')
		return err_set(err, ERR_INVALID_ARGUMENT, "io_dir \"%s\" is not absolute", path);
	return 0;
}

static int
check_log_path(const char *path, struct err *err)
{
	return path[0] == '\0' ? 0 : crilog_check_path(path, err);
}

static int
check_plan(const Coracle__Launch__Plan *plan, size_t n_fds, struct err *err)
{
	if (check_fd(plan->stdin_fd, n_fds, "plan.stdin_fd", err) < 0 ||
	    check_fd(plan->stdout_fd, n_fds, "plan.stdout_fd", err) < 0 ||
	    check_fd(plan->stderr_fd, n_fds, "plan.stderr_fd", err) < 0)
		return -1;
	if (plan->tty_width > UINT16_MAX || plan->tty_height > UINT16_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "plan: terminal of %u x %u",
		    plan->tty_width, plan->tty_height);
	return 0;
}

static int
check_launch(const Coracle__Launch__Launch *l, size_t n_fds, struct err *err)
{
	if (check_id(l->id, err) < 0 || check_fd(l->plan_fd, n_fds, "plan_fd", err) < 0 ||
	    check_io_dir(l->io_dir, err) < 0 || check_log_path(l->log_path, err) < 0)
		return -1;
	if ((l->plan != NULL) == (l->plan_fd != 0))
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "launch of %s: needs plan or plan_fd", l->id);
	return l->plan == NULL ? 0 : check_plan(l->plan, n_fds, err);
}

static int
check_adopt(const Coracle__Launch__Adopt *a, size_t n_fds, struct err *err)
{
	if (check_id(a->id, err) < 0 || check_fd(a->pid_fd, n_fds, "pid_fd", err) < 0 ||
	    check_fd(a->tty_fd, n_fds, "tty_fd", err) < 0 ||
	    check_fd(a->stdin_fd, n_fds, "stdin_fd", err) < 0 ||
	    check_fd(a->stdout_fd, n_fds, "stdout_fd", err) < 0 ||
	    check_fd(a->stderr_fd, n_fds, "stderr_fd", err) < 0 ||
	    check_io_dir(a->io_dir, err) < 0 || check_log_path(a->log_path, err) < 0)
		return -1;
	if (a->pid_fd == 0 || a->pid <= 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "adopt %s: needs pid and pid_fd", a->id);
	return 0;
}

static int
check_attach(const Coracle__Launch__Attach *a, size_t n_fds, struct err *err)
{
	if (check_id(a->id, err) < 0 || check_fd(a->stdin_fd, n_fds, "stdin_fd", err) < 0 ||
	    check_fd(a->stdout_fd, n_fds, "stdout_fd", err) < 0 ||
	    check_fd(a->stderr_fd, n_fds, "stderr_fd", err) < 0)
		return -1;
	if (a->stdin_fd == 0 && a->stdout_fd == 0 && a->stderr_fd == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "attach to %s: no stream", a->id);
	return 0;
}

static int
check_request(const Coracle__Launch__Request *r, size_t n_fds, struct err *err)
{
	switch (r->what_case) {
	case CORACLE__LAUNCH__REQUEST__WHAT_HELLO:
	case CORACLE__LAUNCH__REQUEST__WHAT_LIST:
	case CORACLE__LAUNCH__REQUEST__WHAT_SHUTDOWN:
		return 0;
	case CORACLE__LAUNCH__REQUEST__WHAT_LAUNCH:
		return check_launch(r->launch, n_fds, err);
	case CORACLE__LAUNCH__REQUEST__WHAT_REOPEN_LOG:
		if (check_id(r->reopen_log->id, err) < 0)
			return -1;
		return crilog_check_path(r->reopen_log->log_path, err);
	case CORACLE__LAUNCH__REQUEST__WHAT_FORGET:
		return check_id(r->forget->id, err);
	case CORACLE__LAUNCH__REQUEST__WHAT_RESIZE:
		if (r->resize->width > UINT16_MAX || r->resize->height > UINT16_MAX)
			return err_set(err, ERR_INVALID_ARGUMENT, "terminal of %u x %u",
			    r->resize->width, r->resize->height);
		return check_id(r->resize->id, err);
	case CORACLE__LAUNCH__REQUEST__WHAT_ATTACH:
		return check_attach(r->attach, n_fds, err);
	case CORACLE__LAUNCH__REQUEST__WHAT_ADOPT:
		return check_adopt(r->adopt, n_fds, err);
	case CORACLE__LAUNCH__REQUEST__WHAT_UPGRADE:
		if (r->upgrade->program_fd == 0)
			return err_set(err, ERR_INVALID_ARGUMENT, "upgrade: no program");
		return check_fd(r->upgrade->program_fd, n_fds, "program_fd", err);
	case CORACLE__LAUNCH__REQUEST__WHAT_KILL:
		if (r->kill->signal < 0 || r->kill->signal > 64)
			return err_set(err, ERR_INVALID_ARGUMENT, "signal %d", r->kill->signal);
		return check_id(r->kill->id, err);
	case CORACLE__LAUNCH__REQUEST__WHAT_CLOSE_STDIN:
		return check_id(r->close_stdin->id, err);
	case CORACLE__LAUNCH__REQUEST__WHAT_OPEN:
		return check_id(r->open->id, err);
	default:
		return err_set(err, ERR_UNIMPLEMENTED, "a request that this keeper does not know");
	}
}

Coracle__Launch__Request *
decode_request(const void *data, size_t len, size_t n_fds, uint64_t *ret_serial, struct err *err)
{
	Coracle__Launch__Request *r = coracle__launch__request__unpack(NULL, len, data);

	*ret_serial = r == NULL ? 0 : r->serial;
	if (r == NULL) {
		err_set(err, ERR_INVALID_ARGUMENT, "%zu bytes that are no request", len);
		return NULL;
	}
	if (n_fds == PARCEL_CUT)
		err_set(err, ERR_RESOURCE_EXHAUSTED, "descriptors of the request did not arrive");
	else if (check_request(r, n_fds, err) == 0)
		return r;
	coracle__launch__request__free_unpacked(r, NULL);
	return NULL;
}

int
decode_plan_body(Coracle__Launch__Launch *launch, int fd, size_t n_fds, struct err *err)
{
	cleanup_buf struct buf b = BUF_INIT;
	Coracle__Launch__Plan *plan;

	if (parcel_memfd_read(fd, &b, err) < 0)
		return err_wrap(err, "plan_fd");
	plan = coracle__launch__plan__unpack(NULL, b.len, (const uint8_t *)b.data);
	if (plan == NULL)
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "plan_fd: %zu bytes that are no plan", b.len);
	if (check_plan(plan, n_fds, err) < 0) {
		coracle__launch__plan__free_unpacked(plan, NULL);
		return -1;
	}
	launch->plan = plan;
	return 0;
}
