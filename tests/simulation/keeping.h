/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keeping: policies and caps of retention in a simulated run, and whether what is removed, and what
 * is kept, is what they say.
 *
 * Runs on: the thread of the run. Owns: nothing.
 */
#ifndef SIMULATION_KEEPING_H
#define SIMULATION_KEEPING_H

#include "base/random.h"
#include "commitlog/log.h"
#include "commitlog/storage_sim.h"
#include "simulation/model.h"

struct keeping {
    struct random *random;
    struct model *model;
    struct storage_sim *sim;
    struct log_retention_config config;
};

/* Makes, moves or removes a policy. False: the process must end. */
bool keeping_change_policy(const struct keeping *keeping, struct log *log);

/* What the helper thread would do: removes what is to be removed. False: likewise. */
bool keeping_remove(const struct keeping *keeping, struct log *log);

/* After a start: the policies are those that were answered for. */
void keeping_check_policies(const struct keeping *keeping, struct log *log);

#endif
