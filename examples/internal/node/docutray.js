// Docutray's page names its headers and not a receiver: this one recomputes both
// signatures from what came, the metadata one as an authorizer that sees only
// headers would.
const serve = require('./serve.js');
const crypto = require('crypto');
const express = require('express');
const app = express();

function signature(content) {
  return 'sha256=' + crypto.createHmac('sha256', process.env.WEBHOOK_SECRET).update(content).digest('hex');
}

app.post('/webhook', express.raw({ type: 'application/json' }), (req, res) => {
  const header = (name) => req.headers[`x-docutray-${name}`];
  const metadata = [header('timestamp'), header('request-id'), header('event')].join('.');
  const valid =
    header('signature') === signature(req.body) &&
    header('auth-signature') === signature(metadata) &&
    Math.abs(Date.now() / 1000 - Number(header('timestamp'))) < 300;
  res.status(valid ? 200 : 401).end();
});

serve(app);
