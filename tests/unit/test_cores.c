/* SPDX-License-Identifier: Apache-2.0 */
/* CPU quotas of both cgroup versions, in trees of files made for each case. */
#include "base/cores.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define MOUNTS                                                                                     \
    "21 20 0:5 / /proc rw,nosuid - proc proc rw\n"                                                 \
    "30 20 0:26 / /sys/fs/cgroup/unified rw shared:4 master:1 - cgroup2 none rw,nsdelegate\n"      \
    "31 20 0:27 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"                            \
    "32 20 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"

static char root[64];

/* Writes `text` into the file, making its directories. */
static void file(const char *path, const char *text)
{
    char whole[512];
    assert_true(snprintf(whole, sizeof whole, "%s%s", root, path) < (int)sizeof whole);
    for (char *slash = strchr(whole + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        assert_true(mkdir(whole, 0700) == 0 || errno == EEXIST);
        *slash = '/';
    }
    FILE *out = fopen(whole, "we");
    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
}

static int make_root(void **state)
{
    (void)state;
    (void)strcpy(root, "/tmp/weaseldb-cores-XXXXXX");
    return mkdtemp(root) == NULL ? -1 : 0;
}

static int remove_root(void **state)
{
    (void)state;
    char command[128];
    (void)snprintf(command, sizeof command, "rm -r %s", root);
    return system(command);
}

static void without_cgroups_nothing_limits(void **state)
{
    (void)state;
    assert_int_equal(cores_within_quota(root, 6), 6);
    file("/proc/self/mountinfo", MOUNTS);
    assert_int_equal(cores_within_quota(root, 6), 6);
}

static void version_2_limits(void **state)
{
    (void)state;
    file("/proc/self/mountinfo", MOUNTS);
    file("/proc/self/cgroup", "0::/a/b\n");
    file("/sys/fs/cgroup/unified/a/b/cpu.max", "max 100000\n");
    assert_int_equal(cores_within_quota(root, 6), 6);
    file("/sys/fs/cgroup/unified/a/b/cpu.max", "390000 100000\n");
    assert_int_equal(cores_within_quota(root, 6), 3); /* rounded down */
    assert_int_equal(cores_within_quota(root, 2), 2); /* the mask is smaller */
    file("/sys/fs/cgroup/unified/a/b/cpu.max", "50000 100000\n");
    assert_int_equal(cores_within_quota(root, 6), 1); /* never none */
}

static void groups_above_limit_too(void **state)
{
    (void)state;
    file("/proc/self/mountinfo", MOUNTS);
    file("/proc/self/cgroup", "0::/a/b\n");
    file("/sys/fs/cgroup/unified/a/b/cpu.max", "500000 100000\n");
    file("/sys/fs/cgroup/unified/a/cpu.max", "200000 100000\n");
    assert_int_equal(cores_within_quota(root, 6), 2);
    /* a container sees its own group as the root of the mount */
    file("/proc/self/cgroup", "0::/\n");
    file("/sys/fs/cgroup/unified/cpu.max", "400000 100000\n");
    assert_int_equal(cores_within_quota(root, 6), 4);
}

static void version_1_limits(void **state)
{
    (void)state;
    file("/proc/self/mountinfo", MOUNTS);
    file("/proc/self/cgroup", "5:cpuset:/wrong\n4:cpu,cpuacct:/a\n1:name=systemd:/wrong\n0::/\n");
    file("/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "-1\n");
    file("/sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "50000\n");
    assert_int_equal(cores_within_quota(root, 6), 6);
    file("/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "250000\n");
    assert_int_equal(cores_within_quota(root, 6), 5);
}

static void a_mount_of_a_part_of_the_tree_is_understood(void **state)
{
    (void)state;
    file("/proc/self/mountinfo",
         "32 20 0:28 /box/1 /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n");
    file("/proc/self/cgroup", "4:cpu:/box/1/inner\n");
    file("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "400000\n");
    file("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    assert_int_equal(cores_within_quota(root, 6), 4);
    file("/sys/fs/cgroup/cpu/inner/cpu.cfs_quota_us", "300000\n");
    file("/sys/fs/cgroup/cpu/inner/cpu.cfs_period_us", "100000\n");
    assert_int_equal(cores_within_quota(root, 6), 3);
    file("/proc/self/cgroup", "4:cpu:/elsewhere\n");
    assert_int_equal(cores_within_quota(root, 6), 4);
}

static void malformed_files_do_not_limit(void **state)
{
    (void)state;
    static const char *const wrong[] = {"", "\n", "x y\n", "100000 0\n", "100000\n", "-5 100000\n"};
    file("/proc/self/mountinfo", "\n- - -\n" MOUNTS "1 2 3\n");
    file("/proc/self/cgroup", "\n::\n0::/a\n");
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        file("/sys/fs/cgroup/unified/a/cpu.max", wrong[i]);
        assert_int_equal(cores_within_quota(root, 6), 6);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(without_cgroups_nothing_limits, make_root, remove_root),
        cmocka_unit_test_setup_teardown(version_2_limits, make_root, remove_root),
        cmocka_unit_test_setup_teardown(groups_above_limit_too, make_root, remove_root),
        cmocka_unit_test_setup_teardown(version_1_limits, make_root, remove_root),
        cmocka_unit_test_setup_teardown(a_mount_of_a_part_of_the_tree_is_understood, make_root,
                                        remove_root),
        cmocka_unit_test_setup_teardown(malformed_files_do_not_limit, make_root, remove_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
