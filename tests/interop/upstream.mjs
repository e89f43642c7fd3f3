// An upstream that believes nobody: it asks the authorization server about every token, each time.
//
//     node upstream.mjs INTROSPECTION_ENDPOINT
//
// It prints one line of JSON (`url`, `control`) when it listens. At `control`: GET /report tells how many requests came
// and which were rejected.

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { Agent, createServer, request as send } from 'node:http';

const introspection = process.argv[2];
const credentials = `Basic ${Buffer.from('upstream:not-a-secret-either').toString('base64')}`;
const agent = new Agent({ keepAlive: true, maxSockets: 64 });
const report = { requests: 0, rejected: [], tokens: [] };
const fingerprint = (token) => createHash('sha256').update(token).digest('hex').slice(0, 16);

async function listen(server) {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `http://127.0.0.1:${server.address().port}`;
}

async function text(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

async function isActive(token) {
  const body = new URLSearchParams({ token }).toString();
  const headers = {
    authorization: credentials,
    'content-type': 'application/x-www-form-urlencoded',
    'content-length': Buffer.byteLength(body),
  };
  const request = send(introspection, { method: 'POST', agent, headers });
  request.end(body);
  const [response] = await once(request, 'response');
  const answer = await text(response);
  if (response.statusCode !== 200) throw new Error(`introspection answers ${response.statusCode}: ${answer}`);
  return JSON.parse(answer).active === true;
}

/** The one bearer token of a request; nothing when there is none, or two. */
function bearer(request) {
  const values = request.headersDistinct.authorization ?? [];
  return values.length === 1 ? /^Bearer ([^\s,]+)$/.exec(values[0])?.[1] : undefined;
}

async function answer(request, response) {
  const token = bearer(request);
  const body = await text(request);
  report.requests += 1;
  const reason = token === undefined ? 'no token' : (await isActive(token)) ? null : 'inactive';
  if (reason) {
    report.rejected.push({ at: Date.now() / 1000, reason, token: token && fingerprint(token) });
    response.writeHead(401, { 'www-authenticate': 'Bearer error="invalid_token"', 'content-type': 'application/json' });
    return response.end(JSON.stringify({ error: reason }));
  }
  const mark = fingerprint(token);
  if (!report.tokens.includes(mark)) report.tokens.push(mark);
  response.writeHead(200, { 'content-type': 'application/json' });
  return response.end(JSON.stringify({ method: request.method, target: request.url, token: mark, body }));
}

const upstream = createServer((request, response) => {
  answer(request, response).catch((error) => {
    report.rejected.push({ at: Date.now() / 1000, reason: String(error), token: null });
    response.writeHead(500, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ error: String(error) }));
  });
});
upstream.keepAliveTimeout = 120_000; // no race with whoever keeps connections: that is not what is measured here
const control = createServer((_request, response) => response.end(JSON.stringify(report)));
console.log(JSON.stringify({ url: await listen(upstream), control: await listen(control) }));
