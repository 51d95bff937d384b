// Sends standard input through TLS and writes what comes back; exits with 1 unless the server's certificate verifies.
const [port, ca, keyLog, certfile, keyfile] = process.argv.slice(2);
const fs = require("fs");
const socket = require("tls").connect({
  host: "127.0.0.1", port, servername: "localhost", ca: fs.readFileSync(ca), ALPNProtocols: ["http/1.1"],
  ...(certfile && { cert: fs.readFileSync(certfile), key: fs.readFileSync(keyfile) }),
});
socket.on("keylog", (line) => fs.appendFileSync(keyLog, line));
socket.on("secureConnect", () => {
  process.stdin.pipe(socket, { end: false });
  socket.pipe(process.stdout);
});
socket.on("end", () => process.stdin.unpipe(socket));
socket.on("error", (error) => {
  console.error(error.message);
  process.exit(1);
});
