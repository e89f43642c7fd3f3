// The certified oidc-provider behind TLS, with a client for every way of proving who asks and for every grant; and an
// upstream, behind TLS as well, that takes a token only from whom it is bound to: a certificate (RFC 8705), or a key
// (RFC 9449, with nonces).
//
//     node credentials.mjs FOLDER
//
// The folder holds server.pem, server.key and ca.pem. It prints one line of JSON (`issuer`, `upstream`, `control`) when it
// listens. At `control`: POST /seed/CLIENT makes a grant and its first refresh token, GET /credentials tells each client's
// key or secret, GET /report what was redeemed and refused, GET /secrets what must not be told.

import { createHash, generateKeyPairSync, randomBytes, randomUUID, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { join } from 'node:path';

import * as jose from 'jose';

// Its notices go where they do not disturb the one line.
console.info = console.error;
console.warn = console.error;
const { errors, Provider } = await import('oidc-provider');

const ACCESS_TOKEN_LIFE = 8; // seconds
const SCOPE = 'openid offline_access';
const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';

const folder = process.argv[2];
const tls = {
  key: readFileSync(join(folder, 'server.key')),
  cert: readFileSync(join(folder, 'server.pem')),
  ca: readFileSync(join(folder, 'ca.pem')),
  requestCert: true,
  rejectUnauthorized: false,
};

async function listen(server, scheme) {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `${scheme}://127.0.0.1:${server.address().port}`;
}

const fingerprint = (token) => createHash('sha256').update(token).digest('hex').slice(0, 16);

/** Each client's private key in PEM, or its secret. */
const credentials = {};
const REFRESH = ['refresh_token'];
const common = { redirect_uris: [], response_types: [] };

function withSecret(id, method) {
  credentials[id] = `not a secret: 100% + /= ${id} and as long as HS256 wants it`;
  return { ...common, client_id: id, client_secret: credentials[id], token_endpoint_auth_method: method, grant_types: REFRESH };
}

function withKey(id, algorithm, kind, options, grants = REFRESH) {
  const { privateKey, publicKey } = generateKeyPairSync(kind, options);
  credentials[id] = privateKey.export({ type: 'pkcs8', format: 'pem' });
  return {
    ...common,
    client_id: id,
    token_endpoint_auth_method: 'private_key_jwt',
    token_endpoint_auth_signing_alg: algorithm,
    jwks: { keys: [{ ...publicKey.export({ format: 'jwk' }), use: 'sig' }] },
    grant_types: grants,
  };
}

const EC = ['ec', { namedCurve: 'P-256' }];
const RSA = ['rsa', { modulusLength: 2048 }];
const clients = [
  withSecret('basic', 'client_secret_basic'),
  withSecret('post', 'client_secret_post'),
  withSecret('secret-jwt', 'client_secret_jwt'),
  withKey('es256', 'ES256', ...EC),
  withKey('rs256', 'RS256', ...RSA),
  withKey('ps256', 'PS256', ...RSA),
  withKey('eddsa', 'EdDSA', 'ed25519', undefined),
  withKey('machine', 'ES256', ...EC, ['client_credentials']),
  withKey('robot', 'ES256', ...EC, [JWT_BEARER]),
  withKey('gateway', 'ES256', ...EC, [TOKEN_EXCHANGE]),
  {
    ...common,
    client_id: 'tls',
    token_endpoint_auth_method: 'tls_client_auth',
    tls_client_auth_subject_dn: 'CN=billing',
    tls_client_certificate_bound_access_tokens: true,
    grant_types: REFRESH,
  },
  { ...common, client_id: 'public', token_endpoint_auth_method: 'none', grant_types: REFRESH },
  { ...common, client_id: 'dpop', token_endpoint_auth_method: 'none', dpop_bound_access_tokens: true, grant_types: REFRESH },
  { ...withKey('dpop-machine', 'ES256', ...EC, ['client_credentials']), dpop_bound_access_tokens: true },
];

// The key that the refresh token of `dpop` is bound to, which it signed in with.
const signedInWith = generateKeyPairSync(...EC);
credentials.dpop = signedInWith.privateKey.export({ type: 'pkcs8', format: 'pem' });
const thumbprints = { dpop: await jose.calculateJwkThumbprint(signedInWith.publicKey.export({ format: 'jwk' })) };

const certificate = (ctx) => {
  const shown = ctx.socket.getPeerCertificate();
  return shown.raw && new X509Certificate(shown.raw).toString();
};

const server = createTlsServer(tls);
const issuer = await listen(server, 'https');
const { privateKey } = generateKeyPairSync(...RSA);
const provider = new Provider(issuer, {
  clients,
  clientAuthMethods: [
    'none',
    'client_secret_basic',
    'client_secret_post',
    'client_secret_jwt',
    'private_key_jwt',
    'tls_client_auth',
  ],
  cookies: { keys: ['not-a-secret'] },
  enabledJWA: { clientAuthSigningAlgValues: ['HS256', 'ES256', 'RS256', 'PS256', 'EdDSA'] },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => true },
    mTLS: {
      enabled: true,
      certificateBoundAccessTokens: true,
      tlsClientAuth: true,
      getCertificate: certificate,
      certificateAuthorized: (ctx) => ctx.socket.authorized,
      certificateSubjectMatches: (ctx, property, expected) =>
        property === 'tls_client_auth_subject_dn' && new X509Certificate(certificate(ctx)).subject === expected,
    },
  },
  findAccount: (_ctx, accountId) => ({ accountId, claims: () => ({ sub: accountId }) }),
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), alg: 'RS256', use: 'sig' }] },
  rotateRefreshToken: true,
  scopes: SCOPE.split(' '),
  ttl: { AccessToken: ACCESS_TOKEN_LIFE, ClientCredentials: ACCESS_TOKEN_LIFE, Grant: 86400, IdToken: 60, RefreshToken: 86400 },
});

// The two grants that it leaves to its users, made of its own tokens. Client authentication is all its own.
const used = new Set();
async function issue(ctx, more) {
  const token = new provider.ClientCredentials({ client: ctx.oidc.client });
  ctx.body = { access_token: await token.save(), expires_in: token.expiration, token_type: token.tokenType, ...more };
}
provider.registerGrantType(
  JWT_BEARER,
  async (ctx) => {
    const { client, params } = ctx.oidc;
    try {
      const keys = jose.createLocalJWKSet(client.jwks);
      const options = { issuer: client.clientId, audience: issuer, requiredClaims: ['sub', 'exp', 'jti'], maxTokenAge: 60 };
      const { payload } = await jose.jwtVerify(params.assertion, keys, options);
      if (used.has(payload.jti)) throw new Error('the assertion was used before');
      used.add(payload.jti);
      report.subjects.push(payload.sub);
    } catch (error) {
      throw new errors.InvalidGrant(error.message);
    }
    await issue(ctx);
  },
  ['assertion'],
);
provider.registerGrantType(
  TOKEN_EXCHANGE,
  async (ctx) => {
    const { params } = ctx.oidc;
    const subject = params.subject_token_type === ACCESS_TOKEN && (await provider.AccessToken.find(params.subject_token));
    if (!subject) throw new errors.InvalidGrant('the subject token is not good');
    report.subjects.push(subject.accountId);
    await issue(ctx, { issued_token_type: ACCESS_TOKEN });
  },
  ['subject_token', 'subject_token_type', 'actor_token', 'actor_token_type', 'requested_token_type', 'audience'],
);

const report = { redeems: {}, errors: [], subjects: [], rejected: [], nonces: { server: 0, upstream: 0 } };
const secrets = Object.values(credentials);
provider.on('grant.success', (ctx) => {
  const { params, client } = ctx.oidc;
  report.redeems[client.clientId] = (report.redeems[client.clientId] ?? 0) + 1;
  const given = ['refresh_token', 'client_assertion', 'assertion', 'subject_token'].map((name) => params[name]);
  secrets.push(...[...given, ctx.body.refresh_token, ctx.body.access_token].filter(Boolean));
});
provider.on('grant.error', (ctx, error) => {
  // Asked for a nonce (RFC 9449 §8), which is no failure.
  if (error.error === 'use_dpop_nonce') {
    report.nonces.server += 1;
    return;
  }
  const detail = error.error_detail ?? error.error_description ?? error.message;
  report.errors.push({ client: ctx.oidc?.client?.clientId, error: error.error, detail });
});
provider.on('server_error', (_ctx, error) => report.errors.push({ error: 'server_error', detail: String(error) }));
server.on('request', provider.callback());

// The upstream.
const proofs = new Set();
let nonce = randomUUID();

/** Why a request is refused; nothing when it is not. `challenge` goes with it. */
async function refusal(request, url) {
  const [scheme, value] = (request.headers.authorization ?? '').split(' ');
  const token = value && ((await provider.AccessToken.find(value)) ?? (await provider.ClientCredentials.find(value)));
  if (!token) return { why: `no good token: ${scheme}`, challenge: 'Bearer error="invalid_token"' };
  const shown = request.socket.getPeerCertificate().raw;
  const thumbprint = shown && createHash('sha256').update(shown).digest('base64url');
  if (token['x5t#S256'] && token['x5t#S256'] !== thumbprint) {
    return { why: 'the token is bound to another certificate', challenge: 'Bearer error="invalid_token"' };
  }
  if (!token.jkt) return scheme === 'Bearer' ? undefined : { why: `not bound to a key, and comes as ${scheme}`, challenge: 'Bearer' };
  if (scheme !== 'DPoP') return { why: `bound to a key, and comes as ${scheme}`, challenge: 'DPoP algs="ES256"' };
  try {
    const { payload, protectedHeader } = await jose.jwtVerify(request.headers.dpop, jose.EmbeddedJWK, {
      typ: 'dpop+jwt',
      algorithms: ['ES256'],
      maxTokenAge: 60,
      requiredClaims: ['jti', 'htm', 'htu', 'ath', 'iat'],
    });
    if (protectedHeader.jwk.d) throw new Error('a private key was sent');
    if ((await jose.calculateJwkThumbprint(protectedHeader.jwk)) !== token.jkt) throw new Error('another key signed it');
    if (payload.htm !== request.method || payload.htu !== url) throw new Error(`it is for ${payload.htm} ${payload.htu}`);
    if (payload.ath !== createHash('sha256').update(value).digest('base64url')) throw new Error('it is for another token');
    if (proofs.has(payload.jti)) throw new Error('it was used before');
    if (payload.nonce !== nonce) {
      report.nonces.upstream += 1;
      return { challenge: 'DPoP error="use_dpop_nonce"' };
    }
    proofs.add(payload.jti);
  } catch (error) {
    return { why: `the proof is no good: ${error.message}`, challenge: 'DPoP error="invalid_dpop_proof"' };
  }
  return undefined;
}

const upstream = createTlsServer(tls, async (request, response) => {
  const refused = await refusal(request, new URL(request.url.split('?')[0], upstreamUrl).href);
  for await (const _chunk of request);
  if (refused?.why) report.rejected.push(refused.why);
  const headers = { 'content-type': 'application/json', 'dpop-nonce': nonce };
  if (refused) headers['www-authenticate'] = refused.challenge;
  response.writeHead(refused ? 401 : 200, headers);
  response.end(JSON.stringify(refused ?? { token: fingerprint(request.headers.authorization.split(' ')[1]) }));
});
const upstreamUrl = await listen(upstream, 'https');

/** What a sign-in would have left behind. */
async function seed(id) {
  const client = await provider.Client.find(id);
  const grant = new provider.Grant({ accountId: 'alice', clientId: id });
  grant.addOIDCScope(SCOPE);
  const grantId = await grant.save();
  const token = new provider.RefreshToken({ accountId: 'alice', client, grantId, gty: 'authorization_code', scope: SCOPE });
  token.jkt = thumbprints[id];
  return { refresh_token: await token.save() };
}

/** An access token of somebody's, to be exchanged. */
async function subject() {
  const client = await provider.Client.find('public');
  const grant = new provider.Grant({ accountId: 'alice', clientId: 'public' });
  grant.addOIDCScope(SCOPE);
  const grantId = await grant.save();
  const token = new provider.AccessToken({ accountId: 'alice', client, grantId, gty: 'authorization_code', scope: SCOPE });
  return { access_token: await token.save() };
}

const control = createServer(async (request, response) => {
  const answers = {
    'GET /credentials': () => credentials,
    'GET /report': () => report,
    'GET /secrets': () => secrets,
    'POST /subject': subject,
    'POST /nonce': () => ({ nonce: (nonce = randomUUID()) }),
  };
  const [, id] = /^\/seed\/([\w-]+)$/.exec(request.url) ?? [];
  const answer = id ? () => seed(id) : answers[`${request.method} ${request.url}`];
  try {
    const body = JSON.stringify(await answer());
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(body);
  } catch (error) {
    response.writeHead(500, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ error: String(error) }));
  }
});
console.log(JSON.stringify({ issuer, upstream: upstreamUrl, control: await listen(control, 'http') }));
