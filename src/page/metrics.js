/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What /metrics says, as numbers. Nothing in here knows of the page.
 *
 *   parseMetrics(text)        a sample: family -> [{labels, value}]
 *   new Delta(before, after)  what happened between two samples, for rates and quantiles
 *
 * Where a number cannot be had (no such family, nothing happened, a counter went back) it is null,
 * which a chart shows as a gap.
 */
'use strict';

function parseLabels(text) {
  const labels = {};
  for (const [, name, value] of text.matchAll(/([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"/g)) {
    labels[name] = value.replace(/\\(.)/g, (_, c) => (c === 'n' ? '\n' : c));
  }
  return labels;
}

function parseNumber(text) {
  return /^[+-]?Inf$/.test(text) ? Number(text + 'inity') : Number(text);
}

/* Prometheus' text format 0.0.4. */
function parseMetrics(text) {
  const sample = new Map();
  for (const line of text.split('\n')) {
    const found = /^([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (found) {
      const [, name, labels, value] = found;
      if (!sample.has(name)) sample.set(name, []);
      sample.get(name).push({ labels: parseLabels(labels || ''), value: parseNumber(value) });
    }
  }
  return sample;
}

/* The series of a family whose labels are as in `wanted`: each one of a list, or one text. */
function select(sample, name, wanted = {}) {
  return (sample.get(name) || []).filter(({ labels }) =>
    Object.entries(wanted).every(([label, value]) => [].concat(value).includes(labels[label])),
  );
}

/* The sum of the series that are selected; null: there is none. */
function total(sample, name, wanted) {
  const found = select(sample, name, wanted);
  return found.length === 0 ? null : found.reduce((sum, { value }) => sum + value, 0);
}

/* Whether `after` is of the same process as `before`, so that counters have gone on. */
function isSameProcess(before, after) {
  const name = 'process_start_time_seconds';
  return total(before, name) === total(after, name);
}

class Delta {
  constructor(before, after, seconds) {
    Object.assign(this, { before, after, seconds });
  }

  /* A gauge, now. */
  value(name, wanted) {
    return total(this.after, name, wanted);
  }

  /* By how much a counter grew. */
  growth(name, wanted) {
    const [before, after] = [total(this.before, name, wanted), total(this.after, name, wanted)];
    return after === null || after < (before || 0) ? null : after - (before || 0);
  }

  /* The same, a second. */
  rate(name, wanted) {
    const growth = this.growth(name, wanted);
    return growth === null || this.seconds <= 0 ? null : growth / this.seconds;
  }

  /* What a histogram took in: [{upper, count}] by growing bounds. Several series become one. */
  buckets(name, wanted) {
    const sums = new Map();
    for (const [sample, sign] of [
      [this.after, 1],
      [this.before, -1],
    ]) {
      for (const { labels, value } of select(sample, name + '_bucket', wanted)) {
        const upper = parseNumber(labels.le);
        sums.set(upper, (sums.get(upper) || 0) + sign * value);
      }
    }
    let below = 0;
    return [...sums.entries()]
      .sort(([a], [b]) => a - b)
      .map(([upper, upTo]) => {
        /* Buckets of one sample may be of different moments: none is less than empty. */
        const count = Math.max(0, upTo - below);
        below = Math.max(below, upTo);
        return { upper, count };
      });
  }

  /* The value that a share of `q` of the observations does not exceed, taken as spread evenly
   * within a bucket. Beyond the last bound nothing is known but that bound. */
  quantile(q, name, wanted) {
    const buckets = this.buckets(name, wanted);
    const rank = q * buckets.reduce((sum, { count }) => sum + count, 0);
    if (!(rank > 0)) return null;
    let below = 0;
    let lower = 0;
    for (const { upper, count } of buckets) {
      if (count > 0 && below + count >= rank) {
        return upper === Infinity ? lower : lower + ((upper - lower) * (rank - below)) / count;
      }
      below += count;
      lower = upper === Infinity ? lower : upper;
    }
    return lower;
  }

  /* The mean of what a histogram took in. */
  mean(name, wanted) {
    const count = this.growth(name + '_count', wanted);
    return count ? this.growth(name + '_sum', wanted) / count : null;
  }
}

/* ---- numbers for people ---- */

/* "12.3 k" and so on: three digits, and the prefix that goes with `step`. */
function scale(value, step, prefixes) {
  let power = 0;
  while (Math.abs(value) >= 999.5 && power < prefixes.length - 1) {
    value /= step;
    power++;
  }
  const places =
    Math.abs(value) >= 99.95 || Number.isInteger(value) ? 0 : Math.abs(value) >= 9.995 ? 1 : 2;
  return [String(Number(value.toFixed(places))), prefixes[power]];
}

const UNITS = {
  count: (value) => scale(value, 1000, ['', 'k', 'M', 'G', 'T']).join(''),
  rate: (value) => UNITS.count(value) + '/s',
  bytes: (value) => scale(value, 1024, [' B', ' KiB', ' MiB', ' GiB', ' TiB']).join(''),
  byteRate: (value) => UNITS.bytes(value) + '/s',
  seconds: (value) =>
    Math.abs(value) >= 0.9995
      ? scale(value, 1000, [' s', ' ks']).join('')
      : value === 0
        ? '0 s'
        : scale(value * 1e6, 1000, [' µs', ' ms']).join(''),
  share: (value) => scale(value * 100, 1e9, [' %']).join(''),
};

function format(unit, value) {
  return value === null || value === undefined ? '–' : UNITS[unit](value);
}

/* "3 d 4 h", the two largest parts. */
function formatDuration(seconds) {
  const parts = [
    [86400, 'd'],
    [3600, 'h'],
    [60, 'min'],
    [1, 's'],
  ];
  const first = Math.max(
    0,
    parts.findIndex(([size]) => seconds >= size),
  );
  let rest = Math.max(0, Math.floor(seconds));
  if (rest < 1) return '0 s';
  return parts
    .slice(first, first + 2)
    .map(([size, name]) => {
      const count = Math.floor(rest / size);
      rest -= count * size;
      return count > 0 ? `${count} ${name}` : '';
    })
    .filter(Boolean)
    .join(' ');
}
