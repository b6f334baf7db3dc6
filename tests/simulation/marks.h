/* SPDX-License-Identifier: Apache-2.0 */
/*
 * marks: rare states that a simulation should have been in. One that is never reached says that
 * what was meant to be tried was not.
 */
#ifndef SIMULATION_MARKS_H
#define SIMULATION_MARKS_H

#include <stdint.h>

#define MARKS(X)                                                                                   \
    X(committed)                                                                                   \
    X(conflict)                                                                                    \
    X(conflict_behind_unsynced_write)                                                              \
    X(too_old)                                                                                     \
    X(too_old_by_memory)                                                                           \
    X(wrong_leader)                                                                                \
    X(future_version)                                                                              \
    X(check_held)                                                                                  \
    X(check_failed)                                                                                \
    X(fenced_original)                                                                             \
    X(fenced_after_restart)                                                                        \
    X(other_payload)                                                                               \
    X(other_payload_of_rejected)                                                                   \
    X(other_payload_of_pending)                                                                    \
    X(repeat_of_committed)                                                                         \
    X(repeat_of_rejected)                                                                          \
    X(repeat_rides)                                                                                \
    X(repeat_after_restart)                                                                        \
    X(rejected_again_after_restart)                                                                \
    X(rejected_id_commits_other_payload)                                                           \
    X(forgotten_id_commits_again)                                                                  \
    X(question_of_committed)                                                                       \
    X(question_of_rejected)                                                                        \
    X(question_of_unknown)                                                                         \
    X(question_of_fenced)                                                                          \
    X(question_rides_to_committed)                                                                 \
    X(question_rides_to_rejected)                                                                  \
    X(question_expired)                                                                            \
    X(question_with_min_version)                                                                   \
    X(made_id_asked_for)                                                                           \
    X(ids_full)                                                                                    \
    X(no_space)                                                                                    \
    X(no_space_for_a_fence)                                                                        \
    X(no_space_to_start)                                                                           \
    X(commits_after_no_space)                                                                      \
    X(log_failed)                                                                                  \
    X(answered_unknown)                                                                            \
    X(answered_stopped)                                                                            \
    X(known_id_after_failure)                                                                      \
    X(batch_in_pieces)                                                                             \
    X(segment_begun)                                                                               \
    X(sequenced_while_a_segment_begins)                                                            \
    X(prepared_while_syncing)                                                                      \
    X(segment_of_fences)                                                                           \
    X(power_loss)                                                                                  \
    X(process_ends)                                                                                \
    X(crash_in_persist)                                                                            \
    X(crash_in_preparing)                                                                          \
    X(crash_in_recovery)                                                                           \
    X(crash_in_first_start)                                                                        \
    X(error_in_recovery)                                                                           \
    X(unacknowledged_batch_survives)                                                               \
    X(unacknowledged_batch_is_lost)                                                                \
    X(window_of_ids_moves)                                                                         \
    X(window_of_conflicts_moves)                                                                   \
    X(clock_jumps_forward)                                                                         \
    X(clock_jumps_back)                                                                            \
    X(graceful_restart)                                                                            \
    X(old_segments_are_removed)                                                                    \
    X(old_segments_are_gone)                                                                       \
    X(policy_put)                                                                                  \
    X(policy_removed)                                                                              \
    X(policy_in_doubt)                                                                             \
    X(policies_are_full)                                                                           \
    X(policy_keeps_a_segment)                                                                      \
    X(windows_keep_a_segment)                                                                      \
    X(removed_by_policies)                                                                         \
    X(removed_by_age)                                                                              \
    X(removed_by_bytes)                                                                            \
    X(removed_by_cap_against_a_policy)                                                             \
    X(removed_under_a_cursor)                                                                      \
    X(crash_before_the_bound)                                                                      \
    X(crash_behind_the_bound)                                                                      \
    X(kept_while_syncing)                                                                          \
    X(feed_tells)                                                                                  \
    X(feed_tells_progress)                                                                         \
    X(feed_tells_what_was_removed)                                                                 \
    X(feed_clips_a_range)                                                                          \
    X(feed_leaves_out)                                                                             \
    X(feed_waits_for_a_sync)                                                                       \
    X(feed_crosses_segments)                                                                       \
    X(feed_goes_live)                                                                              \
    X(feed_falls_behind)                                                                           \
    X(feed_is_cut_within_an_event)                                                                 \
    X(feed_resumes)                                                                                \
    X(feed_resumes_after_a_restart)                                                                \
    X(feed_is_refused_as_gone)                                                                     \
    X(feed_ends_as_gone)                                                                           \
    X(feed_fails)                                                                                  \
    X(damaged_batch)                                                                               \
    X(damaged_header)                                                                              \
    X(damaged_state)                                                                               \
    X(damaged_beyond_repair)                                                                       \
    X(repaired)                                                                                    \
    X(repair_repeated)                                                                             \
    X(repair_beyond_the_damage)                                                                    \
    X(repair_cuts_more)                                                                            \
    X(crash_in_repair)                                                                             \
    X(crash_in_repair_that_has_begun)

enum mark {
#define MARK_ENUM(name) MARK_##name,
    MARKS(MARK_ENUM)
#undef MARK_ENUM
        MARK_COUNT
};

extern const char *const mark_names[MARK_COUNT];
extern uint64_t mark_counts[MARK_COUNT]; /* since the process began */

#define MARK(name) ((void)mark_counts[MARK_##name]++)

#endif
