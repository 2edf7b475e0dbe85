// The "Example verification (Node.js)" of Docflo's page, verbatim; around it,
// the app that it supposes.
const serve = require('./serve.js');
const express = require('express');
const app = express();
app.use(express.json());

const crypto = require('crypto');
function verifyWebhookSignature(payload, signature, secret) {
const expectedSignature = 'sha256=' + crypto
.createHmac('sha256', secret)
.update(JSON.stringify(payload))
.digest('hex');
return crypto.timingSafeEqual(
Buffer.from(signature),
Buffer.from(expectedSignature)
);
}
// In your webhook handler
app.post('/webhook', (req, res) => {
const signature = req.headers['x-docflo-signature'];
const isValid = verifyWebhookSignature(req.body, signature, 'your-signing-secret');
if (!isValid) {
return res.status(401).send('Invalid signature');
}
// Process the webhook
console.log('Received event:', req.body.event);
res.status(200).send('OK');
});

serve(app);
