/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two files of /proc tell where the quotas stand:
 *
 *   /proc/self/cgroup      "0::/a/b" (version 2) and "4:cpu,cpuacct:/a/b" (version 1): our group
 *   /proc/self/mountinfo   "... ROOT MOUNT ... - cgroup2 ..." or "... - cgroup SOURCE rw,cpu":
 * where the directory of group ROOT is mounted
 *
 * A group's directory is MOUNT followed by the group without ROOT. Each directory from there up to
 * MOUNT may hold a quota, as "QUOTA PERIOD" in cpu.max (version 2; "max" is none) or in
 * cpu.cfs_quota_us (-1 is none) and cpu.cfs_period_us (version 1).
 */
#include "base/cores.h"

#include "base/bytes.h"
#include "base/check.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { PATH_BYTES = 4096 };

enum cgroup_version {
    CGROUP_V1 = 1,
    CGROUP_V2 = 2,
};

/* Reads the first line of `directory`/`name`, without its end. Empty when that fails. */
static struct bytes read_line(const char *directory, const char *name, char *out, size_t room)
{
    char path[PATH_BYTES];
    int size = snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = size > 0 && (size_t)size < sizeof path ? fopen(path, "re") : NULL;
    if (file == NULL) {
        return bytes_of(NULL, 0);
    }
    struct bytes line = bytes_of(NULL, 0);
    if (fgets(out, (int)room, file) != NULL) {
        line = bytes_from_string(out);
        line = bytes_split(&line, '\n');
    }
    (void)fclose(file);
    return line;
}

/* Whole cores that one directory's quota allows; UINT_MAX-like when it has none. */
static uint64_t directory_quota(const char *directory, enum cgroup_version version)
{
    char first[64];
    char second[64];
    struct bytes quota;
    struct bytes period;
    if (version == CGROUP_V2) {
        period = read_line(directory, "cpu.max", first, sizeof first);
        quota = bytes_split(&period, ' ');
    } else {
        quota = read_line(directory, "cpu.cfs_quota_us", first, sizeof first);
        period = read_line(directory, "cpu.cfs_period_us", second, sizeof second);
    }
    uint64_t quota_us;
    uint64_t period_us;
    if (!bytes_parse_u64(quota, &quota_us) || !bytes_parse_u64(period, &period_us) ||
        period_us == 0) {
        return UINT64_MAX;
    }
    return quota_us / period_us;
}

/* The smallest quota from `directory` up to its first `mount_size` bytes. Changes `directory`. */
static uint64_t smallest_quota(char *directory, size_t mount_size, enum cgroup_version version)
{
    uint64_t smallest = UINT64_MAX;
    for (;;) {
        uint64_t quota = directory_quota(directory, version);
        smallest = quota < smallest ? quota : smallest;
        char *slash = strrchr(directory, '/');
        if (slash == NULL || (size_t)(slash - directory) < mount_size) {
            return smallest;
        }
        *slash = '\0';
    }
}

static bool list_contains(struct bytes list, struct bytes word)
{
    while (list.size > 0) {
        if (bytes_equal(bytes_split(&list, ','), word)) {
            return true;
        }
    }
    return false;
}

/* Finds our group in /proc/self/cgroup; copied into `out`. */
static bool find_group(const char *root, enum cgroup_version version, char out[static PATH_BYTES])
{
    char path[PATH_BYTES];
    char line[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "re");
    bool found = false;
    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL) {
        struct bytes rest = bytes_from_string(line);
        rest = bytes_split(&rest, '\n');
        struct bytes hierarchy = bytes_split(&rest, ':');
        struct bytes controllers = bytes_split(&rest, ':');
        found = version == CGROUP_V2 ? bytes_equal(hierarchy, BYTES("0"))
                                     : list_contains(controllers, BYTES("cpu"));
        if (found) {
            memcpy(out, rest.data == NULL ? "" : rest.data, rest.size);
            out[rest.size] = '\0';
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return found;
}

struct mount {
    struct bytes root;
    struct bytes point;
};

/* Takes a line of /proc/self/mountinfo apart; false when it is no mount of that version. */
static bool parse_mount(struct bytes line, enum cgroup_version version, struct mount *out)
{
    for (int i = 0; i < 3; i++) {
        (void)bytes_split(&line, ' '); /* mount id, parent id, device */
    }
    out->root = bytes_split(&line, ' ');
    out->point = bytes_split(&line, ' ');
    while (line.size > 0 && !bytes_equal(bytes_split(&line, ' '), BYTES("-"))) {
    }
    struct bytes type = bytes_split(&line, ' ');
    (void)bytes_split(&line, ' '); /* source */
    if (version == CGROUP_V2) {
        return bytes_equal(type, BYTES("cgroup2"));
    }
    return bytes_equal(type, BYTES("cgroup")) && list_contains(line, BYTES("cpu"));
}

/* What stands behind the mount's root in our group's name: "/" and "/a" give "/a", "/a" and "/a/b"
 * give "/b". A group outside the root (another namespace's view) gives "". */
static struct bytes group_below(struct bytes root, struct bytes group)
{
    if (bytes_equal(root, BYTES("/"))) {
        return bytes_equal(group, BYTES("/")) ? BYTES("") : group;
    }
    struct bytes below = bytes_of(NULL, 0);
    if (bytes_starts_with(group, root)) {
        below = bytes_drop(group, root.size);
    }
    return below.size > 0 && below.data[0] == '/' ? below : BYTES("");
}

static uint64_t version_quota(const char *root, enum cgroup_version version)
{
    char group[PATH_BYTES];
    char path[PATH_BYTES];
    if (!find_group(root, version, group)) {
        return UINT64_MAX;
    }
    (void)snprintf(path, sizeof path, "%s/proc/self/mountinfo", root);
    FILE *file = fopen(path, "re");
    uint64_t quota = UINT64_MAX;
    char line[PATH_BYTES];
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        struct mount mount;
        struct bytes text = bytes_from_string(line);
        if (!parse_mount(bytes_split(&text, '\n'), version, &mount)) {
            continue;
        }
        struct bytes below = group_below(mount.root, bytes_from_string(group));
        size_t mount_size = strlen(root) + mount.point.size;
        char directory[PATH_BYTES];
        int size = snprintf(directory, sizeof directory, "%s%.*s%.*s", root, (int)mount.point.size,
                            mount.point.data, (int)below.size, below.size == 0 ? "" : below.data);
        if (size > 0 && (size_t)size < sizeof directory) {
            uint64_t found = smallest_quota(directory, mount_size, version);
            quota = found < quota ? found : quota;
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return quota;
}

unsigned cores_within_quota(const char *root, unsigned cores)
{
    CHECK(cores >= 1);
    uint64_t quota_v1 = version_quota(root, CGROUP_V1);
    uint64_t quota_v2 = version_quota(root, CGROUP_V2);
    uint64_t quota = quota_v1 < quota_v2 ? quota_v1 : quota_v2;
    if (quota >= cores) {
        return cores;
    }
    return quota == 0 ? 1 : (unsigned)quota;
}
