/* SPDX-License-Identifier: Apache-2.0
 *
 * Preloaded into linux.uml. That kernel restores its guests' registers by PTRACE_SETREGSET with the
 * part of the extended state that it knows; the host accepts the whole of it or nothing, and on
 * processors with AMX the whole is larger. So the part is laid over what the process has.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static long
set_extended_state(pid_t pid, const struct iovec *part)
{
	static _Alignas(64) char whole[64 * 1024];
	struct iovec io = {whole, sizeof(whole)};

	if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, NT_X86_XSTATE, &io) < 0)
		return -1;
	if (part->iov_len < io.iov_len)
		memcpy(whole, part->iov_base, part->iov_len);
	else
		memcpy(whole, part->iov_base, io.iov_len);
	return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, NT_X86_XSTATE, &io);
}

long
ptrace(enum __ptrace_request request, ...)
{
	va_list ap;
	pid_t pid;
	void *addr, *data;
	long word = 0, ret;

	va_start(ap, request);
	pid = va_arg(ap, pid_t);
	addr = va_arg(ap, void *);
	data = va_arg(ap, void *);
	va_end(ap);
	if (request == PTRACE_SETREGSET && addr == (void *)NT_X86_XSTATE)
		return set_extended_state(pid, data);
	/* The system call stores a peeked word where libc's function returns it. */
	if (request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER)
		data = &word;
	ret = syscall(SYS_ptrace, request, pid, addr, data);
	if (ret < 0 || data != &word)
		return ret;
	errno = 0;
	return word;
}
