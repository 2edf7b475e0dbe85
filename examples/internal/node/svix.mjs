// Scan Documents' page refers to Svix's documentation, which verifies so, with
// Svix's own package.
import serve from './serve.js';
import express from 'express';
import { Webhook } from 'svix';

const app = express();

app.post('/webhook', express.raw({ type: 'application/json' }), (req, res) => {
  const payload = req.body;
  const headers = req.headers;

  const wh = new Webhook(process.env.SIGNING_SECRET);
  try {
    wh.verify(payload, headers);
  } catch (err) {
    console.log(err.message);
    return res.status(400).json({});
  }
  res.status(200).json({});
});

serve(app);
