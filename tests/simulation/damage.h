/* SPDX-License-Identifier: Apache-2.0 */
/*
 * damage: flips a bit of what was synced, demands that a start refuses and changes nothing, and
 * repairs the log as `weasel log repair` does, through crashes.
 *
 * Runs on: the thread of the run, while no server has the disk. Owns: nothing.
 */
#ifndef SIMULATION_DAMAGE_H
#define SIMULATION_DAMAGE_H

#include "base/random.h"
#include "commitlog/log.h"
#include "commitlog/storage_sim.h"
#include "simulation/model.h"

struct damage {
    struct random *random;
    struct model *model;
    struct storage_sim *sim;
    const struct log_config *config; /* of starts */
};

/* The log is closed, sound and synced. Afterwards it is sound again, and the model knows what is
 * left; *out_version is the last version then. False: nothing has happened, since there is too
 * little of the log. */
bool damage_and_repair(const struct damage *damage, uint64_t *out_version);

#endif
