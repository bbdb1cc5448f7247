/* SPDX-License-Identifier: Apache-2.0
 *
 * Pulling an image: from a reference and a credential to an image in the store.
 *
 * A pull is an operation of its own (image/pull_job.h), which ends the wait of the op that asked
 * for it. A second pull of the same reference with the same credential, platform and ImageSpec
 * joins the first; it is cancelled only when nobody waits for it any more. Layers are downloaded
 * side by side, straight into their unpack workers; nothing is held in memory but manifest and
 * config.
 */
#ifndef IMAGE_PULL_H
#define IMAGE_PULL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/err.h"
#include "image/auth.h"

struct image_store;
struct op;
struct puller;

struct puller_options {
	const char *certs_dirs;   /* directories of hosts.toml, separated by ':'; NULL: none */
	const char *platform;     /* of images, when a pull names none; NULL: the machine's */
	unsigned per_image;       /* layers of one image downloaded at once; 0: PULL_PER_IMAGE */
	unsigned per_node;        /* of all images; 0: PULL_PER_NODE */
	int64_t stall_timeout_ms; /* 0: REGISTRY_STALL_MS */
	int64_t retry_ms;         /* 0: REGISTRY_RETRY_MS */
};

enum { PULL_PER_IMAGE = 3, PULL_PER_NODE = 8 };

/* One per store. The strings are copied. INVALID_ARGUMENT for a malformed platform. */
struct puller *puller_new(struct image_store *st, const struct puller_options *o, struct err *err);
/* For the pulls that start from now on. */
int puller_set_options(struct puller *pr, const struct puller_options *o, struct err *err)
    __attribute__((warn_unused_result));
/* No pull may be in flight (puller_busy). NULL is fine. */
void puller_free(struct puller *pr);
/* Pulls in flight, those that nobody waits for any more included. */
unsigned puller_busy(const struct puller *pr);

struct pull_spec {
	const char *image; /* as the client wrote it */
	struct pull_auth auth;
	const char *platform; /* NULL: the puller's */
	const void *spec;     /* ImageSpec, protobuf bytes, kept with the image; NULL: none */
	size_t spec_len;
};

/* Embedded in the caller's op struct. */
struct pull {
	char image_id[72]; /* "sha256:…", valid when the op resumes without error */
	/* private */
	struct pull_job *job;
	struct op *op;
	TAILQ_ENTRY(pull) entry;
};

/*
 * Ends the wait of op: the step returns OP_WAIT or OP_AGAIN after it; cancelling the op leaves the
 * pull. Everything in the spec is copied. INVALID_ARGUMENT at once for a malformed reference or
 * credential. Errors of the pull: as of image/request.h, image/manifest.h and image/layer.h; what
 * the kubelet looks for, "RegistryUnavailable", begins the message.
 */
int pull_start(struct pull *p, struct puller *pr, const struct pull_spec *spec, struct op *op,
    struct err *err) __attribute__((warn_unused_result));

/* Progress, for people. */
struct pull_layer_progress {
	const char *digest;
	const char *state; /* "waiting", "downloading", "unpacking", "done", "present" */
	uint64_t size, received;
};
struct pull_progress {
	const char *image; /* normalised */
	const char *step;
	const struct pull_layer_progress *layers; /* none before the manifest is there */
	size_t n_layers;
};
void pull_foreach(
    const struct puller *pr, void (*each)(const struct pull_progress *, void *arg), void *arg);

#endif
