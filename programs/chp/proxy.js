// Written by Hubstead: configurable-http-proxy by its own API, for what its command cannot do: take
// a renewed certificate without losing a connection, believe the edge alone about who the visitor
// is, send security headers, wait for slow uploads, lead from HTTP to HTTPS, say what is the matter
// where nobody answers.
"use strict";
const fs = require("node:fs");
const http = require("node:http");
const release = require("node:module").createRequire("/opt/hubstead/chp/current/");
const { ConfigurableProxy } = release("configurable-http-proxy");
const winston = release("winston");

const settings = JSON.parse(fs.readFileSync("/etc/hubstead/chp/config.json"));
const log = winston.createLogger({
  format: winston.format.combine(
    winston.format.splat(),
    winston.format.printf(({ level, message }) => `${level}: ${message}`),
  ),
  transports: [new winston.transports.Console()],
});

function certificate() {
  return {
    key: fs.readFileSync(`${settings.directory}/key.pem`),
    cert: fs.readFileSync(`${settings.directory}/fullchain.pem`),
    minVersion: "TLSv1.2",
    ciphers: settings.ciphers.join(":"),
  };
}

// Where a visitor could say something about the visitor, or about the way here
const HEARSAY = /^(forwarded|x[-_]real[-_]ip|x[-_]scheme|x[-_]forwarded[-_].*)$/;

function identify(request) {
  const peer = (request.socket.remoteAddress ?? "").replace(/^::ffff:/, "");
  if (settings.edge.includes(peer)) return;
  const { headers } = request;
  for (const name of Object.keys(headers)) if (HEARSAY.test(name)) delete headers[name];
  headers["x-forwarded-for"] = peer;
  headers["x-forwarded-proto"] = "https";
  headers["x-forwarded-host"] = headers.host ?? "";
}

const proxy = new ConfigurableProxy({
  log,
  ssl: certificate(),
  authToken: fs.readFileSync(`${process.env.CREDENTIALS_DIRECTORY}/token`, "utf8").trim(),
  storageBackend: `${__dirname}/routes.js`,
  routesFile: `${process.env.STATE_DIRECTORY}/routes.json`,
  hostRouting: settings.host_routing, // where people's servers have names of their own
  keepAliveTimeout: 75_000, // longer than an edge keeps its connections (Nginx: 60 s)
});
const server = proxy.proxyServer;
server.requestTimeout = 15 * 60_000; // Node's five minutes are few for an upload over a slow line
server.prependListener("upgrade", identify);
server.prependListener("request", (request, response) => {
  identify(request);
  response.setHeaders(new Map(Object.entries(settings.headers)));
});

// What serves, and in which version, is nobody's business
proxy.proxy.on("proxyRes", ({ headers }) => {
  delete headers["x-jupyterhub-version"];
  delete headers.server;
});

// All servers are on this host: one that is gone does not answer, for minutes otherwise
function hurry(outgoing, socket) {
  if (!socket.connecting) return;
  const late = () => outgoing.destroy(new Error("it takes no connection"));
  const timer = setTimeout(late, 3_000);
  for (const event of ["connect", "close"]) socket.once(event, () => clearTimeout(timer));
}
proxy.proxy.on("proxyReq", (outgoing, request, response, options, socket) => {
  hurry(outgoing, socket);
});
proxy.proxy.on("proxyReqWs", (outgoing) => {
  outgoing.once("socket", (socket) => hurry(outgoing, socket));
});

// The pages of hubstead-pages.service, and what this has by itself while that is away
const bare = proxy._handleProxyErrorDefault.bind(proxy);
proxy.handleProxyError = (code, kind, request, response, error) => {
  const [path] = request.url.split("?", 1);
  log.error("%s %s %s %s", code, request.method, path, error?.message ?? kind);
  if (!response?.writeHead) return response && bare(code, kind, request, response);
  const page = `${settings.pages}/${code}?url=${encodeURIComponent(request.url)}`;
  const headers = { accept: request.headers.accept ?? "" };
  const asked = http.get(page, { headers }, (answered) => {
    if (response.headersSent) return response.destroy();
    const kept = ["content-type", "cache-control", "retry-after"];
    for (const name of kept) response.setHeader(name, answered.headers[name]);
    response.writeHead(code);
    answered.pipe(response);
  });
  asked.setTimeout(5_000, () => asked.destroy());
  asked.on("error", () => bare(code, kind, request, response));
};

// Where this faces the internet; certbot answers challenges while it asks for a certificate
const CHALLENGE = /^\/\.well-known\/acme-challenge\/[\w-]+$/;

const redirect = http.createServer((request, response) => {
  const path = request.url.replace(/^https?:\/\/[^/?]*/i, "");
  const answer = (status, headers = {}) => response.writeHead(status, headers).end();
  if (settings.challenges && CHALLENGE.test(path)) {
    const asked = http.get(settings.challenges + path, (answered) => {
      response.writeHead(answered.statusCode, { "content-type": "text/plain" });
      answered.pipe(response);
    });
    asked.setTimeout(10_000, () => asked.destroy());
    asked.on("error", () => (response.headersSent ? response.destroy() : answer(502)));
    return;
  }
  const [, host] = /^([\w.-]+|\[[\da-f:.]+\])(:\d+)?$/i.exec(request.headers.host ?? "") ?? [];
  if (!host || !/^(\/|\?|$)/.test(path)) return answer(400);
  answer(308, { location: `https://${host}${settings.port_in_url}${path}` });
});

process.title = "configurable-http-proxy";
process.on("SIGHUP", () => {
  server.setSecureContext(certificate());
  log.info("Read the certificate again");
});
// hubstead-port-chp.service has these ports as well, and keeps them while this restarts
const place = (port, host) => ({ port, host, reusePort: settings.shared.includes(port) });
if (settings.http_port) redirect.listen(place(settings.http_port));
server.listen(place(settings.port, settings.address ?? undefined), () => {
  proxy.apiServer.listen(settings.api_port, "127.0.0.1", () => {
    log.info(`Listening on port ${settings.port}`);
    // as its command does: no connection may take the others down
    process.on("uncaughtException", (error) => log.error(error.stack));
  });
});
