/* SPDX-License-Identifier: Apache-2.0
 *
 * The batch in flight, in memory that outlives the process: see journal.h.
 */
#include "exec/keeper/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"

enum { IDLE, WRITING, TAKING };
enum { ID_MAX = 136, INHERITED = 8 };

struct batch {
	_Atomic uint32_t phase;
	uint32_t is_stderr;
	uint64_t in_len;
	uint64_t log_dev, log_ino, log_size;
	uint64_t out_len;
	char last;
	char landed; /* target of the read's last byte */
	char id[ID_MAX];
};

struct journal {
	uint64_t magic;
	struct batch now;
	struct batch inherited[INHERITED];
};

static const uint64_t magic = UINT64_C(0x3130306c6e72756a);
static struct journal own_memory;
static struct journal *journal = &own_memory;

static bool
batch_usable(const struct batch *b)
{
	return (b->phase == WRITING || b->phase == TAKING) && b->id[ID_MAX - 1] == '\0';
}

int
journal_open(int state_dirfd, struct err *err)
{
	cleanup_close int fd =
	    openat(state_dirfd, "keeper.journal", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	struct journal *map;
	int i;

	if (fd < 0)
		return err_errno(err, "open keeper.journal");
	if (ftruncate(fd, sizeof(*map)) < 0)
		return err_errno(err, "size keeper.journal");
	map = mmap(NULL, sizeof(*map), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return err_errno(err, "map keeper.journal");
	if (map->magic != magic) {
		memset(map, 0, sizeof(*map));
		map->magic = magic;
	}
	if (batch_usable(&map->now)) {
		for (i = 0; i < INHERITED - 1 && batch_usable(&map->inherited[i]); i++)
			;
		memcpy(&map->inherited[i], &map->now, sizeof(map->now));
	}
	atomic_store(&map->now.phase, IDLE);
	journal = map;
	return 0;
}

void
journal_close(void)
{
	if (journal == &own_memory)
		return;
	munmap(journal, sizeof(*journal));
	journal = &own_memory;
}

void
journal_begin(const char *id, bool is_stderr, size_t in_len, char last, int log_fd, size_t out_len)
{
	struct batch *b = &journal->now;
	struct stat st = {0};

	if (log_fd >= 0 && fstat(log_fd, &st) < 0)
		out_len = 0;
	b->is_stderr = is_stderr;
	b->in_len = in_len;
	b->log_dev = st.st_dev;
	b->log_ino = st.st_ino;
	b->log_size = (uint64_t)st.st_size;
	b->out_len = log_fd >= 0 ? out_len : 0;
	b->last = last;
	b->landed = (char)~last;
	snprintf(b->id, sizeof(b->id), "%s", id);
	atomic_store(&b->phase, WRITING);
}

void
journal_written(void)
{
	atomic_store(&journal->now.phase, TAKING);
}

char *
journal_last_byte(void)
{
	return &journal->now.landed;
}

void
journal_end(void)
{
	atomic_store(&journal->now.phase, IDLE);
}

/* Whether the records of a batch are in the log as a whole; what is there of them in part is cut
 * off. */
static bool
log_has(const struct batch *b, int log_fd)
{
	struct stat st;

	if (b->phase == TAKING)
		return true;
	if (log_fd < 0 || fstat(log_fd, &st) < 0)
		return false;
	/* Another file: it was rotated meanwhile. Better a line twice than none. */
	if (st.st_dev != b->log_dev || st.st_ino != b->log_ino)
		return false;
	if ((uint64_t)st.st_size == b->log_size + b->out_len)
		return b->out_len > 0;
	if ((uint64_t)st.st_size > b->log_size && (uint64_t)st.st_size < b->log_size + b->out_len) {
		/* A torn record before the same ones once more, when even this fails: still no
		 * loss. */
		int cut = ftruncate(log_fd, (off_t)b->log_size);

		(void)cut;
	}
	return false;
}

size_t
journal_recover(const char *id, bool is_stderr, int log_fd)
{
	int i;

	for (i = 0; i < INHERITED; i++) {
		struct batch *b = &journal->inherited[i];
		size_t in_log;

		if (!batch_usable(b) || b->is_stderr != is_stderr || strcmp(b->id, id) != 0)
			continue;
		in_log = b->landed != b->last && log_has(b, log_fd) ? (size_t)b->in_len : 0;
		atomic_store(&b->phase, IDLE);
		return in_log;
	}
	return 0;
}
