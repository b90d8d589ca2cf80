// OpenID Connect at the host's own name, by oidc-provider; its sessions end with this process.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { Provider, interactionPolicy } from 'oidc-provider';
import { fields, html, loginForm } from './pages.mjs';
import { settings, whoLogsIn, withSub } from './people.mjs';

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const HOURS = 3600;

const account = (person) => person && {
  accountId: person.sub,
  claims: () => ({
    sub: person.sub,
    preferred_username: person.name,
    email: person.email ?? undefined,
    email_verified: person.email_verified,
    groups: person.groups,
  }),
};

/** Nobody is asked for consent, as with the applications of one's own organisation. */
async function grant({ oidc }) {
  const { client, session, provider } = oidc;
  const known = session.grantIdFor(client.clientId);
  const given = (known && await provider.Grant.find(known))
    ?? new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
  given.addOIDCScope([...oidc.requestParamScopes].join(' '));
  await given.save();
  return given;
}

/** The form is shown as well to somebody whose account went while the session stayed. */
function policy() {
  const { base, Check } = interactionPolicy;
  const prompts = base();
  prompts.get('login').checks.add(new Check('gone', 'the account is gone', ({ oidc }) => (
    oidc.session.accountId && !oidc.account ? Check.REQUEST_PROMPT : Check.NO_NEED_TO_PROMPT)));
  return prompts;
}

/** The page of a logout: it asks, unless the application showed whom it had logged in. */
function logoutPage(ctx, form) {
  const yes = '<input type="hidden" name="logout" value="yes"/><button>Log out</button></form>';
  const submit = ctx.oidc.entities.IdTokenHint ? '<script>document.forms[0].submit()</script>' : '';
  ctx.body = html('Log out?', form.replace('</form>', yes) + submit);
}

const provider = new Provider(`https://${settings.name}`, {
  clients: [{
    client_id: settings.client_id,
    client_secret: settings.client_secret,
    grant_types: ['authorization_code', 'refresh_token'],
    redirect_uris: settings.callbacks,
    post_logout_redirect_uris: settings.after_logout,
  }],
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256' }] },
  cookies: { keys: [randomBytes(32).toString('hex')] },
  claims: {
    openid: ['sub'],
    profile: ['preferred_username', 'groups'],
    email: ['email', 'email_verified'],
    groups: ['groups'],
  },
  clockTolerance: 0,
  conformIdTokenClaims: false,
  features: {
    devInteractions: { enabled: false },
    rpInitiatedLogout: {
      logoutSource: logoutPage,
      postLogoutSuccessSource: (ctx) => { ctx.body = html('You are logged out'); },
    },
  },
  findAccount: (ctx, sub) => account(withSub(sub)),
  interactions: {
    policy: policy(),
    url: (ctx, interaction) => `/interaction/${interaction.uid}`,
  },
  issueRefreshToken: () => true,
  loadExistingGrant: grant,
  pkce: { required: () => true },
  renderError: (ctx, { error, error_description: reason }) => {
    ctx.type = 'html';
    ctx.body = html(`${error}: ${reason}`);
  },
  ttl: {
    AccessToken: settings.token_seconds,
    Grant: 24 * HOURS,
    IdToken: HOURS,
    Interaction: HOURS,
    RefreshToken: 24 * HOURS,
    Session: 24 * HOURS,
  },
});
provider.on('server_error', (ctx, error) => console.error(error));
const rest = provider.callback();

/** Answer any request to the host's own name. */
export async function oidc(request, response) {
  if (!request.url.startsWith('/interaction/')) return rest(request, response);
  await provider.interactionDetails(request, response);
  const person = request.method === 'POST' && whoLogsIn(await fields(request));
  if (!person) return loginForm(request, response);
  return provider.interactionFinished(request, response, { login: { accountId: person.sub } });
}
