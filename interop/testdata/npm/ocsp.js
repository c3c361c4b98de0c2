// Asks with the package ocsp: node ocsp.js issuer.pem cert.pem
const fs = require('fs');
const ocsp = require('ocsp');

const [issuer, cert] = process.argv.slice(2).map((path) => fs.readFileSync(path));
ocsp.check({cert, issuer}, (err, status) => {
  console.log(err ? err.message : 'good', JSON.stringify(status));
});
