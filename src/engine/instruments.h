/* SPDX-License-Identifier: Apache-2.0 */
/*
 * instruments: the engine's metrics, by name. Registered once; each thread updates its own cells.
 */
#ifndef ENGINE_INSTRUMENTS_H
#define ENGINE_INSTRUMENTS_H

#include "base/metrics.h"

#include <stdint.h>

enum {
    ENGINE_NO_ROUTE = 0, /* the series of requests that no route took; routes count from 1 */
    INSTRUMENTS_STATUSES = 32,
};
