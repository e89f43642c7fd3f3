// A real authorization server between the test's hands: panva's certified oidc-provider. Refresh tokens rotate, one that
// comes twice kills its grant, access tokens live for 10 s and can be introspected.
//
// It prints one line of JSON (`issuer`, `control`, `redirect_port`) when it listens. At `control`: POST /seed makes a grant
// and its first refresh token, as a sign-in would have; GET /report tells who signed in, what was redeemed and refused, GET
// /secrets every token. People sign in on the pages of sign_in.mjs; `redirect_port` is that of the client `fixed`.

import { createHash, generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';

// Its notices go where they do not disturb the one line.
console.info = console.error;
console.warn = console.error;
const { Provider } = await import('oidc-provider');
const { clients, features, interact, interactions } = await import('./sign_in.mjs');

const ACCESS_TOKEN_LIFE = 10; // seconds
const SCOPE = 'openid offline_access';

/** Tells tokens apart without showing one. */
const fingerprint = (token) => (token ? createHash('sha256').update(token).digest('hex').slice(0, 16) : null);
const now = () => (performance.timeOrigin + performance.now()) / 1000;

async function listen(server) {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `http://127.0.0.1:${server.address().port}`;
}

function configuration(redirectPort) {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const client = { redirect_uris: [], response_types: [], token_endpoint_auth_method: 'client_secret_basic' };
  return {
    clients: [
      // Each half of HTTP Basic is form-encoded before it is joined: this secret breaks whoever forgets it.
      { ...client, client_id: 'billing', client_secret: 'not a secret: 100% + /=', grant_types: ['refresh_token'] },
      { ...client, client_id: 'upstream', client_secret: 'not-a-secret-either', grant_types: [] },
      ...clients(redirectPort),
    ],
    cookies: { keys: ['not-a-secret'] },
    features: { ...features, introspection: { enabled: true } },
    findAccount: (_ctx, accountId) => ({ accountId, claims: () => ({ sub: accountId }) }),
    interactions,
    jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), alg: 'RS256', use: 'sig' }] },
    rotateRefreshToken: true,
    scopes: SCOPE.split(' '),
    ttl: {
      AccessToken: ACCESS_TOKEN_LIFE,
      DeviceCode: 600,
      Grant: 86400,
      IdToken: 60,
      Interaction: 600,
      RefreshToken: 86400,
      Session: 600,
    },
  };
}

/** Remembers each exchange of a refresh token: when, which one came, which one went out. */
function watch(provider) {
  const report = { redeems: [], errors: [], reuse: 0, revoked: 0, signIns: [] };
  const secrets = [];
  const isRefresh = (ctx) => ctx.oidc?.params?.grant_type === 'refresh_token';
  provider.on('grant.success', (ctx) => {
    if (!isRefresh(ctx)) {
      const { code, code_verifier: verifier, device_code: device, grant_type: grantType } = ctx.oidc.params;
      const { access_token: access, refresh_token: refresh, id_token: id } = ctx.body;
      secrets.push(...[code, verifier, device, access, refresh, id].filter(Boolean));
      report.signIns.push({ at: now(), client: ctx.oidc.client.clientId, grantType, scope: ctx.body.scope, refresh: fingerprint(refresh) });
      return;
    }
    const { refresh_token: issued, access_token: access } = ctx.body;
    const presented = fingerprint(ctx.oidc.params.refresh_token);
    secrets.push(ctx.oidc.params.refresh_token, issued, access);
    report.redeems.push({ at: now(), presented, issued: fingerprint(issued), access: fingerprint(access) });
  });
  provider.on('grant.error', (ctx, error) => {
    const detail = error.error_detail ?? error.error_description ?? error.message;
    report.errors.push({ at: now(), error: error.error, detail });
    if (/already used/.test(detail)) report.reuse += 1;
  });
  provider.on('grant.revoked', () => { report.revoked += 1; });
  provider.on('server_error', (_ctx, error) => report.errors.push({ at: now(), error: 'server_error', detail: String(error) }));
  return { report, secrets };
}

/** What a sign-in would have left behind. */
async function seed(provider) {
  const client = await provider.Client.find('billing');
  const grant = new provider.Grant({ accountId: 'alice', clientId: client.clientId });
  grant.addOIDCScope(SCOPE);
  const grantId = await grant.save();
  const token = new provider.RefreshToken({ accountId: 'alice', client, grantId, gty: 'authorization_code', scope: SCOPE });
  return token.save();
}

function control(provider, report, secrets) {
  return createServer(async (request, response) => {
    const answer = (status, body) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(body));
    };
    try {
      if (request.method === 'POST' && request.url === '/seed') {
        const token = await seed(provider);
        answer(200, { refresh_token: token, fingerprint: fingerprint(token) });
      } else if (request.method === 'GET' && request.url === '/report') {
        answer(200, report);
      } else if (request.method === 'GET' && request.url === '/secrets') {
        answer(200, secrets);
      } else {
        answer(404, {});
      }
    } catch (error) {
      answer(500, { error: String(error) });
    }
  });
}

/** A port that nobody listens on now: for redirect URIs, which are registered before anybody listens there. */
async function freePort() {
  const asking = createServer();
  const { port } = new URL(await listen(asking));
  asking.close();
  await once(asking, 'close');
  return Number(port);
}

const server = createServer();
const [issuer, redirectPort] = [await listen(server), await freePort()];
const provider = new Provider(issuer, configuration(redirectPort));
const { report, secrets } = watch(provider);
const serve = provider.callback();
server.on('request', async (request, response) => {
  try {
    if (!(await interact(provider, request, response))) serve(request, response);
  } catch (error) {
    report.errors.push({ at: now(), error: 'interaction', detail: String(error) });
    response.writeHead(500, { 'content-type': 'text/plain' });
    response.end(String(error));
  }
});
const controlled = await listen(control(provider, report, secrets));
console.log(JSON.stringify({ issuer, control: controlled, redirect_port: redirectPort }));
