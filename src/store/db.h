/* SPDX-License-Identifier: Apache-2.0
 *
 * The database: SQLite in WAL mode with synchronous=NORMAL, one connection, statements prepared once
 * and cached. The schema has a version (PRAGMA user_version); db_open() migrates it forward, and
 * refuses a database from a newer version, naming both.
 */
#ifndef STORE_DB_H
#define STORE_DB_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct db;

/* path ":memory:" for tests. */
struct db *db_open(const char *path, struct err *err);
void db_close(struct db *db); /* checkpoints the WAL; NULL is fine */

/* A statement, prepared once per sql string (keyed by its address: use string literals), reset and
 * with cleared bindings. Aborts when the SQL does not compile: a bug. */
sqlite3_stmt *db_stmt(struct db *db, const char *sql);

/* Run to the end: 0, or -1 with RESOURCE_EXHAUSTED (disk full), DATA_LOSS (corrupt) or INTERNAL. */
int db_run(struct db *db, sqlite3_stmt *st, struct err *err);
/* One row: 1 a row is there, 0 no more, -1 error. The statement is reset at 0 and -1. */
int db_next(struct db *db, sqlite3_stmt *st, struct err *err);

/* Transactions do not nest. db_rollback is fine without one. */
int db_begin(struct db *db, struct err *err);
int db_commit(struct db *db, struct err *err);
void db_rollback(struct db *db);

int64_t db_last_rowid(struct db *db);

/* Columns: text is "" for NULL and valid until the next db_next. */
const char *db_text(sqlite3_stmt *st, int col);
const void *db_blob(sqlite3_stmt *st, int col, size_t *ret_n);

void db_bind_text(sqlite3_stmt *st, int at, const char *s); /* copied; NULL binds NULL */
void db_bind_blob(sqlite3_stmt *st, int at, const void *p, size_t n);
void db_bind_int(sqlite3_stmt *st, int at, int64_t v);

#endif
