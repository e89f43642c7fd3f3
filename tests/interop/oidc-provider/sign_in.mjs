// Signing in at oidc-provider: clients for people, and plain pages with a button for each thing that a person may do.
// Nothing on them comes from elsewhere, so that a browser without a network shows them at once.

const LOOPBACK = 'http://127.0.0.1';
const DEVICE_CODE = 'urn:ietf:params:oauth:grant-type:device_code';

/** Public clients: `cli` on any port, `fixed` on this one alone, `pushed` by PAR only, `brief` without refresh tokens. */
export function clients(port) {
  const native = {
    application_type: 'native',
    token_endpoint_auth_method: 'none',
    redirect_uris: [`${LOOPBACK}/callback`],
    response_types: ['code'],
    grant_types: ['authorization_code', 'refresh_token', DEVICE_CODE],
  };
  return [
    { ...native, client_id: 'cli' },
    // Of a native client the port of loopback would be free (RFC 8252 §7.3); of one for the web nothing is.
    { ...native, client_id: 'fixed', application_type: 'web', redirect_uris: [`${LOOPBACK}:${port}/callback`] },
    { ...native, client_id: 'pushed', require_pushed_authorization_requests: true },
    { ...native, client_id: 'brief', grant_types: ['authorization_code'] },
  ];
}

const page = (title, body) => `<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>${title}</title>
<h1>${title}</h1>
${body}
`;

const choice = (client) => page('Who are you?', `<p>${client} wants to act for you.</p>
<form method="post">
<label>Name <input name="login" required></label>
<button name="press" value="approve">Sign in</button>
<button name="press" value="deny" formnovalidate>Deny</button>
<button name="press" value="cancel" formnovalidate>Cancel</button>
</form>`);

/** What belongs into the provider's configuration. */
export const features = {
  deviceFlow: {
    enabled: true,
    userCodeInputSource: (ctx, form, _out, error) => {
      if (error?.name === 'AbortedError') {
        ctx.body = page('Not signed in', '<p>Your device is told.</p>');
        return;
      }
      const said = error ? 'That code is not known.' : 'Which code does your device show?';
      ctx.body = page('Connect a device', `<p>${said}</p>\n${form}\n<button form="op.deviceInputForm">Continue</button>`);
    },
    userCodeConfirmSource: (ctx, form, _client, _device, code) => {
      ctx.body = page('Is this your device?', `<p>It shows ${code}.</p>\n${form}
<button form="op.deviceConfirmForm">Yes</button>
<button form="op.deviceConfirmForm" name="abort" value="yes">No</button>`);
    },
    successSource: (ctx) => {
      ctx.body = page('Signed in', '<p>Go back to your device.</p>');
    },
  },
  devInteractions: { enabled: false },
  revocation: { enabled: true },
};

/** Where the provider sends people. */
export const interactions = { url: (_ctx, interaction) => `/interaction/${interaction.uid}` };

const denials = {
  deny: { error: 'access_denied', error_description: 'The resource owner denied the request' },
  cancel: { error: 'access_denied', error_description: 'End-User aborted interaction' },
};

/** Answers the pages of an interaction; whether it was one. */
export async function interact(provider, request, response) {
  if (!request.url.startsWith('/interaction/')) return false;
  const { params, prompt } = await provider.interactionDetails(request, response);
  if (request.method !== 'POST') {
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' });
    response.end(choice(params.client_id));
    return true;
  }
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const form = new URLSearchParams(Buffer.concat(chunks).toString());
  const press = form.get('press');
  if (denials[press]) {
    await provider.interactionFinished(request, response, denials[press], { mergeWithLastSubmission: false });
    return true;
  }
  const grant = new provider.Grant({ accountId: form.get('login'), clientId: params.client_id });
  grant.addOIDCScope(params.scope ?? 'openid');
  if (prompt.details.missingOIDCClaims) grant.addOIDCClaims(prompt.details.missingOIDCClaims);
  const result = { login: { accountId: form.get('login') }, consent: { grantId: await grant.save() } };
  await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
  return true;
}
