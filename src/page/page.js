/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The live page: asks /metrics once a second while it can be seen, keeps the last minutes, draws.
 *
 *   poll -> take (a sample) -> History -> draw
 *        -> miss (no answer)
 *
 * Each poll adds one point of time to the history, also one that failed: its values are null, so
 * that a chart shows the gap. Rates need two samples of the same process; the first after a start,
 * or after the page was hidden, gives gauges only.
 */
'use strict';

const POLL_MS = 1000;
const ANSWER_MS_MAX = 5000; /* longer is no answer */
const PAUSE_S = 5; /* samples further apart are not joined: nobody was looking */
const KEEP_S = 600;
const SHOW_S_MIN = 30; /* at the start, when there is less to show than was asked for */
const PLOT_PIXELS = 140;
const EDGE_PIXELS = 8;

const element = (id) => document.getElementById(id);

function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

const twoDigits = (number) => String(number).padStart(2, '0');

function clock(seconds) {
  const date = new Date(seconds * 1000);
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map(twoDigits).join(':');
}

/* ---- what was seen ---- */

class History {
  constructor() {
    this.times = [];
    this.columns = CHARTS.map(({ series }) => series.map(() => []));
  }

  /* One value for each series of each chart. */
  add(time, values) {
    if (time <= this.times[this.times.length - 1]) return; /* the clock was set back */
    this.times.push(time);
    this.columns.forEach((chart, i) => chart.forEach((column, j) => column.push(values[i][j])));
    const old = this.times.findIndex((t) => t >= time - KEEP_S);
    if (old > 0) for (const column of [this.times, ...this.columns.flat()]) column.splice(0, old);
  }

  addGap(time) {
    this.add(
      time,
      this.columns.map((chart) => chart.map(() => null)),
    );
  }
}

const seen = new History();
let spanSeconds = 300;
let cursorIndex = null; /* of the time that the pointer is at */

/* ---- charts ---- */

/* A value between two gaps belongs to no line: it gets a dot. */
function lonely(plot, number) {
  const values = plot.data[number];
  const isGap = (i) => values[i] === null || values[i] === undefined;
  return values.map((_, i) => i).filter((i) => !isGap(i) && isGap(i - 1) && isGap(i + 1));
}

/* Where lines of the grid may stand, by unit; elsewhere uPlot knows. */
const powers = (base, from, to) => [...Array(to - from + 1).keys()].map((i) => base ** (from + i));
const STEPS = {
  bytes: powers(2, 0, 60),
  byteRate: powers(2, 0, 60),
  count: powers(10, 0, 15).flatMap((power) => [power, 2 * power, 5 * power]),
};

function axis(unit) {
  const shared = {
    stroke: () => colour('--muted'),
    font: '11px system-ui, sans-serif',
    grid: { stroke: () => colour('--grid'), width: 1 },
    ticks: { show: false },
  };
  if (unit === 'time') {
    /* One that would be cut off at the right edge is left out. */
    const fits = (plot, time) =>
      plot.valToPos(time, 'x') + 22 < plot.over.clientWidth + EDGE_PIXELS;
    const values = (plot, times) =>
      times.map((time) => (fits(plot, time) ? clock(time).slice(0, time % 60 ? 8 : 5) : null));
    return { ...shared, values, space: 60, size: 26, gap: 8 };
  }
  return {
    ...shared,
    values: (_, values) => values.map((value) => format(unit, value)),
    size: 68,
    gap: 6,
    space: 26,
    ...(STEPS[unit] ? { incrs: STEPS[unit] } : {}),
  };
}

class Chart {
  constructor(number, definition) {
    this.definition = definition;
    this.columns = seen.columns[number];
    const { id, title, about, series } = definition;
    this.large = make('span', { className: 'large' });
    this.largeName = make('span', { className: 'of' });
    this.note = make('span', { className: 'note' });
    this.values = series.map(() => make('dd', {}, '–'));
    const legend = make(
      'dl',
      {},
      ...series.map(([label], i) => {
        const key = make('i', { className: `key c${i + 1}` });
        key.setAttribute('aria-hidden', 'true');
        return make('div', {}, make('dt', {}, key, label), this.values[i]);
      }),
    );
    this.frame = make('div', { className: 'plot' });
    this.frame.setAttribute('role', 'img');
    this.frame.setAttribute('aria-label', `Chart: ${title}. ${about}; the values of now follow.`);
    this.card = make(
      'section',
      { id, className: 'card', title: about },
      make('header', {}, make('h2', {}, title), this.note, this.largeName, this.large),
      this.frame,
      legend,
    );
    element('charts').append(this.card);
    this.plot = new uPlot(this.options(), [[], ...series.map(() => [])], this.frame);
    new ResizeObserver(() => this.resize()).observe(this.frame);
  }

  options() {
    const { unit, series } = this.definition;
    const line = (label, i) => ({
      label,
      stroke: () => colour(`--c${i + 1}`),
      fill: i === 0 ? () => colour('--c1') + '1c' : undefined,
      width: 1.5,
      points: { show: true, size: 4, fill: () => colour(`--c${i + 1}`), filter: lonely },
    });
    return {
      width: 320,
      height: PLOT_PIXELS,
      padding: [8, EDGE_PIXELS, 0, 0],
      legend: { show: false },
      cursor: {
        y: false,
        drag: { x: false, y: false },
        sync: { key: 'page' },
        points: { size: 6 },
      },
      scales: {
        x: { time: true, range: () => windowOfTime() },
        y: { range: (_, min, max) => [0, max > 0 ? max * 1.08 : 1] },
      },
      axes: [axis('time'), axis(unit)],
      series: [{}, ...series.map(([label], i) => line(label, i))],
      hooks: { setCursor: [({ cursor }) => showAt(cursor.idx ?? null)] },
    };
  }

  resize() {
    const width = this.frame.clientWidth;
    if (width > 0 && width !== this.plot.width) this.plot.setSize({ width, height: PLOT_PIXELS });
  }

  draw() {
    this.plot.setData([seen.times, ...this.columns]);
    this.show(cursorIndex);
  }

  /* The values at one time; null: the latest. */
  show(index) {
    const at = index ?? seen.times.length - 1;
    const texts = this.columns.map((column) => format(this.definition.unit, column[at]));
    texts.forEach((text, i) => (this.values[i].textContent = text));
    /* In large, the first that there is. */
    const first = Math.max(
      0,
      this.columns.findIndex((column) => (column[at] ?? null) !== null),
    );
    this.large.textContent = texts[first];
    this.largeName.textContent = texts.length > 1 ? this.definition.series[first][0] : '';
  }

  /* What the server does not have is not shown. */
  take(delta) {
    const { needs, note } = this.definition;
    this.card.hidden = !needs.some((name) => delta.after.has(name));
    this.note.textContent = note ? note(delta) : '';
  }
}

function windowOfTime() {
  const last = seen.times[seen.times.length - 1] ?? Date.now() / 1000;
  const first = Math.min(seen.times[0] ?? last, last - SHOW_S_MIN);
  return [Math.max(first, last - spanSeconds), last];
}

function showAt(index) {
  if (index === cursorIndex) return;
  cursorIndex = index;
  element('at').textContent = index === null ? '' : `at ${clock(seen.times[index])}`;
  charts.forEach((chart) => chart.show(index));
}

const charts = [];

function draw() {
  charts.forEach((chart) => chart.draw());
}

/* ---- the state of the server ---- */

/* `kind` is good, warn, bad or idle. */
function showState(kind, text) {
  const state = element('state');
  if (state.textContent !== text) state.textContent = text; /* each change is read out */
  state.className = kind;
  document.title = `${kind === 'good' ? charts[0].large.textContent : text} · WeaselDB`;
}

function showFacts(sample) {
  const version = select(sample, 'weaseldb_build_info')[0]?.labels.version;
  const started = total(sample, 'process_start_time_seconds');
  const facts = {
    build: version ?? '',
    uptime: started === null ? '–' : formatDuration(Date.now() / 1000 - started),
    latest: (total(sample, 'weaseldb_version') ?? '–').toLocaleString('en'),
    oldest: (total(sample, 'weaseldb_log_start_version') ?? '–').toLocaleString('en'),
  };
  for (const [id, text] of Object.entries(facts)) element(id).textContent = text;
}

function stateOf(sample) {
  if (total(sample, 'http_draining') === 1) return ['warn', 'shutting down'];
  if (total(sample, 'weaseldb_log_writable') === 0) return ['bad', 'log not writable'];
  if (total(sample, 'weaseldb_log_durable') === 0) return ['warn', 'live, not durable'];
  return ['good', 'live'];
}

/* ---- polling ---- */

let last = null; /* {time, sample}, of the last answer */
let timer = 0;
let isPaused = false; /* by the button */
let missingSince = null; /* since when there is no answer */
let wasDraining = false;

function take(time, sample) {
  if (last !== null && !isSameProcess(last.sample, sample)) {
    element('event').textContent =
      `The server was started again before ${clock(time)}; counters began anew.`;
    last = null;
    seen.addGap(time - 0.001);
  } else if (last !== null && time - last.time > PAUSE_S) {
    last = null;
    seen.addGap(time - 0.001);
  }
  const delta =
    last === null ? new Delta(sample, sample, 0) : new Delta(last.sample, sample, time - last.time);
  seen.add(
    time,
    CHARTS.map(({ series }) => series.map(([, read]) => read(delta))),
  );
  charts.forEach((chart) => chart.take(delta));
  last = { time, sample };
  missingSince = null;
  wasDraining = total(sample, 'http_draining') === 1;
  draw();
  showFacts(sample);
  showState(...stateOf(sample));
}

function miss(time, why) {
  missingSince ??= time;
  seen.addGap(time);
  draw();
  showState('bad', `${wasDraining ? 'shut down' : why} since ${clock(missingSince)}`);
}

async function poll() {
  try {
    const answer = await fetch('metrics', {
      cache: 'no-store',
      signal: AbortSignal.timeout(ANSWER_MS_MAX),
    });
    const text = await answer.text();
    if (!isWatching()) return;
    if (answer.ok) take(Date.now() / 1000, parseMetrics(text));
    else miss(Date.now() / 1000, `answers ${answer.status}`);
  } catch (error) {
    if (!isWatching()) return;
    miss(Date.now() / 1000, error.name === 'TimeoutError' ? 'no answer in time' : 'no answer');
    if (!['TypeError', 'TimeoutError', 'AbortError'].includes(error.name)) throw error;
  }
}

function isWatching() {
  return !isPaused && !document.hidden;
}

/* One round after the other, and never two at once. */
let isPolling = false;

async function watch() {
  clearTimeout(timer);
  if (isPolling) return;
  if (!isWatching()) {
    showState('idle', 'paused');
    return;
  }
  isPolling = true;
  const begun = performance.now();
  try {
    await poll();
  } finally {
    isPolling = false;
    timer = setTimeout(watch, Math.max(50, POLL_MS - (performance.now() - begun)));
  }
}

/* ---- the start ---- */

function begin() {
  CHARTS.forEach((definition, number) => charts.push(new Chart(number, definition)));
  element('host').textContent = location.host;
  for (const button of document.querySelectorAll('input[name=span]')) {
    button.addEventListener('change', () => {
      spanSeconds = Number(button.value);
      draw();
    });
    if (button.checked) spanSeconds = Number(button.value);
  }
  element('pause').addEventListener('click', () => {
    isPaused = !isPaused;
    element('pause').setAttribute('aria-pressed', String(isPaused));
    watch();
  });
  document.addEventListener('visibilitychange', watch);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
  watch();
}

begin();
