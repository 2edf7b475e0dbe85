'use strict';

// What the receivers share and their pages do not show: a free port of the
// loopback interface instead of 3000, a line of JSON about each request, and a
// failure of the first attempt.

const http = require('node:http');

module.exports = function serve(app) {
  const seen = new Set();
  const server = http.createServer((req, res) => {
    const chunks = [];
    req.on('data', (chunk) => chunks.push(chunk));
    // The receiver has decided by now. Of each body, its first acceptance
    // becomes a 503, so that only a retry is delivered.
    res.writeHead = function (status, ...rest) {
      const body = Buffer.concat(chunks).toString();
      const first = !seen.has(body);
      seen.add(body);
      report({ status, first, body, headers: req.headers, same: same(req.body, body) });
      return http.ServerResponse.prototype.writeHead.call(res, status === 200 && first ? 503 : status, ...rest);
    };
    app(req, res);
  });
  server.listen(0, '127.0.0.1', () => report({ port: server.address().port }));
  // The test ends the process by closing its standard input.
  process.stdin.on('end', () => process.exit()).resume();
};

// same says whether a receiver that stringifies the parsed body has the bytes
// that came.
function same(parsed, body) {
  return JSON.stringify(typeof parsed === 'object' && !Buffer.isBuffer(parsed) ? parsed : JSON.parse(body)) === body;
}

function report(line) {
  process.stdout.write(`@${JSON.stringify(line)}\n`);
}
