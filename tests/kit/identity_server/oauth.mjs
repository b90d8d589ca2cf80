// GitHub and Google, as far as oauthenticator asks them: who logs in is asked each time.
import { createHash, randomUUID } from 'node:crypto';
import { fields, json, loginForm, page, redirect } from './pages.mjs';
import { named, organisations, settings, whoLogsIn, withSub } from './people.mjs';

/** What was handed out to whom, by what only they know. */
class Tickets extends Map {
  issue(value, seconds = Infinity) {
    const id = randomUUID();
    this.set(id, { ...value, end: Date.now() + seconds * 1000 });
    return id;
  }

  /** The ticket with its person, as long as both are there. */
  find(id) {
    const ticket = this.get(id);
    const person = ticket && ticket.end > Date.now() && withSub(ticket.sub);
    return person && { ...ticket, person };
  }
}

const codes = new Tickets();
const tokens = new Tickets();
const refreshers = new Tickets();

async function authorize(request, response, url) {
  const asked = Object.fromEntries(url.searchParams);
  if (asked.client_id !== settings.client_id || !settings.callbacks.includes(asked.redirect_uri)) {
    return page(response, 400, 'This application or its address is not registered');
  }
  const person = request.method === 'POST' && whoLogsIn(await fields(request));
  if (!person) return loginForm(request, response);
  const back = new URL(asked.redirect_uri);
  back.searchParams.set('code', codes.issue({ ...asked, sub: person.sub }, 600));
  if (asked.state) back.searchParams.set('state', asked.state);
  return redirect(response, back.href);
}

const isTheClient = (sent) => sent.get('client_id') === settings.client_id
  && sent.get('client_secret') === settings.client_secret;

/** The code of a login, good for once, with RFC 7636. */
function redeem(sent) {
  const code = codes.find(sent.get('code'));
  codes.delete(sent.get('code'));
  const challenge = createHash('sha256').update(sent.get('code_verifier') ?? '').digest('base64url');
  const same = code?.redirect_uri === sent.get('redirect_uri')
    && (!code?.code_challenge || code.code_challenge === challenge);
  return same ? code : undefined;
}

/** GitHub reports errors with status 200; its tokens last. */
async function githubToken(request, response) {
  const sent = await fields(request);
  if (!isTheClient(sent)) return json(response, 200, { error: 'incorrect_client_credentials' });
  const code = redeem(sent);
  if (!code) return json(response, 200, { error: 'bad_verification_code' });
  const scope = (code.scope ?? '').split(/[ ,]+/).join(',');
  const token = tokens.issue({ sub: code.sub, scope });
  return json(response, 200, { access_token: token, scope, token_type: 'bearer' });
}

/** Google's tokens end, and can be had anew where a login asked for access_type=offline. */
async function googleToken(request, response) {
  const sent = await fields(request);
  if (!isTheClient(sent)) return json(response, 401, { error: 'invalid_client' });
  const refreshing = sent.get('grant_type') === 'refresh_token';
  const login = refreshing ? refreshers.find(sent.get('refresh_token')) : redeem(sent);
  if (!login) return json(response, 400, { error: 'invalid_grant' });
  const { sub, scope } = login;
  const offline = !refreshing && login.access_type === 'offline';
  return json(response, 200, {
    access_token: tokens.issue({ sub, scope }, settings.token_seconds),
    expires_in: settings.token_seconds,
    refresh_token: offline ? refreshers.issue({ sub, scope }) : undefined,
    scope,
    token_type: 'Bearer',
  });
}

const bearer = (request) => tokens.find(request.headers.authorization?.split(' ')[1]);

function google(request, response) {
  const { person } = bearer(request) ?? {};
  if (!person) return json(response, 401, { error: { code: 401, status: 'UNAUTHENTICATED' } });
  const { sub: id, email, email_verified: verified_email, domain } = person;
  return json(response, 200, { id, email, verified_email, hd: domain ?? undefined });
}

const MEMBER = /^\/orgs\/([^/]+)\/(?:teams\/([^/]+)\/)?members\/([^/]+)$/;

/** Whether a path of the API names a member, who is in that team if it names one. */
function namesMember(path) {
  const [organisation, team, name] = (MEMBER.exec(path) ?? []).slice(1)
    .map((part) => part && decodeURIComponent(part));
  const member = named(name);
  return member && organisations(name).includes(organisation)
    && (!team || member.groups.includes(team));
}

/** GitHub's API. People's groups are the teams of each of their organisations. */
function github(request, response, { pathname }) {
  const { person, scope } = bearer(request) ?? {};
  if (!person) return json(response, 401, { message: 'Bad credentials' });
  const may = (...wanted) => wanted.some((one) => scope.split(',').includes(one));
  if (pathname === '/user') {
    // the address is not public, as with most people
    return json(response, 200, { login: person.name, id: Number(person.sub), email: null });
  }
  if (pathname === '/user/emails' && may('user', 'user:email')) {
    const { email, email_verified: verified } = person;
    return json(response, 200, email ? [{ email, primary: true, verified }] : []);
  }
  if (pathname === '/user/teams' && may('read:org')) {
    return json(response, 200, organisations(person.name).flatMap((login) => (
      person.groups.map((slug) => ({ slug, name: slug, organization: { login } })))));
  }
  if (may('read:org') && namesMember(pathname)) return response.writeHead(204).end();
  return json(response, 404, { message: 'Not Found' });
}

/** By host and path. */
export const others = {
  'github.com/login/oauth/authorize': authorize,
  'github.com/login/oauth/access_token': githubToken,
  'api.github.com': github,
  'accounts.google.com/o/oauth2/v2/auth': authorize,
  'www.googleapis.com/oauth2/v4/token': googleToken,
  'www.googleapis.com/oauth2/v1/userinfo': google,
};
