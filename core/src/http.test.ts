import { afterEach, expect, test } from 'vitest';
import { type HttpServer, startHttp } from './http.ts';
import { Metrics } from './metrics.ts';

let server: HttpServer | undefined;
afterEach(async () => {
  await server?.close();
  server = undefined;
});

async function start(ok: boolean): Promise<string> {
  const metrics = new Metrics();
  metrics.gauge('a', 'Shows a.').set(1);
  server = await startHttp({
    address: '127.0.0.1:0',
    metrics,
    health: () => ({ ok, since: 5n }),
    json: { '/api/x.json': () => [{ big: 2n ** 63n }] },
    files: { '/': { type: 'text/html; charset=utf-8', body: '<p>ä</p>' } },
  });
  return `http://${server.address}`;
}

test('metrics, health, JSON and files', async () => {
  const url = await start(true);
  const metrics = await fetch(`${url}/metrics`);
  expect(metrics.headers.get('content-type')).toMatch(/^text\/plain/);
  expect(await metrics.text()).toContain('a 1\n');
  const health = await fetch(`${url}/healthz`);
  expect([health.status, await health.json()]).toEqual([200, { ok: true, since: '5' }]);
  expect(await (await fetch(`${url}/api/x.json`)).json()).toEqual([{ big: '9223372036854775808' }]);
  const page = await fetch(url);
  expect([page.headers.get('content-type'), await page.text()]).toEqual([
    'text/html; charset=utf-8',
    '<p>ä</p>',
  ]);
  expect((await fetch(`${url}/../../etc/passwd`)).status).toBe(404);
  expect((await fetch(`${url}/metrics`, { method: 'POST' })).status).toBe(404);
});

test('what is not healthy says so by its status; a port that is taken by its error', async () => {
  const url = await start(false);
  expect((await fetch(`${url}/healthz`)).status).toBe(503);
  const address = url.slice('http://'.length);
  const second = startHttp({ address, metrics: new Metrics(), health: () => ({ ok: true }) });
  await expect(second).rejects.toMatchObject({ code: 'ALREADY_RUNNING' });
});
