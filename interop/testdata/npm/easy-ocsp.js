// Asks with the package easy-ocsp: node easy-ocsp.js issuer.pem cert.pem url true|false
const fs = require('fs');
const {getCertStatus} = require('easy-ocsp');

const [issuer, cert, ocspUrl, nonce] = process.argv.slice(2);
getCertStatus(fs.readFileSync(cert, 'utf8'), {ca: fs.readFileSync(issuer, 'utf8'), ocspUrl, enableNonce: nonce === 'true'})
  .then((answer) => console.log(answer.status, answer.revocationReason))
  .catch((err) => console.log(err.message));
