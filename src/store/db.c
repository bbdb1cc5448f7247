/* SPDX-License-Identifier: Apache-2.0
 *
 * SQLite: opening, migrations, the statement cache. See db.h.
 */
#include "store/db.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "store/schema.h"

enum { CACHE_SIZE = 64 };

struct db {
	sqlite3 *sql;
	struct {
		const char *text;
		sqlite3_stmt *st;
	} cache[CACHE_SIZE];
	size_t n_cache;
	bool in_transaction;
};

/* The i'th entry brings a database from version i to i + 1. Entries are never changed, only added. */
static const char *const migrations[] = {schema_sql};

static int
fail(struct db *db, const char *what, struct err *err)
{
	enum err_code code = ERR_INTERNAL;

	switch (sqlite3_errcode(db->sql) & 0xff) {
	case SQLITE_FULL:
		code = ERR_RESOURCE_EXHAUSTED;
		break;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		code = ERR_DATA_LOSS;
		break;
	}
	return err_set(err, code, "database: %s: %s", what, sqlite3_errmsg(db->sql));
}

static int
exec(struct db *db, const char *sql, struct err *err)
{
	if (sqlite3_exec(db->sql, sql, NULL, NULL, NULL) != SQLITE_OK)
		return fail(db, "exec", err);
	return 0;
}

static int
migrate(struct db *db, struct err *err)
{
	const int newest = (int)ARRAY_SIZE(migrations);
	sqlite3_stmt *st = NULL;
	int version = -1;

	if (sqlite3_prepare_v2(db->sql, "PRAGMA user_version", -1, &st, NULL) == SQLITE_OK &&
	    sqlite3_step(st) == SQLITE_ROW)
		version = sqlite3_column_int(st, 0);
	sqlite3_finalize(st);
	if (version < 0)
		return fail(db, "read the schema version", err);
	if (version > newest)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "database has schema version %d, this program knows %d: it was written by a newer "
		    "coracled",
		    version, newest);
	for (; version < newest; version++) {
		cleanup_free char *mark = xasprintf("PRAGMA user_version = %d", version + 1);

		if (db_begin(db, err) < 0)
			return -1;
		if (exec(db, migrations[version], err) < 0 || exec(db, mark, err) < 0 ||
		    db_commit(db, err) < 0) {
			db_rollback(db);
			return err_wrap(err, "migrate to version %d", version + 1);
		}
	}
	return 0;
}

struct db *
db_open(const char *path, struct err *err)
{
	struct db *db = xcalloc(1, sizeof(*db));

	if (sqlite3_open_v2(path, &db->sql,
		SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOFOLLOW, NULL) !=
	    SQLITE_OK) {
		fail(db, path, err);
		db_close(db);
		return NULL;
	}
	sqlite3_extended_result_codes(db->sql, 1);
	if (exec(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; "
		     "PRAGMA temp_store = MEMORY; PRAGMA cache_size = -512; "
		     "PRAGMA locking_mode = EXCLUSIVE;",
		err) < 0 ||
	    migrate(db, err) < 0) {
		err_wrap(err, "%s", path);
		db_close(db);
		return NULL;
	}
	return db;
}

void
db_close(struct db *db)
{
	if (db == NULL)
		return;
	for (size_t i = 0; i < db->n_cache; i++)
		sqlite3_finalize(db->cache[i].st);
	sqlite3_close(db->sql);
	free(db);
}

sqlite3_stmt *
db_stmt(struct db *db, const char *sql)
{
	sqlite3_stmt *st;

	for (size_t i = 0; i < db->n_cache; i++)
		if (db->cache[i].text == sql) {
			st = db->cache[i].st;
			sqlite3_reset(st);
			sqlite3_clear_bindings(st);
			return st;
		}
	if (sqlite3_prepare_v3(db->sql, sql, -1, SQLITE_PREPARE_PERSISTENT, &st, NULL) !=
	    SQLITE_OK) {
		log_err("database: %s: %s", sql, sqlite3_errmsg(db->sql));
		abort();
	}
	assert(db->n_cache < CACHE_SIZE);
	db->cache[db->n_cache].text = sql;
	db->cache[db->n_cache++].st = st;
	return st;
}

int
db_next(struct db *db, sqlite3_stmt *st, struct err *err)
{
	int ret = sqlite3_step(st);

	if (ret == SQLITE_ROW)
		return 1;
	if (ret != SQLITE_DONE)
		fail(db, sqlite3_sql(st), err);
	sqlite3_reset(st);
	return ret == SQLITE_DONE ? 0 : -1;
}

int
db_run(struct db *db, sqlite3_stmt *st, struct err *err)
{
	int ret;

	while ((ret = db_next(db, st, err)) == 1)
		continue;
	return ret;
}

int
db_begin(struct db *db, struct err *err)
{
	assert(!db->in_transaction);
	if (exec(db, "BEGIN IMMEDIATE", err) < 0)
		return -1;
	db->in_transaction = true;
	return 0;
}

int
db_commit(struct db *db, struct err *err)
{
	assert(db->in_transaction);
	if (exec(db, "COMMIT", err) < 0)
		return -1;
	db->in_transaction = false;
	return 0;
}

void
db_rollback(struct db *db)
{
	if (db->in_transaction)
		sqlite3_exec(db->sql, "ROLLBACK", NULL, NULL, NULL);
	db->in_transaction = false;
}

int64_t
db_last_rowid(struct db *db)
{
	return sqlite3_last_insert_rowid(db->sql);
}

const char *
db_text(sqlite3_stmt *st, int col)
{
	const unsigned char *s = sqlite3_column_text(st, col);

	return s != NULL ? (const char *)s : "";
}

const void *
db_blob(sqlite3_stmt *st, int col, size_t *ret_n)
{
	const void *p = sqlite3_column_blob(st, col);

	*ret_n = (size_t)sqlite3_column_bytes(st, col);
	return p != NULL ? p : "";
}

void
db_bind_text(sqlite3_stmt *st, int at, const char *s)
{
	sqlite3_bind_text(st, at, s, -1, SQLITE_TRANSIENT);
}

void
db_bind_blob(sqlite3_stmt *st, int at, const void *p, size_t n)
{
	if (p == NULL)
		sqlite3_bind_null(st, at);
	else
		sqlite3_bind_blob64(st, at, p, n, SQLITE_TRANSIENT);
}

void
db_bind_int(sqlite3_stmt *st, int at, int64_t v)
{
	sqlite3_bind_int64(st, at, v);
}
