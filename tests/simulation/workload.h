/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workload: what clients send in a simulated run.
 */
#ifndef SIMULATION_WORKLOAD_H
#define SIMULATION_WORKLOAD_H

#include "base/random.h"
#include "simulation/model.h"

/* How a run is, drawn from its seed. Each `_percent` of what is sent. */
struct profile {
    uint32_t key_count;
    size_t key_bytes_max;
    size_t value_bytes_max;
    unsigned repeat_percent;
    unsigned question_percent;
    unsigned question_max;    /* at a time */
    unsigned unnamed_percent; /* without request id */
    unsigned check_percent;   /* without operations */
    unsigned stale_percent;   /* read long ago */
    unsigned batch_max;       /* transactions of a request */
    unsigned flood_every;     /* requests; 0: never more ids at once than fit the window */
    unsigned depth_max;       /* requests on their way */
    unsigned pace_us;         /* the most that the clock moves in a step */
    unsigned jump_every;      /* steps; 0: never */
    unsigned crash_every;     /* steps; 0: never */
    unsigned failure_every;   /* steps; 0: never */
    unsigned restart_every;   /* steps; 0: never */
    unsigned damage_every;    /* of these restarts; 0: never */
    unsigned shortage_every;  /* steps; 0: there is always space */
    unsigned subscriber_count;
    unsigned policy_every;  /* steps; 0: never */
    uint32_t policies_max;  /* at once */
    uint64_t log_bytes_max; /* beyond it old segments are removed; 0: never */
    uint32_t log_age_sec;   /* likewise; not below the windows */
    uint32_t request_id_window_sec;
    uint32_t conflict_window_sec;
    uint64_t conflict_bytes_max;
};

/* One request on its way. */
struct ticket {
    struct commit_request request;
    struct model_passage passage;
    struct arena arena;
    struct model_id **ids;         /* of each entry; NULL: none */
    const struct model_txn **txns; /* of each entry */
    struct txn *sent;              /* of each entry */
};

struct workload {
    struct random *random;
    struct model *model;
    struct profile profile;
    struct memory_budget budget;
    struct chunk_pool pool;
    char *key_bytes;
    char *value_bytes;
    uint64_t ids_made;
    uint64_t tickets_made;
};

struct profile profile_draw(struct random *random);

void workload_init(struct workload *workload, struct random *random, struct model *model,
                   const struct profile *profile);
void workload_deinit(struct workload *workload);

/* A request of a client who knows `durable_version` and the server's name. */
struct ticket *workload_make(struct workload *workload, uint64_t durable_version,
                             struct bytes leader);
void ticket_free(struct ticket *ticket);

#endif
