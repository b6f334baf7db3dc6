/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which charts there are. `series` are [label, what it shows of a Delta]; the first is the one
 * whose value stands in large. `note` says what belongs beside it. A chart without any of the
 * families in `needs` is not shown.
 */
'use strict';

const COMMITS = { route: ['/v1/commit', '/v1/commits'] };
const LATENCY = 'http_request_duration_seconds';
const BATCH = 'weaseldb_log_batch_records';
const SYNC = 'weaseldb_log_sync_seconds';
const REFUSED = [
  'wrong_leader',
  'fenced',
  'future_version',
  'other_payload',
  'no_space',
  'ids_full',
  'stopped',
  'failed',
];

/* Requests other than those that read metrics, such as this page's. */
function requestRate(delta) {
  const all = delta.rate('http_requests_total');
  return all === null
    ? null
    : Math.max(0, all - (delta.rate('http_requests_total', { route: '/metrics' }) || 0));
}

function outcomeRate(outcome) {
  return (delta) => delta.rate('weaseldb_outcomes_total', { outcome });
}

function conflictShare(delta) {
  const lost = delta.growth('weaseldb_outcomes_total', { outcome: ['conflict', 'too_old'] });
  const won = delta.growth('weaseldb_outcomes_total', { outcome: 'committed' });
  return lost + won > 0 ? `${format('share', lost / (lost + won))} of all` : '';
}

function worstPolicy(delta) {
  const lags = select(delta.after, 'weaseldb_retention_policy_lag_versions').map(
    ({ value }) => value,
  );
  return lags.length === 0 ? null : Math.max(...lags);
}

function counted(count, one, many) {
  return count === null ? '' : `${count.toLocaleString('en')} ${count === 1 ? one : many}`;
}

const CHARTS = [
  {
    id: 'throughput',
    title: 'Throughput',
    unit: 'rate',
    needs: ['weaseldb_outcomes_total'],
    about: 'Transactions committed, and HTTP requests of any kind but of metrics, in a second',
    series: [
      ['commits', outcomeRate('committed')],
      ['requests', requestRate],
    ],
  },
  {
    id: 'latency',
    title: 'Commit latency',
    unit: 'seconds',
    needs: [LATENCY + '_count'],
    about: 'From the complete request to its answer, estimated from a histogram',
    series: [
      ['p50', (delta) => delta.quantile(0.5, LATENCY, COMMITS)],
      ['p95', (delta) => delta.quantile(0.95, LATENCY, COMMITS)],
      ['p99', (delta) => delta.quantile(0.99, LATENCY, COMMITS)],
    ],
  },
  {
    id: 'conflicts',
    title: 'Conflicts',
    unit: 'rate',
    needs: ['weaseldb_outcomes_total'],
    about:
      'Transactions refused in a second: reads that were stale, too old to tell, or other reasons',
    note: conflictShare,
    series: [
      ['conflict', outcomeRate('conflict')],
      ['too old', outcomeRate('too_old')],
      ['other', outcomeRate(REFUSED)],
    ],
  },
  {
    id: 'batch',
    title: 'Batch size',
    unit: 'count',
    needs: [BATCH + '_count'],
    about: 'Commits and fences made durable together',
    series: [
      ['mean', (delta) => delta.mean(BATCH)],
      ['p99', (delta) => delta.quantile(0.99, BATCH)],
    ],
  },
  {
    id: 'sync',
    title: 'Sync time',
    unit: 'seconds',
    needs: [SYNC + '_count'],
    about: 'Time of the device to make a batch durable, estimated from a histogram',
    note: (delta) =>
      delta.value('weaseldb_log_durable') === 0 ? 'off: log.durability is none' : '',
    series: [
      ['p50', (delta) => delta.quantile(0.5, SYNC)],
      ['p99', (delta) => delta.quantile(0.99, SYNC)],
    ],
  },
  {
    id: 'ring',
    title: 'Ring occupancy',
    unit: 'count',
    needs: ['http_pipeline_ring_occupancy'],
    about: 'Requests within a pipeline at the moment of looking',
    note: (delta) =>
      counted(
        delta.value('http_pipeline_ring_slots', { pipeline: 'commit_status' }),
        'slot',
        'slots',
      ),
    series: [
      [
        'commits',
        (delta) => delta.value('http_pipeline_ring_occupancy', { pipeline: 'commit_status' }),
      ],
      [
        'retention',
        (delta) => delta.value('http_pipeline_ring_occupancy', { pipeline: 'retention' }),
      ],
    ],
  },
  {
    id: 'connections',
    title: 'Connections',
    unit: 'count',
    needs: ['http_connections_open'],
    about: 'Open connections, and those of them that are idle, wait for a pipeline, or are streams',
    series: [
      ['open', (delta) => delta.value('http_connections_open')],
      ['idle', (delta) => delta.value('http_connections', { state: 'idle' })],
      ['waiting', (delta) => delta.value('http_connections', { state: 'pipeline' })],
      ['streams', (delta) => delta.value('http_connections', { state: 'stream' })],
    ],
  },
  {
    id: 'memory',
    title: 'Memory',
    unit: 'bytes',
    needs: ['process_resident_memory_bytes'],
    about: 'Memory of the process, and what of it requests and the conflict window hold',
    series: [
      ['resident', (delta) => delta.value('process_resident_memory_bytes')],
      ['requests', (delta) => delta.value('http_memory_used_bytes')],
      ['conflict window', (delta) => delta.value('weaseldb_conflict_window_bytes')],
    ],
  },
  {
    id: 'log',
    title: 'Log size',
    unit: 'bytes',
    needs: ['weaseldb_log_bytes'],
    about: 'Size of the segments of the commit log',
    note: (delta) => counted(delta.value('weaseldb_log_segments'), 'segment', 'segments'),
    series: [['log', (delta) => delta.value('weaseldb_log_bytes')]],
  },
  {
    id: 'lag',
    title: 'Subscriber lag',
    unit: 'count',
    needs: ['weaseldb_subscriber_lag_max_versions', 'weaseldb_retention_policy_lag_versions'],
    about: 'Versions that the slowest feed and the furthest retention policy are behind',
    note: (delta) => counted(delta.value('weaseldb_subscribers'), 'feed', 'feeds'),
    series: [
      ['slowest feed', (delta) => delta.value('weaseldb_subscriber_lag_max_versions')],
      ['furthest policy', worstPolicy],
    ],
  },
  {
    id: 'cpu',
    title: 'Processor',
    unit: 'share',
    needs: ['process_cpu_seconds_total'],
    about: 'Processor time used; 100 % is one core',
    series: [['used', (delta) => delta.rate('process_cpu_seconds_total')]],
  },
  {
    id: 'network',
    title: 'Network',
    unit: 'byteRate',
    needs: ['http_received_bytes_total'],
    about: 'Bytes that connections brought and took in a second',
    series: [
      ['received', (delta) => delta.rate('http_received_bytes_total')],
      ['sent', (delta) => delta.rate('http_sent_bytes_total')],
    ],
  },
];
