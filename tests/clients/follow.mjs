// SPDX-License-Identifier: Apache-2.0
// Follows the feed at a URL with the npm package `eventsource`: node follow.mjs URL
// One line of JSON for each event: [name, lastEventId, data].
import { EventSource } from 'eventsource';

const source = new EventSource(process.argv[2]);
for (const name of ['open', 'transaction', 'progress', 'end', 'error']) {
  source.addEventListener(name, (event) => {
    console.log(JSON.stringify([name, event.lastEventId ?? '', event.data ?? `${event.code ?? ''}`]));
    if (name === 'error' && source.readyState === EventSource.CLOSED) {
      process.exit(1); // it will not come back
    }
  });
}
