// The Express receiver of Documenso's page, verbatim except for the port: the
// last statement was app.listen(3000, …).
const serve = require('./serve.js');

const express = require('express');
const app = express();

app.use(express.json());

app.post('/webhooks/documenso', (req, res) => {
  const { event, payload, createdAt } = req.body;

  console.log(`Received event: ${event}`);
  console.log(`Document ID: ${payload.id}`);
  console.log(`Document title: ${payload.title}`);

  // Process the webhook event
  switch (event) {
    case 'DOCUMENT_COMPLETED':
      // Handle completed document
      break;
    case 'DOCUMENT_SIGNED':
      // Handle signed document
      break;
    // Handle other events...
  }

  // Respond with 200 OK to acknowledge receipt
  res.status(200).json({ received: true });
});

serve(app);
