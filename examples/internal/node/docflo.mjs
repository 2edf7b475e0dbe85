// The complete Express receiver of Docflo's page, verbatim except for the port:
// the last statement was app.listen(3000, …). The three functions that it calls
// and does not show are at the end.
import serve from './serve.js';

import express from 'express';
import crypto from 'crypto';
const app = express();
app.use(express.json());
const SIGNING_SECRET = process.env.WEBHOOK_SIGNING_SECRET;
// Middleware to verify webhook signature
function verifySignature(req, res, next) {
const signature = req.headers['x-docflo-signature'];
if (SIGNING_SECRET && signature) {
const expectedSignature = 'sha256=' + crypto
.createHmac('sha256', SIGNING_SECRET)
.update(JSON.stringify(req.body))
.digest('hex');
if (!crypto.timingSafeEqual(Buffer.from(signature), Buffer.from(expectedSignature))) {
return res.status(401).json({ error: 'Invalid signature' });
}
}
next();
}
app.post('/webhooks/docflo', verifySignature, async (req, res) => {
const { event, tenantId, timestamp, doc } = req.body;
console.log(`Received ${event} event for tenant ${tenantId}`);
console.log(`Document ID: ${doc._id}, Type: ${doc.type}`);
// Process the webhook asynchronously
switch (event) {
case 'document.processed':
// Handle processed document
await processDocument(doc);
break;
case 'document.approved':
// Handle approved document
await syncToERP(doc);
break;
case 'document.rejected':
// Handle rejected document
await notifyTeam(doc);
break;
}
// Respond quickly to acknowledge receipt
res.status(200).json({ received: true });
});

serve(app);

async function processDocument() {}
async function syncToERP() {}
async function notifyTeam() {}
