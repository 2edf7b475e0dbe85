// verifyWebhookSignature of Circularo's page, verbatim. The page does not show
// what it is called with, so the receiver at /raw passes the bytes that came and
// the one at /parsed what JSON.stringify makes of the parsed body.
const serve = require('./serve.js');
const express = require('express');
const app = express();

// Example verification in Node.js
const crypto = require('crypto');
function verifyWebhookSignature(requestBody, signature, secret) {
const hmac = crypto.createHmac('sha256', secret);
const calculatedSignature = hmac.update(requestBody).digest('hex');
return calculatedSignature === signature;
}

function answer(requestBody, req, res) {
  const valid = verifyWebhookSignature(requestBody, req.headers['x-circularo-signature'], process.env.HMAC_SECRET);
  res.status(valid ? 200 : 401).end();
}
app.post('/raw', express.raw({ type: 'application/json' }), (req, res) => answer(req.body, req, res));
app.post('/parsed', express.json(), (req, res) => answer(JSON.stringify(req.body), req, res));

serve(app);
