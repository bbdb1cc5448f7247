/* SPDX-License-Identifier: Apache-2.0
 *
 * The database: migration, statements, transactions, and what it refuses.
 */
#include "store/db.h"

#include <unistd.h>

#include "tap.h"

int
main(void)
{
	char dir[] = "/tmp/coracle-t-XXXXXX", path[64];
	struct db *db, *second;
	struct err err = {0};
	sqlite3_stmt *st;
	sqlite3 *raw;
	size_t n;
	FILE *f;

	if (mkdtemp(dir) == NULL)
		return 1;
	snprintf(path, sizeof(path), "%s/c.db", dir);
	db = db_open(path, &err);
	ok(db != NULL, "a new database: %s", err.msg);
	ok(db_begin(db, &err) == 0, "begin");
	st = db_stmt(db, "INSERT INTO meta (key, value) VALUES (?, ?)");
	db_bind_text(st, 1, "k");
	db_bind_blob(st, 2, "v\0w", 3);
	is_int(db_run(db, st, &err), 0, "insert");
	db_rollback(db);
	st = db_stmt(db, "SELECT value FROM meta WHERE key = ?");
	db_bind_text(st, 1, "k");
	is_int(db_next(db, st, &err), 0, "a rollback undoes it");
	st = db_stmt(db, "INSERT INTO meta (key, value) VALUES ('k', ?)");
	db_bind_blob(st, 1, "v\0w", 3);
	is_int(db_run(db, st, &err), 0, "insert again");
	is_int(db_run(db, st, &err), -1, "a duplicate key is an error");
	ok(strstr(err.msg, "UNIQUE") != NULL, "that says why: %s", err.msg);
	second = db_open(path, &err);
	ok(second == NULL, "a second daemon on the same database is refused: %s", err.msg);
	db_close(db);

	db = db_open(path, &err);
	ok(db != NULL, "it opens again");
	st = db_stmt(db, "SELECT value FROM meta WHERE key = 'k'");
	is_int(db_next(db, st, &err), 1, "the row is there");
	ok(memcmp(db_blob(st, 0, &n), "v\0w", 3) == 0 && n == 3, "byte for byte");
	is_int(db_next(db, st, &err), 0, "and nothing else");
	db_close(db);

	sqlite3_open(path, &raw);
	sqlite3_exec(raw, "PRAGMA user_version = 999", NULL, NULL, NULL);
	sqlite3_close(raw);
	db = db_open(path, &err);
	ok(db == NULL && err.code == ERR_FAILED_PRECONDITION, "a newer schema is refused: %s",
	    err.msg);
	unlink(path);

	f = fopen(path, "w");
	fputs("this is no database, but it is long enough to be looked at as one", f);
	fclose(f);
	db = db_open(path, &err);
	ok(db == NULL && err.code == ERR_DATA_LOSS, "so is a file that is none: %s", err.msg);
	unlink(path);
	rmdir(dir);
	return tap_done();
}
