/* SPDX-License-Identifier: Apache-2.0
 *
 * Which images an archive has, and what they are called: from index.json of an OCI layout, or from
 * manifest.json of a docker-archive. Where both are there (docker save since version 25) the index
 * counts, since it has digests, and manifest.json lends its tags.
 *
 * Names: io.containerd.image.name is a whole reference; org.opencontainers.image.ref.name may be
 * one (skopeo), or only a tag (OCI image spec, annotations), which needs a base name.
 */
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "image/config.h"
#include "image/digest.h"
#include "image/document.h"
#include "image/import_job.h"
#include "image/manifest.h"
#include "image/ref.h"

enum { INDEX_DEPTH_MAX = 4 };

void
import_image_release(struct import_image *img)
{
	for (size_t i = 0; i < img->n_tags; i++)
		free(img->tags[i]);
	for (size_t i = 0; i < img->n_digests; i++)
		free(img->digests[i]);
	free(img->tags);
	free(img->digests);
	free(img->layers);
	image_config_free(img->parsed);
}

static void
add_name_take(char ***list, size_t *n, char *name)
{
	for (size_t i = 0; i < *n; i++)
		if (strcmp((*list)[i], name) == 0) {
			free(name);
			return;
		}
	*list = xrealloc(*list, (*n + 1) * sizeof(**list));
	(*list)[(*n)++] = name;
}

/* An image of this config, new or there already. */
static struct import_image *
add_image(struct import_job *job, const void *config, size_t n, struct err *err)
{
	struct import_image *img;

	for (size_t i = 0; i < job->n_images; i++)
		if (job->images[i].config == config)
			return &job->images[i];
	if (job->n_images == IMPORT_IMAGES_MAX) {
		err_set(err, ERR_RESOURCE_EXHAUSTED, "more than %d images", IMPORT_IMAGES_MAX);
		return NULL;
	}
	job->images = xrealloc(job->images, (job->n_images + 1) * sizeof(*job->images));
	img = &job->images[job->n_images];
	*img = (struct import_image){.config = config, .config_len = n};
	img->parsed = image_config_parse(config, n, err);
	if (img->parsed == NULL)
		return NULL;
	img->layers = xcalloc(img->parsed->n_diff_ids + 1, sizeof(*img->layers));
	job->n_images++;
	return img;
}

static size_t
add_layer(struct import_job *job, const char *diff_id, const char *digest, int64_t size,
    const struct scan_member *m)
{
	struct import_layer *l;

	for (size_t i = 0; i < job->n_layers; i++) {
		l = &job->layers[i];
		if (strcmp(l->diff_id, diff_id) != 0)
			continue;
		if (l->member == NULL && m != NULL) { /* this image brings it */
			l->member = m;
			l->size = size;
			free(l->digest);
			l->digest = xstrdup(digest);
		}
		return i;
	}
	job->layers = xrealloc(job->layers, (job->n_layers + 1) * sizeof(*job->layers));
	l = &job->layers[job->n_layers];
	*l = (struct import_layer){
	    .diff_id = xstrdup(diff_id), .digest = xstrdup(digest), .size = size, .member = m};
	return job->n_layers++;
}

/* ---- names -------------------------------------------------------------------------------- */

/* Adds the reference's tag, if it is one. */
static bool
add_reference(struct import_image *img, const char *text, const char *digest)
{
	struct image_ref ref;
	struct err ignored;
	char *tag;

	if (text == NULL || image_ref_parse(text, &ref, &ignored) < 0)
		return false;
	tag = image_ref_tag(&ref);
	if (tag != NULL)
		add_name_take(&img->tags, &img->n_tags, tag);
	if (digest != NULL)
		add_name_take(&img->digests, &img->n_digests, image_ref_repo_digest(&ref, digest));
	image_ref_release(&ref);
	return true;
}

/* digest: of the index's entry. */
static void
add_names(const struct import_job *job, struct import_image *img, const struct manifest_entry *e)
{
	const char *ref = e->ref_name;

	if (add_reference(img, e->image_name, e->desc.digest))
		return;
	if (ref != NULL && strpbrk(ref, "/:") != NULL && add_reference(img, ref, e->desc.digest))
		return;
	if (job->base_name != NULL) {
		cleanup_free char *text =
		    ref != NULL ? xasprintf("%s:%s", job->base_name, ref) : xstrdup(job->base_name);

		add_reference(img, text, e->desc.digest);
	}
}

/* ---- OCI layouts -------------------------------------------------------------------------- */

static const struct scan_member *
find_blob(const struct import_job *job, const char *digest)
{
	const char *colon = strchr(digest, ':');
	cleanup_free char *name =
	    xasprintf("blobs/%.*s/%s", (int)(colon - digest), digest, colon + 1);

	return scan_find(&job->scan, name);
}

/* A JSON blob, verified. */
static const struct scan_member *
json_blob(
    const struct import_job *job, const struct descriptor *d, const char *what, struct err *err)
{
	const struct scan_member *m = find_blob(job, d->digest);

	if (m == NULL) {
		err_set(err, ERR_NOT_FOUND, "the archive lacks the %s %s", what, d->digest);
		return NULL;
	}
	if ((uint64_t)m->size != d->size) {
		err_set(err, ERR_DATA_LOSS, "the %s %s has %lld bytes, not %llu", what, d->digest,
		    (long long)m->size, (unsigned long long)d->size);
		return NULL;
	}
	if (m->json == NULL) {
		err_set(
		    err, ERR_INVALID_ARGUMENT, "the %s %s is no JSON document", what, d->digest);
		return NULL;
	}
	return digest_check(m->json, (size_t)m->size, d->digest, what, err) < 0 ? NULL : m;
}

static struct import_image *
add_oci_image(
    struct import_job *job, const struct scan_member *m, const struct manifest *mf, struct err *err)
{
	const struct scan_member *c;
	struct import_image *img;

	if (manifest_check_image(mf, err) < 0)
		return NULL;
	c = json_blob(job, &mf->config, "config", err);
	img = c != NULL ? add_image(job, c->json, (size_t)c->size, err) : NULL;
	if (img == NULL)
		return NULL;
	if (img->parsed->n_diff_ids != mf->n_layers) {
		err_set(err, ERR_INVALID_ARGUMENT, "%zu layers, but the config has %zu diff ids",
		    mf->n_layers, img->parsed->n_diff_ids);
		return NULL;
	}
	img->manifest = m->json;
	img->manifest_len = (size_t)m->size;
	for (size_t i = 0; i < mf->n_layers; i++)
		img->layers[i] = add_layer(job, img->parsed->diff_ids[i], mf->layers[i].digest,
		    (int64_t)mf->layers[i].size, find_blob(job, mf->layers[i].digest));
	return img;
}

static int add_entry(struct import_job *job, const struct manifest_entry *e,
    const struct manifest_entry *top, int depth, struct err *err);

static int
add_index(struct import_job *job, const struct manifest *index, const struct manifest_entry *top,
    int depth, struct err *err)
{
	const struct manifest_entry *mine = manifest_choose(index, &job->platform, err);

	if (depth == INDEX_DEPTH_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "indexes nested too deeply");
	if (mine == NULL && !job->all_platforms)
		return -1;
	if (mine != NULL && add_entry(job, mine, top, depth + 1, err) < 0)
		return -1;
	for (size_t i = 0; job->all_platforms && i < index->n_entries; i++) {
		const struct manifest_entry *e = &index->entries[i];

		/* What says it is for no platform is no image (attestations). */
		if (e != mine && strcmp(e->platform.os, "unknown") != 0 &&
		    find_blob(job, e->desc.digest) != NULL &&
		    add_entry(job, e, NULL, depth + 1, err) < 0)
			return -1;
	}
	return 0;
}

/* top: the entry of index.json it belongs to, which has the names; NULL: none for this one. */
static int
add_entry(struct import_job *job, const struct manifest_entry *e, const struct manifest_entry *top,
    int depth, struct err *err)
{
	const struct scan_member *m = json_blob(job, &e->desc, "manifest", err);
	struct manifest *mf;
	struct import_image *img;
	int ret = -1;

	if (m == NULL)
		return -1;
	mf = manifest_parse(m->json, (size_t)m->size, e->desc.media_type, err);
	if (mf == NULL)
		return err_wrap(err, "manifest %s", e->desc.digest);
	if (mf->is_index) {
		ret = add_index(job, mf, top, depth, err);
	} else {
		img = add_oci_image(job, m, mf, err);
		if (img != NULL && top != NULL)
			add_names(job, img, top);
		ret = img != NULL ? 0 : err_wrap(err, "image %s", e->desc.digest);
	}
	manifest_free(mf);
	return ret;
}

/* Of entries of one name for several platforms the best is taken, as if they were an index. */
static bool
is_best(const struct import_job *job, const struct manifest *index, size_t at)
{
	const struct manifest_entry *e = &index->entries[at];
	int mine = platform_match(&job->platform, &e->platform);

	if (e->platform.os[0] == '\0')
		return true;
	if (mine < 0)
		return false;
	for (size_t i = 0; i < index->n_entries; i++) {
		const struct manifest_entry *o = &index->entries[i];
		int other =
		    o->platform.os[0] != '\0' ? platform_match(&job->platform, &o->platform) : -1;

		if (i != at && other >= 0 && (other < mine || (other == mine && i < at)) &&
		    strcmp(STR_OR_EMPTY(o->image_name), STR_OR_EMPTY(e->image_name)) == 0 &&
		    strcmp(STR_OR_EMPTY(o->ref_name), STR_OR_EMPTY(e->ref_name)) == 0 &&
		    strcmp(o->desc.digest, e->desc.digest) != 0 &&
		    (e->ref_name != NULL || e->image_name != NULL))
			return false;
	}
	return true;
}

static int
choose_oci(struct import_job *job, const struct scan_member *m, struct err *err)
{
	struct manifest *index = manifest_parse(m->json, (size_t)m->size, MEDIA_OCI_INDEX, err);
	int ret = 0;

	if (index == NULL)
		return err_wrap(err, "index.json");
	if (!index->is_index)
		ret = err_set(err, ERR_INVALID_ARGUMENT, "index.json is no index");
	for (size_t i = 0; ret == 0 && i < index->n_entries; i++) {
		const struct manifest_entry *e = &index->entries[i];
		bool best = is_best(job, index, i);

		if (best || (job->all_platforms && find_blob(job, e->desc.digest) != NULL))
			ret = add_entry(job, e, best ? e : NULL, 0, err);
	}
	if (ret == 0 && job->n_images == 0)
		ret = err_set(err, ERR_NOT_FOUND, "no image for this machine in the archive");
	manifest_free(index);
	return ret;
}

/* ---- docker-archives ---------------------------------------------------------------------- */

static int
add_repo_tags(struct import_image *img, const json_t *entry, struct err *err)
{
	json_t *tags, *tag;
	size_t i;

	if (document_array(entry, "RepoTags", "manifest.json", &tags, err) < 0)
		return -1;
	json_array_foreach (tags, i, tag)
		if (!json_is_string(tag) || !add_reference(img, json_string_value(tag), NULL))
			return err_set(err, ERR_INVALID_ARGUMENT, "manifest.json: bad tag %.100s",
			    json_is_string(tag) ? json_string_value(tag) : "(no string)");
	return 0;
}

static const struct scan_member *
docker_config(const struct import_job *job, const json_t *entry, struct err *err)
{
	const struct scan_member *c;
	const char *name;

	if (document_string(entry, "Config", "manifest.json", 4096, &name, err) < 0)
		return NULL;
	c = name != NULL ? scan_find(&job->scan, name) : NULL;
	if (c == NULL || c->json == NULL) {
		err_set(err, ERR_INVALID_ARGUMENT, "manifest.json: no config %.100s",
		    STR_OR_EMPTY(name));
		return NULL;
	}
	return c;
}

static int
add_docker_image(struct import_job *job, const json_t *entry, struct err *err)
{
	const struct scan_member *c = docker_config(job, entry, err);
	struct import_image *img;
	json_t *layers, *layer;
	size_t i;

	if (c == NULL || document_array(entry, "Layers", "manifest.json", &layers, err) < 0)
		return -1;
	img = add_image(job, c->json, (size_t)c->size, err);
	if (img == NULL)
		return err_wrap(err, "config %s", c->name);
	if (json_array_size(layers) != img->parsed->n_diff_ids)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "manifest.json: %zu layers, but the config has %zu diff ids",
		    json_array_size(layers), img->parsed->n_diff_ids);
	json_array_foreach (layers, i, layer) {
		const struct scan_member *m =
		    json_is_string(layer) ? scan_find(&job->scan, json_string_value(layer)) : NULL;

		img->layers[i] =
		    add_layer(job, img->parsed->diff_ids[i], NULL, m != NULL ? m->size : -1, m);
	}
	if (add_repo_tags(img, entry, err) < 0)
		return -1;
	if (img->n_tags == 0 && job->base_name != NULL)
		add_reference(img, job->base_name, NULL);
	return 0;
}

/* The document is an array; document_parse() wants an object. */
static json_t *
parse_docker(const struct scan_member *m, struct err *err)
{
	cleanup_free char *text = xasprintf("{\"images\":%s}", m->json);

	return document_parse(text, strlen(text), MANIFEST_MAX, "manifest.json", err);
}

/* Everything (take_all), or only tags for the images that are there already. */
static int
choose_docker(struct import_job *job, const struct scan_member *m, bool take_all, struct err *err)
{
	json_t *doc = parse_docker(m, err), *list, *entry;
	int ret = 0;
	size_t i;

	if (doc == NULL)
		return -1;
	if (document_array(doc, "images", "manifest.json", &list, err) < 0)
		ret = -1;
	else
		json_array_foreach (list, i, entry) {
			const struct scan_member *c;

			if (!json_is_object(entry))
				ret = err_set(err, ERR_INVALID_ARGUMENT,
				    "manifest.json: entry %zu is no object", i);
			else if (take_all)
				ret = add_docker_image(job, entry, err);
			else if ((c = docker_config(job, entry, err)) != NULL)
				for (size_t k = 0; ret == 0 && k < job->n_images; k++)
					if (job->images[k].config == c->json)
						ret = add_repo_tags(&job->images[k], entry, err);
			if (ret < 0)
				break;
		}
	if (ret == 0 && job->n_images == 0)
		ret = err_set(err, ERR_NOT_FOUND, "no image in the archive");
	json_decref(doc);
	return ret;
}

int
import_choose(struct import_job *job, struct err *err)
{
	const struct scan_member *index = scan_find(&job->scan, "index.json");
	const struct scan_member *docker = scan_find(&job->scan, "manifest.json");

	if (index != NULL && index->json != NULL) {
		if (choose_oci(job, index, err) < 0)
			return -1;
		return docker != NULL && docker->json != NULL
		           ? choose_docker(job, docker, false, err)
		           : 0;
	}
	if (docker != NULL && docker->json != NULL)
		return choose_docker(job, docker, true, err);
	return err_set(err, ERR_INVALID_ARGUMENT,
	    "neither index.json nor manifest.json: not an archive of images");
}
