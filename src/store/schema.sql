-- Version 1. Each state is one column, and each object one row. Requests are kept as the protobuf
-- bytes that came in, so that what a client stored comes back exactly.
CREATE TABLE meta (
	key   TEXT PRIMARY KEY,
	value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE sandbox (
	id         TEXT PRIMARY KEY,
	name       TEXT NOT NULL,      -- name_namespace_uid_attempt
	state      INTEGER NOT NULL,   -- enum sandbox_state
	created_at INTEGER NOT NULL,   -- wall clock, ns
	boot_id    TEXT NOT NULL,      -- of the kernel whose namespaces it has
	request    BLOB NOT NULL,      -- RunPodSandboxRequest
	network    BLOB                -- what network set-up returned, JSON
) WITHOUT ROWID;

CREATE TABLE container (
	id          TEXT PRIMARY KEY,
	sandbox_id  TEXT NOT NULL,
	state       INTEGER NOT NULL,  -- enum container_state
	created_at  INTEGER NOT NULL,
	started_at  INTEGER NOT NULL DEFAULT 0,
	finished_at INTEGER NOT NULL DEFAULT 0,
	exit_code   INTEGER NOT NULL DEFAULT 0,
	reason      TEXT NOT NULL DEFAULT '',
	message     TEXT NOT NULL DEFAULT '',
	image_id    TEXT NOT NULL,
	request     BLOB NOT NULL,     -- CreateContainerRequest, without its sandbox_config
	resources   BLOB,              -- LinuxContainerResources in force, when updated
	detail      BLOB               -- what creation resolved (user, mounts, image), JSON
) WITHOUT ROWID;
CREATE INDEX container_sandbox ON container (sandbox_id);

CREATE TABLE image (
	id         TEXT PRIMARY KEY,   -- digest of the config, "sha256:…"
	state      INTEGER NOT NULL,   -- enum image_state
	manifest   BLOB NOT NULL,
	config     BLOB NOT NULL,
	size       INTEGER NOT NULL,   -- bytes on disk of its layers, manifest and config
	created_at INTEGER NOT NULL,   -- wall clock, ns
	spec       BLOB                -- ImageSpec of the pull: annotations, runtime handler
) WITHOUT ROWID;

CREATE TABLE image_ref (
	ref      TEXT PRIMARY KEY,     -- name:tag or name@digest
	image_id TEXT NOT NULL,
	seq      INTEGER NOT NULL      -- order of arrival
) WITHOUT ROWID;
CREATE INDEX image_ref_image ON image_ref (image_id);

CREATE TABLE layer (
	num      INTEGER PRIMARY KEY AUTOINCREMENT, -- its directory below layers/
	key      TEXT NOT NULL UNIQUE, -- diff id; or "dirs:" and the chain id of the image it is for
	size     INTEGER NOT NULL,     -- bytes on disk
	inodes   INTEGER NOT NULL,
	opaque   INTEGER NOT NULL,     -- 1: hides all layers below
	implicit BLOB                  -- directories without an entry, each path with its NUL
);

CREATE TABLE image_layer (
	image_id TEXT NOT NULL,
	pos      INTEGER NOT NULL,     -- 0: the lowest
	num      INTEGER NOT NULL,
	PRIMARY KEY (image_id, pos)
) WITHOUT ROWID;
CREATE INDEX image_layer_num ON image_layer (num);
