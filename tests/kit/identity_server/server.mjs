// `node server.mjs DIRECTORY`: the provider of settings.json and people.json there, over HTTPS.
// SIGUSR2 closes its port, SIGHUP opens it again: who was logged in still is.
import { readFileSync } from 'node:fs';
import { request as ask } from 'node:http';
import { createServer } from 'node:https';
import { others } from './oauth.mjs';
import { oidc } from './oidc.mjs';
import { page } from './pages.mjs';
import { settings } from './people.mjs';

const credential = (name) => readFileSync(`${process.env.CREDENTIALS_DIRECTORY}/${name}`);

/** Pass a request on to saml_server.py. */
function saml(request, response) {
  const { url: path, method, headers } = request;
  const passed = ask({ port: 8081, host: '127.0.0.1', path, method, headers }, (found) => {
    response.writeHead(found.statusCode, found.headers);
    found.pipe(response);
  });
  passed.on('error', () => page(response, 502, 'There is no SAML here'));
  request.pipe(passed);
}

async function answer(request, response) {
  const url = new URL(request.url, `https://${request.headers.host}`);
  if (url.host === settings.name && url.pathname.startsWith('/saml/')) return saml(request, response);
  const handler = others[url.host + url.pathname] ?? others[url.host]
    ?? (url.host === settings.name ? oidc : undefined);
  if (!handler) return page(response, 404, 'There is nothing here');
  return handler(request, response, url);
}

const server = createServer({ cert: credential('certificate'), key: credential('key') });
server.on('request', (request, response) => {
  answer(request, response).catch((error) => {
    console.error(error);
    if (!response.headersSent) page(response, 400, 'This does not work');
  });
});
const open = () => server.listening || server.listen(443);
process.on('SIGHUP', open);
process.on('SIGUSR2', () => {
  server.close();
  server.closeAllConnections();
});
// else the process would end with its port
setInterval(() => {}, 3_600_000);
open();
