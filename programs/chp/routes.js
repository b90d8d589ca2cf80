// Written by Hubstead: the routes of configurable-http-proxy in a file, so that a proxy that
// restarts has them at once, whether the Hub runs or not. The Hub mends what is out of date when it
// starts, and every five minutes (JupyterHub.last_activity_interval).
"use strict";
const fs = require("node:fs");
const release = require("node:module").createRequire("/opt/hubstead/chp/current/");
const { MemoryStore } = release("configurable-http-proxy/lib/store.js");

class Routes extends MemoryStore {
  constructor({ routesFile, log }) {
    super();
    this.file = routesFile;
    this.log = log;
    for (const [path, data] of Object.entries(this.read())) super.add(path, data);
  }

  read() {
    try {
      return JSON.parse(fs.readFileSync(this.file, "utf8"));
    } catch (error) {
      if (error.code !== "ENOENT") this.log.error(`The Hub has to tell the routes: ${error}`);
      return {};
    }
  }

  // a full disk costs the routes at the next restart, and nothing now
  write() {
    const text = JSON.stringify(this.routes, (key, value) =>
      key === "last_activity" ? undefined : value,
    );
    try {
      fs.writeFileSync(`${this.file}.new`, text, { flush: true });
      fs.renameSync(`${this.file}.new`, this.file);
    } catch (error) {
      this.log.error(`The routes are not saved: ${error}`);
    }
  }

  async add(path, data) {
    await super.add(path, data);
    this.write();
  }

  // whatever a page that is left open says would count as activity of its user; what servers report
  // counts (docs/servers.md)
  update() {}

  async remove(path) {
    const route = await super.remove(path);
    this.write();
    return route;
  }
}

module.exports = Routes;
