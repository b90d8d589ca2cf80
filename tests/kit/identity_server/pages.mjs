// What people see and send.

const escaped = (text) => text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);

export const html = (title, body = '') => (
  `<!DOCTYPE html>\n<html lang="en"><title>${escaped(title)}</title><h1>${escaped(title)}</h1>\n${body}\n`);

export function page(response, status, title, body) {
  response.writeHead(status, { 'Content-Type': 'text/html; charset=utf-8', 'Cache-Control': 'no-store' });
  response.end(html(title, body));
}

/** The login form, again with a complaint where somebody has sent it in vain. */
export function loginForm(request, response) {
  const again = request.method === 'POST';
  const complaint = '<p role="alert">There is nobody with this name and password.</p>';
  page(response, again ? 401 : 200, `Log in at ${request.headers.host}`, `${again ? complaint : ''}
<form method="post" action="${escaped(request.url)}">
<label>Username <input name="username" autocomplete="off" autofocus></label>
<label>Password <input name="password" type="password"></label>
<button>Log in</button>
</form>`);
}

/** The fields of a form that was sent. */
export async function fields(request) {
  let text = '';
  for await (const chunk of request.setEncoding('utf8')) text += chunk;
  return new URLSearchParams(text);
}

export function json(response, status, value) {
  response.writeHead(status, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' });
  response.end(JSON.stringify(value));
}

export function redirect(response, url) {
  response.writeHead(302, { Location: url }).end();
}
