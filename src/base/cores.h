/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cores: what the cgroups of this process allow it of the machine's cores.
 *
 * Runs on:  any thread. Blocks: reads a few small files. Owns nothing.
 */
#ifndef BASE_CORES_H
#define BASE_CORES_H

/* `cores`, or as many whole cores as the smallest CPU quota of our cgroup and those above it
 * allows, if that is less; at least 1. Both cgroup versions count. What cannot be read does not
 * limit. `root` is put before the names of all files: "" but in tests. */
unsigned cores_within_quota(const char *root, unsigned cores);

#endif
