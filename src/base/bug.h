/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bug: mistakes that a build can make on purpose (meson -Dbug=NAME), to prove that a named test
 * finds each of them: tests/deliberate-bugs. In any other build the condition is a constant, and
 * nothing of it is left.
 *
 *   if (WEASEL_BUG(sync_skipped)) { ... }
 */
#ifndef BASE_BUG_H
#define BASE_BUG_H

enum weasel_bug {
    BUG_none,
    BUG_answered_before_sync,
    BUG_batch_skipped_at_a_joint,
    BUG_checksum_not_verified,
    BUG_conflict_told_after_failure,
    BUG_directory_not_synced,
    BUG_duplicate_not_recognized,
    BUG_earlier_use_counts,
    BUG_fence_ignored,
    BUG_files_removed_before_bound,
    BUG_generation_not_compared,
    BUG_policy_ignored,
    BUG_range_end_off_by_one,
    BUG_reads_not_checked,
    BUG_refusal_not_fenced,
    BUG_repair_not_announced,
    BUG_room_for_state_not_made,
    BUG_segment_prepared_over,
    BUG_slot_reused_too_early,
    BUG_sync_skipped,
    BUG_tail_not_confirmed,
    BUG_tail_not_written_again,
    BUG_torn_tail_not_cut,
    BUG_told_before_sync,
    BUG_trimmed_too_far,
    BUG_version_of_unknown_told,
    BUG_writes_not_inserted,
};

#ifndef WEASEL_BUG_SELECTED
#define WEASEL_BUG_SELECTED BUG_none
#endif

#define WEASEL_BUG(name) (WEASEL_BUG_SELECTED == BUG_##name)

#endif
